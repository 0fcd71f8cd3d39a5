//! Seccomp filters from a line of text: `futex_waitv=ENOSYS,clone3=ENOSYS,fork=kill`, or, with everything else forbidden,
//! `read=allow,futex=allow,else=kill`.

use std::io;

/// What a filter does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// As if there were no filter.
    Allow,
    /// The call fails with this number.
    Errno(i32),
    /// The process ends (SIGSYS).
    Kill,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Call(i64),
    /// `clone` of a process, not of a thread.
    Fork,
    /// `futex` with this operation.
    Futex(u32),
    /// `fcntl` with this command.
    Fcntl(u32),
}

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    rules: Vec<(Subject, Action)>,
    otherwise: Action,
}

macro_rules! calls {
    ($($name:ident = $sys:ident)*) => { &[$((stringify!($name), libc::$sys)),*] };
}

/// The numbers of the calls that tests name.
const CALLS: &[(&str, i64)] = calls! {
    read = SYS_read write = SYS_write pread64 = SYS_pread64 openat = SYS_openat close = SYS_close fstat = SYS_fstat
    newfstatat = SYS_newfstatat statx = SYS_statx lseek = SYS_lseek mmap = SYS_mmap munmap = SYS_munmap
    mprotect = SYS_mprotect mremap = SYS_mremap madvise = SYS_madvise brk = SYS_brk futex = SYS_futex
    futex_waitv = SYS_futex_waitv clone = SYS_clone clone3 = SYS_clone3 exit = SYS_exit exit_group = SYS_exit_group
    rt_sigaction = SYS_rt_sigaction rt_sigprocmask = SYS_rt_sigprocmask rt_sigreturn = SYS_rt_sigreturn
    sigaltstack = SYS_sigaltstack gettid = SYS_gettid getpid = SYS_getpid getuid = SYS_getuid geteuid = SYS_geteuid
    kill = SYS_kill tgkill = SYS_tgkill sched_yield = SYS_sched_yield sched_getaffinity = SYS_sched_getaffinity
    clock_gettime = SYS_clock_gettime clock_nanosleep = SYS_clock_nanosleep nanosleep = SYS_nanosleep
    rseq = SYS_rseq membarrier = SYS_membarrier kcmp = SYS_kcmp pidfd_open = SYS_pidfd_open
    set_robust_list = SYS_set_robust_list renameat2 = SYS_renameat2 fallocate = SYS_fallocate
    ftruncate = SYS_ftruncate getrandom = SYS_getrandom fcntl = SYS_fcntl readlinkat = SYS_readlinkat
    getdents64 = SYS_getdents64 ppoll = SYS_ppoll prctl = SYS_prctl eventfd2 = SYS_eventfd2 unlinkat = SYS_unlinkat
    memfd_create = SYS_memfd_create prlimit64 = SYS_prlimit64 restart_syscall = SYS_restart_syscall
    process_vm_readv = SYS_process_vm_readv socket = SYS_socket connect = SYS_connect
};

/// Calls that only x86-64 has beside the general ones.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: &[(&str, i64)] = &[
    ("vfork", libc::SYS_vfork),
    ("open", libc::SYS_open),
    ("stat", libc::SYS_stat),
    ("lstat", libc::SYS_lstat),
    ("readlink", libc::SYS_readlink),
    ("poll", libc::SYS_poll),
    ("mkdir", libc::SYS_mkdir),
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[(&str, i64)] = &[];

const ERRNOS: &[(&str, i32)] = &[
    ("ENOSYS", libc::ENOSYS),
    ("EPERM", libc::EPERM),
    ("EACCES", libc::EACCES),
    ("EINVAL", libc::EINVAL),
    ("EOPNOTSUPP", libc::EOPNOTSUPP),
];

