//! The handlers, and what they and the code outside of them saw.

use super::{Options, Others, jump, other_user};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Display;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::time::Duration;
use xsem::{CancelToken, Code, Counting, Error, Event, Exclusive, Namespace, Pick, SignalRelease, Wait, interrupt};

/// What handlers and normal code ask for.
pub(super) struct Stage {
    pub ns: Namespace,
    pub sem: Exclusive,
    pub pool: Counting,
    pub credit: Counting,
    pub event: Event,
    pub cancel: CancelToken,
    pub options: Options,
    /// A release for the next handler to spend.
    pub release: jump::Slot<SignalRelease>,
}

static STAGE: OnceLock<Stage> = OnceLock::new();

static HANDLED: AtomicU32 = AtomicU32::new(0);
static OTHERWISE: AtomicU32 = AtomicU32::new(0);
static ERRNO: AtomicU32 = AtomicU32::new(0);
static ALLOCATED: AtomicU32 = AtomicU32::new(0);
static REFUSED_OUTSIDE: AtomicU32 = AtomicU32::new(0);
static NOT_DONE: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static IN_HANDLER: Cell<u32> = const { Cell::new(0) };
}

/// The allocator of the program: it knows who may not allocate.
pub struct CountingAllocator;

// SAFETY: the system's allocator, and a counter.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(p, layout) }
    }
}

fn count() {
    if IN_HANDLER.get() > 0 {
        ALLOCATED.fetch_add(1, Relaxed);
    }
}

/// What was seen up to a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    handled: u32,
    /// How often each thing that must not be was seen.
    faults: [(u32, &'static str); 5],
}

impl Seen {
    pub fn now() -> Seen {
        let fault = |n: &AtomicU32, what| (n.load(SeqCst), what);
        Seen {
            handled: HANDLED.load(SeqCst),
            faults: [
                fault(&OTHERWISE, "requests in a handler got another error than 104"),
                fault(&ERRNO, "times errno had changed"),
                fault(&ALLOCATED, "times memory was taken or freed in a handler"),
                fault(&REFUSED_OUTSIDE, "requests in normal code were refused"),
                fault(&NOT_DONE, "things that are allowed in a handler did not work"),
            ],
        }
    }

    pub fn since(mut self, before: Seen) -> Seen {
        self.handled -= before.handled;
        self.faults.iter_mut().zip(before.faults).for_each(|(now, then)| now.0 -= then.0);
        self
    }

    pub fn wrong(&self) -> impl Iterator<Item = String> {
        self.faults.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"))
    }
}

impl Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} handlers", self.handled)?;
        self.wrong().try_for_each(|w| write!(f, ", {w}"))
    }
}

/// How many handlers have run.
pub(super) fn handled() -> u32 {
    HANDLED.load(SeqCst)
}

/// What a handler of this program does; `f` is what it asks for.
fn handle(f: impl FnOnce(&Stage)) {
    IN_HANDLER.set(IN_HANDLER.get() + 1);
    set_errno(4711);
    if let Some(stage) = STAGE.get() {
        f(stage);
    }
    if errno() != 4711 {
        ERRNO.fetch_add(1, SeqCst);
    }
    IN_HANDLER.set(IN_HANDLER.get() - 1);
    HANDLED.fetch_add(1, SeqCst);
}

fn errno() -> i32 {
    // SAFETY: the calling thread's own.
    unsafe { *libc::__errno_location() }
}

fn set_errno(to: i32) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = to }
}

/// What a request in a handler came to. One that was granted is the end of the program: the next one might wait for ever.
fn asked<T, E: Into<Error>>(r: Result<T, E>, want: Code) {
    match r {
        Ok(_) => {
            let text = "WRONG: a request was granted in a handler\n";
            // SAFETY: valid bytes; the program ends at once.
            unsafe {
                libc::write(1, text.as_ptr().cast(), text.len());
                libc::_exit(1);
            }
        }
        Err(e) => {
            let e: Error = e.into();
            if e.code() != want {
                OTHERWISE.fetch_add(1, SeqCst);
            }
        }
    }
}

fn must(done: bool) {
    if !done {
        NOT_DONE.fetch_add(1, SeqCst);
    }
}

/// The least that a handler asks for.
fn ask(s: &Stage) {
    asked(s.sem.try_acquire(), Code::InvalidAtInterruptTime);
    asked(s.pool.try_acquire(), Code::InvalidAtInterruptTime);
    must(interrupt::is_now());
}

/// Everything that can be asked for.
fn ask_all(s: &Stage) {
    let no = Code::InvalidAtInterruptTime;
    asked(s.sem.acquire(), no);
    asked(s.sem.acquire_timeout(Duration::from_millis(1)), no);
    asked(s.sem.acquire_owned(Wait::not()), no);
    asked(s.sem.join(1), no);
    asked(s.pool.acquire(), no);
    asked(s.pool.acquire_many(2), no);
    asked(s.pool.acquire_owned(1, Wait::not()), no);
    asked(s.credit.try_acquire(), no);
    asked(s.ns.drain("sem", Wait::not()), no);
    let list = [Pick::from(&s.sem), Pick::from(&s.pool)];
    asked(s.ns.wait_any(&list, Wait::not()), no);
    asked(s.ns.acquire_all(&list, Wait::not()), no);
    asked(interrupt::check(), no);
    // What is wrong with the request itself comes first.
    asked(s.pool.acquire_many(0), Code::InvalidParameter);
    asked(s.pool.acquire_many(1000), Code::InvalidParameter);
    asked(s.ns.wait_any(&[], Wait::not()), Code::InvalidEventCount);
    asked(s.ns.acquire_all(&[list[0], list[0]], Wait::not()), Code::InvalidListFormat);
    asked(s.ns.drain("", Wait::not()), Code::InvalidName);
    ask(s);
}

