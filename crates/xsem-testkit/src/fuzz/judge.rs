//! What the processes of a case tell about themselves, and what is wrong with it.

use crate::sys::Shared;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::*};
use std::time::Duration;
use xsem::{Code, Error};

/// Threads of a process that tell what they do.
pub const LANES: usize = 3;
const TEXT: usize = 1500;

/// One process's account, in memory that it shares with its judge.
pub struct Account {
    /// What each of its threads is doing, + 1, and since when; 0: nothing.
    doing: [AtomicU32; LANES],
    began: [AtomicU64; LANES],
    pub calls: AtomicU64,
    slowest: AtomicU64,
    len: AtomicU32,
    text: [AtomicU8; TEXT],
    /// It shall come to its end.
    pub over: AtomicU32,
    /// It has opened the file, or failed to.
    pub ready: AtomicU32,
    /// The number of the code with which it could not be opened.
    pub refused: AtomicU32,
}

// SAFETY: nothing but atomics, for which zeros are valid.
unsafe impl Shared for Account {}

/// What a call with a short deadline may take of a processor's time.
pub const BUSY: Duration = Duration::from_secs(8);
/// And by the clock, on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Codes that calls on a damaged file may give. Not among them: 8 (a damaged length must not ask for memory), 104.
const STATED: [u32; 22] =
    [1, 5, 6, 87, 95, 100, 101, 102, 103, 105, 106, 121, 123, 151, 153, 183, 187, 288, 298, 1131, 1306, 1392];

fn now() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is valid for writes.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

impl Account {
    /// Makes one call.
    pub fn call<T>(&self, lane: usize, what: u32, f: impl FnOnce() -> T) -> T {
        let start = now();
        self.began[lane].store(start, SeqCst);
        self.doing[lane].store(what + 1, SeqCst);
        let done = f();
        self.doing[lane].store(0, SeqCst);
        self.calls.fetch_add(1, Relaxed);
        // With the call in the low bits.
        self.slowest.fetch_max((now() - start) >> 6 << 6 | u64::from(what), Relaxed);
        done
    }

    /// Looks at an error.
    pub fn error(&self, what: &str, file: &str, e: &Error) {
        let (n, text) = (e.code().number(), e.to_string());
        if !STATED.contains(&n) {
            self.say(&format!("{what} gives {n}, which is none of the stated codes: {text}"));
        }
        if e.code() == Code::FileCorrupt && !(text.contains(file) && text.contains("damaged")) {
            self.say(&format!("{what}: the text does not name the file and the damage: {text}"));
        }
    }

    /// Something is wrong; the first counts.
    pub fn say(&self, text: &str) {
        if self.len.compare_exchange(0, text.len().clamp(1, TEXT) as u32, SeqCst, SeqCst).is_ok() {
            text.bytes().zip(&self.text).for_each(|(b, to)| to.store(b, SeqCst));
        }
    }

    /// What is wrong.
    pub fn said(&self) -> Option<String> {
        let len = self.len.load(SeqCst) as usize;
        let bytes: Vec<u8> = self.text[..len].iter().map(|b| b.load(SeqCst)).collect();
        (len != 0).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The call that does not end; `busy` says how long the process has had a processor.
    pub fn hangs(&self, busy: Duration) -> Option<u32> {
        self.hangs_at(now(), busy)
    }

    fn hangs_at(&self, now: u64, busy: Duration) -> Option<u32> {
        let patience = if busy > BUSY * 2 { BUSY } else { PATIENCE };
        let late = |i: &usize| {
            self.doing[*i].load(SeqCst) != 0 && now.saturating_sub(self.began[*i].load(SeqCst)) > patience.as_nanos() as u64
        };
        (0..LANES).find(late).map(|i| self.doing[i].load(SeqCst) - 1)
    }

    /// What it was doing when it ended.
    pub fn last(&self) -> Vec<u32> {
        self.doing.iter().filter_map(|d| d.load(SeqCst).checked_sub(1)).collect()
    }

    /// The longest call, and which it was.
    pub fn slowest(&self, calls: &[&'static str]) -> (Duration, &'static str) {
        let v = self.slowest.load(Relaxed);
        (Duration::from_nanos(v), calls.get(v as usize & 63).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::SharedBox;

    #[test]
    fn wrong_errors_and_calls_without_an_end_are_noticed() {
        let a = SharedBox::<Account>::new().unwrap();
        a.error("x", "/f", &Error::new(Code::SemNotFound, "no such name"));
        a.error("x", "/f", &Error::new(Code::FileCorrupt, "`/f` is damaged"));
        assert_eq!(a.said(), None);
        a.error("x", "/f", &Error::new(Code::FileCorrupt, "something is wrong"));
        a.error("x", "/f", &Error::new(Code::NotEnoughMemory, "only the first counts"));
        assert!(a.said().unwrap().contains("does not name the file"));
        let b = SharedBox::<Account>::new().unwrap();
        b.error("x", "/f", &Error::new(Code::NotEnoughMemory, "no memory"));
        assert!(b.said().unwrap().contains("none of the stated codes"));
        assert_eq!(b.call(1, 5, || b.last()), [5]);
        assert_eq!((b.hangs(Duration::ZERO), b.last()), (None, vec![]));
        let begin = now();
        b.began[2].store(begin, SeqCst);
        b.doing[2].store(8, SeqCst);
        let after = |patience: Duration| begin + patience.as_nanos() as u64;
        assert_eq!(b.hangs_at(after(PATIENCE), Duration::ZERO), None);
        assert_eq!(b.hangs_at(after(PATIENCE) + 1, Duration::ZERO), Some(7));
    }
}
