use super::*;
use std::collections::BTreeSet;

fn thing(free: i64, holds: &[(Who, u32)]) -> Thing {
    Thing { free, holds: holds.iter().map(|&(who, permits)| Hold { who, permits }).collect() }
}

fn wait(who: Who, mode: Mode, wants: &[(usize, u32)]) -> Waiting {
    let wants = wants.iter().map(|&(thing, permits)| Want { thing, permits }).collect();
    Waiting { who, since: who, mode, wants }
}

fn one(who: Who, thing: usize) -> Waiting {
    wait(who, Mode::Any, &[(thing, 1)])
}

/// The cycle as `who>thing` in one line, and the youngest.
fn text(cycle: Option<Cycle>) -> String {
    let Some(c) = cycle else { return "none".to_owned() };
    for (i, s) in c.steps.iter().enumerate() {
        assert_eq!(s.holder, c.steps[(i + 1) % c.steps.len()].who, "the steps join, and the last one the first");
    }
    let steps: Vec<_> = c.steps.iter().map(|s| format!("{}>{}", s.who, s.thing)).collect();
    format!("{} youngest {}", steps.join(" "), c.youngest)
}

#[test]
fn two_that_want_what_the_other_has() {
    let things = [thing(0, &[(1, 1)]), thing(0, &[(2, 1)])];
    let waits = [one(1, 1), one(2, 0)];
    assert_eq!(text(cycle_of(1, &waits, &things)), "1>1 2>0 youngest 2");
    assert_eq!(text(cycle_of(2, &waits, &things)), "2>0 1>1 youngest 2");
    assert_eq!(text(cycle_through(0, &waits, &things)), "2>0 1>1 youngest 2");
    assert_eq!(text(cycle_through(1, &waits, &things)), "1>1 2>0 youngest 2");
    assert_eq!(text(cycle_of(3, &waits, &things)), "none", "it does not wait");
    assert_eq!(text(cycle_through(2, &waits, &things)), "none", "no such thing");
}

#[test]
fn a_holder_that_runs_is_no_deadlock() {
    let things = [thing(0, &[(1, 1)]), thing(0, &[(2, 1)])];
    assert_eq!(text(cycle_of(1, &[one(1, 1)], &things)), "none");
}

#[test]
fn who_waits_for_a_deadlocked_group_is_not_part_of_it() {
    let things = [thing(0, &[(1, 1)]), thing(0, &[(2, 1)]), thing(0, &[(3, 1)])];
    let waits = [one(1, 1), one(2, 0), one(3, 0)];
    assert_eq!(text(cycle_of(3, &waits, &things)), "none");
    assert_eq!(text(cycle_of(1, &waits, &things)), "1>1 2>0 youngest 2", "3 is younger, and has no part in it");
    assert_eq!(text(cycle_through(2, &waits, &things)), "none");
}

#[test]
fn what_is_held_beyond_a_lowered_limit_has_to_come_back_first() {
    // Four were there, of which 1 and 2 hold two each; now there may be two. What 2 gives back is missing already.
    let things = [thing(-2, &[(1, 2), (2, 2)])];
    assert_eq!(text(cycle_of(1, &[one(1, 0)], &things)), "1>0 youngest 1");
    // Where there may be three, 2 has one to give.
    let things = [thing(-1, &[(1, 2), (2, 2)])];
    assert_eq!(text(cycle_of(1, &[one(1, 0)], &things)), "none");
}

#[test]
fn one_free_permit_or_one_other_holder_breaks_it() {
    let waits = [wait(1, Mode::Any, &[(1, 2)]), one(2, 0)];
    let stuck = [thing(0, &[(1, 1)]), thing(1, &[(2, 3)])];
    assert_eq!(text(cycle_of(1, &waits, &stuck)), "1>1 2>0 youngest 2");
    let free = [thing(0, &[(1, 1)]), thing(2, &[(2, 3)])];
    assert_eq!(text(cycle_of(1, &waits, &free)), "none");
    let other = [thing(0, &[(1, 1)]), thing(1, &[(2, 2), (9, 1)])];
    assert_eq!(text(cycle_of(1, &waits, &other)), "none", "9 runs and will give one back");
    let nobody = [thing(0, &[(1, 1)]), thing(1, &[(2, 2), (0, 1)])];
    assert_eq!(text(cycle_of(1, &waits, &nobody)), "none", "what the process as a whole holds, others can end");
}

