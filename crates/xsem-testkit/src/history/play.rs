//! An actor's side: choose, do, write down.

use super::mix::Choice;
use super::{MIXES, now};
use crate::protocol::{Answer, Script, Till, Verb, What};
use crate::random::Random;
use crate::worker::Player;
use std::fs::File;
use std::io::Write;

/// A claim that the actor has.
struct Mine {
    guard: usize,
    object: usize,
    permits: u32,
}

/// Carries a script out. Each operation is announced in the record before it begins, so that one that its actor did not
/// survive is known.
pub fn play(player: &mut Player, script: &Script) -> Answer {
    let mix = &MIXES[script.mix as usize % MIXES.len()];
    // A file, since it keeps the record when the actor is killed.
    let mut record = match File::create(&script.file) {
        Ok(f) => f,
        Err(e) => return Answer::Broken(format!("{}: {e}", script.file)),
    };
    // Lost lines would be found: the operations of the others could not be explained.
    let write = |record: &mut File, text: &str| record.write_all(text.as_bytes()).expect("the record can be written");
    let mut random = Random::new(script.seed);
    let mut mine: Vec<Mine> = Vec::new();
    let mut last = String::new();
    // Asleep until then, so that nobody takes a processor away from those who have still to get ready.
    std::thread::sleep(std::time::Duration::from_nanos(script.at.saturating_sub(now())));
    let mut one = |verb: Verb, mine: &mut Vec<Mine>, record: &mut File| {
        write(record, &format!("{last}I {}\n", normal(&verb, &script.handles)));
        let begin = now();
        let answer = player.act(&verb);
        let end = now();
        last = format!("R {begin} {end} {answer}\n");
        note(&verb, &answer, &script.handles, mix.objects, mine);
    };
    for _ in 0..script.ops {
        // Claims must last, or nobody ever waits; and the actors shall not run in step.
        match random.below(8) {
            0..=3 => {}
            4..=5 => (0..random.below(2000)).for_each(|_| std::hint::spin_loop()),
            _ => crate::sys::nap(random.below(60)),
        }
        if let Some(verb) = choose(&mut random, mix.weights, mix.objects, &script.handles, &mine) {
            one(verb, &mut mine, &mut record);
        }
    }
    if !script.keep {
        while let Some(m) = mine.last() {
            one(Verb::Release(m.guard), &mut mine, &mut record);
        }
    }
    write(&mut record, &last);
    Answer::Done
}

fn is_event(what: &What) -> bool {
    matches!(what, What::Manual(_) | What::Auto(_))
}

fn choose(random: &mut Random, weights: &[(Choice, u32)], objects: &[What], handles: &[usize], mine: &[Mine]) -> Option<Verb> {
    let sum: u32 = weights.iter().map(|w| w.1).sum();
    let mut ticket = random.below(u64::from(sum)) as u32;
    let at = weights.iter().position(|w| {
        let here = ticket < w.1;
        ticket = ticket.wrapping_sub(w.1);
        here
    })?;
    let object = random.below(objects.len() as u64) as usize;
    let handle = handles[object];
    let (one, two, three) = (random.below(1 << 20), random.below(1 << 20), random.below(1 << 20));
    // Small requests more often than large ones; now and then one above the limit.
    let permits = |what: &What, dice: u64| match what {
        What::Exclusive | What::Manual(_) | What::Auto(_) => 1,
        What::Pool(n) | What::Credit(n, _) => match dice % 16 {
            0 => n + 1,
            d if d < 9 => 1,
            d => (d as u32 % n) + 1,
        },
    };
    let within = |what: &What, dice: u64| match what {
        What::Pool(n) | What::Credit(n, _) => permits(what, dice).min(*n),
        _ => 1,
    };
    let ms = Till::Ms(one % 4 + 1);
    // A list in a rotated order; sometimes one entry only is left out.
    let picks = |dice: u64| -> Vec<(usize, u32)> {
        let n = objects.len();
        let first = dice as usize % n;
        let len = if dice.is_multiple_of(3) { n } else { n.saturating_sub(1).max(1) };
        (0..len).map(|i| (first + i) % n).map(|i| (handles[i], within(&objects[i], dice >> (4 * i)))).collect()
    };
    let claim = mine.get(one as usize % mine.len().max(1));
    let exclusive = claim.filter(|m| objects[m.object] == What::Exclusive);
    let counting = claim.filter(|m| objects[m.object] != What::Exclusive);
    let what = &objects[object];
    Some(match (weights[at].0, what) {
        (Choice::Try, What::Exclusive) => Verb::Try(handle),
        (Choice::Try, _) => Verb::Ask(handle, permits(what, two), Till::Now, false),
        (Choice::Timed, _) => Verb::Ask(handle, permits(what, two), ms, false),
        (Choice::Ever, What::Exclusive) => Verb::Acquire(handle),
        (Choice::Ever, _) => Verb::Ask(handle, within(what, two), Till::Ever, false),
        (Choice::AnyTry, _) => Verb::Any(picks(two), Till::Now),
        (Choice::AnyTimed, _) => Verb::Any(picks(two), ms),
        (Choice::AnyEver, _) => Verb::Any(picks(two), Till::Ever),
        (Choice::AllTry, _) => Verb::All(picks(two), Till::Now),
        (Choice::AllTimed, _) => Verb::All(picks(two), ms),
        (Choice::AllEver, _) => Verb::All(picks(two), Till::Ever),
        (Choice::Release, _) => Verb::Release(claim?.guard),
        (Choice::ReleaseSome, _) => {
            let m = counting?;
            Verb::ReleaseSome(m.guard, three as u32 % m.permits + 1)
        }
        (Choice::Forget, _) => Verb::Forget(counting?.guard),
        (Choice::Abandon, _) => Verb::Abandon(exclusive?.guard),
        (Choice::Mark, _) => Verb::MarkConsistent(exclusive?.guard),
        (Choice::Slots, _) => Verb::Slots(counting?.guard),
        (Choice::Add, _) => Verb::Add(handle, three as u32 % 3 + 1),
        (Choice::Resize, _) => Verb::Resize(handle, three as u32 % 5 + 1),
        (Choice::Signal, what) if is_event(what) => Verb::Signal(handle),
        (Choice::Reset, what) if is_event(what) => Verb::Reset(handle),
        (Choice::State, what) if is_event(what) => Verb::State(handle),
        (Choice::Signal | Choice::Reset | Choice::State, _) => return None,
        (Choice::Capacity, What::Exclusive | What::Manual(_) | What::Auto(_)) => return None,
        (Choice::Capacity, _) => Verb::Capacity(handle),
    })
}

