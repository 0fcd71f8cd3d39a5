//! Errors that only a program can meet, each made on purpose: what the pages of `docs/errors` show.
//!
//! ```text
//! cargo run -q -p xsem --example refused -- nested
//! ```
//!
//! It works in a namespace of its own, a temporary file that goes with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use xsem::{Error, Exclusive, Namespace, Result};

type Scene = fn(&str) -> Result<()>;

const SCENES: &[(&str, Scene)] = &[("full", full), ("nested", nested), ("handler", handler), ("members", members)];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        // What `members` starts.
        ["member", url] => member(url),
        [name] => match SCENES.iter().find(|(n, _)| n == name) {
            Some((_, scene)) => {
                let dir = tempfile::tempdir().expect("a directory for the namespace");
                scene(&format!("shm:{}/ns", dir.path().display()))
            }
            None => return usage(),
        },
        _ => return usage(),
    };
    if let Err(e) = done {
        println!("{e}");
    }
}

fn usage() {
    let names: Vec<&str> = SCENES.iter().map(|(n, _)| *n).collect();
    eprintln!("usage: refused {}", names.join("|"));
}

/// 100: more names than the namespace was made for.
fn full(url: &str) -> Result<()> {
    let ns = Namespace::builder().max_semaphores(2).open(url)?;
    for name in ["job/1", "job/2", "job/3"] {
        Exclusive::create(&ns, name)?;
    }
    Ok(())
}

/// 103: a guard that is never dropped, in a loop.
fn nested(url: &str) -> Result<()> {
    let ledger = Exclusive::create(&Namespace::open(url)?, "ledger")?;
    let mut guards = Vec::new();
    loop {
        guards.push(ledger.acquire().map_err(Error::from)?);
    }
}

/// 104: a signal handler that asks for what it interrupts.
fn handler(url: &str) -> Result<()> {
    static LOG: OnceLock<Exclusive> = OnceLock::new();
    static REFUSED: AtomicBool = AtomicBool::new(false);
    extern "C" fn on_signal(_: i32) {
        if let Some(Err(e)) = LOG.get().map(|log| log.try_acquire().map(std::mem::forget).map_err(Error::from)) {
            // The error is a constant, so that it may go with nothing freed; what it says is printed outside.
            REFUSED.store(e.code() == xsem::Code::InvalidAtInterruptTime, SeqCst);
        }
    }
    let log = Exclusive::create(&Namespace::open(url)?, "log")?;
    let log = LOG.get_or_init(|| log);
    // SAFETY: a handler that does what the library allows to be asked there, and is refused.
    unsafe {
        libc::signal(libc::SIGUSR1, on_signal as extern "C" fn(i32) as libc::sighandler_t);
        libc::raise(libc::SIGUSR1);
    }
    println!("refused in the handler: {}", REFUSED.load(SeqCst));
    // The same in a scope that the program has declared: here it may be printed.
    let _scope = xsem::interrupt::scope();
    log.try_acquire().map(drop).map_err(Error::from)
}

/// 106: more processes than the namespace was made for.
fn members(url: &str) -> Result<()> {
    let ns = Namespace::builder().max_members(2).open(url)?;
    Exclusive::create(&ns, "work")?; // Whoever makes a name is a member, too.
    let mut others = Vec::new();
    for _ in 0..2 {
        let program = std::env::current_exe().expect("this program");
        let child = Command::new(program).args(["member", url]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("another process");
        // It says that it is a member, and stays until its input ends; or it says why it is none.
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("its output")).read_line(&mut line).expect("a line");
        print!("{}", line.trim_start_matches(MEMBER));
        others.push(child);
    }
    for mut child in others {
        drop(child.stdin.take());
        child.wait().expect("it ends");
    }
    Ok(())
}

/// What a member says.
const MEMBER: &str = "a member\n";

fn member(url: &str) -> Result<()> {
    let sem = Exclusive::open(&Namespace::open(url)?, "work")?;
    drop(sem.acquire().map_err(Error::from)?);
    print!("{MEMBER}");
    std::io::stdout().flush().expect("somebody reads it");
    std::io::stdin().read_to_end(&mut Vec::new()).expect("the end of the input");
    Ok(())
}
