//! The machine, and what there is only so much of.

use super::common::{Place, XSEM, clean, code, pid_of, text, until};
use super::owners::{forked, reap};
use super::{doctor, run};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;
use xsem::{Exclusive, Namespace};

/// Calls that the child of a command finds missing (ENOSYS).
fn without(c: &mut Command, calls: &'static [libc::c_long]) {
    let ins = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = vec![ins(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for call in calls {
        program.push(ins(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, *call as u32));
        program.push(ins(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32));
    }
    program.push(ins(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    // SAFETY: prctl is async-signal-safe; the program lives in the closure.
    unsafe {
        c.pre_exec(move || {
            let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
            let no_more = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            let done = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER as libc::c_ulong, &filter);
            if no_more == 0 && done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        });
    }
}

#[test]
fn a_filter_without_futex_waitv_and_rseq() {
    let p = Place::new();
    assert!(p.output(&["create", "a"]).status.success());
    let mut c = p.xsem(&["doctor", "--json"]);
    without(&mut c, &[libc::SYS_futex_waitv, libc::SYS_rseq]);
    let found = run(c);
    found.must("no-futex-waitv", "note", &["5.16", "seccomp"]);
    found.must("no-rseq", "note", &["signal handler"]);
}

#[test]
fn a_table_that_is_full() {
    let p = Place::new();
    let ns = Namespace::builder().max_semaphores(10).open(&p.url()).expect("open");
    for i in 0..9 {
        Exclusive::create(&ns, &format!("s{i}")).expect("create");
    }
    doctor(&p, &[]).must("table-nearly-full", "warning", &["9 of 10 semaphores", "xsem gc"]);
    Exclusive::create(&ns, "last").expect("create");
    doctor(&p, &[]).must("table-nearly-full", "trouble", &["10 of 10"]);
}

#[test]
fn a_small_file_system() {
    let p = Place::new();
    std::fs::create_dir(p.file("small")).expect("a directory");
    let script = format!(
        "mount -t tmpfs -o size=1200k,mode=0700 tmpfs small || exit 99; {XSEM} --namespace shm:{0}/small/ns create a || exit 98; \
         {XSEM} --namespace shm:{0}/small/ns doctor --json",
        p.dir().display()
    );
    let mut c = clean(Command::new("unshare"));
    c.args(["-Urm", "sh", "-c", &script]).current_dir(p.dir());
    let out = c.output().expect("unshare can be run");
    if matches!(code(out.status), 1 | 99) && out.stdout.is_empty() {
        println!("NOT SHOWN: room-nearly-gone: {}", text(&out.stderr));
        return;
    }
    let said = text(&out.stdout);
    let found: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}{}", text(&out.stderr)));
    let found = super::Found { code: code(out.status), json: found };
    found.must("room-nearly-gone", "warning", &["KiB left", "df -h"]);
}

#[test]
fn a_process_without_descriptors() {
    let p = Place::new();
    let url = p.url();
    let pid = forked(|| {
        let ns = Namespace::open(&url).expect("open");
        let s = Exclusive::open_or_create(&ns, "a").expect("a semaphore");
        std::mem::forget(s.acquire());
        let few = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
        // SAFETY: a valid limit; what cannot be duplicated any more is the end.
        unsafe {
            libc::setrlimit(libc::RLIMIT_NOFILE, &few);
            while libc::dup(0) >= 0 {}
        }
        loop {
            std::thread::sleep(Duration::from_secs(60));
        }
    });
    until("it holds it", || p.holder("a").is_some_and(|h| pid_of(&h["process"]) == pid));
    until("it has none left", || doctor(&p, &["a"]).get("few-descriptors").is_some());
    doctor(&p, &["a"]).must("few-descriptors", "note", &[&format!("{pid} `"), "ulimit -n"]);
    super::common::kill(pid, libc::SIGKILL);
    reap(pid);
}
