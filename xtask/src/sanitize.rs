//! `cargo xtask sanitize`: tests under the compiler's sanitizers and under valgrind, as far as this toolchain can. Each is shown
//! first that it finds what it is for (the testkit's program `unsound`), then it looks at the tests.

use crate::Failure;
use crate::machines::{self, Built, std_source, with_own_std};
use crate::need::{self, Need};
use crate::proc::{Job, root};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub const USAGE: &str = "\
usage: cargo xtask sanitize [address | leak | thread | memcheck]... [--only TEXT]

All of them by default. --only: the tests whose names contain TEXT (may be repeated).
";

/// A test program hangs after so long. Longer than the watchdogs of single tests take, which say more.
const LIMIT: Duration = Duration::from_secs(1800);

/// What the tests' own watchdogs are told: sanitizers make what they watch so many times slower.
const SLOW: (&str, &str) = ("XSEM_SLOW", "5");

const VALGRIND: Need = Need { program: "valgrind", package: "valgrind", otherwise: "install valgrind" };

/// One of the compiler's sanitizers, or valgrind.
#[derive(Debug)]
struct Sanitizer {
    name: &'static str,
    /// What the compiler calls it. The address sanitizer finds leaks, too: one build serves both. None: valgrind.
    compiled: Option<&'static str>,
    /// What std is: the toolchain's own, or built with the sanitizer. Without that, a race detector sees half of it.
    own_std: bool,
    /// Where its options are read, and which.
    options: &'static [(&'static str, &'static str)],
    /// Below `xtask/sanitize`: what it shall not report, each with the reason.
    suppressions: Option<&'static str>,
    /// What `unsound` does, and what is then said.
    finds: &'static [(&'static str, &'static str)],
    left_out: &'static [(&'static str, &'static str)],
    /// Single tests that are not for it, each with the reason.
    skipped: &'static [(&'static str, &'static str)],
    /// If it is not for all the tests: for which.
    tests: Option<&'static [&'static str]>,
}

const ALL: [Sanitizer; 4] = [
    Sanitizer {
        name: "address",
        compiled: Some("address"),
        own_std: false,
        // Leaks have a line of their own, below.
        options: &[("ASAN_OPTIONS", "detect_leaks=0:exitcode=77:detect_stack_use_after_return=0")],
        suppressions: None,
        finds: &[("overflow", "heap-buffer-overflow"), ("use-after-free", "heap-use-after-free")],
        left_out: &[],
        skipped: &[],
        tests: None,
    },
    Sanitizer {
        name: "leak",
        compiled: Some("address"),
        own_std: false,
        options: &[("ASAN_OPTIONS", "exitcode=77:detect_stack_use_after_return=0"), ("LSAN_OPTIONS", "exitcode=77")],
        suppressions: Some("leaks.txt"),
        finds: &[("leak", "detected memory leaks")],
        left_out: &[],
        skipped: &[],
        tests: None,
    },
    Sanitizer {
        name: "thread",
        compiled: Some("thread"),
        own_std: true,
        options: &[("TSAN_OPTIONS", "exitcode=77:die_after_fork=0:report_signal_unsafe=0")],
        suppressions: Some("races.txt"),
        finds: &[("race", "data race")],
        left_out: &[],
        skipped: &[("vfork_posix_spawn", "its runtime takes a child that shares the parent's memory for a fork, and gives up")],
        tests: None,
    },
    Sanitizer {
        name: "memcheck",
        compiled: None,
        own_std: false,
        options: &[],
        suppressions: Some("memcheck.txt"),
        finds: &[("overflow", "Invalid read"), ("use-after-free", "Invalid read"), ("unwritten", "uninitialised value")],
        left_out: &[],
        skipped: &[("a_signal_that_changes_nothing", "its threads meet by spinning, and valgrind runs one at a time")],
        // It knows whether each bit was written, which no sanitizer here does; and is fifty times slower.
        tests: Some(&["xsem/exclusive", "xsem/counting", "xsem/event", "xsem/signal_release", "xsem-testkit/contract"]),
    },
];

