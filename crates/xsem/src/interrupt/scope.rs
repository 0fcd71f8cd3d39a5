//! Declared interrupt time.

use super::hint;
use std::cell::Cell;
use std::marker::PhantomData;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Interrupt time by declaration, from [`scope`] until it is dropped. It stays on its thread.
#[derive(Debug)]
#[must_use = "it ends where it is dropped"]
pub struct Scope {
    _on_its_thread: PhantomData<*const ()>,
}

/// Declares that from here on it is interrupt time on this thread, until the result is dropped: requests are refused with
/// 104, as in a signal handler. Scopes may be nested.
///
/// For code that must not wait although it is no signal handler: the callback of a real-time audio driver, the interrupt
/// service routine of an emulated machine or of a driver in user space. What such code may do is what a signal handler may
/// do (see [the module](crate::interrupt)).
///
/// It costs some nanoseconds, and a full check at the thread's next request afterwards.
///
/// Do not leave it by `siglongjmp`: then it never ends.
///
/// # Examples
/// The callback of an audio driver: a lock there would be heard, sooner or later. The scope makes the mistake an error at
/// the first try, and not a crackle on a loaded machine:
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display()))?;
/// use xsem::{Code, Counting, Exclusive, interrupt};
/// let settings = Exclusive::open_or_create(&ns, "settings")?;
/// let blocks = Counting::open_or_create_credit(&ns, "blocks", 64, 0)?;
///
/// let audio_callback = |samples: &mut [f32]| {
///     let _now = interrupt::scope();
///     samples.fill(0.0);
///     assert_eq!(settings.try_acquire().unwrap_err().code(), Code::InvalidAtInterruptTime);
///     blocks.add_permits(1).unwrap(); // allowed: it tells the thread that writes the file
/// };
/// audio_callback(&mut [1.0; 64]);
///
/// let _guard = settings.acquire()?; // the scope is over
/// # Ok::<(), xsem::Error>(())
/// ```
/// An emulated machine: its interrupt service routines run on an ordinary thread, and shall be held to the rule all the same:
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let ns = xsem::Namespace::open(&format!("shm:{}/ns", dir.path().display()))?;
/// # use xsem::{Counting, interrupt};
/// struct Cpu { handlers: [Option<fn(&Counting)>; 8], pending: u8 }
///
/// impl Cpu {
///     fn dispatch(&mut self, line: &Counting) {
///         let _now = interrupt::scope();
///         while self.pending != 0 {
///             let n = self.pending.trailing_zeros() as usize;
///             self.pending &= self.pending - 1;
///             if let Some(handler) = self.handlers[n] {
///                 handler(line);
///             }
///         }
///     }
/// }
///
/// let line = Counting::open_or_create_credit(&ns, "serial/0", 16, 0)?;
/// let mut cpu = Cpu { handlers: [None; 8], pending: 0b100 };
/// cpu.handlers[2] = Some(|line| line.add_permits(1).unwrap());
/// cpu.dispatch(&line);
/// let character = line.acquire()?; // the driver
/// # character.forget()?;
/// # Ok::<(), xsem::Error>(())
/// ```
pub fn scope() -> Scope {
    DEPTH.set(DEPTH.get() + 1);
    hint::disarm();
    Scope { _on_its_thread: PhantomData }
}

/// Whether the calling thread is in one.
pub fn is_declared() -> bool {
    DEPTH.get() != 0
}

impl Drop for Scope {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}
