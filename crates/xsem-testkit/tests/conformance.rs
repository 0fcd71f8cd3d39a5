//! Random sequences of operations by real processes, compared with the model step by step.
//!
//! `XSEM_SEED=n` repeats a run, `XSEM_CASES=n` makes it longer. A failure prints the shortest sequence that shows it.

mod common;

use common::Place;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::collections::HashMap;
use xsem::{Cause, ProcessState};
use xsem_testkit::model::{Claim, Claimant, Deaths, Grant, Handle, Limits, Model, Outcome};
use xsem_testkit::protocol::{Answer, Dead, Verb};
use xsem_testkit::watchdog::Watchdog;
use xsem_testkit::worker::Worker;

const PROCESSES: usize = 3;
const THREADS: u32 = 2;
const NAMES: [&str; 3] = ["a", "ci/gpu", "größe"];

/// One step. Numbers choose among what there is: a process, a thread, a name, the n-th of one's handles or guards.
#[derive(Clone, Debug)]
enum Op {
    Create(usize, usize),
    Open(usize, usize),
    OpenOrCreate(usize, usize),
    Remove(usize, usize),
    Try(usize, u32, usize),
    Timeout(usize, u32, usize),
    Release(usize, u32, usize),
    Abandon(usize, u32, usize),
    Mark(usize, u32, usize),
    Held(usize, u32, usize),
    EndThread(usize, u32),
    Kill(usize),
    Exit(usize),
    Exec(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let (p, n, t, i) = (0..PROCESSES, 0..NAMES.len(), 0..THREADS, 0..6usize);
    let (pn, pti) = ((p.clone(), n), (p.clone(), t.clone(), i));
    prop_oneof![
        2 => pn.clone().prop_map(|(p, n)| Op::Create(p, n)),
        2 => pn.clone().prop_map(|(p, n)| Op::Open(p, n)),
        5 => pn.clone().prop_map(|(p, n)| Op::OpenOrCreate(p, n)),
        3 => pn.prop_map(|(p, n)| Op::Remove(p, n)),
        14 => pti.clone().prop_map(|(p, t, i)| Op::Try(p, t, i)),
        4 => pti.clone().prop_map(|(p, t, i)| Op::Timeout(p, t, i)),
        10 => pti.clone().prop_map(|(p, t, i)| Op::Release(p, t, i)),
        3 => pti.clone().prop_map(|(p, t, i)| Op::Abandon(p, t, i)),
        3 => pti.clone().prop_map(|(p, t, i)| Op::Mark(p, t, i)),
        2 => pti.prop_map(|(p, t, i)| Op::Held(p, t, i)),
        2 => (p.clone(), t).prop_map(|(p, t)| Op::EndThread(p, t)),
        2 => p.clone().prop_map(Op::Kill),
        1 => p.clone().prop_map(Op::Exit),
        1 => p.prop_map(Op::Exec),
    ]
}

/// A real process and what the test knows of it.
struct Process {
    number: u32,
    worker: Worker,
    handles: Vec<(Handle, usize)>,
    guards: Vec<(Claimant, Claim, usize)>,
}

struct World {
    place: Place,
    model: Model,
    processes: Vec<Option<Process>>,
    pids: Vec<u32>,
    /// The engine's token of each claim of the model.
    tokens: HashMap<(String, u64), u64>,
    last_token: HashMap<String, u64>,
}

type Verdict = Result<(), TestCaseError>;

impl World {
    fn new() -> World {
        World {
            place: Place::new(),
            model: Model::new(Limits::default()),
            processes: (0..PROCESSES).map(|_| None).collect(),
            pids: Vec::new(),
            tokens: HashMap::new(),
            last_token: HashMap::new(),
        }
    }

    fn process(&mut self, p: usize) -> &mut Process {
        if self.processes[p].is_none() {
            let worker = self.place.worker();
            self.pids.push(worker.pid());
            let number = self.pids.len() as u32 - 1;
            self.processes[p] = Some(Process { number, worker, handles: Vec::new(), guards: Vec::new() });
        }
        self.processes[p].as_mut().expect("it was just made")
    }