/// For all of them: what starts cargo, what reads the sources, what has none of this project's unsafe code in it.
const LEFT_OUT: [(&str, &str); 6] = [
    ("xsem/codes", "it reads documents"),
    ("xsem/resources", "it limits the address space, of which a sanitizer takes terabytes"),
    ("xsem-testkit/containers", "its filters end who makes system calls that are not the library's"),
    ("xsem-testkit/inject", "it answers each system call, also a sanitizer's"),
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
    if s.compiled.is_none() {
        VALGRIND.satisfy()?;
    }
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
    let wanted = |title: &str| {
        s.tests.is_none_or(|tests| tests.contains(&title)) && (only.is_empty() || only.iter().any(|o| title.contains(o)))
    };
    let mut tests: Vec<&Built> = built.iter().filter(|b| b.is_test && b.kind != "bin" && wanted(&b.title())).collect();
    tests.sort_by_key(|b| (b.kind != "lib", b.title()));
    s.skipped.iter().for_each(|(name, why)| add(name.to_string(), format!("not run: {why}"), 0.0, false));
    for b in tests {
        let title = b.title();
        if let Some((_, why)) = LEFT_OUT.iter().chain(s.left_out).find(|(name, _)| *name == title) {
            add(title, format!("not run: {why}"), 0.0, false);
            continue;
        }
        let mut args = vec!["--test-threads=2"];
        s.skipped.iter().for_each(|(name, _)| args.extend(["--skip", name]));
        let (end, text, seconds) = start(s, &b.path, &args)?;
        // A child of a test may be the one that found something.
        let reported = text.contains(if s.compiled.is_some() { "Sanitizer" } else { "==    at 0x" });
        if end != "ok" || reported {
            println!("{text}");
        }
        add(title, if end == "ok" && reported { "reported".to_owned() } else { end.clone() }, seconds, end != "ok" || reported);
    }
    Ok(())
}

fn build(s: &Sanitizer) -> Result<Vec<Built>, Failure> {
    // Optimized code looks at what it does not use afterwards: valgrind would report that.
    let profile = if s.compiled.is_some() { "machines" } else { "dev" };
    let flags = s.compiled.map(|name| format!("-Zsanitizer={name}")).unwrap_or_default();
    // With a target named, programs that run while building are built without it.
    let job = Job::cargo(["test", "--profile", profile, "--target", "x86_64-unknown-linux-gnu", "-p", "xsem"]);
    let job = job.args(["-p", "xsem-testkit"]);
    let job = match s.tests {
        None => job.args(["--lib", "--bins", "--tests"]),
        Some(tests) => tests.iter().fold(job, |j, t| j.args(["--test", t.rsplit('/').next().unwrap_or(t)])),
    };
    let job = job.env("RUSTC_BOOTSTRAP", "1").flags("RUSTFLAGS", &format!("--cfg xsem_sanitized {flags}"));
    let job = job.env("CARGO_TARGET_DIR", machines::directory()?.join(s.compiled.unwrap_or(s.name)));
    let job = if s.own_std { with_own_std(job, &std_source::find()?) } else { job };
    machines::build(job, &format!("the build for the {} sanitizer", s.name))
}

/// Runs a program to its end: how that was, what it said, and what the sanitizer reported in it and in its children.
fn start(s: &Sanitizer, program: &Path, args: &[&str]) -> Result<(String, String, f64), Failure> {
    let broken = |e: std::io::Error| Failure::check(format!("{}: {e}", program.display()));
    let dir = machines::directory()?.join(format!("{}-reports", s.name));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).map_err(broken)?;
    let out = dir.join("out");
    let file = fs::File::create(&out).map_err(broken)?;
    let suppressions = s.suppressions.map(|name| root().join("xtask/sanitize").join(name).display().to_string());
    let mut command = Command::new(if s.compiled.is_some() { program } else { Path::new(VALGRIND.program) });
    if s.compiled.is_none() {
        command.args(["-q", "--error-exitcode=77", "--trace-children=yes", "--leak-check=no"]);
        command.args(suppressions.as_ref().map(|path| format!("--suppressions={path}")));
        command.arg(format!("--log-file={}.%p", dir.join("report").display())).arg(program);
    }
    for (variable, options) in s.options {
        let mut options = format!("{options}:log_path={}", dir.join("report").display());
        if let Some(path) = suppressions.as_ref().filter(|_| !variable.starts_with("ASAN")) {
            options += &format!(":suppressions={path}");
        }
        command.env(variable, options);
    }
    command.args(args).env(SLOW.0, SLOW.1).env("RUST_BACKTRACE", "0").stdin(Stdio::null());
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
    // Each process that has something to report writes a file of its own.
    let mut files: Vec<PathBuf> = fs::read_dir(&dir).map_err(broken)?.filter_map(|e| Some(e.ok()?.path())).collect();
    files.sort();
    let texts = files.iter().filter_map(|f| fs::read(f).ok());
    let text = texts.map(|t| String::from_utf8_lossy(&t).into_owned()).collect::<Vec<_>>().join("\n");
    Ok((end, text, begin.elapsed().as_secs_f64()))
}
