//! Random requests by several claimants, and what must be true after each step.

use super::*;
use crate::claim::{Cause, Kind, Mode, Reset};
use std::collections::{BTreeMap, BTreeSet};

/// A small generator, so that a failure can be repeated by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

const NAMES: [&str; 7] = ["x", "y", "z", "pool", "credit", "manual", "auto"];
/// From here on they are events, which nobody holds.
const EVENTS: usize = 5;
const MANUAL: usize = 5;

/// A wait, what it is for, whether it lasts for ever.
type Asleep = (u64, Vec<(usize, u32)>, bool);

/// The world as a witness keeps it, which knows nothing of the state machine's inside.
struct Play {
    w: World,
    dice: Dice,
    people: Vec<Who>,
    handles: BTreeMap<u64, [u64; 7]>,
    /// What each claimant was told that it holds: semaphore, claim, permits.
    held: BTreeMap<Who, Vec<(usize, Claim, u32)>>,
    waits: BTreeMap<Who, Asleep>,
    /// All that there were, and the last one before this step.
    tokens: [BTreeSet<u64>; 7],
    before: [u64; 7],
    deadlocks: usize,
    drains: BTreeSet<Who>,
    /// What was taken in this step: by which wait, of which semaphore, how much.
    taken: Vec<(u64, usize, u32)>,
    /// Whether a wait failed in this step, so that it was more than one instant.
    failed: bool,
    /// How many waits have seen a signal.
    signals: usize,
    /// How often an order was there to be kept.
    passed: usize,
}

impl Play {
    fn new(seed: u64) -> Play {
        let mut w = World::new();
        let sessions = [w.session(), w.session()];
        let mut handles = BTreeMap::new();
        for p in sessions {
            let spec = |n: &str| match n {
                "pool" => Spec::pool(3),
                "credit" => Spec::credit(3, 2),
                "manual" => Spec::event(Reset::Manual, false),
                "auto" => Spec::event(Reset::Auto, false),
                _ => Spec::exclusive(),
            };
            handles.insert(p, NAMES.map(|n| w.make(p, n, spec(n))));
        }
        let people = sessions.iter().flat_map(|&p| (1..=3).map(move |n| who(p, n))).collect();
        Play {
            w,
            dice: Dice(seed),
            people,
            handles,
            held: BTreeMap::new(),
            waits: BTreeMap::new(),
            tokens: Default::default(),
            before: [0; 7],
            deadlocks: 0,
            drains: BTreeSet::new(),
            taken: Vec::new(),
            failed: false,
            signals: 0,
            passed: 0,
        }
    }

    fn handle(&self, who: Who, sem: usize) -> u64 {
        self.handles[&who.session][sem]
    }

    /// Somebody was granted these entries of what it asked for, by this wait.
    fn granted(&mut self, id: u64, who: Who, asked: &[(usize, u32)], grants: Granted) {
        for (i, claim, _) in grants {
            let (sem, permits) = asked[i];
            if sem >= EVENTS {
                self.taken.push((id, sem, permits));
                self.signals += 1;
                continue;
            }
            let mine = self.held.get(&who).is_some_and(|h| h.iter().any(|x| x.0 == sem && x.1 == claim));
            // Several are granted in one step, and one's own answer comes before the news of the others.
            let new = claim.token > self.before[sem] && self.tokens[sem].insert(claim.token);
            assert!(mine && sem < 3 || new, "tokens grow");
            if new {
                self.taken.push((id, sem, permits));
            }
            self.held.entry(who).or_default().push((sem, claim, permits));
        }
    }

    /// Fetches the outcomes of the waits that are said to have ended.
    fn fetch(&mut self) {
        for id in self.w.s.ended() {
            let (&who, (_, asked, _)) = self.waits.iter().find(|(_, x)| x.0 == id).expect("somebody waits");
            let asked = asked.clone();
            self.waits.remove(&who);
            self.drains.remove(&who);
            match self.w.s.outcome(id).expect("it has ended") {
                Ok(g) => self.granted(id, who, &asked, plain(g)),
                Err(e) => {
                    self.failed = true;
                    assert!(matches!(e.code(), Code::PossibleDeadlock | Code::Interrupt), "{e}");
                    self.deadlocks += (e.code() == Code::PossibleDeadlock) as usize;
                }
            }
        }
    }