#[test]
fn more_of_what_one_holds_oneself() {
    let things = [thing(1, &[(1, 3)])];
    assert_eq!(text(cycle_of(1, &[wait(1, Mode::Any, &[(0, 2)])], &things)), "1>0 youngest 1");
    assert_eq!(text(cycle_through(0, &[wait(1, Mode::Any, &[(0, 2)])], &things)), "1>0 youngest 1");
    assert_eq!(text(cycle_of(1, &[wait(1, Mode::Any, &[(0, 1)])], &things)), "none");
}

#[test]
fn any_needs_one_way_out_and_all_needs_each() {
    // 1 has thing 0 and waits; 2 has thing 1 and waits for 0; thing 2 is held by 3, which runs.
    let things = [thing(0, &[(1, 1)]), thing(0, &[(2, 1)]), thing(0, &[(3, 1)])];
    let with = |mode| [wait(1, mode, &[(2, 1), (1, 1)]), one(2, 0)];
    assert_eq!(text(cycle_of(1, &with(Mode::Any), &things)), "none");
    assert_eq!(text(cycle_of(1, &with(Mode::All), &things)), "1>1 2>0 youngest 2", "the step is the one that blocks");
    assert_eq!(text(cycle_through(2, &with(Mode::All), &things)), "none");
}

#[test]
fn wants_of_nothing_or_of_what_is_not_known_end() {
    let things = [thing(0, &[(1, 1)])];
    for wants in [&[][..], &[(7, 1)], &[(0, 1), (7, 1)]] {
        assert_eq!(text(cycle_of(1, &[wait(1, Mode::Any, wants)], &things)), "none", "{wants:?}");
    }
    assert_eq!(text(cycle_of(1, &[wait(1, Mode::All, &[(7, 1)])], &things)), "none");
    assert_eq!(text(cycle_of(1, &[wait(1, Mode::All, &[(0, 1), (7, 1)])], &things)), "1>0 youngest 1");
}

#[test]
fn nobody_in_particular_is_in_no_cycle() {
    let things = [thing(0, &[(0, 1)]), thing(0, &[(0, 1)])];
    let waits = [one(0, 1), one(0, 0)];
    assert_eq!(text(cycle_of(0, &waits, &things)), "none");
    assert_eq!(text(cycle_through(0, &waits, &things)), "none");
}

#[test]
fn of_two_waits_of_one_claimant_the_latest_counts() {
    let things = [thing(0, &[(1, 1)]), thing(0, &[(2, 1)]), thing(1, &[])];
    let old = Waiting { since: 0, ..one(1, 2) };
    let waits = [one(1, 1), old, one(2, 0)];
    assert_eq!(text(cycle_of(1, &waits, &things)), "1>1 2>0 youngest 2");
}

#[test]
fn the_shortest_cycle_is_told_and_the_youngest_of_all() {
    // 1 > 2 > 1, and 1 > 3 > 4 > 1 through the other of its wants.
    let things = [thing(0, &[(1, 1)]), thing(0, &[(2, 1)]), thing(0, &[(3, 1)]), thing(0, &[(4, 1)])];
    let waits = [wait(1, Mode::Any, &[(2, 1), (1, 1)]), one(2, 0), one(3, 3), one(4, 0)];
    assert_eq!(text(cycle_of(1, &waits, &things)), "1>1 2>0 youngest 4");
    assert_eq!(text(cycle_of(4, &waits, &things)), "4>0 1>2 3>3 youngest 4");
}