    fn step(&mut self, op: &Op) -> Verdict {
        match *op {
            Op::Create(p, n) => {
                let want = self.model.create(NAMES[n]);
                self.opened(p, Verb::Create(NAMES[n].to_owned()), want)
            }
            Op::Open(p, n) => {
                let want = self.model.open(NAMES[n]);
                self.opened(p, Verb::Open(NAMES[n].to_owned()), want)
            }
            Op::OpenOrCreate(p, n) => {
                let want = self.model.open_or_create(NAMES[n]);
                self.opened(p, Verb::OpenOrCreate(NAMES[n].to_owned()), want)
            }
            Op::Remove(p, n) => {
                let want = self.model.remove(NAMES[n]);
                if want.is_ok() {
                    self.last_token.remove(NAMES[n]);
                }
                self.simple(p, 0, Verb::Remove(NAMES[n].to_owned()), want)
            }
            Op::Try(p, t, i) => self.acquire(p, t, i, None),
            Op::Timeout(p, t, i) => self.acquire(p, t, i, Some(3)),
            Op::Release(p, t, i) => self.with_guard(p, t, i, true, Verb::Release, Model::release_claim),
            Op::Abandon(p, t, i) => self.with_guard(p, t, i, true, Verb::Abandon, Model::abandon),
            Op::Mark(p, t, i) => self.with_guard(p, t, i, false, Verb::MarkConsistent, Model::mark_consistent),
            Op::Held(p, t, i) => {
                let Some((claim, guard)) = self.guard(p, t, i, false) else { return Ok(()) };
                let want = Answer::Is(self.model.is_held(claim));
                let got = self.process(p).worker.ask(t, &Verb::Held(guard));
                prop_assert_eq!(got, want);
                Ok(())
            }
            Op::EndThread(p, t) => {
                let process = self.process(p);
                let who = Claimant { process: process.number, thread: t };
                process.guards.retain(|(w, ..)| *w != who);
                prop_assert_eq!(process.worker.ask(t, &Verb::EndThread), Answer::Done);
                self.model.thread_ended(who);
                Ok(())
            }
            Op::Kill(p) => self.end(p, |w| w.kill()),
            Op::Exit(p) => self.end(p, |w| {
                w.tell(0, &Verb::Exit);
                w.gone();
            }),
            Op::Exec(p) => self.end(p, |w| {
                w.tell(0, &Verb::Exec);
                while std::fs::read_to_string(format!("/proc/{}/comm", w.pid())).unwrap_or_default().trim() != "sleep" {
                    xsem_testkit::sys::nap(50);
                }
            }),
        }
    }

    fn end(&mut self, p: usize, how: impl FnOnce(&mut Worker)) -> Verdict {
        if let Some(mut gone) = self.processes[p].take() {
            how(&mut gone.worker);
            self.model.process_ended(gone.number);
        }
        Ok(())
    }

    fn opened(&mut self, p: usize, verb: Verb, want: Result<Handle, xsem::Code>) -> Verdict {
        let process = self.process(p);
        let got = process.worker.ask(0, &verb);
        match (want, got) {
            (Ok(handle), Answer::Handle(h)) => process.handles.push((handle, h)),
            (want, got) => prop_assert_eq!(got, Answer::Refused(want.err().map_or(0, |c| c.number())), "{}", verb),
        }
        Ok(())
    }

    fn simple(&mut self, p: usize, t: u32, verb: Verb, want: Result<(), xsem::Code>) -> Verdict {
        let want = want.map_or_else(|c| Answer::Refused(c.number()), |()| Answer::Done);
        prop_assert_eq!(self.process(p).worker.ask(t, &verb), want, "{}", verb);
        Ok(())
    }

    /// The chosen guard of a thread, if it has any; with `take` it is used up.
    fn guard(&mut self, p: usize, t: u32, i: usize, take: bool) -> Option<(Claim, usize)> {
        let process = self.process(p);
        let who = Claimant { process: process.number, thread: t };
        let own: Vec<usize> = (0..process.guards.len()).filter(|&g| process.guards[g].0 == who).collect();
        let at = *own.get(i % own.len().max(1))?;
        let (_, claim, guard) = if take { process.guards.remove(at) } else { process.guards[at] };
        Some((claim, guard))
    }

    fn with_guard(
        &mut self,
        p: usize,
        t: u32,
        i: usize,
        take: bool,
        verb: fn(usize) -> Verb,
        act: fn(&mut Model, Claim) -> Result<(), xsem::Code>,
    ) -> Verdict {
        let Some((claim, guard)) = self.guard(p, t, i, take) else { return Ok(()) };
        let want = act(&mut self.model, claim);
        self.simple(p, t, verb(guard), want)
    }