    fn ask(&mut self, who: Who) {
        let wants = [Wants::One, Wants::One, Wants::Any, Wants::All][self.dice.below(4)];
        let n = if wants == Wants::One { 1 } else { 1 + self.dice.below(3) };
        let mut asked: Vec<(usize, u32)> = Vec::new();
        while asked.len() < n {
            let sem = if self.dice.below(8) == 0 { EVENTS + self.dice.below(2) } else { self.dice.below(EVENTS) };
            if asked.iter().all(|(s, _)| *s != sem) {
                asked.push((sem, if !(3..EVENTS).contains(&sem) { 1 } else { 1 + self.dice.below(2) as u32 }));
            }
        }
        let patience = [Patience::Now, Patience::Limited, Patience::Unlimited, Patience::Unlimited][self.dice.below(4)];
        let list: Vec<_> = asked.iter().map(|(s, n)| (self.handle(who, *s), *n)).collect();
        match self.w.ask(who, wants, &list, patience) {
            Ok(Answer::Granted(g)) => self.granted(u64::MAX, who, &asked, plain(g)),
            Ok(Answer::Waits(id)) => {
                self.waits.insert(who, (id, asked, patience == Patience::Unlimited));
            }
            Err(e) => {
                self.failed = true;
                self.deadlocks += (e.code() == Code::PossibleDeadlock) as usize;
                let known =
                    [Code::ExclSemAlreadyOwned, Code::SemTimeout, Code::PossibleDeadlock, Code::SemIsSet, Code::InvalidParameter];
                assert!(known.contains(&e.code()), "{e}");
            }
        }
    }

    fn give_back(&mut self, who: Who) {
        let Some(held) = self.held.get_mut(&who).filter(|h| !h.is_empty()) else { return };
        let (sem, claim, _) = held.remove(self.dice.below(held.len()));
        let (handle, now) = (self.handle(who, sem), self.w.now());
        match self.dice.below(8) {
            0 if sem == 4 => self.w.s.forget(handle, &claim, now).unwrap(),
            1 => {
                self.w.s.release(handle, &claim, Ending::Abandon(Cause::Abandoned), now).unwrap();
                // All levels of it.
                self.held.get_mut(&who).unwrap().retain(|x| !(x.0 == sem && x.1 == claim));
            }
            _ => self.w.s.release(handle, &claim, Ending::Release, now).unwrap(),
        }
    }

    fn step(&mut self) {
        (self.failed, self.taken) = (false, Vec::new());
        self.before = std::array::from_fn(|sem| self.tokens[sem].last().copied().unwrap_or(0));
        let who = self.people[self.dice.below(self.people.len())];
        let now = self.w.now();
        match self.waits.get(&who).map(|x| x.0) {
            // It sleeps; sometimes its time runs out.
            Some(id) if self.dice.below(8) == 0 => {
                assert!(self.w.s.give_up(id, GiveUp::TimedOut, now).is_some());
                self.waits.remove(&who);
                self.drains.remove(&who);
            }
            Some(_) => {}
            None => match self.dice.below(42) {
                0 => {
                    self.w.s.claimant_ended(who, Cause::ThreadEnded, now);
                    self.held.remove(&who);
                }
                1 => {
                    let limit = 1 + self.dice.below(4) as u32;
                    self.w.s.resize(self.handle(who, 3), limit, now).unwrap();
                }
                2 => {
                    let _ = self.w.s.add_permits(self.handle(who, 4), 1, now);
                }
                3 => {
                    let sem = self.dice.below(7);
                    if let Ok(Answer::Waits(id)) = self.w.s.drain(who, &name(NAMES[sem]), Patience::Unlimited, now) {
                        self.waits.insert(who, (id, Vec::new(), true));
                        self.drains.insert(who);
                    }
                }
                4 => self.w.s.reopen(&name(NAMES[self.dice.below(7)]), now).unwrap(),
                5..7 => {
                    let sem = EVENTS + self.dice.below(2);
                    let event = self.handle(who, sem);
                    match self.dice.below(3) {
                        0 => drop(self.w.s.reset(event).unwrap()),
                        _ => drop(self.w.s.signal(event, now).unwrap()),
                    }
                }
                7..22 => self.give_back(who),
                _ => self.ask(who),
            },
        }
        self.fetch();
        self.check();
    }

    /// What the witness believes is what the state machine says, and the rules hold.
    fn check(&mut self) {
        for (sem, n) in NAMES.iter().enumerate() {
            let report = self.w.report(n);
            let mut believed: Vec<(Who, u64, u32)> = Vec::new();
            for (who, held) in &self.held {
                for (_, claim, permits) in held.iter().filter(|x| x.0 == sem) {
                    if !believed.iter().any(|b| b.0 == *who && b.1 == claim.token) {
                        believed.push((*who, claim.token, *permits));
                    }
                }
            }
            believed.sort_by_key(|b| b.1);
            let session = |pid: u32| *self.handles.keys().nth(pid as usize - 100).unwrap();
            let mut said: Vec<_> =
                report.holders.iter().map(|h| (who(session(h.process.pid), h.claimant), h.token, h.permits)).collect();
            said.sort_by_key(|b| b.1);
            assert_eq!(said, believed, "holders of {n}");
            let out: u32 = believed.iter().map(|b| b.2).sum();
            if report.kind == Kind::Exclusive {
                assert!(believed.len() <= 1, "one owner of {n}");
            } else if report.kind == Kind::Counting {
                let c = report.capacity.unwrap();
                assert_eq!(out + c.free, c.total, "{c:?}");
                assert!(c.mode == Mode::Pool || c.total <= c.limit, "{c:?}");
            }
            assert!(report.deadlock.is_empty(), "somebody should have been told: {:?}", report.deadlock);
        }
        self.check_slots();
        self.check_order();
    }

