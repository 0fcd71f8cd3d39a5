//! An emulated machine that runs one plan and ends. Its first process is the testkit's program `guest`, whose lines this reads.

use crate::Failure;
use crate::proc::Job;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How lines of the first process begin, and what lets it work; the same as in the testkit's `guest`.
const MARK: &str = "@guest ";
const CONSENT: &str = "xsem.guest";

/// One that is to be started.
#[derive(Debug)]
pub struct Machine {
    pub program: &'static str,
    pub cpu: String,
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    pub megabytes: u32,
    /// After so long it is ended from outside, whatever it does.
    pub limit: Duration,
}

/// How one command of the plan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub name: String,
    /// `ok`, or what else.
    pub end: String,
    pub seconds: String,
    /// How many tests passed, or how many points were tested.
    pub said: String,
}

impl Machine {
    /// Runs it, with its console on ours.
    pub fn run(&self) -> Result<Vec<Outcome>, Failure> {
        let mut command = Command::new(self.program);
        command.args(["-machine", "virt", "-smp", "2", "-nographic", "-no-reboot", "-nic", "none"]);
        // Its clock counts instructions (8 ns each), and jumps where everybody sleeps: on a loaded host nobody misses a deadline.
        // That takes one thread for both processors, which take turns.
        command.args(["-accel", "tcg,thread=single", "-icount", "shift=3,align=off,sleep=off"]);
        command.args(["-cpu", &self.cpu, "-m", &self.megabytes.to_string()]).arg("-kernel").arg(&self.kernel);
        command.arg("-initrd").arg(&self.initramfs);
        // Whatever the kernel does not like ends the machine, and does not leave it waiting for a person.
        command.args(["-append", &format!("console=ttyAMA0 quiet loglevel=4 panic=-1 {CONSENT}")]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| Failure::check(format!("`{}` could not be started: {e}", self.program)))?;
        let done = self.follow(&mut child);
        let _ = child.kill();
        let _ = child.wait();
        done
    }

    fn follow(&self, child: &mut Child) -> Result<Vec<Outcome>, Failure> {
        let console = child.stdout.take().expect("a pipe");
        let (send, lines) = channel();
        // Ends with the machine.
        thread::spawn(move || {
            for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        let end = Instant::now() + self.limit;
        let mut report = Report::default();
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => report.line(&line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let doing = report.now.as_deref().unwrap_or("nothing of the plan");
                    let limit = self.limit.as_secs();
                    return Err(Failure::check(format!("the machine was ended after {limit} s; it was doing {doing}")));
                }
            }
        }
        report.result()
    }
}

#[derive(Debug, Default)]
struct Report {
    now: Option<String>,
    said: Vec<String>,
    outcomes: Vec<Outcome>,
    broken: Vec<String>,
    done: bool,
}

impl Report {
    fn line(&mut self, line: &str) {
        println!("{line}");
        self.said.extend(summary(line));
        // A program may have left half a line before it.
        let Some(at) = line.find(MARK) else { return };
        let words: Vec<&str> = line[at + MARK.len()..].split(' ').collect();
        match words[..] {
            ["begin", name] => (self.now, self.said) = (Some(name.to_owned()), Vec::new()),
            ["end", name, end, seconds] => {
                self.now = None;
                let (name, end, seconds) = (name.to_owned(), end.to_owned(), seconds.to_owned());
                self.outcomes.push(Outcome { name, end, seconds, said: self.said.join("; ") });
            }
            ["broken:", ..] => self.broken.push(words.join(" ")),
            ["done"] => self.done = true,
            _ => {}
        }
    }

    fn result(self) -> Result<Vec<Outcome>, Failure> {
        match (self.broken.first(), self.now, self.done) {
            (Some(why), _, _) => Err(Failure::check(format!("the machine is {why}"))),
            (None, Some(name), _) => Err(Failure::check(format!("the machine went down while it ran {name}"))),
            (None, None, false) => Err(Failure::check("the machine went down before the plan was done".to_owned())),
            (None, None, true) => Ok(self.outcomes),
        }
    }
}

/// What a program says of itself in one line: cargo's tests, or the last line of the harness's table.
fn summary(line: &str) -> Option<String> {
    if let Some(result) = line.strip_prefix("test result: ") {
        let counts: Vec<&str> = result.split_once(". ")?.1.split("; ").take(3).collect();
        return Some(counts.join(", "));
    }
    let last = |name: &str, n: &str| format!("{n} {name}");
    match line.strip_prefix("total ")?.split_whitespace().rev().collect::<Vec<_>>()[..] {
        [stuck, violations, paused, killed, ..] => {
            let parts = [last("killed", killed), last("paused", paused), last("violations", violations), last("stuck", stuck)];
            Some(parts.join(", "))
        }
        _ => None,
    }
}

/// The plan's line for one command.
pub fn task(name: &str, seconds: u64, env: &str, command: &[&str]) -> String {
    format!("{name}\t{seconds}\t{env}\t{}\n", command.join("\t"))
}

/// So that a build for the machine is one of ours, and is shown.
pub fn cross(job: Job, target: &str, linker: &str) -> Job {
    let variable = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
    job.args(["--target", target]).env(&variable, linker)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> Result<Vec<Outcome>, Failure> {
        let mut r = Report::default();
        lines.iter().for_each(|l| r.line(l));
        r.result()
    }

    #[test]
    fn the_harness_says_how_many_points() {
        let line =
            "total                                                  38    291            -     329       2          0      1";
        assert_eq!(summary(line).unwrap(), "329 killed, 2 paused, 0 violations, 1 stuck");
        assert_eq!(summary("totally"), None);
    }

    #[test]
    fn only_a_plan_that_was_done_counts() {
        let result = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.20s";
        let all = ["@guest begin a/b", "noise", result, "half a line@guest end a/b ok 1.5", "@guest done"];
        let said = "3 passed, 0 failed, 1 ignored".to_owned();
        assert_eq!(report(&all).unwrap(), [Outcome { name: "a/b".into(), end: "ok".into(), seconds: "1.5".into(), said }]);
        assert!(report(&all[..4]).unwrap_err().text.contains("before the plan was done"));
        assert!(report(&all[..1]).unwrap_err().text.contains("while it ran a/b"));
        assert!(report(&[]).is_err());
        assert!(report(&["@guest broken: no plan", "@guest done"]).unwrap_err().text.contains("no plan"));
    }
}
