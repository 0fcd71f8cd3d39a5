//! The calling thread's stack: where it is, and whether the kernel has put a signal frame on it.

use std::cell::Cell;

thread_local! {
    /// From where to where this thread's stack reaches; (0, 0): not known yet.
    static BOUNDS: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// How far below its top the main thread's stack is taken to reach. The kernel leaves at least 128 MiB between that and the
/// next mapping, so nothing else lies there.
const MAIN_REACH: usize = 96 << 20;

/// Where we are: an address in the frame of the caller.
#[inline(always)]
pub fn here() -> usize {
    let here = 0u8;
    std::hint::black_box(&raw const here) as usize
}

/// The end of the stack that `here` lies on, if that is this thread's own and known.
pub fn end(here: usize) -> Option<usize> {
    let (low, high) = match BOUNDS.get() {
        (0, 0) => match main_bounds() {
            Some(main) => main,
            None => return end_by_control_block(here),
        },
        known => known,
    };
    (low <= here && here < high).then_some(high)
}

/// Looks where this thread's stack is, and keeps that. Only at normal time: the C library may allocate.
pub fn learn(here: usize) {
    if BOUNDS.get() != (0, 0) {
        return;
    }
    let contains = |(low, high): (usize, usize)| low <= here && here < high;
    // A forked child of another thread than the main one is a main thread on that one's stack.
    let found = main_bounds().filter(|b| contains(*b)).or_else(bounds_by_pthread);
    // On a stack of the program's own making (a coroutine's) this thread's does not help, and need not be asked for again.
    BOUNDS.set(found.unwrap_or((1, 1)));
}

/// Of the main thread: without a look at /proc, and so also in a signal handler.
fn main_bounds() -> Option<(usize, usize)> {
    // SAFETY: no arguments; they cannot fail.
    let is_main = unsafe { libc::syscall(libc::SYS_gettid) == libc::getpid() as libc::c_long };
    if !is_main {
        return None;
    }
    // The kernel puts these bytes right above what it passes to `main`.
    // SAFETY: a plain number.
    let top = unsafe { libc::getauxval(libc::AT_RANDOM) } as usize;
    (top > MAIN_REACH).then(|| (top - MAIN_REACH, top & !7))
}

/// The end of the stack of a thread whose first request of all this is, perhaps in a handler, where the C library must not
/// be asked: on x86-64 that has put the thread's control block at the top of the stack. Only if that is near, and all between
/// is memory: what lies between a coroutine's stack and the thread's own is not.
#[cfg(target_arch = "x86_64")]
fn end_by_control_block(here: usize) -> Option<usize> {
    const REACH: usize = 256 << 10;
    const PAGE: usize = 4096;
    let top = super::rseq::thread_pointer() as usize & !7;
    let near = here < top && top - here <= REACH;
    (near && (here / PAGE..=(top - 8) / PAGE).all(|page| is_readable((page * PAGE).max(here & !7)))).then_some(top)
}

#[cfg(not(target_arch = "x86_64"))]
fn end_by_control_block(_here: usize) -> Option<usize> {
    None
}

/// Whether there are eight bytes to be read: the kernel copies the mask before it looks at what to do with it, which is
/// nothing that it knows.
#[cfg(target_arch = "x86_64")]
fn is_readable(address: usize) -> bool {
    const NOTHING: i32 = -1;
    // SAFETY: an address that cannot be read is EFAULT; nothing is set.
    let r = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, NOTHING, address, 0usize, 8usize) };
    r < 0 && super::errno() == libc::EINVAL
}

fn bounds_by_pthread() -> Option<(usize, usize)> {
    // SAFETY: an all-zero attribute is a valid value to be overwritten, and is destroyed only if it was filled in.
    unsafe {
        let mut attr: libc::pthread_attr_t = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &mut attr) != 0 {
            return None;
        }
        let (mut low, mut size) = (std::ptr::null_mut(), 0);
        let r = libc::pthread_attr_getstack(&attr, &mut low, &mut size);
        libc::pthread_attr_destroy(&mut attr);
        (r == 0 && size > 0).then(|| (low as usize, (low as usize + size) & !7))
    }
}

