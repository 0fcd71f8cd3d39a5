//! Random sequences of everything that can be done to names, handles, permits and claims, one step after the other, on
//! every engine: after each step the answer and what the namespace shows are what the model says.
//!
//! `XSEM_SEED=n` chooses others, `XSEM_CASES=n` more. (`conformance.rs` does the same for the exclusive semaphore in more
//! detail, with every way to die.)

use std::fmt::Debug;
use xsem::engine::Spec;
use xsem::{Code, Kind, Namespace, Reset};
use xsem_testkit::lease::Faults;
use xsem_testkit::model::{Claim, Claimant, Drained, Grant, Handle, How, Limits, Model, Reply, Until};
use xsem_testkit::protocol::{Answer, Till, Verb, What};
use xsem_testkit::random::Random;
use xsem_testkit::rig::{LeaseRig, MemoryRig, Rig, ShmRig};
use xsem_testkit::watchdog::Watchdog;
use xsem_testkit::worker::Actor;

const NAMES: [&str; 3] = ["a", "ci/gpu", "c"];
const KINDS: [What; 6] =
    [What::Exclusive, What::Pool(3), What::Pool(1), What::Credit(4, 2), What::Manual(true), What::Auto(false)];

/// An actor and what the model knows of it.
struct One {
    number: u32,
    actor: Box<dyn Actor>,
    handles: Vec<(Handle, usize, What)>,
    /// Guard, the model's claim, the engine's token, exclusive or not, the handle it came through.
    guards: Vec<(usize, Claim, u64, bool)>,
}

struct World {
    rig: Box<dyn Rig>,
    model: Model,
    actors: Vec<One>,
    born: u32,
    gone: Vec<One>,
    said: Vec<String>,
}

fn is_event(what: What) -> bool {
    matches!(what, What::Manual(_) | What::Auto(_))
}

/// The same sort of event, signalled at the start or not.
fn event(what: What, set: bool) -> What {
    if let What::Auto(_) = what { What::Auto(set) } else { What::Manual(set) }
}

fn spec(what: What, ephemeral: bool) -> Spec {
    let spec = match what {
        What::Exclusive => Spec::exclusive(),
        What::Pool(n) => Spec::pool(n),
        What::Credit(n, initial) => Spec::credit(n, initial),
        What::Manual(set) => Spec::event(Reset::Manual, set),
        What::Auto(set) => Spec::event(Reset::Auto, set),
    };
    spec.ephemeral(ephemeral)
}

impl World {
    fn new(mut rig: Box<dyn Rig>) -> World {
        let actors = (0..3).map(|number| one(number, &mut *rig)).collect();
        World { rig, model: Model::new(Limits::default()), actors, born: 3, gone: Vec::new(), said: Vec::new() }
    }

    fn ask(&mut self, a: usize, verb: Verb) -> Answer {
        let answer = self.actors[a].actor.ask(0, &verb);
        self.said.push(format!("{a}: {verb} -> {answer}"));
        answer
    }

    fn same<T: Debug + PartialEq>(&self, got: &T, want: &T, what: &str) {
        assert!(got == want, "{what}: {got:?}, the model says {want:?}, after\n  {}", self.said.join("\n  "));
    }

    /// `Done` or a refusal.
    fn done(&mut self, a: usize, verb: Verb, want: Result<(), Code>) {
        let answer = self.ask(a, verb);
        let want = want.map_err(|c| Some(c.number()));
        let got = if answer == Answer::Done { Ok(()) } else { Err(answer.code()) };
        self.same(&got, &want, "the answer");
    }

    fn opened(&mut self, a: usize, verb: Verb, what: What, want: Result<Handle, Code>) {
        match (self.ask(a, verb), want) {
            (Answer::Handle(h), Ok(handle)) => {
                let handle = self.model.opened_by(self.actors[a].number, handle);
                self.actors[a].handles.push((handle, h, what));
            }
            (answer, want) => self.same(&answer.code(), &want.err().map(Code::number), "the answer"),
        }
    }