impl std::str::FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Filter, String> {
        let mut filter = Filter { rules: Vec::new(), otherwise: Action::Allow };
        for rule in text.split(',') {
            let (name, action) = rule.split_once('=').ok_or_else(|| format!("`{rule}` is not CALL=ACTION"))?;
            let action = match action {
                "allow" => Action::Allow,
                "kill" => Action::Kill,
                e => Action::Errno(find(ERRNOS, e).ok_or_else(|| format!("`{e}` is not an action of a filter"))?),
            };
            let number = |n: &str| n.parse().map_err(|_| format!("`{rule}`: `{n}` is no number"));
            match name.split_once(':') {
                Some(("futex", op)) => filter.rules.push((Subject::Futex(number(op)?), action)),
                Some(("fcntl", op)) => filter.rules.push((Subject::Fcntl(number(op)?), action)),
                _ if name == "else" => filter.otherwise = action,
                _ if name == "fork" => {
                    filter.rules.push((Subject::Fork, action));
                    // Its flags lie in memory, so a filter cannot tell: the C library falls back to `clone`.
                    filter.rules.push((Subject::Call(libc::SYS_clone3), Action::Errno(libc::ENOSYS)));
                    #[cfg(target_arch = "x86_64")]
                    filter.rules.extend([libc::SYS_fork, libc::SYS_vfork].map(|n| (Subject::Call(n), action)));
                }
                _ => {
                    let known = find(CALLS, name).or_else(|| find(OLD_CALLS, name));
                    // A name of another machine's calls says nothing here.
                    let known = known.or_else(|| (cfg!(not(target_arch = "x86_64"))).then_some(-1));
                    filter.rules.push((Subject::Call(known.ok_or_else(|| format!("`{name}` is not a call"))?), action));
                }
            }
        }
        Ok(filter)
    }
}

fn find<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

/// Where things are in `struct seccomp_data`.
const NUMBER: u32 = 0;
const FIRST_ARGUMENT: u32 = 16;
const SECOND_ARGUMENT: u32 = 24;
const FUTEX_OP_MASK: u32 = 127;

fn op(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

impl Filter {
    fn program(&self) -> Vec<libc::sock_filter> {
        let load = |at| op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, 0, 0);
        let equal = |k: u32, jt, jf| op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k, jt, jf);
        let answer = |a: Action| {
            let k = match a {
                Action::Allow => libc::SECCOMP_RET_ALLOW,
                Action::Errno(e) => libc::SECCOMP_RET_ERRNO | e as u32,
                Action::Kill => libc::SECCOMP_RET_KILL_PROCESS,
            };
            op(libc::BPF_RET | libc::BPF_K, k, 0, 0)
        };
        let mut p = Vec::new();
        for (subject, action) in &self.rules {
            p.push(load(NUMBER));
            match *subject {
                Subject::Call(n) => p.extend([equal(n as u32, 0, 1), answer(*action)]),
                Subject::Fork => p.extend([
                    equal(libc::SYS_clone as u32, 0, 3),
                    load(FIRST_ARGUMENT),
                    op(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, libc::CLONE_THREAD as u32, 1, 0),
                    answer(*action),
                ]),
                Subject::Futex(k) => p.extend([
                    equal(libc::SYS_futex as u32, 0, 4),
                    load(SECOND_ARGUMENT),
                    op(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, FUTEX_OP_MASK, 0, 0),
                    equal(k, 0, 1),
                    answer(*action),
                ]),
                Subject::Fcntl(k) => {
                    p.extend([equal(libc::SYS_fcntl as u32, 0, 3), load(SECOND_ARGUMENT), equal(k, 0, 1), answer(*action)]);
                }
            }
        }
        p.push(answer(self.otherwise));
        p
    }

    /// From here on this filter stands over all threads of the process, or over the calling one only, and over what they start.
    pub fn install(&self, all_threads: bool) -> io::Result<()> {
        let mut program = self.program();
        let p = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        let flags = if all_threads { libc::SECCOMP_FILTER_FLAG_TSYNC } else { 0 };
        // SAFETY: plain numbers, and a program that is valid for the call.
        let r = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const p)
        };
        match r {
            0 => Ok(()),
            -1 => Err(io::Error::last_os_error()),
            tid => Err(io::Error::other(format!("thread {tid} has another filter"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_from_text() {
        let f: Filter = "futex_waitv=ENOSYS,read=allow,else=kill".parse().unwrap();
        let waitv = (Subject::Call(libc::SYS_futex_waitv), Action::Errno(libc::ENOSYS));
        assert_eq!((f.rules[0], f.otherwise), (waitv, Action::Kill));
        assert!("futex_waitv".parse::<Filter>().is_err() && "nothing=EWHAT".parse::<Filter>().is_err());
    }
}
