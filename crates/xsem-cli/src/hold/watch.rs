//! Watching a shell that is not our child: its end, how it came about, and the signal that says "release".
//!
//! The signal is a real-time signal that is queued with the claim's fencing token as its value. A plain `kill`, or a service
//! manager that ends everything, cannot take the semaphore away from a shell that still works.

use super::Owner;
use crate::exit_codes;
use crate::failure::Failure;
use crate::tree;
use std::io::{self, Write};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::ptr;
use std::sync::Arc;
use xsem::Namespace;

/// What ends the keeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody said `xsem release`.
    Release,
    /// The shell has ended.
    OwnerEnded(Ended),
    /// All claims of this process were lost.
    Lost,
}

/// How the shell ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With some exit code.
    ByExit,
    /// By this signal.
    BySignal(u8),
    /// Nobody says. A kernel before 6.15, and its parent was quicker than we.
    Unknown,
}

/// A shell under watch.
pub struct Watch {
    pid: u32,
    start: u64,
    pidfd: OwnedFd,
    signals: OwnedFd,
    /// Readable from a loss on.
    loss: Arc<OwnedFd>,
}

impl Watch {
    /// Watches the owner.
    ///
    /// # Errors
    /// It has ended, or no descriptors.
    pub fn on(owner: &Owner) -> Result<Watch, Failure> {
        let failed = |e: io::Error| Failure::new(exit_codes::FAILED, format!("cannot watch process {}: {e}", owner.pid));
        let pidfd = open(owner.pid).map_err(failed)?;
        // The descriptor names whatever had the number just now: look whether that is the one that was meant.
        if tree::stat(owner.pid).is_none_or(|s| s.start != owner.start) {
            return Err(failed(io::Error::from_raw_os_error(libc::ESRCH)));
        }
        let loss = Arc::new(event_fd().map_err(failed)?);
        Ok(Watch { pid: owner.pid, start: owner.start, pidfd, signals: signal_fd().map_err(failed)?, loss })
    }

    /// Listens to what the namespace says of losses, from here on.
    pub fn listen(&self, ns: &Namespace) {
        let told = self.loss.clone();
        ns.on_loss(move |_| {
            let one = 1u64.to_ne_bytes();
            // SAFETY: eight bytes are read from where there are eight; the descriptor is open as long as `told` is.
            unsafe { libc::write(told.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        });
    }

    /// Says a line where the shell's own errors go, as far as that can be opened: a terminal, a file, a pipe.
    pub fn tell_owner(&self, line: &str) {
        let path = format!("/proc/{}/fd/2", self.pid);
        // At its end, and never waiting for a reader; a terminal does not become ours.
        let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
        let Ok(mut errors) = std::fs::OpenOptions::new().append(true).custom_flags(flags).open(path) else { return };
        // The number may be another process's by now.
        if tree::stat(self.pid).is_some_and(|s| s.start == self.start) {
            let _ = writeln!(errors, "xsem: {line}");
        }
    }

    /// Asks the shell to end.
    pub fn end_owner(&self) {
        let none = ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is a process's, and no information is passed along.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.pidfd.as_raw_fd(), libc::SIGTERM, none, 0) };
    }

    /// Another descriptor for the shell.
    ///
    /// # Errors
    /// No descriptors.
    pub fn pidfd(&self) -> io::Result<OwnedFd> {
        self.pidfd.try_clone()
    }

    /// Waits for one of the events of the claim with this token.
    pub fn next(&self, token: u64) -> Event {
        loop {
            let [ended, signalled, lost] = poll([&self.pidfd, &self.signals, &*self.loss].map(|fd| Some(fd.as_raw_fd())));
            if signalled && released(self.signals.as_raw_fd(), token) {
                return Event::Release;
            }
            if ended {
                return Event::OwnerEnded(self.how());
            }
            if lost {
                let mut times = [0u8; 8];
                // SAFETY: eight bytes are written to where there are eight.
                unsafe { libc::read(self.loss.as_raw_fd(), times.as_mut_ptr().cast(), times.len()) };
                return Event::Lost;
            }
        }
    }

    /// How the shell, which has ended, did so.
    fn how(&self) -> Ended {
        // Before its parent has asked, `/proc` says it; afterwards the kernel remembers for those who have a pidfd. The parent
        // may ask between our two looks, but only once.
        let status = self.as_zombie().or_else(|| exit_info(&self.pidfd)).or_else(|| self.as_zombie());
        match status {
            None => Ended::Unknown,
            Some(s) if libc::WIFSIGNALED(s) => Ended::BySignal(u8::try_from(libc::WTERMSIG(s)).unwrap_or(0)),
            Some(_) => Ended::ByExit,
        }
    }

    /// The last field of /proc/PID/stat is the status for `wait`, readable for those who may trace the process.
    fn as_zombie(&self) -> Option<i32> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        let mut fields = text.get(text.rfind(')')? + 2..)?.trim_end().split(' ');
        let (state, start) = (fields.next()?, fields.nth(18)?);
        let status = fields.next_back()?.parse().ok()?;
        (matches!(state, "Z" | "X") && start.parse() == Ok(self.start)).then_some(status)
    }
}

/// Holds the signal back in this thread and all that it makes.
pub fn block_signals() {
    // What ends or stops a process is not for us: we end with the shell.
    let others = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGTSTP];
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set; the others are given valid signal numbers and the initialised set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for s in others.into_iter().chain([number()]) {
            libc::sigaddset(set.as_mut_ptr(), s);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut());
    }
}