    fn acquire(&mut self, p: usize, t: u32, i: usize, timeout: Option<u64>) -> Verdict {
        let process = self.process(p);
        let who = Claimant { process: process.number, thread: t };
        let Some((handle, h)) = process.handles.get(i % process.handles.len().max(1)).cloned() else { return Ok(()) };
        let verb = timeout.map_or(Verb::Try(h), |ms| Verb::Timeout(h, ms));
        let got = process.worker.ask(t, &verb);
        let want = match timeout {
            None => self.model.try_acquire(who, &handle).map_err(|c| c.number()),
            Some(_) => match self.model.acquire(who, &handle) {
                Outcome::Granted(g) => Ok(g),
                Outcome::Refused(c) => Err(c.number()),
                // Nobody else acts meanwhile, so the time runs out.
                Outcome::Waits => {
                    self.model.stop_waiting(who);
                    Err(121)
                }
            },
        };
        match (want, got) {
            (Ok(grant), Answer::Granted { guard, token, died }) => {
                self.process(p).guards.push((who, grant.claim, guard));
                self.granted(&handle, &grant, token, died)
            }
            (Ok(grant), got) => Err(TestCaseError::fail(format!("{verb}: the model grants {grant:?}, the engine: {got}"))),
            (Err(code), got) => {
                prop_assert_eq!(got, Answer::Refused(code), "{}", verb);
                Ok(())
            }
        }
    }

    fn granted(&mut self, handle: &Handle, grant: &Grant, token: u64, died: Option<Option<(Dead, Dead, u64)>>) -> Verdict {
        let name = handle.name().to_owned();
        let last = self.last_token.insert(name.clone(), token);
        match grant.nested {
            true => prop_assert_eq!(Some(token), last, "a nested claim has the token of its claim"),
            false => {
                prop_assert!(last.is_none_or(|l| token > l), "tokens grow: {:?} then {}", last, token);
                self.tokens.insert((name, grant.claim.token), token);
            }
        }
        let want = grant.died.map(|d| Some(self.on_the_wire(&d)));
        prop_assert_eq!(died, want, "the deaths that a grant reports");
        Ok(())
    }

    fn on_the_wire(&self, d: &Deaths) -> (Dead, Dead, u64) {
        let dead = |o: xsem_testkit::model::Obituary| (self.pids[o.who.process as usize], format!("{:?}", o.cause));
        (dead(d.first), dead(d.latest), d.count)
    }

    /// What the namespace shows of each name is what the model has.
    fn compare(&mut self) -> Verdict {
        for name in NAMES {
            let (want, got) = (self.model.inspect(name), self.place.ns.inspect(name));
            let (want, got) = match (want, got) {
                (Ok(want), Ok(got)) => (want, got),
                (want, got) => {
                    prop_assert_eq!(got.err().map(|e| e.code()), want.err(), "inspect {}", name);
                    continue;
                }
            };
            prop_assert!(got.waiters.is_empty(), "nobody waits between steps: {:?}", got.waiters);
            // A killed owner stays written down until somebody comes: then it must at least be shown as dead.
            let late = want.owner.is_none()
                && want.deaths.is_some_and(|d| d.latest.cause == Cause::ProcessEnded)
                && !got.holders.is_empty()
                && got.holders.iter().all(|h| matches!(h.process.state, ProcessState::Dead | ProcessState::Dying));
            if late {
                continue;
            }
            let owner = got.holders.first().map(|h| (h.process.pid, h.depth, h.token));
            let model = want.owner.map(|(who, depth, claim)| {
                (self.pids[who.process as usize], depth, self.tokens[&(name.to_owned(), claim.token)])
            });
            prop_assert_eq!(owner, model, "who holds {}", name);
            prop_assert_eq!(got.marked, want.deaths.is_some(), "the mark of {}", name);
            let shown = got.deaths.as_ref().map(|d| {
                let dead = |o: &xsem::Obituary| (o.process.pid, format!("{:?}", o.cause));
                (dead(&d.first), dead(&d.latest), d.count)
            });
            prop_assert_eq!(shown, want.deaths.map(|d| self.on_the_wire(&d)), "the deaths of {}", name);
        }
        let listed: Vec<String> = self.place.ns.list().expect("it lists").into_iter().map(|s| s.name).collect();
        prop_assert_eq!(listed, self.model.list());
        Ok(())
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[test]
fn processes_do_what_the_model_says() {
    let mut seed = [0u8; 32];
    seed[..8].copy_from_slice(&number("XSEM_SEED", 1).to_le_bytes());
    let cases = number("XSEM_CASES", 200) as u32;
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let tested = runner.run(&prop::collection::vec(op(), 1..40), |ops| {
        let _dog = Watchdog::start("a sequence of operations");
        let mut world = World::new();
        for op in &ops {
            world.step(op)?;
            world.compare()?;
        }
        prop_assert_eq!(xsem::shm::testing::audit(&world.place.ns), Vec::<String>::new());
        Ok(())
    });
    if let Err(e) = tested {
        panic!("XSEM_SEED={} repeats it: {e}", number("XSEM_SEED", 1));
    }
}
