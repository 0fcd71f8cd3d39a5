//! Sessions: kept alive, lost in time, told; guardians; forks.

mod common;

use common::*;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use xsem_etcd::client::Client;
use xsem_etcd::session::{Loss, Session};
use xsem_etcd::{clock, kv, runtime};
use xsem_testkit::etcd::{Cluster, Proxy, wanted};
use xsem_testkit::watchdog::Watchdog;

#[test]
fn a_session_outlives_its_lease_s_time_and_ends_when_it_is_given_up() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("a session");
    let c = open(&Cluster::shared().url("x?ttl=2"));
    let s = session(&c);
    assert_eq!(s.ttl(), Duration::from_secs(2));
    leased(&c, "s1/a", &s);
    let told = losses(&s);
    std::thread::sleep(Duration::from_secs(5));
    assert!(s.is_alive() && s.left() <= Duration::from_secs(2) && s.loss().is_none());
    assert!(value(&c, "s1/a").is_some());
    let lost = s.clone();
    let lost = runtime::spawn(async move { lost.lost().await }).unwrap();
    let theirs = s.clone();
    runtime::run(async move { theirs.close(patience()).await }).unwrap();
    assert_eq!(value(&c, "s1/a"), None);
    assert_eq!((s.is_alive(), s.loss(), told.recv()), (false, Some(Loss::GivenUp), Ok(Loss::GivenUp)));
    // Waited for on another runtime than its own.
    let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(other.block_on(lost), Ok(Loss::GivenUp));
    assert_eq!(losses(&s).recv(), Ok(Loss::GivenUp), "who asks later is told at once");
    // The last user goes: the same.
    let s = session(&c);
    leased(&c, "s1/b", &s);
    let told = losses(&s);
    drop(s);
    wait_gone(&c, "s1/b");
    assert_eq!(told.recv(), Ok(Loss::GivenUp));
}

#[test]
fn a_lease_that_the_store_has_ended_is_noticed() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("a revoked lease");
    let c = open(&Cluster::shared().url("x?ttl=2"));
    let s = session(&c);
    let told = losses(&s);
    revoke(&c, s.lease());
    assert_eq!(told.recv(), Ok(Loss::Ended));
    assert!(!s.is_alive());
}

fn revoke(c: &Client, lease: i64) {
    let c = c.clone();
    let ask = xsem_etcd::wire::LeaseRevokeRequest { id: lease };
    let again = xsem_etcd::client::Again::UntilAnswered;
    runtime::run(async move {
        c.call::<_, xsem_etcd::wire::LeaseRevokeResponse>("/etcdserverpb.Lease/LeaseRevoke", ask, again, patience()).await
    })
    .unwrap();
}