/// Whether a process may be told to release something: it is of the caller's own user, runs the program that the caller runs, and
/// waits for the signal. Others the signal would end, or it means something to them. The number comes from a shared file,
/// and the caller may be root.
pub fn is_keeper(pid: u32) -> bool {
    let name = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |key: &str| status.lines().find_map(|l| l.strip_prefix(key)).map(str::trim);
    let blocked = field("SigBlk:").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    let user = field("Uid:").and_then(|l| l.split_ascii_whitespace().nth(1)?.parse::<u32>().ok());
    // SAFETY: no arguments, cannot fail.
    let me = unsafe { libc::geteuid() };
    blocked >> (number() - 1) & 1 == 1 && user == Some(me) && name("self").is_some_and(|own| name(&pid.to_string()) == Some(own))
}

/// Tells the keeper `pid`, to which `pidfd` belongs, to release the claim with this token.
///
/// # Errors
/// It has ended.
pub fn tell(pidfd: &OwnedFd, token: u64) -> io::Result<()> {
    // SAFETY: all zeroes is a valid `siginfo_t`; the system call reads it. The value lies where the kernel's layout has it:
    // after three numbers and, on 64-bit machines, a filler, come pid, uid and the value.
    unsafe {
        let mut info = MaybeUninit::<Queued>::zeroed().assume_init();
        info.signo = number();
        info.code = libc::SI_QUEUE;
        info.pid = libc::getpid();
        info.uid = libc::getuid();
        info.value = token;
        match libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), number(), &raw const info, 0) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// A `siginfo_t` of a queued signal on a 64-bit machine.
#[repr(C)]
struct Queued {
    signo: i32,
    errno: i32,
    code: i32,
    filler: i32,
    pid: i32,
    uid: u32,
    value: u64,
    rest: [u64; 12],
}

const _: () = assert!(size_of::<Queued>() == size_of::<libc::siginfo_t>());

/// Waits until the process has ended.
pub fn gone(pidfd: &OwnedFd) {
    poll([Some(pidfd.as_raw_fd())]);
}

/// A descriptor for a process.
///
/// # Errors
/// There is none of this number, or no descriptors.
pub fn open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes two numbers, gives a new descriptor (close-on-exec) or -1.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0);
        match RawFd::try_from(fd) {
            Ok(fd) if fd >= 0 => Ok(OwnedFd::from_raw_fd(fd)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Waits for either; true when `channel` has something to say, be it that it is closed.
pub fn readable_first(channel: &impl AsRawFd, pidfd: &OwnedFd) -> bool {
    poll([Some(channel.as_raw_fd()), Some(pidfd.as_raw_fd())])[0]
}

/// Waits until one of these descriptors has something, and says which.
fn poll<const N: usize>(fds: [Option<RawFd>; N]) -> [bool; N] {
    let mut fds = fds.map(|fd| libc::pollfd { fd: fd.unwrap_or(-1), events: libc::POLLIN, revents: 0 });
    loop {
        // SAFETY: an array of so many, all initialised.
        if unsafe { libc::poll(fds.as_mut_ptr(), N as libc::nfds_t, -1) } >= 0 {
            return fds.map(|fd| fd.revents != 0);
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            // No memory for a moment: look again rather than end somebody's claim.
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// The signal. The two lowest are the C library's own.
fn number() -> i32 {
    libc::SIGRTMIN() + 6
}

fn signal_fd() -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the set is initialised; signalfd gives a new descriptor or -1.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), number());
        match libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// A counter that is readable from the first time on that something is added.
fn event_fd() -> io::Result<OwnedFd> {
    // SAFETY: takes two numbers, gives a new descriptor or -1.
    unsafe {
        match libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Takes one signal, and says whether it means this claim.
fn released(fd: RawFd, token: u64) -> bool {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
    // SAFETY: reads at most one structure into one; all zeroes is a valid one.
    let info = unsafe {
        if libc::read(fd, info.as_mut_ptr().cast(), size_of::<libc::signalfd_siginfo>()) <= 0 {
            return false;
        }
        info.assume_init()
    };
    info.ssi_code == libc::SI_QUEUE && info.ssi_ptr == token
}

/// What the kernel (6.15 and later) remembers of a process that was waited for already: its status for `wait`.
fn exit_info(pidfd: &OwnedFd) -> Option<i32> {
    const EXIT: u64 = 1 << 3;
    // _IOWR(0xFF, 11, 64 bytes)
    const GET_INFO: libc::c_ulong = 3 << 30 | 64 << 16 | 0xFF << 8 | 11;
    #[repr(C)]
    struct Info {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    let mut info = Info { mask: EXIT, cgroup: 0, ids: [0; 11], exit_code: 0 };
    // SAFETY: the request's size is that of the structure, which the kernel fills in as far as `mask` says afterwards.
    let done = unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO as _, &raw mut info) };
    (done == 0 && info.mask & EXIT != 0).then_some(info.exit_code)
}

#[cfg(test)]
mod tests {
    use super::{Ended, Event, Watch};
    use crate::hold::Owner;
    use crate::tree;
    use std::process::Command;

    fn watch(pid: u32) -> Watch {
        Watch::on(&Owner { pid, start: tree::stat(pid).expect("it is there").start }).unwrap_or_else(|e| panic!("{}", e.line))
    }

    #[test]
    fn the_end_of_a_process_that_is_not_waited_for_can_be_told() {
        for (script, how) in [("read x; exit 3", Ended::ByExit), ("read x; kill -9 $$", Ended::BySignal(9))] {
            let mut child = Command::new("sh").args(["-c", script]).stdin(std::process::Stdio::piped()).spawn().expect("sh");
            let watch = watch(child.id());
            drop(child.stdin.take());
            assert_eq!(watch.next(1), Event::OwnerEnded(how), "{script}");
            child.wait().expect("it has ended");
        }
    }
}