/// What a handler may do.
fn do_what_is_allowed(s: &Stage) {
    must(s.credit.add_permits(1).is_ok());
    asked(s.credit.add_permits(60_000), Code::TooManyPosts);
    asked(s.pool.add_permits(1), Code::InvalidFunction);
    if let Some(release) = s.release.get() {
        must(release.spend());
        must(!release.spend());
    }
    must(s.event.signal().is_ok());
    s.cancel.cancel();
    ask(s);
}

extern "C" fn on_plain(_: i32) {
    handle(ask_all);
}

/// Also called without unwind tables between it and the kernel, see `jump`.
pub(super) extern "C" fn on_short(_: i32) {
    handle(ask);
}

extern "C" fn on_nested(_: i32) {
    handle(|s| {
        ask(s);
        raise(PLAIN);
        ask(s);
    });
}

extern "C" fn on_allowed(_: i32) {
    handle(do_what_is_allowed);
}

/// Goes on behind the call through a null pointer.
extern "C" fn on_null(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    handle(ask_all);
    jump::back_from_nowhere(context);
}

extern "C" fn on_jump(_: i32) {
    handle(ask);
    jump::out();
}

pub(super) const PLAIN: i32 = libc::SIGUSR1;
pub(super) const ON_STACK: i32 = libc::SIGUSR2;
pub(super) const NESTED: i32 = libc::SIGURG;
pub(super) const ALLOWED: i32 = libc::SIGWINCH;
pub(super) const JUMP: i32 = libc::SIGIO;
pub(super) const JUMP_ON_STACK: i32 = libc::SIGPWR;
/// Its handler has no unwind tables.
pub(super) const BARE: i32 = libc::SIGPROF;
/// Blocks nothing while its handler runs.
pub(super) const OPEN: i32 = libc::SIGVTALRM;
/// Sent by another thread.
pub(super) const ASYNC: i32 = libc::SIGALRM;

fn install(signal: i32, handler: extern "C" fn(i32), flags: i32) {
    // SAFETY: an all-zero sigaction is a valid value; the handlers are async-signal-safe, as this program is to show.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0, "signal {signal}");
    }
}

pub(super) fn raise(signal: i32) {
    // SAFETY: a signal that has a handler.
    unsafe { libc::raise(signal) };
}

impl Stage {
    pub fn set(url: &str, options: Options) -> &'static Stage {
        let open = || -> xsem::Result<Stage> {
            let ns = Namespace::open(url)?;
            Ok(Stage {
                sem: Exclusive::create(&ns, "sem")?,
                pool: Counting::create_pool(&ns, "pool", 4, xsem::Options::default())?,
                credit: Counting::create_credit(&ns, "credit", 50_000, 0, xsem::Options::default())?,
                event: Event::open_or_create_auto(&ns, "event")?,
                cancel: CancelToken::new(),
                release: jump::Slot::default(),
                options,
                ns,
            })
        };
        let stage = STAGE.get_or_init(|| open().expect("a fresh namespace"));
        install(PLAIN, on_plain, libc::SA_SIGINFO);
        install(ON_STACK, on_plain, libc::SA_ONSTACK);
        install(NESTED, on_nested, 0);
        install(ALLOWED, on_allowed, 0);
        install(JUMP, on_jump, 0);
        install(JUMP_ON_STACK, on_jump, libc::SA_ONSTACK);
        install(BARE, jump::bare(), 0);
        install(OPEN, on_short, libc::SA_NODEFER);
        install(ASYNC, on_short, libc::SA_RESTART);
        // SAFETY: a handler with another type than the others', as SA_SIGINFO says.
        let on_null = unsafe { std::mem::transmute::<*const (), extern "C" fn(i32)>(on_null as *const ()) };
        install(libc::SIGSEGV, on_null, libc::SA_SIGINFO | libc::SA_ONSTACK);
        stage
    }

    /// Normal code asks: it must be granted. Twice, so that the second time there is a hint, if there ever is one.
    pub fn work(&self) {
        for _ in 0..2 {
            if self.options.others == Others::Intruding {
                other_user::intrude();
            }
            let granted = self.sem.try_acquire().map_err(Error::from).is_ok() && self.pool.try_acquire_many(1).is_ok();
            if !granted || interrupt::is_now() {
                REFUSED_OUTSIDE.fetch_add(1, SeqCst);
            }
        }
    }

    /// The same, and then this signal at once.
    pub fn work_and_raise(&self, signal: i32) {
        let before = handled();
        self.work();
        raise(signal);
        must(handled() > before);
        self.work();
    }
}

/// For what the cases find.
pub(super) fn check(done: bool) {
    must(done);
}
