//! Does on purpose what the sanitizers shall find: `cargo xtask sanitize` first looks whether they do. Nothing else runs it.

use std::hint::black_box;
use std::process::ExitCode;
use std::thread;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("overflow") => overflow(),
        Some("use-after-free") => use_after_free(),
        Some("leak") => leak(),
        Some("race") => race(),
        _ => {
            eprintln!("usage: unsound overflow | use-after-free | leak | race");
            return ExitCode::from(2);
        }
    }
    println!("nobody noticed");
    ExitCode::SUCCESS
}

fn overflow() {
    let short = Box::new([7u8; 24]);
    // SAFETY: none: this is the fault, a read behind the end.
    black_box(unsafe { *short.as_ptr().add(black_box(24)) });
}

fn use_after_free() {
    let gone = Box::into_raw(Box::new(7u64));
    // SAFETY: from a box, freed once.
    drop(unsafe { Box::from_raw(gone) });
    // SAFETY: none: this is the fault.
    black_box(unsafe { *black_box(gone) });
}

#[inline(never)]
fn leak() {
    // Its last trace is a frame that has ended, and is written over.
    black_box(Box::leak(Box::new([7u8; 4321]))[0]);
    black_box([0u8; 4096]);
}

fn race() {
    struct Place(std::cell::UnsafeCell<u64>);
    // SAFETY: none: this is the fault, two threads write without an order between them.
    unsafe impl Sync for Place {}
    static PLACE: Place = Place(std::cell::UnsafeCell::new(0));
    let write = || {
        for i in 0..1000 {
            // SAFETY: as above.
            unsafe { PLACE.0.get().write_volatile(black_box(i)) };
        }
    };
    let other = thread::spawn(write);
    write();
    other.join().expect("the other one only writes");
}
