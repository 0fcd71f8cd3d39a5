//! The few system calls that the tools need, each behind a function that is safe to call.
//!
//! `nix` would bring most of them; the tools need ptrace, fork and shared mappings only, which is less than a dependency.

mod debug;
mod first;

pub use crate::hang::describe;
pub use debug::*;
pub use first::*;

use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// A process, or a thread by its kernel id.
pub type Pid = i32;

/// Memory that is zero at first.
///
/// # Safety
/// All bytes zero is a valid `Self`, and every field may be changed through a shared reference by several processes
/// (atomics only).
pub unsafe trait Shared: Sync {}

/// A `T` that this process shares with the children that it forks afterwards.
#[derive(Debug)]
pub struct SharedBox<T: Shared>(NonNull<T>);

impl<T: Shared> SharedBox<T> {
    /// Maps it.
    pub fn new() -> io::Result<SharedBox<T>> {
        Self::map(libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1)
    }

    /// Maps it from a file without a name, which also a program can map that one of the children becomes by exec.
    pub fn with_file() -> io::Result<(SharedBox<T>, OwnedFd)> {
        // SAFETY: the name is a C string; the descriptor is new.
        let fd = unsafe { libc::memfd_create(c"torture".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just opened, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        std::fs::File::from(fd.try_clone()?).set_len(size_of::<T>() as u64)?;
        Ok((Self::of_file(&fd)?, fd))
    }

    /// Maps what `with_file` made in this process before its exec.
    pub fn of_file(fd: &OwnedFd) -> io::Result<SharedBox<T>> {
        Self::map(libc::MAP_SHARED, fd.as_raw_fd())
    }

    fn map(flags: i32, fd: i32) -> io::Result<SharedBox<T>> {
        // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing that exists.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<T>(), libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
        if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(SharedBox(NonNull::new(at.cast()).unwrap())) }
    }
}

impl<T: Shared> Deref for SharedBox<T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the mapping lives as long as `self`, is page-aligned and zero at first, which `Shared` says is a `T`.
        unsafe { self.0.as_ref() }
    }
}

impl<T: Shared> Drop for SharedBox<T> {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this address and size in `new`, and no reference outlives `self`.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<T>()) };
    }
}

/// Forks a child that runs `f` and ends with 0, or with 101 after a panic. It dies with its parent.
///
/// # Panics
/// When the calling process has more than one thread: only then may the child use everything that the parent may.
pub fn fork(f: impl FnOnce()) -> io::Result<Pid> {
    // Refused where there are several threads; changes nothing where there is one. Counting in /proc takes as long as the fork.
    // SAFETY: unshare of this flag alone has no effect on a process with one thread.
    let alone = unsafe { libc::unshare(libc::CLONE_THREAD) } == 0;
    assert!(alone, "only a process with one thread forks players");
    let parent = own_pid();
    // SAFETY: the process has one thread, so the child's memory is whole: no lock of it is held by another thread.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: prctl with these arguments changes an attribute of the calling process only.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            mask_child_signals(libc::SIG_UNBLOCK);
            let orphan = std::os::unix::process::parent_id() as Pid != parent;
            let fine = !orphan && std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_ok();
            // SAFETY: `_exit` never returns; exit handlers and buffers belong to the parent.
            unsafe { libc::_exit(if fine { 0 } else { 101 }) }
        }
        pid => Ok(pid),
    }
}

/// This process's id.
pub fn own_pid() -> Pid {
    std::process::id() as Pid
}

/// Sends a signal to a process. A process that is gone is no error here: kills race with ends.
pub fn kill(pid: Pid, signal: i32) {
    assert!(pid > 1, "a single process of our own");
    // SAFETY: kill has no memory effects in this process; `pid` is one process, not a group.
    unsafe { libc::kill(pid, signal) };
}

