//! Which program a process runs: an exec leaves its number and its start time as they are, but not this.
//!
//! | half | made of | who can tell |
//! |---|---|---|
//! | high | where the kernel put the program, its stack and the vDSO (`/proc/PID/auxv`) | whoever may look at that process |
//! | low | the random bytes that the kernel gave it (AT_RANDOM) | the program itself |
//!
//! 0 in a half: not known. The low half tells two programs apart where memory is not put in random places (`setarch -R`, debuggers).

use super::layout::hash;
use super::sys;

/// Marks of the program in a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Image(u64);

impl Image {
    /// Nothing is known of it.
    pub const UNKNOWN: Image = Image(0);

    pub fn bits(self) -> u64 {
        self.0
    }

    pub fn from_bits(bits: u64) -> Image {
        Image(bits)
    }

    /// Of the program that asks.
    pub fn own() -> Image {
        Image(Image::at("/proc/self/auxv").0 | half(own_random()))
    }

    /// Of the program that a process of this pid namespace runs now; half of it, where it may be looked at.
    pub fn of_process(pid: u32) -> Image {
        Image::at(&format!("/proc/{pid}/auxv"))
    }

    /// Not from what the C library knows: a loader that is called by name changes its own copy.
    fn at(path: &str) -> Image {
        let read = sys::content(path).ok().filter(|bytes| !bytes.is_empty());
        Image(half(read) << 32)
    }

    /// Whether two that are known in the same half differ there. Two that are the same may be two programs all the same.
    pub fn is_surely_not(self, other: Image) -> bool {
        let differ = |a: u64, b: u64| a != 0 && b != 0 && a != b;
        differ(self.0 >> 32, other.0 >> 32) || differ(self.0 & HALF, other.0 & HALF)
    }
}

const HALF: u64 = u32::MAX as u64;

/// A few bits of it only: the same random bytes guard the program's stack.
fn half(bytes: Option<Vec<u8>>) -> u64 {
    bytes.map_or(0, |b| (hash(b.into_iter()) >> 32).max(1))
}

fn own_random() -> Option<Vec<u8>> {
    // SAFETY: it only reads a table of this process.
    let at = unsafe { libc::getauxval(libc::AT_RANDOM) } as *const u8;
    // SAFETY: the kernel has put 16 bytes there, which live as long as the process.
    (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at, 16) }.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That an exec changes it is tested in `tests/exec.rs`.
    #[test]
    fn it_is_the_same_from_inside_and_outside() {
        let (own, seen) = (Image::own(), Image::of_process(std::process::id()));
        assert_eq!((own, own.0 >> 32), (Image::own(), seen.0 >> 32));
        assert!(own.0 >> 32 != 0 && own.0 & HALF != 0 && seen.0 & HALF == 0);
        assert!(!own.is_surely_not(seen) && !own.is_surely_not(Image::UNKNOWN));
    }

    #[test]
    fn what_is_not_known_says_nothing() {
        let image = |high: u64, low: u64| Image(high << 32 | low);
        for (a, b, differ) in [
            (image(1, 1), image(1, 1), false),
            (image(1, 1), image(2, 0), true),
            (image(1, 1), image(0, 2), true),
            (image(1, 0), image(0, 2), false),
            (image(1, 1), image(1, 2), true),
        ] {
            assert_eq!((a.is_surely_not(b), b.is_surely_not(a)), (differ, differ), "{a:?} {b:?}");
        }
    }
}
