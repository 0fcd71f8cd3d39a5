//! A pair as a scenario of the harness: who begins when.

use super::hand::Hand;
use super::judge;
use super::log::{Log, Step};
use super::ops::{Actor, Op};
use super::stand;
use super::worlds::{WORLDS, World};
use crate::harness::case::Case;
use crate::harness::player::{Player, SEM};
use crate::harness::scenarios::Scenario;
use crate::protocol::What;
use crate::sys::{self, Pid};
use std::sync::LazyLock;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

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
    /// B stands still when the word has changed so often; 0: it has not begun when A begins.
    stands: u32,
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static dyn Scenario> {
    static ALL: LazyLock<Vec<Pair>> = LazyLock::new(|| WORLDS.iter().flat_map(Pair::of).collect());
    ALL.iter().map(|p| p as &dyn Scenario)
}

impl Pair {
    fn of(world: &'static World) -> impl Iterator<Item = Pair> {
        let group: &'static str = format!("pairs: {}", world.about).leak();
        let pair = move |a: Op, b: Op, stands: u32| {
            let name: &str = match stands {
                0 => format!("pair-{}-{a}-x-{b}", world.name).leak(),
                n => format!("pair-{}-{a}-in-{b}-{n}", world.name).leak(),
            };
            let about = match stands {
                0 => format!("{a} is killed or stopped, {b} runs"),
                n => format!("{b} stands still after it has changed the word {n} times, {a} is killed or stopped"),
            };
            // Where B stands, A may go another way than else.
            let alone = if stands == 0 { format!("pair-{}-{a}", world.name).leak() } else { name };
            Pair { group, alone, name, about: about.leak(), world, a, b, stands }
        };
        let all = world.a.iter().flat_map(move |&a| world.b.iter().map(move |&b| (a, b)));
        // A request for more than there may be any more waits until somebody raises the limit again, and nobody does.
        let ends = |&(a, b): &(Op, Op)| {
            let hopeless = |o: Op, r: Op| o.waits_for().is_some_and(|n| matches!(r, Op::Resize(limit) if limit < n));
            !hopeless(a, b) && !hopeless(b, a)
        };
        let middle = if world.sleeper.is_some() || world.before.iter().any(|(who, _)| *who == Actor::Dead) { 2 } else { 1 };
        // Names have no word of their own to watch, before they are there.
        let middle = if world.before.iter().any(|(who, _)| *who == Actor::Maker) { middle } else { 0 };
        // A list changes its word twice: tentatively, and then for good.
        let times = move |b: Op| if let Op::All(..) = b { middle.max(2) } else { middle };
        all.filter(ends).flat_map(move |(a, b)| (0..=if b.changes() { times(b) } else { 0 }).map(move |n| pair(a, b, n)))
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
            let begin = || {
                if who == Actor::B && self.stands > 0 {
                    p.begin();
                }
            };
            hand.play(self.before(who), op, begin, || {});
            if who == Actor::Holder && self.is_event() {
                nudge(&mut hand, &p.stage.log);
            }
            // What it has open stays so until it is killed: a drop would be an operation of its own.
            std::mem::forget(hand);
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
            if case.is_out_of_patience(begin) {
                case.stuck(format_args!("{} to be {step:?}", who.name()));
            }
            sys::nap(30);
        }
    }

    /// B does its operation, and comes to its end or waits for good reason.
    fn b_acts(&self, case: &Case<'_>) {
        let log = &case.stage.log;
        stand::leave(case);
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
            if case.is_out_of_patience(begin) {
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
        // In all pairs, so not said for each: whoever of the two is stopped may be the waiter who should call the next in line.
        xsem::shm::testing::set_line_ends(true);
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
                Actor::B => case.stage.log.b.store(self.start(case, Actor::B, Some(self.b)), SeqCst),
                Actor::Holder => {
                    self.start(case, Actor::Holder, None);
                }
                _ => {}
            }
        }
    }

    fn victim(&self, p: &Player<'_>) {
        let mut hand = self.hand(p, Actor::A);
        hand.play(self.before(Actor::A), Some(self.a), || p.begin(), || p.done());
        std::mem::forget(hand);
    }

    fn ready(&self, case: &Case<'_>) {
        self.until(case, Actor::A, Step::Ready);
        if let Some(op) = self.world.sleeper {
            let pid = self.start(case, Actor::Sleeper, Some(op));
            case.stage.log.reach(Actor::Sleeper, Step::Go);
            case.until_asleep(pid);
        }
        if self.stands > 0 {
            stand::bring(case, self.world.what, self.stands);
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
