//! Rule 7: a process that becomes another program, or tries to. Every test is of real processes, with a watchdog on each.

mod processes;

use processes::{Child, audit, gate, namespace, until};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;
use xsem::{AcquireError, Cause, Code, Error, Exclusive, Namespace, Wait};

fn refusal<T>(r: Result<T, AcquireError<'_>>) -> Code {
    r.map(drop).map_err(|e| Error::from(e).code()).expect_err("it was granted")
}

fn soon() -> Wait<'static> {
    Wait::timeout(Duration::from_secs(150) * processes::slowness())
}

/// Acquires it, 105 or not, and gives it back.
fn pass_through(sem: &Exclusive) {
    match sem.acquire_with(soon()) {
        Ok(guard) => drop(guard),
        Err(AcquireError::OwnerDied(r)) => drop(r.mark_consistent().unwrap()),
        Err(AcquireError::Failed(e)) => panic!("{e}"),
    }
}

#[test]
fn an_exec_ends_the_holders_claims_and_a_childs_exec_does_not() {
    let (_dir, ns) = namespace();
    let (sem, kept) = (Exclusive::create(&ns, "a").unwrap(), Exclusive::create(&ns, "kept").unwrap());
    let guard = kept.acquire().unwrap();
    // By its main thread, and by another one, which becomes the main thread of the new program.
    for by_thread in [false, true] {
        let ((go, goes), (owns, does_own)) = (gate(), gate());
        let holder = Child::new(|| {
            std::mem::forget(sem.acquire().unwrap());
            does_own.open();
            go.wait();
            match by_thread {
                true => drop(std::thread::spawn(exec_sleep).join()),
                false => exec_sleep(),
            }
        });
        owns.wait();
        assert_eq!(refusal(sem.try_acquire()), Code::ExclSemAlreadyOwned);
        goes.open();
        match sem.acquire_with(soon()) {
            Err(AcquireError::OwnerDied(r)) => {
                let d = r.deaths().unwrap();
                assert_eq!((d.first.process.pid, d.first.cause), (holder.pid(), Cause::ProcessEnded));
                drop(r.mark_consistent().unwrap());
            }
            other => panic!("{other:?}"),
        }
        // It lives, as another program.
        // SAFETY: signal 0 only asks.
        assert_eq!(unsafe { libc::kill(holder.0, 0) }, 0);
        holder.kill();
    }
    // A child of this process that goes on to another program has nothing to do with what its parent owns.
    let child = Child::new(exec_sleep);
    until(|| std::fs::read_to_string(format!("/proc/{}/comm", child.pid())).is_ok_and(|c| c.trim() == "sleep"));
    assert_eq!(open_files_of(child.pid(), &ns), 0, "descriptors are close-on-exec");
    assert!(guard.is_held());
    child.kill();
    assert!(guard.is_held() && !ns.inspect("kept").unwrap().marked);
    drop(guard);
    audit(&ns);
}

/// What tells a test's program which part of `a_program_that_becomes_itself` it is.
const STAGE: &str = "XSEM_TEST_STAGE";

