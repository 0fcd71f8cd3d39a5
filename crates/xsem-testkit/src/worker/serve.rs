//! The worker's side: threads that do what lines on the standard input say.

use crate::protocol::{Answer, Dead, Verb};
use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use xsem::{AcquireError, Cause, Exclusive, Guard, Namespace};

/// What the threads of a worker share. Handles are leaked, so that guards borrow them for ever: that way the tests go
/// through the borrowing guard's uncontended path, which is the one that most programs use.
#[derive(Debug)]
struct Shared {
    ns: Namespace,
    handles: Mutex<Vec<&'static Exclusive>>,
}

/// Serves one test on the namespace `url` until the input ends.
pub fn serve(url: &str) -> xsem::Result<()> {
    // A lost wake-up shall show as a hang, not as a wait of a second.
    xsem::shm::testing::set_recheck(false);
    let shared = Arc::new(Shared { ns: Namespace::open(url)?, handles: Mutex::default() });
    let mut threads: HashMap<u32, Sender<Verb>> = HashMap::new();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let Some((thread, verb)) = line.split_once(' ') else { continue };
        let Ok(thread) = thread.parse::<u32>() else { continue };
        let verb: Verb = match verb.parse() {
            Ok(v) => v,
            Err(e) => {
                say(thread, &Answer::Broken(e));
                continue;
            }
        };
        let ends = verb == Verb::EndThread;
        let to = threads.entry(thread).or_insert_with(|| start(thread, shared.clone()));
        // A thread that is gone had answered its last command already.
        let _ = to.send(verb);
        if ends {
            threads.remove(&thread);
        }
    }
    Ok(())
}

fn start(number: u32, shared: Arc<Shared>) -> Sender<Verb> {
    let (tell, verbs) = channel();
    std::thread::spawn(move || run(number, &shared, &verbs));
    tell
}

fn run(number: u32, shared: &Shared, verbs: &Receiver<Verb>) {
    let mut guards: Vec<Option<Guard<'static>>> = Vec::new();
    for verb in verbs {
        match verb {
            Verb::EndThread => {
                // The guards are forgotten, as a thread that is cancelled or leaks them would leave them.
                guards.into_iter().for_each(std::mem::forget);
                ended(number);
                return;
            }
            // SAFETY: `_exit` never returns; that destructors do not run is what the test asks for.
            Verb::Exit => unsafe { libc::_exit(0) },
            Verb::Exec => {
                let why = std::process::Command::new("/bin/sleep").arg("1000").exec();
                say(number, &Answer::Broken(why.to_string()));
            }
            verb => say(number, &act(shared, &mut guards, verb)),
        }
    }
    guards.into_iter().for_each(std::mem::forget);
}

/// Says `Done` for a thread when it is really gone: the engine may learn of its end in a destructor of thread-local
/// storage, which runs after everything here.
fn ended(number: u32) {
    // SAFETY: gettid has no preconditions.
    let tid = unsafe { libc::gettid() };
    std::thread::spawn(move || {
        while std::fs::exists(format!("/proc/self/task/{tid}")).unwrap_or(false) {
            crate::sys::nap(20);
        }
        say(number, &Answer::Done);
    });
}

fn say(thread: u32, answer: &Answer) {
    // One write for the line: the lock of stdout keeps lines of several threads apart.
    let _ = writeln!(std::io::stdout().lock(), "{thread} {answer}");
}

