//! The only futex calls. Everything is shared between processes except the words of cancel tokens.

use crate::shm::sys;
use std::sync::atomic::{AtomicBool, AtomicU32 as StdU32, AtomicU64 as StdU64, Ordering};

const FUTEX_WAIT_BITSET: i32 = 9;
const FUTEX_WAKE: i32 = 1;
const FUTEX_WAKE_OP: i32 = 5;
const PRIVATE: i32 = 128;
const OP_SET: u32 = 0;
const OP_ANDN: u32 = 3;
const OP_CMP_EQ: u32 = 0;
const FUTEX2_SIZE_U32: u32 = 2;
const FUTEX2_PRIVATE: u32 = 128;

/// Bits that the kernel sets in a word of a robust list.
pub const OWNER_DIED: u32 = 0x4000_0000;
/// The kernel wakes a sleeper of the word when its owner dies.
pub const FUTEX_WAITERS: u32 = 0x8000_0000;
/// The thread id in a word of a robust list.
pub const TID_MASK: u32 = 0x3fff_ffff;

/// A word to sleep on, and the value that it must still have when the sleep begins.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Watch {
    val: u64,
    addr: u64,
    flags: u32,
    reserved: u32,
}

impl Watch {
    /// A word that other processes change.
    pub fn shared(word: *const StdU32, expect: u32) -> Watch {
        Watch { val: expect as u64, addr: word as u64, flags: FUTEX2_SIZE_U32, reserved: 0 }
    }

    /// A word of this process only.
    pub fn private(word: *const StdU32, expect: u32) -> Watch {
        Watch { flags: FUTEX2_SIZE_U32 | FUTEX2_PRIVATE, ..Watch::shared(word, expect) }
    }
}

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woke {
    /// A word was woken or had changed, or nobody knows: look again.
    LookAgain,
    /// The time ran out.
    TimedOut,
    /// A signal handler ran.
    Signal,
}

static NO_WAITV: AtomicBool = AtomicBool::new(false);

/// Sleeps on all words at once until `until` (monotonic, nanoseconds).
///
/// Where the kernel has no futex_waitv (before 5.16, or a seccomp filter, whatever that answers), it sleeps on the first word
/// for at most 20 ms at a time: correct, later. Where it has not even that, it looks again each millisecond.
pub fn sleep(words: &[Watch], until: Option<u64>) -> Woke {
    sleep_at(words, until).0
}

/// The same, and which of the words was woken, where that is known.
pub fn sleep_at(words: &[Watch], until: Option<u64>) -> (Woke, Option<usize>) {
    if !NO_WAITV.load(Ordering::Relaxed) {
        let t = until.map(timespec);
        let p = t.as_ref().map_or(std::ptr::null(), |t| t as *const libc::timespec);
        // SAFETY: futex_waitv reads `words.len()` entries of the kernel's layout (repr(C) `Watch`) and one timespec. It
        // dereferences the futex addresses in the kernel, where a bad one is EFAULT.
        let r = unsafe { libc::syscall(libc::SYS_futex_waitv, words.as_ptr(), words.len(), 0, p, libc::CLOCK_MONOTONIC) };
        match if r < 0 { sys::errno() } else { 0 } {
            0 | libc::EAGAIN => return (Woke::LookAgain, usize::try_from(r).ok()),
            libc::ETIMEDOUT => return (Woke::TimedOut, None),
            libc::EINTR => return (Woke::Signal, None),
            // No memory now, or a word that cannot be slept on: perhaps the next time.
            libc::ENOMEM | libc::EFAULT | libc::EINVAL => {}
            _ => NO_WAITV.store(true, Ordering::Relaxed),
        }
    }
    let (w, short) = (words[0], crate::deadline::now() + 20_000_000);
    let end = until.map_or(short, |u| u.min(short));
    let t = timespec(end);
    let op = FUTEX_WAIT_BITSET | if w.flags & FUTEX2_PRIVATE != 0 { PRIVATE } else { 0 };
    // SAFETY: FUTEX_WAIT_BITSET takes an absolute monotonic timespec; the address is checked by the kernel.
    let r = unsafe { libc::syscall(libc::SYS_futex, w.addr, op, w.val as u32, &t as *const _, 0usize, u32::MAX) };
    let woke = match if r < 0 { sys::errno() } else { 0 } {
        libc::ETIMEDOUT if until.is_some_and(|u| u <= end) => Woke::TimedOut,
        libc::EINTR => Woke::Signal,
        0 | libc::EAGAIN | libc::ETIMEDOUT => Woke::LookAgain,
        _ => {
            // Without this it would look again and again as fast as it can.
            sys::nap(std::time::Duration::from_millis(1));
            Woke::LookAgain
        }
    };
    (woke, None)
}

