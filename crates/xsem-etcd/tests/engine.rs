//! The engine on a real server, in what the conformance suite does not look at: sessions that are lost, tokens for ever, crowds.
//!
//! Each namespace here is a session of its own, as a process on another host is: the same URL would be the same session.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use xsem::{AcquireError, Code, Counting, Event, Exclusive, Namespace};
use xsem_etcd::kv::{Keys, range};
use xsem_etcd::{client::Client, runtime, url::Config, wire};
use xsem_testkit::etcd::{Cluster, wanted};
use xsem_testkit::watchdog::Watchdog;

/// A place of its own in a server that all tests here share.
fn place(name: &str) -> Option<String> {
    xsem_etcd::register();
    wanted().then(|| format!("{}?guardian=none&ttl=30", Cluster::shared().url(&format!("engine/{name}"))))
}

fn open(url: &str) -> Namespace {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    Namespace::open(&format!("{url}&timeout=3.{:06}", NUMBER.fetch_add(1, SeqCst))).unwrap()
}

#[test]
fn one_url_is_one_session_of_the_process() {
    let _dog = Watchdog::start("one session");
    let Some(url) = place("one") else { return };
    let (a, b) = (Namespace::open(&url).unwrap(), Namespace::open(&url).unwrap());
    let (x, y) = (exclusive_in(&a, "x"), exclusive_in(&b, "x"));
    let outer = x.acquire().unwrap();
    let inner = y.try_acquire().unwrap();
    assert_eq!(outer.token(), inner.token(), "it nests");
    drop((inner, outer));
    assert!(exclusive(&url, "x").try_acquire().is_ok());
}

fn exclusive(url: &str, name: &str) -> Exclusive {
    Exclusive::open_or_create(&open(url), name).unwrap()
}