#[test]
fn a_ring_of_a_hundred_thousand() {
    let n = 100_000;
    let things: Vec<_> = (0..n).map(|i| thing(0, &[(i as Who + 1, 1)])).collect();
    let waits: Vec<_> = (0..n).map(|i| one(i as Who + 1, (i + 1) % n)).collect();
    let c = cycle_of(1, &waits, &things).expect("a cycle");
    assert_eq!((c.steps.len(), c.youngest), (n, n as Who));
    assert_eq!(cycle_through(5, &waits, &things).expect("a cycle").steps[0], Step { who: 5, thing: 5, holder: 6 });
    // Open at the end: all of it dissolves, one by one.
    assert!(cycle_of(1, &waits[..n - 1], &things).is_none());
}

#[test]
fn a_crowd_before_one_pool_is_not_squared() {
    let n: u64 = 50_000;
    // Everybody holds one permit of the pool and wants one more: 2.5 thousand million edges, if they were drawn.
    let things = [Thing { free: 0, holds: (1..=n).map(|who| Hold { who, permits: 1 }).collect() }];
    let waits: Vec<_> = (1..=n).map(|who| one(who, 0)).collect();
    let c = cycle_of(7, &waits, &things).expect("a cycle");
    assert_eq!((c.steps, c.youngest), (vec![Step { who: 7, thing: 0, holder: 7 }], n));
}

/// A small generator, so that a failure can be repeated by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// The permits that some of the holders have.
fn given(thing: &Thing, whose: impl Fn(Who) -> bool) -> i64 {
    thing.holds.iter().filter(|h| whose(h.who)).map(|h| i64::from(h.permits)).sum()
}

fn scene(dice: &mut Dice) -> (Vec<Waiting>, Vec<Thing>) {
    let (claimants, n) = (1 + dice.below(6), 1 + dice.below(4) as usize);
    let things: Vec<_> = (0..n)
        .map(|_| {
            let exclusive = dice.below(2) == 0;
            let count = if exclusive { 1 } else { dice.below(4) };
            let holds = (0..count)
                .map(|_| Hold { who: dice.below(claimants + 2), permits: if exclusive { 1 } else { 1 + dice.below(2) as u32 } });
            // Some were held when the limit was lowered.
            Thing { holds: holds.collect(), free: if exclusive { 0 } else { dice.below(5) as i64 - 3 } }
        })
        .collect();
    let mut waits = Vec::new();
    for who in 1..=claimants {
        if dice.below(5) == 0 {
            continue;
        }
        let mut wants = Vec::new();
        for (thing, t) in things.iter().enumerate() {
            let total = t.free + given(t, |_| true);
            if dice.below(2) == 0 && total > 0 {
                wants.push(Want { thing, permits: 1 + dice.below(total as u64) as u32 });
            }
        }
        if !wants.is_empty() {
            let mode = if dice.below(2) == 0 { Mode::Any } else { Mode::All };
            waits.push(Waiting { who, since: dice.below(4), mode, wants });
        }
    }
    (waits, things)
}

/// Plays it: those who do not wait end and give back everything; then those who wait are served in every possible order,
/// each of them ending as soon as it has what it wants. Returns who was served in any of the orders.
fn served(waits: &[Waiting], things: &[Thing]) -> BTreeSet<Who> {
    let waiting: BTreeSet<Who> = waits.iter().map(|w| w.who).collect();
    let start: Vec<i64> = things.iter().map(|t| t.free + given(t, |who| !waiting.contains(&who))).collect();
    fn play(free: &[i64], left: &[&Waiting], things: &[Thing], done: &mut BTreeSet<Who>) {
        for (i, w) in left.iter().enumerate() {
            let mut had = w.wants.iter().map(|x| free[x.thing] >= i64::from(x.permits));
            if !(if w.mode == Mode::Any { had.any(|x| x) } else { had.all(|x| x) }) {
                continue;
            }
            done.insert(w.who);
            let mut free = free.to_vec();
            for (t, thing) in things.iter().enumerate() {
                free[t] += given(thing, |who| who == w.who);
            }
            let mut left = left.to_vec();
            left.remove(i);
            play(&free, &left, things, done);
        }
    }
    let mut done = BTreeSet::new();
    play(&start, &waits.iter().collect::<Vec<_>>(), things, &mut done);
    done
}