/// How long a process has had a processor.
pub fn processor_time(pid: Pid) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = text.rsplit(')').next().unwrap_or_default();
    // User's and system's, in hundredths of a second.
    let ticks: u64 = rest.split_ascii_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Sends a signal to one thread.
pub fn kill_thread(pid: Pid, tid: Pid, signal: i32) {
    // SAFETY: tgkill has no memory effects in this process.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signal) };
}

/// The calling thread's kernel id.
pub fn own_tid() -> Pid {
    // SAFETY: gettid has no memory effects.
    unsafe { libc::gettid() }
}

/// From now on a signal runs `handler`, and system calls that it interrupts end.
pub fn on_signal(signal: i32, handler: extern "C" fn(i32)) {
    // SAFETY: an all-zero `sigaction` is a valid one: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as usize;
    // SAFETY: `action` is valid, and the handler has the signature that goes with its flags; what it may do is its own affair.
    unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
}

/// From now on a signal does nothing, also in the program that this process becomes by exec.
pub fn ignore_signal(signal: i32) {
    // SAFETY: a plain disposition.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// What waiting for a child gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing yet.
    Running,
    /// It is stopped for the tracer by this signal.
    Stopped(i32),
    /// It exited with this code.
    Exited(i32),
    /// A signal ended it.
    Killed(i32),
}

/// Waits for a change of a child; with `block` until there is one.
pub fn wait(pid: Pid, block: bool) -> Status {
    let mut st = 0;
    loop {
        // SAFETY: `st` is a valid place for the status.
        let r = unsafe { libc::waitpid(pid, &mut st, if block { 0 } else { libc::WNOHANG }) };
        match r {
            0 => return Status::Running,
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => continue,
            -1 => return Status::Exited(0),
            _ if libc::WIFSTOPPED(st) => return Status::Stopped(libc::WSTOPSIG(st)),
            _ if libc::WIFSIGNALED(st) => return Status::Killed(libc::WTERMSIG(st)),
            _ => return Status::Exited(libc::WEXITSTATUS(st)),
        }
    }
}

/// Ends a child with SIGKILL and waits until it is gone.
pub fn end(pid: Pid) {
    kill(pid, libc::SIGKILL);
    while let Status::Stopped(_) | Status::Running = wait(pid, true) {}
}

/// Lets the parent trace the calling thread, and stops until it says how to go on.
pub fn stop_for_tracer() {
    // SAFETY: PTRACE_TRACEME and raise change only how this thread is scheduled.
    unsafe {
        libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
        libc::raise(libc::SIGSTOP);
    }
}

/// Starts one instruction of a stopped, traced child. False when it is gone.
pub fn step(pid: Pid) -> bool {
    // SAFETY: PTRACE_SINGLESTEP ignores the address and delivers no signal; it acts on the tracee only.
    unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, pid, 0, 0) == 0 }
}

/// Ends tracing and lets a stopped child run.
pub fn detach(pid: Pid) {
    // SAFETY: PTRACE_DETACH ignores the address and delivers no signal; it acts on the tracee only.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0) };
}

/// Sleeps until the word is changed and [`futex_wake`] tells of it, at most for about so many microseconds.
pub fn futex_wait(word: &AtomicU32, seen: u32, us: i64) {
    let time = libc::timespec { tv_sec: us / 1_000_000, tv_nsec: us % 1_000_000 * 1000 };
    // SAFETY: `word` and `time` are valid; the kernel only reads them.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, seen, &time) };
}

/// Wakes everybody who sleeps in [`futex_wait`].
pub fn futex_wake(word: &AtomicU32) {
    // SAFETY: the kernel only uses the address.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// Sleeps for about so many microseconds.
pub fn nap(us: u64) {
    std::thread::sleep(Duration::from_micros(us));
}

/// The state letter of a thread (`R`, `S`, `T`, `t`, `Z`, ...) as `/proc` has it; `None` when it is gone.
pub fn state(pid: Pid, tid: Pid) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).ok()?;
    // The command is in parentheses and may hold anything, so the state is what follows the last one.
    stat.rsplit(") ").next()?.chars().next()
}

