//! A library with xsem in it, for a program that loads it with `dlopen` and unloads it again: see `tests/interrupt_dlopen.rs`.

use xsem::interrupt::{self, testing};

/// Asks until the calling thread is armed, or it is clear that it never will be. 1: it is; 0: it is not; 2: it was taken to
/// be in a handler.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_arm() -> i32 {
    let (hint, _) = testing::self_test();
    for _ in 0..if hint { 1000 } else { 1 } {
        if interrupt::is_now() {
            return 2;
        }
        if testing::is_armed() {
            return 1;
        }
    }
    0
}

/// Whether it is interrupt time.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_is_now() -> i32 {
    interrupt::is_now() as i32
}
