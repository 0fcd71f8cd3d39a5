//! Sets actors to work, kills some, and collects what they wrote down.

use super::{Death, Event, History, MIXES, now};
use crate::protocol::{Answer, Script, Till, Verb, What};
use crate::random::Random;
use crate::rig::Rig;
use crate::sys;
use crate::watchdog::slowness;
use crate::worker::Actor;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Time enough for a history on a loaded or slow machine, in which nobody waits for longer than some milliseconds.
fn patience() -> Duration {
    Duration::from_secs(10) * slowness()
}

/// How long an actor is left alone before events are signalled for it.
const SIGNALS: Duration = Duration::from_millis(100);

/// Which history to record.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Which of [`MIXES`].
    pub mix: usize,
    /// Repeats the choices, though not the timing.
    pub seed: u64,
    /// Actors.
    pub actors: u32,
    /// Operations of each.
    pub ops: u32,
    /// Whether the last actor dies.
    pub death: bool,
}

/// Records one history, on semaphores of its own.
///
/// # Errors
/// When an actor does not come to an end: what was recorded until then, and what the namespace shows, for people.
///
/// # Panics
/// When an actor cannot do its work.
pub fn record(rig: &mut dyn Rig, plan: &Plan) -> Result<History, String> {
    let dir = PathBuf::from(format!("/dev/shm/xsem-history-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed)));
    std::fs::create_dir(&dir).expect("there is shared memory");
    let recorded = into(rig, plan, &dir);
    let _ = std::fs::remove_dir_all(&dir);
    recorded
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

fn into(rig: &mut dyn Rig, plan: &Plan, dir: &Path) -> Result<History, String> {
    let objects = MIXES[plan.mix].objects;
    let mut random = Random::new(plan.seed);
    let name = |i: usize| format!("h{}/{}/{i}", plan.mix, plan.seed);
    let mut actors: Vec<Box<dyn Actor>> = (0..=plan.actors).map(|_| rig.actor()).collect();
    let open =
        |a: &mut Box<dyn Actor>| objects.iter().enumerate().map(|(i, o)| a.handle(0, &Verb::Either(*o, name(i)))).collect();
    let handles: Vec<Vec<usize>> = actors.iter_mut().map(open).collect();
    // Who claims for the first time has to register; that shall be over.
    for (i, actor) in actors.iter_mut().enumerate() {
        let warm = actor.handle(0, &Verb::Create(format!("{}/warm{i}", name(0))));
        let (guard, ..) = actor.granted(0, &Verb::Acquire(warm));
        assert_eq!(actor.ask(0, &Verb::Release(guard)), Answer::Done);
    }
    let file = |actor: usize| dir.join(actor.to_string());
    let (count, midway) = (plan.actors as usize, rig.dies_midway());
    let at = now() + 200_000;
    for actor in 0..count {
        let dies = plan.death && actor + 1 == count;
        let script = Script {
            actor: actor as u32,
            seed: random.next(),
            // One that dies only when it is done shall be done while the others are not.
            ops: if dies && !midway { plan.ops / 2 } else { plan.ops },
            at,
            mix: plan.mix as u32,
            handles: handles[actor].clone(),
            keep: dies,
            file: file(actor).display().to_string(),
        };
        actors[actor].tell(0, &Verb::Play(script));
    }
    let mut history = History { objects: objects.to_vec(), ..History::default() };
    let mut answers = vec![None; count];
    if plan.death {
        match midway {
            true => sys::nap(at.saturating_sub(now()) / 1000 + random.below(400)),
            false => answers[count - 1] = helped(&mut history, &mut actors, &handles[count], count - 1),
        }
        let from = now();
        actors[count - 1].die();
        history.deaths.push(Death { actor: plan.actors - 1, from, to: now() });
    }
    let mut hangs = Vec::new();
    for i in 0..count {
        // A process that was killed does not answer any more; a client that lost its lease does, when it gives up.
        let died = plan.death && i + 1 == count;
        let answer = match answers[i].take() {
            None if died => actors[i].answer_within(0, patience()),
            None => helped(&mut history, &mut actors, &handles[count], i),
            answer => answer,
        };
        match answer {
            Some(Answer::Done) => {}
            None if died => {}
            None => hangs.push(format!("actor {i} hangs: {}", actors[i].describe())),
            Some(answer) => panic!("actor {i} cannot record: {answer}"),
        }
        let mut text = std::fs::read_to_string(file(i)).unwrap_or_default();
        // A line without its end was being written when its actor died.
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        read(&mut history, i as u32, &text, at);
    }
    if !hangs.is_empty() {
        for i in 0..objects.len() {
            hangs.push(format!("{:#?}", rig.ns().inspect(&name(i))));
        }
        return Err(format!("{}\n{history}", hangs.join("\n")));
    }
    observe(&mut history, &mut *actors[count], plan.actors, &handles[count]);
    Ok(history)
}

/// The lines of a record as events.
fn read(history: &mut History, actor: u32, text: &str, at: u64) {
    // Nothing that its actor did not survive can have begun before the last thing that it did.
    let mut latest = at;
    for line in text.lines() {
        match line.split_once(' ') {
            Some(("I", verb)) => {
                let Ok(verb) = verb.parse() else { continue };
                history.events.push(Event { actor, verb, begin: latest, end: None });
            }
            Some(("R", rest)) => {
                let mut words = rest.splitn(3, ' ');
                let mut time = || words.next().and_then(|w| w.parse::<u64>().ok());
                let (Some(begin), Some(end)) = (time(), time()) else { continue };
                let Some(Ok(answer)) = words.next().map(str::parse) else { continue };
                let Some(event) = history.events.last_mut() else { continue };
                event.begin = begin;
                event.end = Some((end, answer));
                latest = end;
            }
            _ => {}
        }
    }
}

/// The last answer of an actor. Perhaps all who would signal an event that it waits for have ended, or wait themselves: so the
/// one who records, which is the last actor, signals it after a while. That is part of the history, and no way out for
/// somebody who sleeps through the signal before it.
fn helped(history: &mut History, actors: &mut [Box<dyn Actor>], handles: &[usize], i: usize) -> Option<Answer> {
    let (begun, observer) = (Instant::now(), actors.len() - 1);
    loop {
        if let Some(answer) = actors[i].answer_within(0, SIGNALS) {
            return Some(answer);
        }
        if begun.elapsed() > patience() {
            return None;
        }
        for o in events_of(&history.objects.clone()) {
            one(history, &mut *actors[observer], observer as u32, handles, Verb::Signal(o));
        }
    }
}

/// One operation of the one who records; the verb has the history's objects.
fn one(history: &mut History, observer: &mut dyn Actor, actor: u32, handles: &[usize], verb: Verb) -> Answer {
    let begin = now();
    let answer = observer.ask(0, &super::play::with_handles(&verb, handles));
    history.events.push(Event { actor, verb, begin, end: Some((now(), answer.clone())) });
    answer
}

fn events_of(objects: &[What]) -> impl Iterator<Item = usize> {
    let is_event = |what: &What| matches!(what, What::Manual(_) | What::Auto(_));
    objects.iter().map(is_event).collect::<Vec<_>>().into_iter().enumerate().filter(|(_, is)| *is).map(|(i, _)| i)
}

/// When all have ended, everything must be free: one more actor takes all there is, and gives it back.
fn observe(history: &mut History, observer: &mut dyn Actor, actor: u32, handles: &[usize]) {
    let objects = history.objects.clone();
    let mut one = |verb: Verb| one(history, observer, actor, handles, verb);
    for o in events_of(&objects) {
        // Nobody changes them any more: what they are at the end is what all that was said before leads to.
        one(Verb::State(o));
        one(Verb::Try(o));
        one(Verb::Reset(o));
        one(Verb::Try(o));
    }
    let rest = objects.into_iter().enumerate().filter(|(_, what)| !matches!(what, What::Manual(_) | What::Auto(_)));
    for (i, what) in rest {
        let permits = match what {
            What::Exclusive => 1,
            _ => match one(Verb::Capacity(i)) {
                Answer::Numbers(n) => n[1].min(n[0]),
                _ => 1,
            },
        };
        if permits > 0
            && let Answer::Granted { guard, .. } = one(Verb::Ask(i, permits, Till::Ms(3000), false))
        {
            one(Verb::Release(guard));
        }
    }
}