/// The threads of a process.
pub fn threads(pid: Pid) -> Vec<Pid> {
    let Ok(dir) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    dir.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Whether a thread sleeps in a futex or poll call now, twice in a row.
pub fn is_asleep(pid: Pid, tid: Pid) -> bool {
    let blocked = || {
        let call = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).unwrap_or_default();
        let number = call.split(' ').next().and_then(|n| n.parse::<i64>().ok());
        let waits = [
            libc::SYS_futex,
            libc::SYS_futex_waitv,
            libc::SYS_ppoll,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_poll,
        ];
        (state(pid, tid) == Some('S') && number.is_some_and(|n| waits.contains(&n))).then_some(call)
    };
    let first = blocked();
    first.is_some() && {
        nap(100);
        blocked() == first
    }
}

/// The program counter and the stack pointer of a thread that runs, which is stopped for that for a moment. `None` where
/// somebody traces it already, or this is another processor.
pub fn registers_of_running(tid: Pid) -> Option<(u64, u64)> {
    // SAFETY: PTRACE_SEIZE acts on that thread only and writes nothing here.
    if unsafe { libc::ptrace(libc::PTRACE_SEIZE, tid, 0, 0) } != 0 {
        return None;
    }
    // SAFETY: as above.
    unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0) };
    let mut st = 0;
    // SAFETY: `st` is a valid place for the status.
    let stopped = unsafe { libc::waitpid(tid, &mut st, libc::__WALL) } == tid && libc::WIFSTOPPED(st);
    let found = stopped.then(|| Some((program_counter(tid)?, stack_pointer(tid)?))).flatten();
    detach(tid);
    found
}

