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
        Some("unwritten") => unwritten(),
        _ => {
            eprintln!("usage: unsound overflow | use-after-free | leak | race | unwritten");
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

fn unwritten() {
    let layout = std::alloc::Layout::new::<u64>();
    // SAFETY: it is not of size zero. It is never freed, which is nothing here.
    let never = unsafe { std::alloc::alloc(layout) }.cast::<u64>();
    // SAFETY: none: this is the fault, what is read was never written.
    if unsafe { never.read_volatile() } == 7 {
        println!("by chance");
    }
}

fn leak() {
    // Many, since the last one may still be known to a register; in a thread, whose stack nobody looks at when it has ended.
    let forget = || {
        for n in 0..64u64 {
            black_box(Box::into_raw(Box::new([black_box(n); 99])));
        }
    };
    thread::spawn(forget).join().expect("it only allocates");
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
