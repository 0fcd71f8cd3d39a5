//! `cargo xtask sanitize`: tests under the compiler's sanitizers, as far as this toolchain can. Each is shown first that it finds
//! what it is for (the testkit's program `unsound`), then it looks at the tests.

use crate::Failure;
use crate::machines::{self, Built, std_source, with_own_std};
use crate::need;
use crate::proc::Job;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub const USAGE: &str = "\
usage: cargo xtask sanitize [address | leak | thread]... [--only TEXT]

All three by default. --only: the tests whose names contain TEXT (may be repeated).
";

/// A test program hangs after so long; sanitizers make it up to ten times slower.
const LIMIT: Duration = Duration::from_secs(900);

/// One of the compiler's sanitizers.
#[derive(Debug)]
struct Sanitizer {
    name: &'static str,
    /// What std is: the toolchain's own, or built with the sanitizer. Without that, a race detector sees half of it.
    own_std: bool,
    /// Where its options are read.
    variable: &'static str,
    options: &'static str,
    /// Below `xtask/sanitize`: what it shall not report, each with the reason.
    suppressions: Option<&'static str>,
    /// What `unsound` does, and what is then said.
    finds: &'static [(&'static str, &'static str)],
    left_out: &'static [(&'static str, &'static str)],
}

const ALL: [Sanitizer; 3] = [
    Sanitizer {
        name: "address",
        own_std: false,
        variable: "ASAN_OPTIONS",
        // Leaks have a sanitizer of their own.
        options: "detect_leaks=0:abort_on_error=0:exitcode=77",
        suppressions: None,
        finds: &[("overflow", "heap-buffer-overflow"), ("use-after-free", "heap-use-after-free")],
        left_out: &[],
    },
    Sanitizer {
        name: "leak",
        own_std: false,
        variable: "LSAN_OPTIONS",
        options: "exitcode=77",
        suppressions: Some("leaks.txt"),
        finds: &[("leak", "detected memory leaks")],
        left_out: &[],
    },
    Sanitizer {
        name: "thread",
        own_std: true,
        variable: "TSAN_OPTIONS",
        options: "exitcode=77:die_after_fork=0:report_signal_unsafe=0",
        suppressions: Some("races.txt"),
        finds: &[("race", "data race")],
        left_out: &[],
    },
];

/// For all of them: what starts cargo, what reads the sources, what has none of this project's unsafe code in it.
const LEFT_OUT: [(&str, &str); 3] = [
    ("xsem/codes", "it reads documents"),
    ("xsem-testkit/lease", "of the lease engine, which has no unsafe code"),
    ("xsem-testkit/seeded_faults", "of the checker, which has no unsafe code"),
];

pub fn run(rest: &[String]) -> Result<(), Failure> {
    let mut chosen: Vec<&Sanitizer> = Vec::new();
    let mut only = Vec::new();
    let mut args = rest.iter();
    while let Some(a) = args.next() {
        match (a.as_str(), ALL.iter().find(|s| s.name == a)) {
            ("--help" | "-h", _) => {
                print!("{USAGE}");
                return Ok(());
            }
            ("--only", _) => only.push(args.next().ok_or_else(|| wrong("`--only` needs a value".to_owned()))?.as_str()),
            (_, Some(s)) => chosen.push(s),
            (other, None) => return Err(wrong(format!("`sanitize` has nothing called `{other}`"))),
        }
    }
    need::CC.satisfy()?;
    if chosen.is_empty() {
        chosen = ALL.iter().collect();
    }
    let mut lines = Vec::new();
    for s in chosen {
        one(s, &only, &mut lines)?;
    }
    println!("\n{:<8} {:<40} {:<16} {:>8}", "", "what", "end", "seconds");
    lines.iter().for_each(|l| println!("{}", l.shown()));
    let bad: Vec<String> = lines.iter().filter(|l| l.is_bad).map(|l| format!("{} {}", l.sanitizer, l.what)).collect();
    match bad.first() {
        None => Ok(()),
        Some(first) => Err(Failure::check(format!("{}; again: `cargo xtask sanitize {}`", bad.join(", "), again(first)))),
    }
}

fn wrong(text: String) -> Failure {
    Failure { text: format!("{text}\n\n{USAGE}"), code: 2 }
}

fn again(line: &str) -> String {
    line.replacen(' ', " --only ", 1)
}