/// Waits until something comes on one of several descriptors, so many milliseconds; below 0: without an end.
pub fn poll(waits: &mut [libc::pollfd], ms: i32) -> io::Result<()> {
    // SAFETY: the array is valid, with its own length.
    match unsafe { libc::poll(waits.as_mut_ptr(), waits.len() as libc::nfds_t, ms) } {
        -1 if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A pipe: what is read from, what is written to.
pub fn pipe() -> io::Result<(std::io::PipeReader, std::io::PipeWriter)> {
    std::io::pipe()
}

/// Locks a file or a directory for who has it open, and for the children that inherit it. False: somebody else has it locked.
pub fn try_lock(file: &std::fs::File) -> bool {
    // SAFETY: plain numbers.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

/// Whether something can be read from a pipe (its end counts), within so many milliseconds.
pub fn readable(pipe: &std::io::PipeReader, ms: i32) -> io::Result<bool> {
    let mut p = libc::pollfd { fd: pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: `p` is one valid pollfd with an open descriptor.
    match unsafe { libc::poll(&mut p, 1, ms) } {
        -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => Ok(false),
        -1 => Err(io::Error::last_os_error()),
        n => Ok(n > 0),
    }
}

/// Whether a process is gone, or every thread of it is on its way out and runs no code of its own any more.
pub fn is_ending(pid: Pid) -> bool {
    const PF_EXITING: u64 = 0x4;
    threads(pid).into_iter().all(|tid| {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")) else { return true };
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
        let flags = fields.get(6).and_then(|f| f.parse::<u64>().ok()).unwrap_or(PF_EXITING);
        matches!(fields.first(), Some(&("Z" | "X"))) || flags & PF_EXITING != 0
    })
}

/// Keeps the calling thread, and those that it forks, on one processor: a tracer and its tracee that take turns are
/// several times faster there. `None`: on any.
pub fn stay_on(processor: Option<usize>) {
    // SAFETY: an all-zero `cpu_set_t` is the empty set: it is integers only.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    match processor {
        // SAFETY: CPU_SET checks its range and writes to `set` only.
        Some(n) => unsafe { libc::CPU_SET(n, &mut set) },
        // SAFETY: as above.
        None => (0..libc::CPU_SETSIZE as usize).for_each(|n| unsafe { libc::CPU_SET(n, &mut set) }),
    }
    // SAFETY: `set` is a valid set of the size given. Where it is refused, everything is only slower.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
}

/// Lets a stopped, traced child run until it stops again. False when it is gone.
pub fn go_on(pid: Pid) -> bool {
    // SAFETY: PTRACE_CONT ignores the address and delivers no signal; it acts on the tracee only.
    unsafe { libc::ptrace(libc::PTRACE_CONT, pid, 0, 0) == 0 }
}

/// From now on a change of a child does not interrupt, and `wait_briefly` is woken by it.
pub fn hold_child_signals() {
    mask_child_signals(libc::SIG_BLOCK);
}

fn mask_child_signals(how: i32) {
    // SAFETY: an all-zero `sigset_t` is valid memory for `sigemptyset`, which makes it the empty set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a valid set; the mask of the calling thread is all that changes.
    unsafe {
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::sigprocmask(how, &set, std::ptr::null_mut());
    }
}

/// As `wait` without blocking, but gives the child a moment for a change (so many microseconds at most). After
/// `hold_child_signals` it takes no longer than the child does.
pub fn wait_briefly(pid: Pid, us: i64) -> Status {
    match wait(pid, false) {
        Status::Running => {
            // SAFETY: as in `mask_child_signals`.
            let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
            let time = libc::timespec { tv_sec: 0, tv_nsec: us * 1000 };
            // SAFETY: `set` and `time` are valid; no information about the signal is asked for.
            unsafe {
                libc::sigemptyset(&mut set);
                libc::sigaddset(&mut set, libc::SIGCHLD);
                libc::sigtimedwait(&set, std::ptr::null_mut(), &time);
            }
            wait(pid, false)
        }
        changed => changed,
    }
}

/// Says what a tracer wants to be told of a stopped, traced child.
pub fn trace_options(pid: Pid, options: i32) -> io::Result<()> {
    // SAFETY: PTRACE_SETOPTIONS ignores the address and takes a set of flags; it acts on the tracee only.
    match unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets a stopped, traced thread run to the beginning or the end of its next system call, with a signal if that is not 0.
pub fn go_on_to_call(tid: Pid, signal: i32) {
    // SAFETY: PTRACE_SYSCALL ignores the address; it acts on the tracee only. One that is gone is no error here.
    unsafe { libc::ptrace(libc::PTRACE_SYSCALL, tid, 0, signal) };
}

/// The next change of any child or traced thread, as `waitpid` tells it, within about `time`. After `hold_child_signals` it
/// takes no longer than the change does.
pub fn wait_for_any(time: Duration) -> Option<(Pid, i32)> {
    let look = || {
        let mut status = 0;
        // SAFETY: `status` is a valid place for it.
        let pid = unsafe { libc::waitpid(-1, &mut status, libc::__WALL | libc::WNOHANG) };
        (pid > 0).then_some((pid, status))
    };
    look().or_else(|| {
        // SAFETY: as in `mask_child_signals`.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        let time = libc::timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
        // SAFETY: `set` and `time` are valid; no information about the signal is asked for.
        unsafe {
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGCHLD);
            libc::sigtimedwait(&set, std::ptr::null_mut(), &time);
        }
        look()
    })
}

/// This process, all of its threads, becomes another user, of one group only.
pub fn become_user(user: u32, group: u32) -> io::Result<()> {
    // SAFETY: a list of one, and plain numbers; they change who this process is, and nothing in its memory.
    let all = unsafe { [libc::setgroups(1, &group), libc::setresgid(group, group, group), libc::setresuid(user, user, user)] };
    if all == [0; 3] { Ok(()) } else { Err(io::Error::last_os_error()) }
}