fn until_waiting(ns: &Namespace, name: &str, n: usize) {
    while ns.inspect(name).unwrap().waiters.len() != n {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ends the leases of all sessions that there are, as an operator could.
fn revoke_all(url: &str) {
    let config = Config::parse(url).unwrap();
    let prefix = format!("{}/x/", config.path);
    let client = Client::open(config).unwrap();
    let by = xsem::Deadline::after(Duration::from_secs(20));
    let (c, ask) = (client.clone(), range(Keys::prefix(prefix)));
    let found = runtime::run(async move { c.range(ask, by).await }).unwrap();
    for kv in found.kvs {
        let (c, ask) = (client.clone(), wire::LeaseRevokeRequest { id: kv.lease });
        let again = xsem_etcd::client::Again::UntilAnswered;
        let path = "/etcdserverpb.Lease/LeaseRevoke";
        runtime::run(async move { c.call::<_, wire::LeaseRevokeResponse>(path, ask, again, by).await }).unwrap();
    }
}

#[test]
fn an_owner_whose_lease_is_revoked_is_told_and_so_is_its_heir() {
    let _dog = Watchdog::start("a revoked lease");
    let Some(url) = place("revoked") else { return };
    let ns = open(&url);
    let told = Arc::new(AtomicU32::new(0));
    let counts = told.clone();
    ns.on_loss(move |loss| {
        assert!(loss.why.contains("lost"), "{loss}");
        counts.fetch_add(1, SeqCst);
    });
    let mut lost = pin!(ns.lost());
    let mut cx = Context::from_waker(Waker::noop());
    let x = Exclusive::open_or_create(&ns, "x").unwrap();
    let guard = x.acquire().unwrap();
    assert!(guard.is_held());
    assert!(lost.as_mut().poll(&mut cx).is_pending());
    revoke_all(&url);
    while told.load(SeqCst) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(matches!(lost.as_mut().poll(&mut cx), Poll::Ready(_)));
    assert!(!guard.is_held());
    let token = guard.token();
    assert_eq!(guard.release().unwrap_err().code(), Code::NotOwner);
    let other = exclusive(&url, "x");
    let Err(AcquireError::OwnerDied(heir)) = other.acquire() else { panic!("not told") };
    let dead = heir.deaths().unwrap().latest.clone();
    assert_eq!((dead.token, dead.process.pid), (token, std::process::id()));
    assert!(dead.process.host.is_some_and(|h| !h.is_empty()));
    drop(heir);
    // The old handle has a new session by now.
    assert!(matches!(x.acquire(), Err(AcquireError::OwnerDied(_))), "the mark was kept");
    assert_eq!(told.load(SeqCst), 1);
}

#[test]
fn tokens_grow_over_names_that_are_removed_and_made_again() {
    let _dog = Watchdog::start("tokens");
    let Some(url) = place("tokens") else { return };
    let (ns, mut last) = (open(&url), [0, 0]);
    for _ in 0..5 {
        let x = Exclusive::create(&ns, "x").unwrap();
        let p = Counting::open_or_create_pool(&ns, "p", 3).unwrap();
        for _ in 0..3 {
            let (guard, permit) = (x.acquire().unwrap(), p.acquire().unwrap());
            assert!(guard.token() > last[0] && permit.token() > last[1], "{last:?}, {guard:?}, {permit:?}");
            last = [guard.token(), permit.token()];
        }
        ns.remove("x").unwrap();
        ns.remove("p").unwrap();
    }
}

/// More than one transaction can tell: those who are left are told by the next, also if the event was reset at once.
#[test]
fn a_signal_reaches_a_crowd() {
    const CROWD: usize = 100;
    let _dog = Watchdog::start("a crowd at an event");
    let Some(url) = place("crowd") else { return };
    let ns = open(&url);
    let e = Event::open_or_create_manual(&ns, "e").unwrap();
    let hosts: Vec<Namespace> = (0..4).map(|_| open(&url)).collect();
    std::thread::scope(|s| {
        for i in 0..CROWD {
            let e = Event::open(&hosts[i % hosts.len()], "e").unwrap();
            s.spawn(move || e.wait().unwrap());
        }
        until_waiting(&ns, "e", CROWD);
        assert!(e.signal().unwrap());
        assert!(e.reset().unwrap());
    });
    assert!(!ns.inspect("e").unwrap().signal.unwrap().is_set);
    assert!(ns.check().unwrap().findings.is_empty());
}

#[test]
fn a_queue_is_served_in_its_order_and_nobody_else_is_let_in() {
    const WAITERS: usize = 30;
    let _dog = Watchdog::start("a queue");
    let Some(url) = place("queue") else { return };
    let ns = open(&url);
    let x = Exclusive::create(&ns, "x").unwrap();
    let guard = x.acquire().unwrap();
    let hosts: Vec<Namespace> = (0..3).map(|_| open(&url)).collect();
    let order = Mutex::new(Vec::new());
    std::thread::scope(|s| {
        for i in 0..WAITERS {
            let (x, order) = (Exclusive::open(&hosts[i % hosts.len()], "x").unwrap(), &order);
            s.spawn(move || {
                let guard = x.acquire().unwrap();
                order.lock().unwrap().push((i, guard.token()));
            });
            until_waiting(&ns, "x", i + 1);
        }
        drop(guard);
    });
    let order = order.into_inner().unwrap();
    assert!(order.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1), "{order:?}");
    assert_eq!(order.len(), WAITERS);
}

/// Two that each hold what the other wants, on two hosts, begin to wait in the same instant: one of them is told.
#[test]
fn a_deadlock_across_hosts_is_found_whoever_is_first() {
    let _dog = Watchdog::start("a deadlock");
    let Some(url) = place("deadlock") else { return };
    for _ in 0..10 {
        let begin = Barrier::new(2);
        let one = |first: &'static str, second: &'static str| {
            let ns = open(&url);
            let (a, b) = (exclusive_in(&ns, first), exclusive_in(&ns, second));
            let guard = a.acquire().unwrap();
            begin.wait();
            let result = b.acquire().map(drop);
            drop(guard);
            match result {
                Ok(()) => None,
                Err(e) => Some(xsem::Error::from(e)),
            }
        };
        let refused: Vec<xsem::Error> = std::thread::scope(|s| {
            let threads = [s.spawn(|| one("a", "b")), s.spawn(|| one("b", "a"))];
            threads.into_iter().filter_map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert_eq!((refused[0].code(), refused[0].cycle().len()), (Code::PossibleDeadlock, 2));
    }
}

fn exclusive_in(ns: &Namespace, name: &str) -> Exclusive {
    Exclusive::open_or_create(ns, name).unwrap()
}

/// Permits are never more than the limit, however many take and give at once; judged by those who have them.
#[test]
fn many_sessions_share_a_pool() {
    let _dog = Watchdog::start("a pool of many");
    let Some(url) = place("pool") else { return };
    let p = Counting::open_or_create_pool(&open(&url), "p", 3).unwrap();
    let inside = AtomicU32::new(0);
    std::thread::scope(|s| {
        for _ in 0..12 {
            let (url, inside) = (&url, &inside);
            s.spawn(move || {
                let p = Counting::open(&open(url), "p").unwrap();
                for i in 0..20 {
                    let n = 1 + i % 2;
                    let permits = p.acquire_many(n).unwrap();
                    assert!(inside.fetch_add(n, SeqCst) + n <= 3);
                    inside.fetch_sub(n, SeqCst);
                    permits.release().unwrap();
                }
            });
        }
    });
    assert_eq!(p.capacity().unwrap().free, 3);
}

/// The threads of this process that have something to do with waits.
fn waiting_threads() -> usize {
    let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = names.filter_map(|t| std::fs::read_to_string(t.path().join("comm")).ok());
    names.filter(|name| ["xsem-wait", "xsem-steps"].contains(&name.trim())).count()
}

/// Futures that wait have no thread each; those that are dropped leave nothing behind, and the others are served.
#[test]
fn a_crowd_of_futures_waits_without_a_thread_for_each() {
    const CROWD: usize = 120;
    let _dog = Watchdog::start("a crowd of futures");
    let Some(url) = place("futures") else { return };
    let ns = open(&url);
    let x = Exclusive::create(&ns, "x").unwrap();
    let guard = x.acquire().unwrap();
    let token = xsem::CancelToken::new();
    let mut cx = Context::from_waker(Waker::noop());
    let mut all: Vec<_> = (0..CROWD)
        .map(|i| match i % 3 {
            0 => Box::pin(x.acquire_async_with(xsem::Wait::forever().cancel(&token))),
            _ => Box::pin(x.acquire_async()),
        })
        .collect();
    assert!(all.iter_mut().all(|f| f.as_mut().poll(&mut cx).is_pending()));
    until_waiting(&ns, "x", CROWD);
    // Other tests of this program have clients of their own.
    assert!(waiting_threads() < CROWD / 4, "{}", waiting_threads());
    token.cancel();
    let (mut cancelled, mut served) = (0, 0);
    while cancelled < CROWD / 3 {
        for f in all.iter_mut().step_by(3) {
            if let Poll::Ready(done) = f.as_mut().poll(&mut cx) {
                assert_eq!(xsem::Error::from(done.unwrap_err()).code(), Code::Interrupt);
                *f = Box::pin(x.acquire_async());
                cancelled += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    // Those that were not polled yet, and a third of those that wait.
    let mut i = 0;
    all.retain(|_| {
        i += 1;
        i % 3 == 2
    });
    until_waiting(&ns, "x", CROWD / 3);
    drop(guard);
    while served < CROWD / 3 {
        let before = all.len();
        all.retain_mut(|f| match f.as_mut().poll(&mut cx) {
            Poll::Ready(done) => {
                done.unwrap().release().unwrap();
                false
            }
            Poll::Pending => true,
        });
        served += before - all.len();
        std::thread::sleep(Duration::from_millis(1));
    }
    let r = ns.inspect("x").unwrap();
    assert!(r.holders.is_empty() && r.waiters.is_empty() && !r.marked, "{r:?}");
}

/// A future that is dropped when it has what it waited for, and nobody has polled it since, passes that on.
#[test]
fn what_a_dropped_future_was_granted_goes_on() {
    let _dog = Watchdog::start("a dropped future");
    let Some(url) = place("dropped") else { return };
    let ns = open(&url);
    let x = Exclusive::create(&ns, "x").unwrap();
    let guard = x.acquire().unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut first = Box::pin(x.acquire_async());
    assert!(first.as_mut().poll(&mut cx).is_pending());
    until_waiting(&ns, "x", 1);
    let token = guard.token();
    drop(guard);
    while ns.inspect("x").unwrap().holders.first().is_none_or(|h| h.token <= token) {
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(first);
    let other = exclusive(&url, "x");
    assert!(other.acquire().is_ok(), "no mark: nobody died");
}