/// Whether there is futex_waitv: a call that cannot be is told so, and not that there is none.
pub fn has_waitv() -> bool {
    // SAFETY: no words, which is refused before anything is looked at.
    let r = unsafe { libc::syscall(libc::SYS_futex_waitv, 0usize, 0, 0, 0usize, 0) };
    r >= 0 || sys::errno() == libc::EINVAL
}

fn timespec(ns: u64) -> libc::timespec {
    let ns = crate::timens::of_process(ns);
    libc::timespec { tv_sec: (ns / 1_000_000_000) as _, tv_nsec: (ns % 1_000_000_000) as _ }
}

/// The futex half of a 64-bit word (little-endian, checked at compile time).
pub fn low(word: &StdU64) -> *const StdU32 {
    word as *const StdU64 as *const StdU32
}

/// Wakes everybody who sleeps on the word.
pub fn wake_all(word: *const StdU32) {
    // SAFETY: FUTEX_WAKE only looks the address up.
    unsafe { libc::syscall(libc::SYS_futex, word, FUTEX_WAKE, i32::MAX, 0usize, 0usize, 0) };
}

/// The same for a word of this process only.
pub fn wake_private_all(word: &StdU32) {
    wake_private_at(word);
}

/// The same for an address where the word may be gone already.
pub fn wake_private_at(word: *const StdU32) {
    // SAFETY: FUTEX_WAKE only looks the address up.
    unsafe { libc::syscall(libc::SYS_futex, word, FUTEX_WAKE | PRIVATE, i32::MAX, 0usize, 0usize, 0) };
}

/// Sleeps on a word of this process while it has this value.
pub fn wait_private(word: &StdU32, expect: u32) {
    // SAFETY: the word is a valid, aligned u32 for as long as the borrow; no timeout is given.
    unsafe { libc::syscall(libc::SYS_futex, word, FUTEX_WAIT_BITSET | PRIVATE, expect, 0usize, 0usize, u32::MAX) };
}

/// Sets the low half of `word` and wakes all its sleepers, in one system call: a process that is stopped or killed has
/// done both or neither. `value` is below 2048 (see `word.rs`).
pub fn set_low_and_wake_all(word: &StdU64, value: u32) {
    debug_assert!(value < 2048);
    let op = OP_SET << 28 | OP_CMP_EQ << 24 | value << 12 | 0xfff;
    let p = low(word);
    // SAFETY: both addresses are the valid, aligned low half of `word`; the kernel stores `value` there with its own
    // atomic operation and wakes. The comparison (old value == -1) never holds, and would wake nobody more.
    let r = unsafe { libc::syscall(libc::SYS_futex, p, FUTEX_WAKE_OP, i32::MAX, 0usize, p, op) };
    if r < 0 {
        // A filter that refuses FUTEX_WAKE_OP: two steps. Sleepers' periodic second look covers a stop in between.
        // SAFETY: as above; the low half is a valid AtomicU32 in memory that is only accessed atomically.
        unsafe { &*p }.store(value, Ordering::Release);
        wake_all(p);
    }
}

/// Clears bits of the low half of `word` and wakes all its sleepers, in one system call. `bits` is below 2048.
pub fn clear_low_and_wake_all(word: &StdU64, bits: u32) {
    debug_assert!(bits < 2048);
    let op = OP_ANDN << 28 | OP_CMP_EQ << 24 | bits << 12 | 0xfff;
    let p = low(word);
    // SAFETY: as in `set_low_and_wake_all`, with the kernel's atomic and-not.
    let r = unsafe { libc::syscall(libc::SYS_futex, p, FUTEX_WAKE_OP, i32::MAX, 0usize, p, op) };
    if r < 0 {
        // SAFETY: as there.
        unsafe { &*p }.fetch_and(!bits, Ordering::AcqRel);
        wake_all(p);
    }
}
