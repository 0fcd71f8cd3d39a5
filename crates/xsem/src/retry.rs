//! Asking again, as a policy: how often, with which pauses, until when. Nothing in this library asks again by itself.
//!
//! Only what time can mend is asked for again: the codes with [`Code::is_retryable`](crate::Code::is_retryable), such as 101, 102, 106.
//! Whatever else comes is returned at once: 105, which owns; a wrong name; a damaged file.
//!
//! A wait is better than asking again, where it is possible: it costs nothing, keeps its place in the queue and is over the moment
//! that the semaphore is free. This is for the rest: requests that must not wait, a namespace that is full, a drained semaphore.
//!
//! ```
//! # let dir = tempfile::tempdir().unwrap();
//! # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display())).unwrap();
//! use std::time::Duration;
//! use xsem::{Exclusive, retry::Policy};
//!
//! let sem = Exclusive::open_or_create(&ns, "deploy")?;
//! let policy = Policy::new().tries(5).backoff(Duration::from_millis(20), Duration::from_secs(1));
//! let guard = policy.run(|| sem.try_acquire()).map_err(xsem::Error::from)?;
//! # drop(guard);
//! # Ok::<(), xsem::Error>(())
//! ```

use crate::deadline::Deadline;
use crate::error::Error;
use crate::future::{OwnedAcquireError, OwnedAllError, OwnedAnyError};
use crate::guard::AcquireError;
use crate::many::{AllError, AnyError};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Whether the same request can succeed later, by itself.
pub trait MayRetry {
    /// True for the codes with [`Code::is_retryable`](crate::Code::is_retryable). Never for an outcome that owns something.
    fn may_retry(&self) -> bool;
}

impl MayRetry for Error {
    fn may_retry(&self) -> bool {
        self.is_retryable()
    }
}

macro_rules! failed {
    ($($outcome:ty),*) => {
        $(impl MayRetry for $outcome {
            fn may_retry(&self) -> bool {
                matches!(self, Self::Failed(e) if e.is_retryable())
            }
        })*
    };
}

failed!(AcquireError<'_>, AnyError<'_>, AllError<'_>, OwnedAcquireError, OwnedAnyError, OwnedAllError);

/// How often to ask, with which pauses, until when.
#[derive(Clone, Debug)]
pub struct Policy {
    tries: u32,
    first: Duration,
    max: Duration,
    jitter: bool,
    deadline: Option<Deadline>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::new()
    }
}

impl Policy {
    /// Five tries, with pauses of 10 ms, 20 ms and so on, up to a second, with jitter, without a deadline.
    pub fn new() -> Policy {
        Policy { tries: 5, first: Duration::from_millis(10), max: Duration::from_secs(1), jitter: true, deadline: None }
    }

    /// So many tries in all; at least one is made.
    pub fn tries(mut self, tries: u32) -> Policy {
        self.tries = tries;
        self
    }

    /// The first pause, and the longest: each is twice the one before.
    pub fn backoff(mut self, first: Duration, max: Duration) -> Policy {
        self.first = first;
        self.max = max.max(first);
        self
    }

    /// Whether a pause is somewhere between a half and the whole of what it would be, at random, so that many who were
    /// refused at one time do not come back at one time. It is, if nobody says otherwise.
    pub fn jitter(mut self, jitter: bool) -> Policy {
        self.jitter = jitter;
        self
    }

    /// No pause is begun that would end after this.
    pub fn deadline(mut self, deadline: Deadline) -> Policy {
        self.deadline = Some(deadline);
        self
    }

    /// Asks until it succeeds, is refused for another reason, or the policy is at its end; then the last error is returned.
    /// The pauses block the thread.
    ///
    /// # Errors
    /// Those of `ask`.
    pub fn run<T, E: MayRetry>(&self, mut ask: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        let mut attempts = self.start();
        loop {
            match ask() {
                Ok(done) => return Ok(done),
                Err(e) => match attempts.pause_after(&e) {
                    Some(pause) => std::thread::sleep(pause),
                    None => return Err(e),
                },
            }
        }
    }

    /// For those who pause in another way: a timer of a runtime, a wait that can be cancelled.
    ///
    /// ```
    /// # async fn sleep(_: std::time::Duration) {}
    /// # async fn f(sem: &xsem::Exclusive, policy: xsem::retry::Policy) -> xsem::Result<()> {
    /// let mut attempts = policy.start();
    /// let guard = loop {
    ///     match sem.acquire_async().await {
    ///         Ok(guard) => break guard,
    ///         Err(e) => match attempts.pause_after(&e) {
    ///             Some(pause) => sleep(pause).await,
    ///             None => return Err(e.into()),
    ///         },
    ///     }
    /// };
    /// # drop(guard);
    /// # Ok(())
    /// # }
    /// ```
    pub fn start(&self) -> Attempts {
        Attempts { policy: self.clone(), made: 0, random: RandomState::new() }
    }
}

/// The tries that were made under a [`Policy`].
#[derive(Clone, Debug)]
pub struct Attempts {
    policy: Policy,
    made: u32,
    random: RandomState,
}