/// The verb with the history's objects instead of this actor's handles.
pub(super) fn normal(verb: &Verb, handles: &[usize]) -> Verb {
    renamed(verb, |h| handles.iter().position(|x| *x == h).unwrap_or(usize::MAX))
}

/// The verb with this actor's handles instead of the history's objects.
pub(super) fn with_handles(verb: &Verb, handles: &[usize]) -> Verb {
    renamed(verb, |object| handles[object])
}

fn renamed(verb: &Verb, to: impl Fn(usize) -> usize) -> Verb {
    let list = |l: &[(usize, u32)]| l.iter().map(|(h, n)| (to(*h), *n)).collect();
    match verb {
        Verb::Try(h) => Verb::Try(to(*h)),
        Verb::Timeout(h, ms) => Verb::Timeout(to(*h), *ms),
        Verb::Acquire(h) => Verb::Acquire(to(*h)),
        Verb::Ask(h, n, till, all) => Verb::Ask(to(*h), *n, *till, *all),
        Verb::Any(l, till) => Verb::Any(list(l), *till),
        Verb::All(l, till) => Verb::All(list(l), *till),
        Verb::Add(h, n) => Verb::Add(to(*h), *n),
        Verb::Resize(h, n) => Verb::Resize(to(*h), *n),
        Verb::Capacity(h) => Verb::Capacity(to(*h)),
        Verb::Signal(h) => Verb::Signal(to(*h)),
        Verb::Reset(h) => Verb::Reset(to(*h)),
        Verb::State(h) => Verb::State(to(*h)),
        other => other.clone(),
    }
}

/// What the actor owns after this.
fn note(verb: &Verb, answer: &Answer, handles: &[usize], objects: &[What], mine: &mut Vec<Mine>) {
    let object = |h: usize| handles.iter().position(|x| *x == h).unwrap_or(0);
    match (verb, answer) {
        (Verb::Ask(h, permits, ..), Answer::Granted { guard, .. }) => {
            mine.push(Mine { guard: *guard, object: object(*h), permits: *permits });
        }
        (Verb::Try(h) | Verb::Timeout(h, _) | Verb::Acquire(h), Answer::Granted { guard, .. }) => {
            mine.push(Mine { guard: *guard, object: object(*h), permits: 1 });
        }
        (Verb::Any(l, _), Answer::Taken { index, guard, .. }) => {
            let (h, permits) = l[*index];
            mine.push(Mine { guard: *guard, object: object(h), permits });
        }
        (Verb::All(l, _), Answer::All { guards, .. }) => {
            let each = guards.iter().zip(l);
            mine.extend(each.map(|(guard, (h, permits))| Mine { guard: *guard, object: object(*h), permits: *permits }));
        }
        (Verb::ReleaseSome(g, n), Answer::Done) => {
            if let Some(m) = mine.iter_mut().find(|m| m.guard == *g) {
                m.permits -= n;
            }
            mine.retain(|m| m.permits > 0);
        }
        (Verb::Release(g) | Verb::Forget(g) | Verb::Abandon(g), _) => mine.retain(|m| m.guard != *g),
        _ => {}
    }
    // Nobody owns an event.
    mine.retain(|m| !is_event(&objects[m.object]));
}