    fn step(&mut self, r: &mut Random) {
        let a = r.below(3) as usize;
        let (name, what) = (NAMES[r.below(3) as usize].to_owned(), KINDS[r.below(6) as usize]);
        let who = Claimant { process: self.actors[a].number, thread: 0 };
        let (h, g, n) = (r.next() as usize, r.next() as usize, r.below(4) as u32);
        let handle = self.actors[a].handles.get(h % self.actors[a].handles.len().max(1)).cloned();
        let guard = self.actors[a].guards.get(g % self.actors[a].guards.len().max(1)).copied();
        match (r.below(40), handle, guard) {
            (0..=3, ..) => {
                let ephemeral = r.one_in(3);
                let want = self.model.make(&name, &spec(what, ephemeral));
                self.opened(a, Verb::Make(what, ephemeral, name), what, want);
            }
            (4..=6, ..) => {
                // A new event is reset, unless `Make` asks for another.
                let what = if is_event(what) { event(what, false) } else { what };
                let want = self.model.open_or_make(&name, &spec(what, false));
                self.opened(a, Verb::Either(what, name), what, want);
            }
            (7, ..) if r.one_in(2) => {
                let want = self.model.open_kind(&name, Kind::Counting);
                self.opened(a, Verb::OpenCounting(name), What::Pool(0), want);
            }
            (7, ..) => {
                let want = self.model.open_kind(&name, Kind::Event);
                self.opened(a, Verb::OpenEvent(name), What::Manual(false), want);
            }
            (8, ..) => {
                let want = self.model.remove(&name);
                self.done(a, Verb::Remove(name), want);
            }
            (9..=10, ..) => {
                let want = match self.model.drain(who, &name) {
                    Drained::Done => Ok(()),
                    Drained::Refused(code) => Err(code),
                    Drained::Waits => {
                        self.model.stop_draining(who);
                        Err(Code::SemTimeout)
                    }
                };
                self.done(a, Verb::Drain(name, Till::Now), want);
            }
            (11..=12, ..) => {
                let want = self.model.reopen(&name).map(|_| ());
                self.done(a, Verb::Reopen(name), want);
            }
            (13, ..) => self.dies(a),
            (14..=21, Some((handle, h, what)), _) => {
                // Of a stale handle with a wrong number, 87 and 6 both are true.
                let n = match what {
                    What::Exclusive => 1,
                    what if is_event(what) => 1,
                    _ if self.model.capacity(&handle).is_err() => n.max(1),
                    _ => n,
                };
                self.asks(a, who, How::One, &[(handle, h, n)], r.one_in(3));
            }
            (22..=24, Some(first), _) => {
                let second = self.actors[a].handles[g % self.actors[a].handles.len()].clone();
                let list = [(first.0, first.1, 1), (second.0, second.1, 1)];
                self.asks(a, who, if r.one_in(2) { How::Any } else { How::All }, &list, r.one_in(3));
            }
            (25..=29, _, Some((g, claim, ..))) => {
                self.actors[a].guards.retain(|x| x.0 != g);
                let want = self.model.release_claim(claim);
                self.done(a, Verb::Release(g), want);
            }
            (30..=31, _, Some((g, claim, _, false))) => {
                let want = self.model.release_part(claim, n.max(1));
                self.done(a, Verb::ReleaseSome(g, n.max(1)), want);
            }
            (32, _, Some((g, claim, _, true))) => {
                let want = self.model.mark_consistent(claim);
                self.done(a, Verb::MarkConsistent(g), want);
            }
            (33, _, Some((g, claim, ..))) => {
                let want = Answer::Is(self.model.is_held(claim));
                let got = self.ask(a, Verb::Held(g));
                self.same(&got, &want, "held");
            }
            (34, _, Some((_, claim, token, _))) => {
                // Of its own claim, if it still has it: the engine's tokens are known of these.
                let held = NAMES.iter().find(|n| self.model.inspect(n).is_ok_and(|v| has(&v, claim)));
                let Some(name) = held else { return };
                // An ephemeral one whose owner was evicted may go with its last user, or stay until it is removed.
                if self.rig.ns().inspect(name).is_ok_and(|r| r.ephemeral) {
                    return;
                }
                let want = self.model.evict(name, claim.token);
                self.done(a, Verb::Evict((*name).to_owned(), token), want);
            }
            (35..=38, Some((handle, h, what)), _) if is_event(what) => {
                let (verb, want) = match n {
                    0 => (Verb::Reset(h), self.model.reset(&handle)),
                    1 => (Verb::State(h), self.model.signalled(&handle).map(|s| s.is_set)),
                    _ => (Verb::Signal(h), self.model.signal(&handle)),
                };
                let got = match self.ask(a, verb) {
                    Answer::Is(is) => Ok(is),
                    other => Err(other.code()),
                };
                self.same(&got, &want.map_err(|c| Some(c.number())), "the event");
            }
            (35..=36, Some((handle, h, what)), _) if what != What::Exclusive => {
                let want = self.model.add_permits(&handle, n);
                self.done(a, Verb::Add(h, n), want);
            }
            (37, Some((handle, h, what)), _) if what != What::Exclusive => {
                let n = if self.model.capacity(&handle).is_err() { n.max(1) } else { n };
                let want = self.model.resize(&handle, n);
                self.done(a, Verb::Resize(h, n), want);
            }
            (38, Some((handle, h, what)), _) if what != What::Exclusive => {
                let want = self.model.capacity(&handle).map(|c| vec![c.limit, c.total, c.free]);
                let got = match self.ask(a, Verb::Capacity(h)) {
                    Answer::Numbers(n) => Ok(n),
                    other => Err(other.code()),
                };
                self.same(&got, &want.map_err(|c| Some(c.number())), "capacity");
            }
            _ => {}
        }
    }

