//! Interrupt time, as programs meet it: handlers of all sorts on threads of all sorts, each of which asks for semaphores and
//! must be refused with 104, while normal code must never be.
//!
//! A program of its own (bin `interrupt`) in a crate of its own, because it needs its main thread, its signal handlers, its allocator and its
//! build for itself.

mod cases;
mod handlers;
mod jump;
mod other_user;
mod threads;

pub use handlers::CountingAllocator;

use handlers::{Seen, Stage};
use xsem::interrupt::testing;

/// How interrupt time is to be recognized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As it comes: with the hint, where the self-test says that it holds.
    Usual,
    /// Without the hint: a full check at each request.
    Full,
    /// Without the hint, and only by unwinding.
    Unwind,
}

/// Who else in the process has to do with rseq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// The C library alone, or nobody.
    None,
    /// Somebody has registered an area for every thread, so that xsem cannot.
    Registered,
    /// Somebody uses the same area as xsem, and leaves another pointer there all the time.
    Intruding,
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How to recognize it.
    pub way: Way,
    /// Who else is there.
    pub others: Others,
    /// Whether the hint has to hold here.
    pub must_hint: bool,
    /// A fault to seed.
    pub fault: testing::Fault,
    /// Seeds the fault that the hint always says "normal time".
    pub never_look: bool,
}

/// Runs all cases on all sorts of threads, and says what went wrong.
pub fn run(url: &str, options: Options) -> Vec<String> {
    let mut wrong = Vec::new();
    if options.others == Others::Registered {
        other_user::register_area();
    }
    let stage = Stage::set(url, options);
    if options.way == Way::Full {
        testing::fail_self_test();
    }
    let (hint, frames) = testing::self_test();
    if options.way == Way::Unwind {
        testing::only_unwind();
        testing::fail_self_test();
        testing::self_test();
    }
    if !frames {
        wrong.push("the kernel's signal frames do not look as they should".to_owned());
    }
    if options.must_hint && !hint {
        wrong.push("the hint does not hold on this kernel".to_owned());
    }
    if options.never_look {
        testing::never_look();
    }
    testing::seed(options.fault);
    if options.fault != testing::Fault::None {
        // A fault is found at once, or not at all.
        println!("seeded: {:?}", options.fault);
    }
    for (thread, on) in threads::ALL {
        for (case, f) in cases::ALL {
            let before = Seen::now();
            on(*f, stage);
            let seen = Seen::now().since(before);
            println!("{thread:<8} {case:<18} {seen}");
            wrong.extend(seen.wrong().map(|w| format!("{thread}, {case}: {w}")));
        }
    }
    let usual = hint && options.way == Way::Usual && options.others == Others::None;
    if usual && !options.never_look && !cases::arms(stage) {
        wrong.push("normal code is never armed: each request makes a full check".to_owned());
    }
    if options.others == Others::Registered && cases::arms(stage) {
        wrong.push("armed, although the area is somebody else's".to_owned());
    }
    wrong
}