/// The alternate signal stack on which the caller runs, if it does: its end.
pub fn alternate_end() -> Option<usize> {
    // SAFETY: an all-zero stack_t is a valid value to be overwritten; nothing is set.
    let mut s: libc::stack_t = unsafe { std::mem::zeroed() };
    // SAFETY: valid for writes.
    let r = unsafe { libc::sigaltstack(std::ptr::null(), &mut s) };
    (r == 0 && s.ss_flags & libc::SS_ONSTACK != 0).then(|| (s.ss_sp as usize + s.ss_size) & !7)
}

/// The signal frames of the kernel on x86-64.
#[cfg(target_arch = "x86_64")]
pub mod frames {
    use std::arch::x86_64::*;

    /// What stands in every frame: the selectors of 64-bit user code, as `cs | gs << 16 | fs << 32 | ss << 48`. They are
    /// part of the kernel's interface, and the kernel writes 0 for gs and fs.
    const SELECTORS: u64 = 0x002b_0000_0000_0033;

    /// Words of a frame: the restorer's address and the `ucontext`. (The `siginfo` behind it is only written for who asked
    /// for it.)
    const WORDS: usize = 39;
    /// Where in it the selectors, and other things, stand.
    const AT_SELECTORS: usize = 24;
    const AT_FLAGS: usize = 1;
    const AT_LINK: usize = 2;
    const AT_IP: usize = 22;
    const AT_FPSTATE: usize = 29;
    const AT_MASK: usize = 38;

    /// What looks like a frame, at this address.
    #[derive(Clone, Copy, Debug)]
    pub struct Frame(usize);

    impl Frame {
        /// Its address.
        pub fn at(self) -> usize {
            self.0
        }

        fn word(self, i: usize) -> u64 {
            debug_assert!(i < WORDS);
            // SAFETY: `find` has seen that all of it lies on the stack, above the stack pointer.
            unsafe { (self.0 as *const u64).add(i).read_volatile() }
        }

        /// The signals that were blocked before it was made.
        pub fn mask(self) -> u64 {
            self.word(AT_MASK)
        }

        /// Whether it can be one: only what a handler does not change.
        fn is_plausible(self) -> bool {
            let user = |a: u64| a != 0 && a < 1 << 56;
            // 0, or any other number, after a call through a bad pointer.
            let ip = self.word(AT_IP);
            let fpstate = self.word(AT_FPSTATE);
            user(self.word(0))
                && ip < 1 << 56
                && self.word(AT_FLAGS) < 16
                && self.word(AT_LINK) == 0
                && (fpstate == 0 || user(fpstate))
        }
    }

    /// The first frame between two addresses of the caller's stack, if there is one.
    #[inline(never)]
    pub fn find(from: usize, to: usize) -> Option<Frame> {
        let mut at = from & !63;
        while at < to {
            // Blocks of 64 bytes; what lies below `from` in the first one is memory of the same page.
            let hit = if to - at >= 64 { next_block(&mut at, to) } else { true };
            if hit {
                for k in 0..8 {
                    let word = at + k * 8;
                    if word >= from
                        && word < to
                        // SAFETY: on the caller's stack, between its pointer and its end.
                        && unsafe { (word as *const u64).read_volatile() } == SELECTORS
                        && let Some(frame) = word.checked_sub(AT_SELECTORS * 8)
                        && frame >= from
                        && frame + WORDS * 8 <= to
                        && Frame(frame).is_plausible()
                    {
                        return Some(Frame(frame));
                    }
                }
                at += 64;
            }
        }
        None
    }

    /// Goes to the next whole block in which the selectors may stand. False: `at` has come to the last, partial one.
    #[inline(always)]
    fn next_block(at: &mut usize, to: usize) -> bool {
        // The upper half is a rare number; the lower one, 51, is not.
        // SAFETY: SSE2 is part of every x86-64.
        let want = unsafe { _mm_set1_epi32((SELECTORS >> 32) as i32) };
        while to - *at >= 64 {
            let p = *at as *const __m128i;
            // SAFETY: 64 aligned bytes of the caller's stack. What other code of this thread writes there it does not write
            // now; a signal handler may, below us.
            let any = unsafe {
                let eq = |i: usize| _mm_cmpeq_epi32(_mm_load_si128(p.add(i)), want);
                let any = _mm_or_si128(_mm_or_si128(eq(0), eq(1)), _mm_or_si128(eq(2), eq(3)));
                _mm_movemask_epi8(any)
            };
            if any != 0 {
                return true;
            }
            *at += 64;
        }
        false
    }
}