/// A line of the table.
#[derive(Debug)]
struct Line {
    sanitizer: &'static str,
    what: String,
    end: String,
    seconds: f64,
    is_bad: bool,
}

impl Line {
    fn shown(&self) -> String {
        format!("{:<8} {:<40} {:<16} {:>8.1}", self.sanitizer, self.what, self.end, self.seconds)
    }
}

fn one(s: &'static Sanitizer, only: &[&str], lines: &mut Vec<Line>) -> Result<(), Failure> {
    println!("\n=== {} ===", s.name);
    let built = build(s)?;
    let mut add = |what: String, end: String, seconds: f64, is_bad: bool| {
        let line = Line { sanitizer: s.name, what, end, seconds, is_bad };
        println!("{}", line.shown());
        lines.push(line);
    };
    let unsound = built.iter().find(|b| b.name == "unsound" && !b.is_test);
    let unsound = unsound.ok_or_else(|| Failure::check("`unsound` was not built".to_owned()))?;
    for (fault, said) in s.finds {
        let (end, text, seconds) = start(s, &unsound.path, &[fault])?;
        let found = end == "exit 77" && text.contains(said);
        if !found {
            println!("{text}");
        }
        add(format!("(seeded: {fault})"), if found { "found".to_owned() } else { format!("NOT FOUND: {end}") }, seconds, !found);
    }
    let wanted = |title: &str| only.is_empty() || only.iter().any(|o| title.contains(o));
    for b in built.iter().filter(|b| b.is_test && b.kind != "bin" && wanted(&b.title())) {
        let title = b.title();
        if let Some((_, why)) = LEFT_OUT.iter().chain(s.left_out).find(|(name, _)| *name == title) {
            add(title, format!("not run: {why}"), 0.0, false);
            continue;
        }
        let (end, text, seconds) = start(s, &b.path, &["--test-threads=2"])?;
        // A child of a test may be the one that found something.
        let reported = text.contains("Sanitizer");
        if end != "ok" || reported {
            println!("{text}");
        }
        add(title, if end == "ok" && reported { "reported".to_owned() } else { end.clone() }, seconds, end != "ok" || reported);
    }
    Ok(())
}

fn build(s: &Sanitizer) -> Result<Vec<Built>, Failure> {
    // With a target named, programs that run while building are built without it.
    let job = Job::cargo(["test", "--profile", "machines", "--target", "x86_64-unknown-linux-gnu", "-p", "xsem"]);
    let job = job.args(["-p", "xsem-testkit", "--lib", "--bins", "--tests"]);
    let job = job.env("RUSTC_BOOTSTRAP", "1").flags("RUSTFLAGS", &format!("-Zsanitizer={}", s.name));
    let job = job.env("CARGO_TARGET_DIR", machines::directory()?.join(s.name));
    let job = if s.own_std { with_own_std(job, &std_source::find()?) } else { job };
    machines::build(job, &format!("the build for the {} sanitizer", s.name))
}

/// Runs a program to its end: how that was, and what it said.
fn start(s: &Sanitizer, program: &Path, args: &[&str]) -> Result<(String, String, f64), Failure> {
    let out = machines::directory()?.join(format!("{}.out", s.name));
    let broken = |e: std::io::Error| Failure::check(format!("{}: {e}", program.display()));
    let file = fs::File::create(&out).map_err(broken)?;
    let mut options = s.options.to_owned();
    if let Some(name) = s.suppressions {
        options += &format!(":suppressions={}", suppressions(name).display());
    }
    let mut command = Command::new(program);
    command.args(args).env(s.variable, options).env("RUST_BACKTRACE", "0").stdin(Stdio::null());
    command.stderr(file.try_clone().map_err(broken)?).stdout(file);
    let begin = Instant::now();
    let mut child = command.spawn().map_err(broken)?;
    let end = loop {
        match child.try_wait().map_err(broken)? {
            Some(status) if status.success() => break "ok".to_owned(),
            Some(status) => break status.code().map_or_else(|| status.to_string(), |c| format!("exit {c}")),
            None if begin.elapsed() > LIMIT => {
                let _ = child.kill();
                let _ = child.wait();
                break "hung".to_owned();
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let text = String::from_utf8_lossy(&fs::read(&out).map_err(broken)?).into_owned();
    Ok((end, text, begin.elapsed().as_secs_f64()))
}

fn suppressions(name: &str) -> PathBuf {
    crate::proc::root().join("xtask/sanitize").join(name)
}