/// The programs of the test below: one that owns, and what comes after it in the same process.
#[test]
fn a_program_that_becomes_itself() {
    let Ok(stage) = std::env::var(STAGE) else { return };
    let url = std::env::var("XSEM_TEST_URL").unwrap();
    let ns = Namespace::open(&url).unwrap();
    match stage.as_str() {
        "owns" => {
            std::mem::forget(Exclusive::open(&ns, "a").unwrap().acquire().unwrap());
            // No longer and no shorter than before, so that it has the same places in memory where these are not random.
            let last = if std::env::var("XSEM_TEST_JOINS").unwrap() == "1" { "join" } else { "look" };
            become_itself(&url, last, &std::env::var("XSEM_TEST_JOINS").unwrap());
        }
        "join" => std::mem::forget(Exclusive::open(&ns, "ready").unwrap().acquire().unwrap()),
        _ => assert!(ns.inspect("a").is_ok()),
    }
    std::fs::write(std::path::Path::new(url.strip_prefix("shm:").unwrap()).with_extension("ready"), "").unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

fn become_itself(url: &str, stage: &str, joins: &str) -> ! {
    let error = Command::new("/proc/self/exe")
        .args(["--exact", "a_program_that_becomes_itself", "--nocapture"])
        .envs([(STAGE, stage), ("XSEM_TEST_URL", url), ("XSEM_TEST_JOINS", joins)])
        .stdout(Stdio::null())
        .exec();
    panic!("{error}");
}

/// Nobody waits at the time of the exec, so nobody looks before the new program has the file open, too.
#[test]
fn a_program_that_becomes_itself_ends_its_claims() {
    for (joins, random) in [("1", true), ("0", true), ("1", false)] {
        let (_dir, ns) = namespace();
        let (sem, _ready) = (Exclusive::create(&ns, "a").unwrap(), Exclusive::create(&ns, "ready").unwrap());
        let url = ns.url().to_owned();
        let child = Child::new(|| {
            // SAFETY: it changes how later programs of this process are laid out in memory, and nothing else.
            if !random && unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as _) } < 0 {
                eprintln!("not tested without random addresses: {}", std::io::Error::last_os_error());
            }
            become_itself(&url, "owns", joins)
        });
        until(|| std::path::Path::new(url.strip_prefix("shm:").unwrap()).with_extension("ready").exists());
        match sem.acquire_with(soon()) {
            Err(AcquireError::OwnerDied(r)) => {
                let d = r.deaths().unwrap();
                assert_eq!((d.first.process.pid, d.first.cause), (child.pid(), Cause::ProcessEnded));
                drop(r.mark_consistent().unwrap());
            }
            other => panic!("{other:?}"),
        }
        // SAFETY: signal 0 only asks.
        assert_eq!(unsafe { libc::kill(child.0, 0) }, 0, "it lives, and has the file open");
        child.kill();
        pass_through(&Exclusive::open(&ns, "ready").unwrap());
        audit(&ns);
    }
}

/// While a thread is in the middle of an exec, the kernel lets its process start no thread; and the exec may fail.
#[test]
fn an_exec_that_fails_does_not_keep_others_from_joining() {
    let (dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "a").unwrap();
    let file = dir.path().join("no-program");
    std::fs::write(&file, "this is none").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = std::ffi::CString::new(file.into_os_string().into_encoded_bytes()).unwrap();
    for _ in 0..20 {
        Child::new(|| {
            let path = path.clone();
            std::thread::spawn(move || {
                loop {
                    let began = std::time::Instant::now();
                    // SAFETY: a NUL-terminated path, and lists that end at once.
                    unsafe { libc::execve(path.as_ptr(), [std::ptr::null()].as_ptr(), [std::ptr::null()].as_ptr()) };
                    // Not in an exec for most of the time, however slow the machine is: nobody could join then.
                    std::thread::sleep(Duration::from_micros(50).max(began.elapsed() * 4));
                }
            });
            // Each namespace has a keeper of its own.
            for i in 0..10 {
                let other = Namespace::open(&format!("{}-{i}", ns.url())).unwrap();
                let own = Exclusive::open_or_create(&other, "own").unwrap();
                pass_through(&own);
            }
            pass_through(&sem);
        })
        .succeeds();
    }
    audit(&ns);
}

/// Becomes `sleep 60`.
fn exec_sleep() {
    let arguments = [c"sleep".as_ptr(), c"60".as_ptr(), std::ptr::null()];
    // SAFETY: NUL-terminated strings in a list that ends with null.
    unsafe { libc::execvp(arguments[0], arguments.as_ptr()) };
    panic!("{}", std::io::Error::last_os_error());
}

/// Descriptors of a process that lead into the namespace's directory.
fn open_files_of(pid: u32, ns: &Namespace) -> usize {
    let path = ns.url().strip_prefix("shm:").unwrap();
    let dir = std::path::Path::new(path).parent().unwrap();
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    fds.filter_map(|f| std::fs::read_link(f.unwrap().path()).ok()).filter(|to| to.starts_with(dir)).count()
}