fn act(shared: &Shared, guards: &mut Vec<Option<Guard<'static>>>, verb: Verb) -> Answer {
    let handle = |i: usize| shared.handles.lock().expect("no thread panics with it").get(i).copied();
    let opened = |r: xsem::Result<Exclusive>| match r {
        Ok(s) => {
            let mut all = shared.handles.lock().expect("no thread panics with it");
            all.push(Box::leak(Box::new(s)));
            Answer::Handle(all.len() - 1)
        }
        Err(e) => Answer::Refused(e.code().number()),
    };
    let done = |r: xsem::Result<()>| match r {
        Ok(()) => Answer::Done,
        Err(e) => Answer::Refused(e.code().number()),
    };
    match verb {
        Verb::Create(n) => opened(Exclusive::create(&shared.ns, &n)),
        Verb::Open(n) => opened(Exclusive::open(&shared.ns, &n)),
        Verb::OpenOrCreate(n) => opened(Exclusive::open_or_create(&shared.ns, &n)),
        Verb::Remove(n) => done(shared.ns.remove(&n)),
        Verb::Try(h) | Verb::Timeout(h, _) | Verb::Acquire(h) => {
            let Some(sem) = handle(h) else { return Answer::Broken(format!("no handle {h}")) };
            let r = match verb {
                Verb::Try(_) => sem.try_acquire(),
                Verb::Timeout(_, ms) => sem.acquire_timeout(Duration::from_millis(ms)),
                _ => sem.acquire(),
            };
            granted(guards, r)
        }
        Verb::Release(g) => match guards.get_mut(g).and_then(Option::take) {
            Some(guard) => done(guard.release()),
            None => Answer::Broken(format!("no guard {g}")),
        },
        Verb::Abandon(g) => match guards.get_mut(g).and_then(Option::take) {
            Some(guard) => done(guard.abandon()),
            None => Answer::Broken(format!("no guard {g}")),
        },
        Verb::MarkConsistent(g) => match guards.get(g) {
            Some(Some(guard)) => done(guard.mark_consistent()),
            _ => Answer::Broken(format!("no guard {g}")),
        },
        Verb::Held(g) => match guards.get(g) {
            Some(Some(guard)) => Answer::Is(guard.is_held()),
            _ => Answer::Broken(format!("no guard {g}")),
        },
        Verb::DropInChild(g) => match guards.get_mut(g) {
            Some(slot @ Some(_)) => drop_in_child(slot),
            _ => Answer::Broken(format!("no guard {g}")),
        },
        Verb::EndThread | Verb::Exit | Verb::Exec => Answer::Broken("not for here".to_owned()),
    }
}

fn granted(guards: &mut Vec<Option<Guard<'static>>>, result: Result<Guard<'static>, AcquireError<'static>>) -> Answer {
    let (guard, died) = match result {
        Ok(guard) => (guard, None),
        Err(AcquireError::Failed(e)) => return Answer::Refused(e.code().number()),
        Err(AcquireError::OwnerDied(r)) => {
            let dead = |o: &xsem::Obituary| (o.process.pid, cause(o.cause)) as Dead;
            let deaths = r.deaths().map(|d| (dead(&d.first), dead(&d.latest), d.count));
            (r.into_guard(), Some(deaths))
        }
    };
    let token = guard.token();
    guards.push(Some(guard));
    Answer::Granted { guard: guards.len() - 1, token, died }
}

/// A cause as one word of the protocol.
fn cause(c: Cause) -> String {
    format!("{c:?}")
}

/// Drops the guard in a forked child, which must not own it, and says whether the child thought that it did.
fn drop_in_child(slot: &mut Option<Guard<'static>>) -> Answer {
    // SAFETY: the child of this process with several threads calls only the guard's own methods, which promise to do
    // nothing in a forked child, and `_exit`.
    match unsafe { libc::fork() } {
        -1 => Answer::Broken(std::io::Error::last_os_error().to_string()),
        0 => {
            let held = slot.as_ref().is_some_and(Guard::is_held);
            drop(slot.take());
            // SAFETY: `_exit` never returns.
            unsafe { libc::_exit(i32::from(held)) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` is a valid place for the status of our child.
            unsafe { libc::waitpid(child, &mut status, 0) };
            match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
                (true, code @ (0 | 1)) => Answer::Is(code == 1),
                _ => Answer::Broken(format!("the forked child ended with status {status:#x}")),
            }
        }
    }
}