#[test]
fn whoever_is_cut_off_knows_it_before_the_store_ends_the_lease() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("a holder that is cut off");
    let p = Proxy::to(Cluster::shared().port(0));
    let (c, straight) = (open(&p.url("x?ttl=3&timeout=1")), open(&Cluster::shared().url("x")));
    for silent in [false, true] {
        let s = session(&c);
        leased(&c, "s3/a", &s);
        let told = losses(&s);
        if silent {
            p.hold(true)
        } else {
            p.refuse(true)
        }
        // The last moment at which it took itself for alive. In this order: never later than that.
        let mut last = 0;
        loop {
            let now = clock::now();
            match s.left() {
                Duration::ZERO => break,
                left => last = last.max(now + left.as_nanos() as u64),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(told.recv(), Ok(Loss::Silence));
        wait_gone(&straight, "s3/a");
        assert!(last <= clock::now(), "the store has ended the lease before its holder knew");
        if silent {
            p.hold(false)
        } else {
            p.refuse(false)
        }
        // A session that is over does not come back with the connection; another one can be had.
        assert!(!s.is_alive() && session(&c).is_alive());
    }
}

#[test]
fn a_busy_runtime_does_not_delay_the_news() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("a busy runtime");
    // In a process of its own: the runtime that is blocked is that of all tests of a process.
    let url = Cluster::shared().url("x?ttl=2");
    let done = child("child_with_a_busy_runtime", &[("STORE", &url)]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
#[ignore = "a process of another test"]
fn child_with_a_busy_runtime() {
    let Ok(url) = std::env::var("STORE") else { return };
    let s = session(&open(&url));
    let told = losses(&s);
    let (go, stop) = mpsc::channel::<()>();
    let _busy = runtime::spawn(async move { stop.recv().is_ok() }).unwrap();
    assert_eq!(told.recv(), Ok(Loss::Silence));
    assert!(!s.is_alive());
    drop(go);
}

#[test]
fn a_machine_that_was_suspended_has_lost_its_session_when_it_wakes() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("suspend");
    // In a process of its own: the clock is that of all sessions of a process.
    let url = Cluster::shared().url("x?ttl=3600");
    let done = child("child_that_is_suspended", &[("STORE", &url)]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
#[ignore = "a process of another test"]
fn child_that_is_suspended() {
    let Ok(url) = std::env::var("STORE") else { return };
    let c = open(&url);
    let s = session(&c);
    leased(&c, "s5/a", &s);
    let told = losses(&s);
    clock::suspended(Duration::from_secs(500));
    assert!(s.is_alive());
    clock::suspended(Duration::from_secs(4000));
    assert!(!s.is_alive(), "by the clock, before anybody has noticed");
    assert_eq!(told.recv(), Ok(Loss::Silence));
    // In truth the store's clock goes on, too; here it did not, so the lease is there until it is revoked.
    wait_gone(&c, "s5/a");
}

#[test]
#[ignore = "a process of another test"]
fn child_that_holds() {
    hold();
}

#[test]
fn a_holder_that_was_stopped_finds_its_session_lost() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("a stopped holder");
    let c = open(&Cluster::shared().url("x"));
    let (mut child, mut said) = holder(&Cluster::shared().url("x?ttl=2"), "s6/a");
    let pid = child.id() as libc::pid_t;
    // SAFETY: no pointer; the process is a child that was not waited for.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    wait_gone(&c, "s6/a");
    // SAFETY: as above.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGCONT) }, 0);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("lost"), "{rest}");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_program_that_exits_gives_its_leases_back() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("exit");
    let c = open(&Cluster::shared().url("x"));
    // For an hour, and with no guardian.
    let url = Cluster::shared().url("x?ttl=3600&guardian=none");
    for how in ["kept", "dropped"] {
        let status = child("child_that_holds", &[("STORE", &url), ("KEY", "s13/a"), ("EXIT", how)]).status().unwrap();
        assert!(status.success());
        assert_eq!(value(&c, "s13/a"), None, "{how}");
    }
    // One that has nobody to give it back to ends all the same.
    let p = Proxy::to(Cluster::shared().port(0));
    let url = p.url("x?ttl=3600&guardian=none");
    let (mut child, mut said) = holder_with(&url, "s13/b", &[("EXIT_WHEN_TOLD", "1")]);
    p.hold(true);
    drop(child.stdin.take());
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
}

#[test]
fn a_guardian_ends_the_lease_of_a_dead_owner_at_once() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("a guardian");
    let c = open(&Cluster::shared().url("x"));
    let url = Cluster::shared().url(&format!("x?ttl=3600&guardian={}", guardian().display()));
    let mut w = watch(&c, "s7/");
    for i in 0..3 {
        let (mut child, _said) = holder(&url, "s7/a");
        let put = w.wait(patience()).unwrap().unwrap();
        assert_eq!(put.events.len(), 1);
        let start = Instant::now();
        child.kill().unwrap();
        // The lease would last for an hour.
        let gone = w.wait(patience()).unwrap().unwrap();
        println!("round {i}: gone after {:?}", start.elapsed());
        assert_eq!(gone.events[0].r#type, xsem_etcd::wire::EventType::Delete as i32);
        child.wait().unwrap();
    }
}

#[test]
fn an_owner_that_has_become_another_program_is_dead() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("exec");
    let c = open(&Cluster::shared().url("x"));
    let url = Cluster::shared().url(&format!("x?ttl=3600&guardian={}", guardian().display()));
    let mut command = child("child_that_holds", &[("STORE", &url), ("KEY", "s8/a"), ("EXEC_SLEEP", "50")]);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    while value(&c, "s8/a").is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    wait_gone(&c, "s8/a");
    assert!(child.try_wait().unwrap().is_none(), "the process is there, and is not the owner");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_guardian_that_was_killed_is_replaced_and_one_that_is_not_needed_goes() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("guardians");
    let c = open(&Cluster::shared().url(&format!("x?ttl=3&guardian={}", guardian().display())));
    let s = session(&c);
    let posted = |not: u32| loop {
        match s.guardian() {
            Some(pid) if pid != not => break pid,
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let first = posted(0);
    // SAFETY: no pointer; it is the guardian that this process has started.
    assert_eq!(unsafe { libc::kill(first as libc::pid_t, libc::SIGKILL) }, 0);
    let second = posted(first);
    assert!(s.is_alive(), "nothing was lost");
    // Of none of them is this process the parent: its own children are its own affair.
    // SAFETY: no pointer is passed.
    let waited = unsafe { libc::waitpid(second as libc::pid_t, std::ptr::null_mut(), libc::WNOHANG) };
    assert_eq!(waited, -1);
    s.give_up();
    while std::path::Path::new(&format!("/proc/{second}")).exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_covered_command_keeps_the_lease_until_it_ends() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("a covered command");
    let c = open(&Cluster::shared().url("x"));
    let url = Cluster::shared().url(&format!("x?ttl=2&guardian={}", guardian().display()));
    let mut owner = child("child_that_covers", &[("STORE", &url), ("KEY", "s10/a")]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(owner.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("covers ") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "the owner has ended");
    }
    let command: libc::pid_t = line.trim().strip_prefix("covers ").unwrap().parse().unwrap();
    owner.kill().unwrap();
    owner.wait().unwrap();
    // Longer than the lease lasts by itself.
    std::thread::sleep(Duration::from_secs(5));
    assert!(value(&c, "s10/a").is_some(), "the command is still there");
    // SAFETY: no pointer; the command was started for this test, and is there.
    assert_eq!(unsafe { libc::kill(command, libc::SIGKILL) }, 0);
    wait_gone(&c, "s10/a");
}

#[test]
#[ignore = "a process of another test"]
fn child_that_covers() {
    let Ok(url) = std::env::var("STORE") else { return };
    let c = open(&url);
    let s = session(&c);
    leased(&c, &std::env::var("KEY").unwrap(), &s);
    while s.guardian().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut command = std::process::Command::new("sleep").arg("50").stdout(Stdio::null()).spawn().unwrap();
    s.cover(Some(command.id()));
    println!("\ncovers {}", command.id());
    // It is killed here.
    let _ = command.wait();
}

#[test]
fn a_forked_child_has_nothing_of_its_parent_s_and_may_have_its_own() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("fork");
    // In a process with few threads: what is forked here uses the allocator, which libc keeps usable.
    let url = Cluster::shared().url(&format!("x?ttl=2&guardian={}", guardian().display()));
    let done = child("child_that_forks", &[("STORE", &url)]).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && text.contains("the child is content"), "{text}");
}

#[test]
#[ignore = "a process of another test"]
fn child_that_forks() {
    let Ok(url) = std::env::var("STORE") else { return };
    let c = open(&url);
    let s = session(&c);
    leased(&c, "s11/a", &s);
    while s.guardian().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let calls = Arc::new(AtomicU32::new(0));
    let theirs = calls.clone();
    s.on_loss(move |_| {
        theirs.fetch_add(1, Ordering::SeqCst);
    });
    // SAFETY: libc's fork keeps its allocator usable in the child, which is all that the child needs of before.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            assert_eq!((s.is_alive(), s.loss()), (false, Some(Loss::Forked)));
            assert!(matches!(read(&c, "s11/a", patience()), Err(xsem_etcd::fault::Fault::Forked)));
            drop(s);
            // Its own is another one.
            let own = open(&url);
            let s = session(&own);
            leased(&own, "s11/b", &s);
            assert!(value(&own, "s11/a").is_some() && s.is_alive());
            println!("the child is content");
        }));
        // SAFETY: it ends the child, without what the parent would do at its end.
        unsafe { libc::_exit(i32::from(good.is_err())) };
    }
    let mut status = 0;
    // SAFETY: `status` is valid to write to.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0);
    // Longer than the lease lasts by itself.
    std::thread::sleep(Duration::from_secs(3));
    assert!(s.is_alive() && calls.load(Ordering::SeqCst) == 0 && value(&c, "s11/a").is_some());
}

