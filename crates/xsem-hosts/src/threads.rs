//! Threads of all sorts.

use super::cases::{Case, deep};
use super::handlers::Stage;
use super::{Others, other_user};
use std::ffi::c_void;
use std::thread;

/// Runs a case on a thread of some sort.
type On = fn(Case, &'static Stage);

pub(super) const ALL: &[(&str, On)] = &[("main", on_main), ("spawned", on_spawned), ("deep", on_deep), ("foreign", on_foreign)];

/// What each thread has: an alternate signal stack of its own.
fn with_alternate_stack(case: Case, stage: &'static Stage) {
    let mut memory = vec![0u8; 128 * 1024];
    // SAFETY: all-zero values that are overwritten; the memory outlives its use, which ends below.
    unsafe {
        let mut before: libc::stack_t = std::mem::zeroed();
        let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: memory.len() };
        assert_eq!(libc::sigaltstack(&stack, &mut before), 0);
        case(stage);
        libc::sigaltstack(&before, std::ptr::null_mut());
    }
}

fn begin(stage: &Stage) {
    if stage.options.others == Others::Registered {
        other_user::register_area();
    }
}

fn on_main(case: Case, stage: &'static Stage) {
    with_alternate_stack(case, stage);
}

fn on_spawned(case: Case, stage: &'static Stage) {
    let run = move || {
        begin(stage);
        with_alternate_stack(case, stage);
    };
    thread::spawn(run).join().expect("it does not panic");
}

fn on_deep(case: Case, stage: &'static Stage) {
    let run = move || {
        begin(stage);
        deep(1000, &mut || with_alternate_stack(case, stage));
    };
    thread::Builder::new().stack_size(8 << 20).spawn(run).expect("a thread").join().expect("it does not panic");
}

/// A thread that no Rust code has made, on a stack that the program has given it.
fn on_foreign(case: Case, stage: &'static Stage) {
    struct Job(Case, &'static Stage);
    extern "C" fn body(job: *mut c_void) -> *mut c_void {
        // SAFETY: the thread that made this one waits for it with the job alive.
        let job = unsafe { &*job.cast::<Job>() };
        begin(job.1);
        with_alternate_stack(job.0, job.1);
        std::ptr::null_mut()
    }
    const STACK: usize = 1 << 20;
    let job = Job(case, stage);
    // SAFETY: the attributes are initialized before their use; stack and job outlive the thread, which is joined.
    unsafe {
        let stack = libc::mmap(
            std::ptr::null_mut(),
            STACK,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(stack, libc::MAP_FAILED);
        let mut attr: libc::pthread_attr_t = std::mem::zeroed();
        libc::pthread_attr_init(&mut attr);
        libc::pthread_attr_setstack(&mut attr, stack, STACK);
        let mut id = std::mem::MaybeUninit::<libc::pthread_t>::uninit();
        let arg = std::ptr::from_ref(&job).cast_mut().cast();
        assert_eq!(libc::pthread_create(id.as_mut_ptr(), &attr, body, arg), 0);
        libc::pthread_join(id.assume_init(), std::ptr::null_mut());
        libc::pthread_attr_destroy(&mut attr);
        libc::munmap(stack, STACK);
    }
}