    fn check_slots(&mut self) {
        let mut taken = BTreeSet::new();
        for (who, held) in &self.held {
            for (_, claim, permits) in held.iter().filter(|x| x.0 == 3) {
                let slots = self.w.s.slots(self.handles[&who.session][3], claim).unwrap();
                assert_eq!(slots.len(), *permits as usize);
                assert!(slots.iter().all(|s| taken.insert(*s)), "slots are one's own");
            }
        }
    }

    /// For whom the rest of a semaphore is kept: those with a single request, or one for any of a list, that is older.
    fn is_kept(&self, sem: usize, limit: u32, from: u64) -> bool {
        self.waits.values().filter(|(id, ..)| *id < from).any(|(id, asked, _)| {
            let all = matches!(self.w.s.waits[id].mode, Wants::All) && asked.len() > 1;
            !all && sem != MANUAL && asked.iter().any(|a| a.0 == sem && a.1 <= limit)
        })
    }

    /// Nobody sleeps who could have what it wants, with what is free, and what younger ones took in this step.
    fn check_order(&mut self) {
        let mut passed = 0;
        for (who, (id, asked, _)) in &self.waits {
            let mut could_be = |younger: bool| {
                let mut can = asked.iter().map(|(sem, permits)| {
                    let s = &self.w.s.sems[&self.w.s.names[&name(NAMES[*sem])]];
                    let taken = self.taken.iter().filter(|t| younger && t.0 > *id && t.1 == *sem);
                    let taken: u32 = taken.map(|t| t.2).sum();
                    passed += (taken > 0) as usize;
                    s.is_mine(*who) || s.free() + taken >= *permits && !self.is_kept(*sem, s.limit, *id)
                });
                let all = matches!(self.w.s.waits[id].mode, Wants::All);
                !asked.is_empty() && if all { can.all(|x| x) } else { can.any(|x| x) }
            };
            assert!(!could_be(false), "{who:?} sleeps, and could have it");
            // Where a wait failed, others may have gone on before that, and others after it.
            assert!(self.failed || !could_be(true), "{who:?} sleeps, and a younger one has what was its");
        }
        self.passed += passed;
    }

    /// Everybody who does not wait ends; where nobody is left who could, limits and credit are raised, as anybody may, and at
    /// last time runs out for those who have a deadline. Then nobody waits any more.
    fn come_to_rest(&mut self) {
        loop {
            (self.failed, self.taken) = (false, Vec::new());
            let now = self.w.now();
            let busy = self.held.iter().find(|(p, h)| !h.is_empty() && !self.waits.contains_key(p)).map(|(p, _)| *p);
            if let Some(who) = busy {
                self.w.s.claimant_ended(who, Cause::ThreadEnded, now);
                self.held.remove(&who);
            } else {
                let (before, who) = (self.waits.len(), self.people[0]);
                self.w.s.resize(self.handle(who, 3), 4, now).unwrap();
                let (credit, out) = (self.handle(who, 4), self.w.s.capacity(self.handle(who, 4)).unwrap());
                self.w.s.resize(credit, out.total + 2, now).unwrap();
                self.w.s.add_permits(credit, 2, now).unwrap();
                for event in EVENTS..NAMES.len() {
                    self.w.s.signal(self.handle(who, event), now).unwrap();
                }
                self.fetch();
                if self.waits.len() == before {
                    let Some((&who, &(id, ..))) = self.waits.iter().find(|(_, x)| !x.2) else { break };
                    assert!(self.w.s.give_up(id, GiveUp::TimedOut, now).is_some());
                    self.waits.remove(&who);
                }
                // That was more than one instant.
                self.failed = true;
            }
            self.fetch();
            self.check();
        }
        assert!(self.waits.is_empty(), "they sleep for ever: {:?}", self.waits);
    }
}

#[test]
fn the_rules_hold_and_nobody_sleeps_for_ever() {
    let cases: u64 = std::env::var("XSEM_CASES").map_or(150, |n| n.parse().expect("a number"));
    let (mut deadlocks, mut drains, mut passed, mut signals) = (0, 0, 0, 0);
    for seed in 0..cases {
        let caught = std::panic::catch_unwind(|| {
            let mut play = Play::new(seed);
            let mut drains = 0;
            for _ in 0..120 {
                play.step();
                drains += play.drains.len();
            }
            play.come_to_rest();
            (play.deadlocks, drains, play.passed, play.signals)
        });
        let (d, n, o, s) = caught.unwrap_or_else(|e| {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(e)
        });
        (deadlocks, drains, passed, signals) = (deadlocks + d, drains + n, passed + o, signals + s);
    }
    assert!(
        deadlocks as u64 > cases / 5 && drains as u64 > cases / 2 && passed as u64 > cases / 2 && signals as u64 > cases,
        "they happen: {deadlocks} deadlocks, {drains} steps with a drain, {passed} times that somebody was passed by, \
         {signals} signals"
    );
}