/// The arrows among those who are never served, as pairs, and the least number of steps between any two of them.
fn distances(waits: &[Waiting], things: &[Thing], never: &BTreeSet<Who>) -> HashMap<(Who, Who), usize> {
    let mut d = HashMap::new();
    for w in waits.iter().filter(|w| never.contains(&w.who)) {
        for want in &w.wants {
            let thing = &things[want.thing];
            let can = thing.free + given(thing, |who| !never.contains(&who));
            if can < i64::from(want.permits) {
                for h in thing.holds.iter().filter(|h| never.contains(&h.who)) {
                    d.insert((w.who, h.who), 1);
                }
            }
        }
    }
    for &k in never {
        for &a in never {
            for &b in never {
                if let (Some(x), Some(y)) = (d.get(&(a, k)).copied(), d.get(&(k, b)).copied()) {
                    let best = d.entry((a, b)).or_insert(usize::MAX);
                    *best = (*best).min(x + y);
                }
            }
        }
    }
    d
}

#[test]
fn agrees_with_playing_all_orders() {
    let (mut found, mut none) = (0, 0);
    for seed in 0..20_000 {
        let (waits, things) = scene(&mut Dice(seed));
        let done = served(&waits, &things);
        let never: BTreeSet<Who> = waits.iter().map(|w| w.who).filter(|w| !done.contains(w)).collect();
        let d = distances(&waits, &things, &never);
        let mut cycles = 0;
        for me in 0..9 {
            let Some(c) = cycle_of(me, &waits, &things) else {
                assert!(!d.contains_key(&(me, me)), "seed {seed}: {me} is in a cycle");
                continue;
            };
            cycles += 1;
            assert_eq!(Some(&c.steps.len()), d.get(&(me, me)), "seed {seed}: the shortest through {me}");
            let group = waits.iter().filter(|w| d.contains_key(&(me, w.who)) && d.contains_key(&(w.who, me)));
            assert_eq!(Some(c.youngest), group.map(|w| (w.since, w.who)).max().map(|(_, w)| w), "seed {seed}");
            check(seed, &c, &waits, &things, &never);
            assert_eq!(c.steps[0].who, me, "seed {seed}");
        }
        // Every want here is at most what there is, so whoever is never served waits, at last, for a cycle.
        assert_eq!(cycles > 0, !never.is_empty(), "seed {seed}");
        let through = (0..things.len()).filter_map(|t| Some((t, cycle_through(t, &waits, &things)?)));
        let through: Vec<_> = through.collect();
        assert_eq!(through.is_empty(), never.is_empty(), "seed {seed}");
        for (t, c) in &through {
            assert_eq!(c.steps[0].thing, *t, "seed {seed}");
            check(seed, c, &waits, &things, &never);
        }
        if never.is_empty() { none += 1 } else { found += 1 }
    }
    assert!(found > 2_000 && none > 2_000, "both happen: {found} deadlocks, {none} without");
}

/// Every step is true: it waits for that, that is held by the next, and neither is ever served.
fn check(seed: u64, c: &Cycle, waits: &[Waiting], things: &[Thing], never: &BTreeSet<Who>) {
    for (i, s) in c.steps.iter().enumerate() {
        assert!(never.contains(&s.who) && never.contains(&s.holder), "seed {seed}");
        assert!(waits.iter().any(|w| w.who == s.who && w.wants.iter().any(|x| x.thing == s.thing)), "seed {seed}");
        assert!(things[s.thing].holds.iter().any(|h| h.who == s.holder), "seed {seed}");
        assert_eq!(s.holder, c.steps[(i + 1) % c.steps.len()].who, "seed {seed}");
    }
}
