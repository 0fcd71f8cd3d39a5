//! System calls by name, and what each of them may answer on a machine that has run out of something or forbids it.

use libc::c_long;

/// A system call that the library, or what it stands on, makes: its number, its name, the errors that it may give.
pub(super) struct Call {
    pub(super) number: c_long,
    pub(super) name: &'static str,
    pub(super) errors: &'static [i32],
}

macro_rules! calls {
    ($($(#[$when:meta])* $name:ident = $number:ident: $($error:ident)*;)*) => {
        &[$($(#[$when])* Call { number: libc::$number, name: stringify!($name), errors: &[$(libc::$error),*] }),*]
    };
}

/// Calls that cannot fail, or whose failure is not the kernel's to give (a wake-up of one's own word), are not here; nor is
/// closing: it closes, whatever it answers; nor `rseq`, for whose failure in a new thread the C library ends the program.
const CALLS: &[Call] = calls! {
    openat = SYS_openat: EMFILE ENFILE ENOMEM EACCES EPERM EINTR ENOSPC EIO;
    newfstatat = SYS_newfstatat: ENOMEM EACCES EIO;
    fstat = SYS_fstat: ENOMEM EIO;
    statx = SYS_statx: ENOMEM EACCES EIO ENOSYS EPERM;
    fstatfs = SYS_fstatfs: ENOMEM EIO ENOSYS EPERM;
    #[cfg(target_arch = "x86_64")]
    readlink = SYS_readlink: EACCES ENOMEM EIO;
    readlinkat = SYS_readlinkat: EACCES ENOMEM EIO;
    getdents64 = SYS_getdents64: ENOMEM EIO;
    read = SYS_read: EINTR EIO ENOMEM;
    pread64 = SYS_pread64: EINTR EIO ENOMEM;
    write = SYS_write: EINTR ENOSPC EIO;
    mkdirat = SYS_mkdirat: ENOSPC EACCES EROFS ENOMEM;
    fchmod = SYS_fchmod: EPERM EIO EROFS;
    ftruncate = SYS_ftruncate: EINTR ENOSPC EFBIG EIO;
    fallocate = SYS_fallocate: EINTR ENOSPC EIO EOPNOTSUPP EPERM ENOSYS;
    renameat2 = SYS_renameat2: ENOSPC EACCES EIO ENOSYS;
    unlinkat = SYS_unlinkat: EACCES EIO;
    fcntl = SYS_fcntl: EINTR ENOLCK EACCES EMFILE;
    flock = SYS_flock: EINTR ENOLCK;
    mmap = SYS_mmap: ENOMEM EAGAIN EPERM;
    mprotect = SYS_mprotect: ENOMEM;
    munmap = SYS_munmap: ENOMEM;
    brk = SYS_brk: ENOMEM;
    madvise = SYS_madvise: EINVAL ENOMEM EPERM EAGAIN;
    clone3 = SYS_clone3: EAGAIN ENOMEM EPERM ENOSYS;
    clone = SYS_clone: EAGAIN ENOMEM EPERM;
    set_robust_list = SYS_set_robust_list: ENOSYS EPERM;
    prctl = SYS_prctl: EPERM EINVAL;
    prlimit64 = SYS_prlimit64: EPERM ENOSYS;
    getrandom = SYS_getrandom: EINTR EAGAIN ENOSYS;
    futex = SYS_futex: EINTR EAGAIN ENOMEM EPERM;
    futex_waitv = SYS_futex_waitv: EINTR EAGAIN ENOMEM EPERM ENOSYS;
    pidfd_open = SYS_pidfd_open: EMFILE ENOMEM EPERM ENOSYS;
    ppoll = SYS_ppoll: EINTR ENOMEM;
    kill = SYS_kill: EPERM;
    eventfd2 = SYS_eventfd2: EMFILE ENFILE ENOMEM;
    clock_nanosleep = SYS_clock_nanosleep: EINTR;
    sched_getaffinity = SYS_sched_getaffinity: EPERM ENOMEM;
    rt_sigaction = SYS_rt_sigaction: EPERM;
    sigaltstack = SYS_sigaltstack: ENOMEM EPERM;
    membarrier = SYS_membarrier: EPERM ENOSYS;
};

/// What may fail of the call with this number.
pub(super) fn of(number: c_long) -> Option<&'static Call> {
    CALLS.iter().find(|c| c.number == number)
}

/// The errors that a call with these arguments may give.
pub(super) fn errors_of(call: &Call, arguments: [u64; 3]) -> &'static [i32] {
    const FUTEX_COMMAND: u64 = 127;
    const WAKES: [u64; 3] = [1, 5, 10];
    match call.number {
        // A wake-up cannot fail for want of anything.
        libc::SYS_futex if WAKES.contains(&(arguments[1] & FUTEX_COMMAND)) => &[],
        // Only a file that is made needs room.
        libc::SYS_openat if arguments[2] & libc::O_CREAT as u64 == 0 => {
            &[libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EACCES, libc::EPERM, libc::EINTR, libc::EIO]
        }
        _ => call.errors,
    }
}

/// `EMFILE` and its like, for people.
pub(super) fn error_name(errno: i32) -> &'static str {
    const NAMES: &[(i32, &str)] = &[
        (libc::EMFILE, "EMFILE"),
        (libc::ENFILE, "ENFILE"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EPERM, "EPERM"),
        (libc::EINTR, "EINTR"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EIO, "EIO"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::EROFS, "EROFS"),
        (libc::EFBIG, "EFBIG"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::ENOLCK, "ENOLCK"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::EINVAL, "EINVAL"),
    ];
    NAMES.iter().find(|(n, _)| *n == errno).map_or("E?", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_there_once_and_every_error_has_a_name() {
        for c in CALLS {
            assert_eq!(CALLS.iter().filter(|o| o.number == c.number).count(), 1, "{}", c.name);
            assert!(c.errors.iter().all(|e| error_name(*e) != "E?"), "{}", c.name);
            assert_eq!(of(c.number).map(|f| f.name), Some(c.name));
        }
        let futex = of(libc::SYS_futex).unwrap();
        assert!(errors_of(futex, [0, 1 | 128, 0]).is_empty() && !errors_of(futex, [0, 9, 0]).is_empty());
        let openat = of(libc::SYS_openat).unwrap();
        assert!(!errors_of(openat, [0, 0, 0]).contains(&libc::ENOSPC));
        assert!(errors_of(openat, [0, 0, libc::O_CREAT as u64]).contains(&libc::ENOSPC));
    }
}
