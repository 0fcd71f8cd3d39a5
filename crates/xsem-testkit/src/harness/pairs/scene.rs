//! A pair as a scenario of the harness: who begins when.

use super::hand::Hand;
use super::judge;
use super::log::{Log, Step};
use super::ops::{Actor, Op};
use super::worlds::{WORLDS, World};
use crate::harness::case::Case;
use crate::harness::player::{Player, SEM};
use crate::harness::scenarios::Scenario;
use crate::protocol::What;
use crate::sys::{self, Pid};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// After so long somebody who should go on by itself is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// One ordered pair of operations in one world.
pub(crate) struct Pair {
    name: &'static str,
    about: &'static str,
    /// A in this world, whoever B is.
    alone: &'static str,
    group: &'static str,
    world: &'static World,
    a: Op,
    b: Op,
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static dyn Scenario> {
    static ALL: LazyLock<Vec<Pair>> = LazyLock::new(|| WORLDS.iter().flat_map(Pair::of).collect());
    ALL.iter().map(|p| p as &dyn Scenario)
}

impl Pair {
    fn of(world: &'static World) -> impl Iterator<Item = Pair> {
        let group: &'static str = format!("pairs: {}", world.about).leak();
        let pair = move |a: Op, b: Op| Pair {
            group,
            alone: format!("pair-{}-{a}", world.name).leak(),
            name: format!("pair-{}-{a}-x-{b}", world.name).leak(),
            about: format!("{}: {a} is killed or stopped, {b} runs", world.about).leak(),
            world,
            a,
            b,
        };
        let all = world.a.iter().flat_map(move |&a| world.b.iter().map(move |&b| (a, b)));
        // A request for more than there may be any more waits until somebody raises the limit again, and nobody does.
        let ends = |&(a, b): &(Op, Op)| {
            let hopeless = |o: Op, r: Op| o.waits_for().is_some_and(|n| matches!(r, Op::Resize(limit) if limit < n));
            !hopeless(a, b) && !hopeless(b, a)
        };
        all.filter(ends).map(move |(a, b)| pair(a, b))
    }

    fn hand<'p>(&self, p: &'p Player<'p>, who: Actor) -> Hand<'p> {
        Hand::new(p, who, self.world.what)
    }

    fn before(&self, who: Actor) -> &'static [Op] {
        self.world.before.iter().find(|(actor, _)| *actor == who).map_or(&[], |(_, ops)| ops)
    }

    /// Starts somebody, who is ready when this returns.
    fn start(&self, case: &Case<'_>, who: Actor, op: Option<Op>) -> Pid {
        let pid = case.play(who.name(), |p| {
            // Who evicts wakes in a second step: one that it left asleep finds out by its second look (docs/crash.md).
            let evicts = matches!(self.a, Op::Evict(_)) || matches!(self.b, Op::Evict(_));
            xsem::shm::testing::set_recheck(evicts);
            let mut hand = self.hand(p, who);
            hand.play(self.before(who), op, || {}, || {});
            if who == Actor::Holder && self.is_event() {
                nudge(&mut hand, &p.stage.log);
            }
        });
        self.until(case, who, Step::Ready);
        pid
    }

    fn is_event(&self) -> bool {
        matches!(self.world.what, What::Manual(_) | What::Auto(_))
    }

    fn until(&self, case: &Case<'_>, who: Actor, step: Step) {
        let begin = Instant::now();
        while !case.stage.log.has_reached(who, step) {
            if begin.elapsed() > PATIENCE {
                case.stuck(format_args!("{} to be {step:?}", who.name()));
            }
            sys::nap(30);
        }
    }

    /// B does its operation, and comes to its end or waits for good reason.
    fn b_acts(&self, case: &Case<'_>) {
        let log = &case.stage.log;
        if log.has_reached(Actor::B, Step::Go) {
            return;
        }
        log.reach(Actor::B, Step::Go);
        let begin = Instant::now();
        let mut look = Duration::from_millis(3);
        while !log.has_reached(Actor::B, Step::Done) {
            if begin.elapsed() > look {
                if self.b.waits_for().is_some_and(|n| self.is_withheld(case, n)) && !log.has_reached(Actor::B, Step::Done) {
                    return;
                }
                look = begin.elapsed() * 4;
            }
            if begin.elapsed() > PATIENCE {
                case.stuck(format_args!("B to {}, which nothing withholds", self.b));
            }
            sys::nap(30);
        }
    }

