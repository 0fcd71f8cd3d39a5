//! Asynchronous requests of the engine in one process: no thread for each, and what a dropped one was granted goes on.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use xsem::{Code, Counting, Event, Exclusive, Namespace, Wait};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn look<F: Future>(f: &mut Pin<&mut F>, waker: &Waker) -> Option<F::Output> {
    match f.as_mut().poll(&mut Context::from_waker(waker)) {
        Poll::Ready(x) => Some(x),
        Poll::Pending => None,
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn thousands_wait_without_a_thread_for_each_and_are_served_in_their_order() {
    let ns = Namespace::open("memory:").unwrap();
    let s = Exclusive::open_or_create(&ns, "s").unwrap();
    let guard = s.acquire().unwrap();
    let woken = Arc::new(Count::default());
    let waker = Waker::from(woken.clone());
    let mut all: Vec<_> = (0..5000).map(|_| Box::pin(s.acquire_async())).collect();
    let before = threads();
    for f in &mut all {
        assert!(look(&mut f.as_mut(), &waker).is_none());
    }
    assert!(threads() < before + 10, "{} threads", threads());
    assert_eq!(ns.inspect("s").unwrap().waiters.len(), 5000);
    drop(guard);
    for (n, f) in all.iter_mut().enumerate() {
        assert_eq!(woken.0.load(SeqCst), n + 1, "nobody is woken for nothing");
        look(&mut f.as_mut(), &waker).expect("it is its turn").unwrap().release().unwrap();
    }
    assert_eq!(ns.inspect("s").unwrap().counters.acquired, 5001);
}

#[test]
fn what_a_dropped_one_was_granted_goes_to_the_next() {
    let ns = Namespace::open("memory:").unwrap();
    let (s, c) = (Exclusive::open_or_create(&ns, "s").unwrap(), Counting::open_or_create_pool(&ns, "c", 2).unwrap());
    let waker = Waker::from(Arc::new(Count::default()));
    let (guard, permits) = (s.acquire().unwrap(), c.acquire_many(2).unwrap());
    let mut first = Box::pin(ns.acquire_all_async(&[(&s).into(), (&c).into()], Wait::forever()));
    let mut second = pin!(s.acquire_async());
    assert!(look(&mut first.as_mut(), &waker).is_none() && look(&mut second, &waker).is_none());
    drop((permits, guard));
    // The first has both by now, and does not know.
    assert_eq!(ns.inspect("c").unwrap().capacity.unwrap().free, 1);
    assert!(look(&mut second, &waker).is_none());
    drop(first);
    let guard = look(&mut second, &waker).expect("it is its turn").unwrap();
    assert_eq!(ns.inspect("c").unwrap().capacity.unwrap().free, 2);
    assert!(ns.inspect("s").unwrap().deaths.is_none(), "that is no death");
    drop(guard);
}

#[test]
fn a_signal_that_a_dropped_one_consumed_is_there_again_unless_somebody_knows_of_it() {
    let ns = Namespace::open("memory:").unwrap();
    let e = Event::open_or_create_auto(&ns, "e").unwrap();
    let waker = Waker::from(Arc::new(Count::default()));
    let waits = || {
        let mut f = Box::pin(e.wait_async());
        assert!(look(&mut f.as_mut(), &waker).is_none());
        f
    };
    let (first, mut second) = (waits(), waits());
    assert!(e.signal().unwrap());
    drop(first);
    look(&mut second.as_mut(), &waker).expect("the signal is the second one's").unwrap();
    let first = waits();
    assert!(e.signal().unwrap() && !e.state().unwrap().is_set);
    drop(first);
    assert!(e.state().unwrap().is_set);
    e.try_wait().unwrap();
    // Somebody has reset it in between: it stays so.
    let first = waits();
    assert!(e.signal().unwrap() && !e.reset().unwrap());
    drop(first);
    assert_eq!(e.try_wait().unwrap_err().code(), Code::SemTimeout);
}

#[test]
fn a_waker_may_use_the_namespace() {
    struct Uses(Namespace);
    impl Wake for Uses {
        fn wake(self: Arc<Self>) {
            self.0.list().unwrap();
        }
    }
    impl Drop for Uses {
        fn drop(&mut self) {
            self.0.list().unwrap();
        }
    }
    let ns = Namespace::open("memory:").unwrap();
    let s = Exclusive::open_or_create(&ns, "s").unwrap();
    let guard = s.acquire().unwrap();
    let mut f = Box::pin(s.acquire_async());
    for _ in 0..3 {
        // Each replaces the one before, which is dropped then.
        assert!(look(&mut f.as_mut(), &Waker::from(Arc::new(Uses(ns.clone())))).is_none());
    }
    drop(guard);
    drop(f);
    drop(s.try_acquire().unwrap());
}