    fn asks(&mut self, a: usize, who: Claimant, how: How, list: &[(Handle, usize, u32)], timed: bool) {
        let till = if timed { Till::Ms(1) } else { Till::Now };
        let entries: Vec<(&Handle, u32)> = list.iter().map(|(h, _, n)| (h, *n)).collect();
        let reply = self.model.request(who, how, &entries, if timed { Until::Deadline } else { Until::Now });
        let want = match reply {
            Reply::Granted(grants) => Ok(grants),
            Reply::Refused(code, _) => Err(Some(code.number())),
            // Nobody else does anything meanwhile.
            Reply::Waits => {
                self.model.stop_waiting(who);
                Err(Some(121))
            }
        };
        let picks = || list.iter().map(|(_, h, n)| (*h, *n)).collect();
        let answer = self.ask(
            a,
            match how {
                How::One => Verb::Ask(list[0].1, list[0].2, till, false),
                How::Any => Verb::Any(picks(), till),
                How::All => Verb::All(picks(), till),
            },
        );
        let got = match answer {
            Answer::Granted { guard, token, died } => Ok(vec![(0, guard, token, died.is_some())]),
            // An event: nothing is owned.
            Answer::Done => Ok(vec![(0, usize::MAX, 0, false)]),
            Answer::Taken { index, guard, token, died } => Ok(vec![(index, guard, token, died)]),
            Answer::All { guards, tokens, died } => {
                Ok((0..guards.len()).map(|i| (i, guards[i], tokens[i], died.contains(&i))).collect())
            }
            other => Err(other.code()),
        };
        let shape = |g: &[(usize, Grant)]| g.iter().map(|(i, g)| (*i, g.died.is_some())).collect::<Vec<_>>();
        let seen = got.as_ref().map(|g| g.iter().map(|(i, _, _, died)| (*i, *died)).collect::<Vec<_>>()).map_err(|c| *c);
        let seen = seen.map_err(|c| as_stale(c, want.as_ref().err().copied()));
        self.same(&seen, &want.as_ref().map(|g| shape(g)).map_err(|c| *c), "what was granted");
        for ((i, guard, token, _), (_, grant)) in got.unwrap_or_default().into_iter().zip(want.unwrap_or_default()) {
            let kind = self.actors[a].handles.iter().find(|(h, ..)| *h == list[i].0).map(|(.., w)| *w);
            if kind.is_some_and(is_event) {
                continue;
            }
            let exclusive = kind == Some(What::Exclusive);
            self.actors[a].guards.push((guard, grant.claim, token, exclusive));
        }
    }