#[test]
fn many_sessions_of_a_process_are_lost_one_by_one() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("many sessions");
    let c = open(&Cluster::shared().url("x?ttl=3"));
    let all: Vec<Session> = (0..20).map(|_| session(&c)).collect();
    let told: Vec<_> = all.iter().map(losses).collect();
    for (i, s) in all.iter().enumerate().filter(|(i, _)| i % 2 == 0) {
        s.give_up();
        assert_eq!(told[i].recv(), Ok(Loss::GivenUp));
    }
    for (i, s) in all.iter().enumerate() {
        assert_eq!(s.is_alive(), i % 2 == 1);
    }
    let leases: std::collections::BTreeSet<i64> = all.iter().map(Session::lease).collect();
    assert_eq!(leases.len(), 20);
    let alive = all.iter().enumerate().filter(|(i, _)| i % 2 == 1);
    let put: Vec<_> = alive.map(|(i, s)| kv::put(format!("s12/{i}"), "", s.lease())).collect();
    txn(&c, kv::Txn::of(put), patience()).unwrap();
}

/// One that is killed in its first milliseconds, or cannot be executed just then, is not the last.
#[test]
fn a_guardian_that_ends_before_it_is_there_is_started_again() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("a guardian that fails");
    let dir = tempfile::tempdir().unwrap();
    let (program, was_there) = (dir.path().join("guardian"), dir.path().join("was-there"));
    let (first, real) = (was_there.display(), guardian());
    let script = format!("#!/bin/sh\n[ -e {first} ] && exec {} \"$@\"\n: > {first}\nexit 1\n", real.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let s = session(&open(&Cluster::shared().url(&format!("x?ttl=3&guardian={}", program.display()))));
    while s.guardian().is_none() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(was_there.exists(), "the first one did not fail");
}

/// Other requests may wait for a member for longer than a lease lasts; its renewal may not.
#[test]
fn a_member_that_is_silent_costs_no_session() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::with_time("a silent member", Duration::from_secs(120));
    let cluster = Cluster::start(3);
    let leader = cluster.leader();
    let silent = (leader + 1) % 3;
    // Whichever is asked first, one of the two clients begins with the one that will be silent.
    let url = |a: usize, b: usize| {
        format!("etcd://127.0.0.1:{},127.0.0.1:{}/x?ttl=9&timeout=9&guardian=none", cluster.port(a), cluster.port(b))
    };
    let clients = [open(&url(silent, leader)), open(&url(leader, silent))];
    let sessions = clients.each_ref().map(session);
    cluster.freeze(silent);
    std::thread::sleep(Duration::from_secs(11));
    for s in &sessions {
        assert!(s.is_alive(), "lost: {:?}", s.loss());
    }
    cluster.thaw(silent);
}
