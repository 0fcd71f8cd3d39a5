//! The other process: told over stdin, answering over stdout, in lines. `URL`, then `xsem NAME` or `lock NAME`: take it, say when,
//! give it back; with `hold` before it: keep it until killed.

use super::place::{Raw, exclusive, failed, session};
use crate::shared::now;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;
use std::{env, thread};

/// The hidden first argument.
pub const FLAG: &str = "__etcd";

/// The process, from the other side.
#[derive(Debug)]
pub struct Other {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Other {
    pub fn start(url: &str) -> io::Result<Other> {
        let mut child = Command::new(env::current_exe()?);
        let mut child = child.arg(FLAG).arg(url).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (to, from) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut other = Other { child, to, from: BufReader::new(from) };
        other.answer()?;
        Ok(other)
    }

    pub fn tell(&mut self, line: &str) -> io::Result<()> {
        self.to.write_all(format!("{line}\n").as_bytes())
    }

    /// The number that it says.
    pub fn answer(&mut self) -> io::Result<u64> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        line.trim().parse().map_err(|_| io::Error::other(format!("the other process said `{}`", line.trim())))
    }

    /// SIGKILL; when that was.
    pub fn kill(mut self) -> io::Result<u64> {
        let at = now();
        self.child.kill()?;
        self.child.wait()?;
        Ok(at)
    }

    pub fn end(mut self) -> io::Result<()> {
        drop(self.to);
        self.child.wait().map(drop)
    }
}

pub fn main(args: &[String]) -> ExitCode {
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xsem-bench: the other process: {e}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &[String]) -> io::Result<()> {
    let [url] = args else { return Err(failed("a URL is needed")) };
    xsem_etcd::register();
    let (ns, raw) = (session(url)?, Raw::open(url)?);
    let say = |n: u64| {
        let mut out = io::stdout();
        writeln!(out, "{n}").and_then(|()| out.flush())
    };
    say(0)?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["xsem", name] => {
                let x = exclusive(&ns, name)?;
                let guard = x.acquire().map_err(|e| failed(xsem::Error::from(e)))?;
                let at = now();
                guard.release().map_err(failed)?;
                say(at)?;
            }
            ["lock", name] => {
                let key = raw.lock(name);
                let at = now();
                raw.unlock(key);
                say(at)?;
            }
            ["hold", "xsem", name] => {
                let x = exclusive(&ns, name)?;
                let _guard = x.acquire().map_err(|e| failed(xsem::Error::from(e)))?;
                say(now())?;
                loop {
                    thread::sleep(Duration::from_secs(60));
                }
            }
            ["hold", "lock", name] => {
                let _key = raw.lock(name);
                say(now())?;
                loop {
                    thread::sleep(Duration::from_secs(60));
                }
            }
            _ => return Err(failed(format!("`{line}`"))),
        }
    }
    Ok(())
}