    fn dies(&mut self, a: usize) {
        self.said.push(format!("{a}: dies"));
        self.actors[a].actor.die();
        match self.rig.dies_midway() {
            true => self.model.process_ended(self.actors[a].number),
            // Threads end; handles belong to the process, which goes on.
            false => self.model.thread_ended(Claimant { process: self.actors[a].number, thread: 0 }),
        }
        self.born += 1;
        let new = one(self.born, &mut *self.rig);
        let old = std::mem::replace(&mut self.actors[a], new);
        // What was a thread left its handles open, and they stay so.
        if !self.rig.dies_midway() {
            self.gone.push(old);
        }
    }

    /// What the namespace shows of each name is what the model has.
    fn compare(&self) {
        for name in NAMES {
            let (got, want) = (self.rig.ns().inspect(name), self.model.inspect(name));
            let (got, want) = match (got, want) {
                (Ok(got), Ok(want)) => (got, want),
                (got, want) => {
                    self.same(&got.err().map(|e| e.code()), &want.err(), &format!("inspect {name}"));
                    continue;
                }
            };
            self.same(&got.drained, &want.drained, &format!("{name} is drained"));
            self.same(&got.capacity.map(|c| (c.limit, c.mode)), &want.capacity.map(|c| (c.limit, c.mode)), name);
            self.same(&got.signal, &want.signal, &format!("{name} is signalled"));
            // One that died stays written down until somebody comes; then it is shown as dead.
            let alive = |h: &&xsem::Holder| !matches!(h.process.state, xsem::ProcessState::Dead | xsem::ProcessState::Dying);
            let held: u32 = got.holders.iter().filter(alive).map(|h| h.permits).sum();
            let wanted = want.holds.iter().map(|(_, n, _)| n).sum::<u32>() + u32::from(want.owner.is_some());
            self.same(&held, &wanted, &format!("permits of {name} that are held"));
        }
    }
}

/// In a list with a stale handle and a drained semaphore both 6 and 102 are true, of different entries: 6 in any case.
fn as_stale(got: Option<u32>, want: Option<Option<u32>>) -> Option<u32> {
    match (got, want) {
        (Some(102), Some(Some(6))) => Some(6),
        (got, _) => got,
    }
}

fn has(view: &xsem_testkit::model::View, claim: Claim) -> bool {
    view.owner.is_some_and(|(_, _, c)| c == claim) || view.holds.iter().any(|(_, _, c)| *c == claim)
}

fn one(number: u32, rig: &mut dyn Rig) -> One {
    One { number, actor: rig.actor(), handles: Vec::new(), guards: Vec::new() }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn run(rig: impl Fn() -> Box<dyn Rig>, cases: u64, steps: u32) {
    let first = number("XSEM_SEED", 1);
    for seed in first..first + number("XSEM_CASES", cases) {
        let _dog = Watchdog::start(&format!("a sequence, XSEM_SEED={seed}"));
        let mut random = Random::new(seed);
        let mut world = World::new(rig());
        for _ in 0..steps {
            world.step(&mut random);
            world.compare();
        }
        world.same(&world.rig.audit(), &Vec::new(), &format!("the audit, XSEM_SEED={seed}"));
    }
}

#[test]
fn in_memory() {
    run(|| Box::new(MemoryRig::new(Namespace::builder()).unwrap()), 200, 60);
}

#[test]
fn in_shared_memory() {
    run(|| Box::new(ShmRig::new(env!("CARGO_BIN_EXE_worker"), Namespace::builder()).unwrap()), 60, 60);
}

#[test]
fn over_a_lease() {
    run(|| Box::new(LeaseRig::new(1, Faults::NONE)), 20, 60);
}