impl Attempts {
    /// Counts a try that ended with `error`: how long to pause before the next one, or None, when that is to be returned.
    pub fn pause_after(&mut self, error: &impl MayRetry) -> Option<Duration> {
        let p = &self.policy;
        self.made = self.made.saturating_add(1);
        if self.made >= p.tries || !error.may_retry() {
            return None;
        }
        let whole = p.first.checked_mul(1u32.checked_shl(self.made - 1).unwrap_or(u32::MAX)).map_or(p.max, |d| d.min(p.max));
        let pause = if p.jitter { whole / 2 + (whole / 2).mul_f64(self.fraction()) } else { whole };
        p.deadline.is_none_or(|d| pause < d.remaining()).then_some(pause)
    }

    /// How many tries were made.
    pub fn made(&self) -> u32 {
        self.made
    }

    /// From 0 to 1, another one at each try and in each process.
    fn fraction(&self) -> f64 {
        self.random.hash_one(self.made) as f64 / u64::MAX as f64
    }
}

#[cfg(test)]
mod tests {
    use super::{MayRetry, Policy};
    use crate::{Code, Deadline, Error};
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);
    const HOUR: Duration = Duration::from_secs(3600);

    /// All the pauses that a policy makes for an error that always comes.
    fn pauses(policy: &Policy, code: Code) -> Vec<Duration> {
        let (mut attempts, e) = (policy.start(), Error::new(code, "no"));
        std::iter::from_fn(|| attempts.pause_after(&e)).collect()
    }

    #[test]
    fn each_pause_is_twice_the_one_before_up_to_the_longest() {
        let policy = Policy::new().tries(6).backoff(10 * MS, 50 * MS).jitter(false);
        assert_eq!(pauses(&policy, Code::ExclSemAlreadyOwned), [10 * MS, 20 * MS, 40 * MS, 50 * MS, 50 * MS]);
        let constant = Policy::new().tries(3).backoff(10 * MS, MS).jitter(false);
        assert_eq!(pauses(&constant, Code::SemIsSet), [10 * MS, 10 * MS]);
        let many = Policy::new().tries(200).backoff(MS, HOUR).jitter(false);
        assert_eq!(pauses(&many, Code::SemIsSet).iter().max(), Some(&HOUR));
    }

    #[test]
    fn jitter_stays_between_the_half_and_the_whole_and_differs() {
        let policy = Policy::new().tries(50).backoff(HOUR, HOUR);
        let all = pauses(&policy, Code::SemTimeout);
        assert!(all.iter().all(|p| (HOUR / 2..=HOUR).contains(p)), "{all:?}");
        assert!(all.windows(2).any(|w| w[0] != w[1]) && pauses(&policy, Code::SemTimeout) != all);
    }

    #[test]
    fn only_what_time_mends_is_asked_for_again() {
        for &code in Code::ALL {
            assert_eq!(pauses(&Policy::new().tries(2), code).len(), usize::from(code.is_retryable()), "{code:?}");
        }
        for tries in [0, 1] {
            let mut asked = 0;
            let refused = Policy::new().tries(tries).run(|| {
                asked += 1;
                Err::<(), _>(Error::new(Code::SemIsSet, "no"))
            });
            assert_eq!((refused.unwrap_err().code(), asked), (Code::SemIsSet, 1));
        }
    }

    #[test]
    fn no_pause_ends_after_the_deadline() {
        let policy = |d| Policy::new().tries(5).backoff(HOUR, HOUR).deadline(Deadline::after(d));
        assert!(pauses(&policy(Duration::ZERO), Code::SemTimeout).is_empty());
        assert!(pauses(&policy(HOUR / 4), Code::SemTimeout).is_empty());
        assert_eq!(pauses(&policy(2 * HOUR), Code::SemTimeout).len(), 4);
    }

    #[test]
    fn it_ends_with_the_first_success_or_the_last_error() {
        let policy = Policy::new().tries(4).backoff(Duration::ZERO, Duration::ZERO);
        let mut asked = 0;
        let mut ask = |wins_at: u32| {
            asked += 1;
            if asked == wins_at { Ok(asked) } else { Err(Error::new(Code::TooManySemaphores, asked.to_string())) }
        };
        assert_eq!(policy.run(|| ask(3)).ok(), Some(3));
        assert_eq!(policy.run(|| ask(99)).unwrap_err().message(), "7");
    }

    /// 105 owns: asking again would give it away and take it once more.
    #[test]
    fn a_dead_owner_is_no_reason_to_ask_again() {
        let ns = crate::Namespace::open("memory:").unwrap();
        let sem = crate::Exclusive::create(&ns, "a").unwrap();
        sem.acquire().unwrap().abandon().unwrap();
        let mut asked = 0;
        let outcome = Policy::new().run(|| {
            asked += 1;
            sem.try_acquire()
        });
        let died = outcome.unwrap_err();
        assert!(!died.may_retry());
        assert_eq!((Error::from(died).code(), asked), (Code::SemOwnerDied, 1));
    }
}