    /// Whether what B waits for is not there, as the namespace says.
    fn is_withheld(&self, case: &Case<'_>, n: u8) -> bool {
        case.ask(|p| {
            let Ok(report) = p.ns().inspect(SEM) else { return 0 };
            let others = report.waiters.len() > 1;
            u64::from(match self.world.what {
                What::Exclusive => !report.holders.is_empty(),
                // A larger request may be the older one.
                What::Pool(_) | What::Credit(..) => others || report.capacity.is_some_and(|c| c.free < n.into()),
                What::Manual(_) | What::Auto(_) => report.signal.is_some_and(|s| !s.is_set),
            })
        }) == 1
    }

    /// Everybody who lives gives back what it has; then all that there should be is there, and all of it can be explained.
    fn end(&self, case: &Case<'_>) {
        let log = &case.stage.log;
        let actors = [Actor::Holder, Actor::B, Actor::A, Actor::Sleeper].into_iter();
        let there: Vec<Actor> = actors.filter(|&a| log.has_reached(a, Step::Ready) && !log.is_dead(a)).collect();
        there.iter().for_each(|&a| log.reach(a, Step::Leave));
        there.iter().for_each(|&a| self.until(case, a, Step::Left));
        case.run_player("newcomer", |p| self.hand(p, Actor::Newcomer).take_stock());
        if let Err(text) = judge::explain(self.world.what, &log.acts(), &log.deaths()) {
            case.violation(text);
        }
    }
}

/// Signals until everybody who waits without an end is through.
fn nudge(hand: &mut Hand<'_>, log: &Log) {
    let waits = |a: Actor| log.has_reached(a, Step::Go) && !log.has_reached(a, Step::Done) && !log.is_dead(a);
    for _ in 0..30 {
        if ![Actor::A, Actor::B, Actor::Sleeper].into_iter().any(waits) {
            return;
        }
        hand.act(Op::Signal);
        sys::nap(2000);
    }
}

impl Scenario for Pair {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn group(&self) -> &'static str {
        self.group
    }

    fn measured_as(&self) -> &'static str {
        self.alone
    }

    fn prepare(&self, case: &Case<'_>) {
        for (who, ops) in self.world.before {
            match who {
                Actor::Maker => case.run_player("maker", |p| {
                    let mut hand = self.hand(p, Actor::Maker);
                    for &op in *ops {
                        hand.whole(op);
                    }
                }),
                Actor::Dead => {
                    let pid = self.start(case, Actor::Dead, None);
                    case.kill(pid);
                    case.stage.log.died(Actor::Dead);
                }
                Actor::B => drop(self.start(case, Actor::B, Some(self.b))),
                Actor::Holder => drop(self.start(case, Actor::Holder, None)),
                _ => {}
            }
        }
    }

    fn victim(&self, p: &Player<'_>) {
        self.hand(p, Actor::A).play(self.before(Actor::A), Some(self.a), || p.begin(), || p.done());
    }

    fn ready(&self, case: &Case<'_>) {
        self.until(case, Actor::A, Step::Ready);
        if let Some(op) = self.world.sleeper {
            let pid = self.start(case, Actor::Sleeper, Some(op));
            case.stage.log.reach(Actor::Sleeper, Step::Go);
            case.until_asleep(pid);
        }
        case.stage.log.reach(Actor::A, Step::Go);
    }

    fn asleep(&self, case: &Case<'_>) {
        self.b_acts(case);
        [Actor::Holder, Actor::B, Actor::Sleeper].into_iter().for_each(|a| case.stage.log.reach(a, Step::Leave));
    }

    fn killed(&self, case: &Case<'_>) {
        case.stage.log.died(Actor::A);
        self.b_acts(case);
        self.end(case);
    }

    fn paused(&self, case: &Case<'_>) {
        self.b_acts(case);
    }

    fn resumed(&self, case: &Case<'_>) {
        self.end(case);
    }
}
