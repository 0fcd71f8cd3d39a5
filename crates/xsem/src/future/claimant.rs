//! Explicit owners of asynchronous claims.

use crate::forklock::ForkLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::*};

/// Numbers from here on are claimants', those below are threads'. A claim word has 26 bits for both.
pub(crate) const FIRST: u32 = 1 << 25;

/// How many numbers have been given out, here or in a parent process: so a forked child does not give out those again that
/// it has inherited.
static NEXT: AtomicU32 = AtomicU32::new(0);
/// Numbers whose claimants are gone.
static FREE: ForkLock<Vec<u32>> = ForkLock::new();

/// An owner of claims that is not a thread: a task, a connection, a request.
///
/// An asynchronous claim belongs to nobody in particular: any task may give it back, it never nests, and a wait for it is
/// never refused with 1131. Claims that are made *on behalf of* a claimant belong together: an exclusive semaphore that it
/// owns already nests, and a wait that could only end if this claimant gave something up is 1131, as with threads.
///
/// Clones are the same claimant. It must not do two things at once that depend on each other: a task that waits on its
/// behalf while another one is to release for it looks like a deadlock, since nobody can know of that other task.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display())).unwrap();
/// # let waker = std::task::Waker::noop();
/// # fn ready<F: Future>(f: F) -> F::Output {
/// #     match std::pin::pin!(f).poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
/// #         std::task::Poll::Ready(r) => r,
/// #         std::task::Poll::Pending => panic!("it has to wait"),
/// #     }
/// # }
/// # ready(async {
/// use xsem::{Claimant, Exclusive};
/// let sem = Exclusive::open_or_create(&ns, "ledger").unwrap();
/// let me = Claimant::new();
/// let outer = sem.acquire_async().on_behalf_of(&me).await.unwrap();
/// let inner = sem.acquire_async().on_behalf_of(&me).await.unwrap(); // one level deeper
/// # drop((inner, outer));
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Claimant(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    number: u32,
    /// Claims, each level of them counted.
    levels: AtomicU32,
}

impl Drop for Inner {
    /// Guards keep it alive: so nothing is owned under this number any more.
    fn drop(&mut self) {
        FREE.lock().push(self.number);
    }
}

impl Claimant {
    /// A new one, that owns nothing.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Claimant {
        // Two claimants would have to live whose numbers are 33 million apart.
        let number = FREE.lock().pop().unwrap_or_else(|| FIRST | (NEXT.fetch_add(1, Relaxed) % FIRST));
        Claimant(Arc::new(Inner { number, levels: AtomicU32::new(0) }))
    }

    /// As others see it: who holds, who waits. Not below 33,554,432; those below are threads.
    pub fn number(&self) -> u32 {
        self.0.number
    }

    /// Whether it owns nothing.
    pub fn owns_nothing(&self) -> bool {
        self.0.levels.load(Relaxed) == 0
    }
}

/// A level of a claim on the account of a claimant, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Level(Option<Claimant>);

impl Level {
    pub(crate) fn of(claimant: Option<Claimant>) -> Level {
        if let Some(c) = &claimant {
            c.0.levels.fetch_add(1, Relaxed);
        }
        Level(claimant)
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        if let Some(c) = &self.0 {
            c.0.levels.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_apart_from_those_of_threads_and_come_again_only_when_free() {
        let (a, b) = (Claimant::new(), Claimant::new());
        assert!(a.number() >= FIRST && a.number() < 2 * FIRST && a.number() != b.number());
        let number = a.number();
        let level = Level::of(Some(a.clone()));
        assert!(!a.owns_nothing() && b.owns_nothing());
        drop(a);
        let more: Vec<_> = (0..100).map(|_| Claimant::new()).collect();
        assert!(more.iter().all(|c| c.number() != number), "a claim was still there");
        drop(level);
        let found = (0..1000).map(|_| Claimant::new()).collect::<Vec<_>>().iter().any(|c| c.number() == number);
        assert!(found || FREE.lock().contains(&number), "its number is free again");
    }
}
