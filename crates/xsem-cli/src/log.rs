//! `xsem log`: what has happened, in lines.

use crate::cli::LogArgs;
use crate::failure::{Failure, say};
use crate::{exit_codes, places};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use xsem::{Code, Happened, History, Namespace, Record};

/// Records that there is room for, unless somebody says otherwise: a megabyte.
const USUAL: u32 = 4096;
/// How often `--follow` looks.
const EVERY: Duration = Duration::from_millis(200);

/// Shows the history, or switches it.
pub fn log(args: &LogArgs, url: &str) -> Result<u8, Failure> {
    if args.on || args.off {
        return switch(args, url);
    }
    let ns = places::existing(url)?.ok_or_else(|| places::none(url))?;
    let history = ns.history()?;
    let seen: BTreeSet<u64> = history.records.iter().map(|r| r.position).collect();
    let wanted = wanted(args, &history.records);
    let known = |name: &str| history.records.iter().any(|r| !r.name.is_empty() && is_named(r, name));
    if let Some(name) = args.name.as_deref().filter(|name| !args.follow && !known(name)) {
        // A name that is nowhere is a typing mistake; but one may wait for it.
        ns.kind(name)?;
    }
    let (all, recording) = (wanted.len(), history.recording);
    let mut out = Lines { out: io::stdout().lock(), json: args.json, of_one: args.name.is_some(), day: None };
    for r in &wanted[all.saturating_sub(args.lines.unwrap_or(all))..] {
        out.line(r)?;
    }
    out.out.flush()?;
    if let Some(reach) = &history.reach {
        say(reach);
    } else if recording.is_none() {
        off(&history, args.follow);
    } else if all == 0 && !args.follow {
        say(&format!("nothing has happened{} since the history was switched on", of(args)));
    }
    if args.follow {
        follow(args, &ns, &mut out, seen)?;
    }
    Ok(exit_codes::OK)
}

/// Says that nothing is written down now, and what can be done.
fn off(history: &History, follow: bool) {
    let kept = if history.records.is_empty() { "" } else { "; this is what was written down before" };
    let then = if follow { "; this goes on when somebody switches it on" } else { "" };
    say(&format!(
        "the history is off{kept}: `xsem log --on` begins to write it down{then}; the counters of `xsem show NAME` are always kept"
    ));
}

fn of(args: &LogArgs) -> String {
    args.name.as_ref().map_or(String::new(), |n| format!(" to `{n}`"))
}

fn switch(args: &LogArgs, url: &str) -> Result<u8, Failure> {
    let Some(ns) = (if args.on { Some(Namespace::open(url)?) } else { places::existing(url)? }) else {
        return Err(places::none(url).into());
    };
    let before = ns.history()?.recording;
    // Switched on again it keeps its size, unless another one is asked for.
    let size = args.size.or(before).unwrap_or(USUAL);
    ns.keep_history(args.on.then_some(size))?;
    match (args.on, before) {
        (true, Some(n)) if n == size => println!("the history was on: the last {size} records are kept"),
        (true, _) => println!("the history is on: the last {size} records are kept; `xsem log` shows them"),
        (false, Some(_)) => println!("the history is off; what was written down stays readable"),
        (false, None) => println!("the history was off"),
    }
    Ok(exit_codes::OK)
}

/// Those that were asked for.
fn wanted<'a>(args: &LogArgs, all: &'a [Record]) -> Vec<&'a Record> {
    let after = args.since.and_then(|d| SystemTime::now().checked_sub(d));
    let named = |r: &Record| args.name.as_ref().is_none_or(|n| is_named(r, n));
    all.iter().filter(|r| named(r) && after.is_none_or(|t| r.at >= t)).collect()
}

/// A long name is cut in a record. What is about the namespace is about each.
fn is_named(r: &Record, name: &str) -> bool {
    r.name == name || r.name.len() >= 84 && name.starts_with(&r.name) || r.name.is_empty()
}

static ENDED: AtomicBool = AtomicBool::new(false);

extern "C" fn end(_: i32) {
    ENDED.store(true, Ordering::Relaxed);
}

/// Until Ctrl-C, or until nobody reads any more.
fn follow(args: &LogArgs, ns: &Namespace, out: &mut Lines<'_>, mut seen: BTreeSet<u64>) -> Result<(), Failure> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: a handler that stores into an atomic. Without SA_RESTART, so that the pause ends.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = end as *const () as usize;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
    while !ENDED.load(Ordering::Relaxed) {
        thread::sleep(EVERY);
        if out.nobody_reads() {
            break;
        }
        // Who is slow writes a record with a smaller number a little later.
        let from = seen.last().map_or(0, |last| last.saturating_sub(1024));
        let news = ns.history_from(from)?.records;
        for r in &news {
            if seen.insert(r.position) && args.name.as_ref().is_none_or(|n| is_named(r, n)) {
                out.line(r)?;
            }
        }
        out.out.flush()?;
        seen = seen.split_off(&from);
    }
    Ok(())
}

struct Lines<'a> {
    out: io::StdoutLock<'a>,
    json: bool,
    /// Then the name needs not be said.
    of_one: bool,
    /// The day of the line before.
    day: Option<String>,
}

impl Lines<'_> {
    /// One record.
    fn line(&mut self, r: &Record) -> Result<(), Failure> {
        if self.json {
            serde_json::to_writer(&mut self.out, &RecordJson::from(r)).map_err(io::Error::from)?;
            writeln!(self.out)?;
            return Ok(());
        }
        let (day, time) = local(r.at);
        if self.day.as_ref() != Some(&day) {
            writeln!(self.out, "{day}")?;
            self.day = Some(day);
        }
        let name = match (r.name.as_str(), self.of_one) {
            ("", _) | (_, true) => String::new(),
            (n, false) => format!("{n}: "),
        };
        let p = &r.process;
        let host = p.host.as_ref().map_or(String::new(), |h| format!(" on {h}"));
        let who = if p.pid == 0 { "somebody".to_owned() } else { format!("{}{host} `{}`", p.pid, p.command) };
        let line: String = format!("{time}  {name}{who} {r}").chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        writeln!(self.out, "{line}")?;
        Ok(())
    }

    /// Nothing may be written for hours, and still `xsem log -f | head -1` shall end.
    fn nobody_reads(&self) -> bool {
        let mut p = libc::pollfd { fd: libc::STDOUT_FILENO, events: 0, revents: 0 };
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&mut p, 1, 0) > 0 && p.revents & libc::POLLERR != 0 }
    }
}

/// Day and time as the user's clock shows them.
pub fn local(t: SystemTime) -> (String, String) {
    let since = t.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = libc::time_t::try_from(since.as_secs()).unwrap_or(0);
    // SAFETY: an all-zero tm is a valid value to be overwritten, by a call with two valid pointers.
    let tm = unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        libc::localtime_r(&seconds, &mut tm);
        tm
    };
    let day = format!("{:04}-{:02}-{:02}", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
    (day, format!("{:02}:{:02}:{:02}.{:03}", tm.tm_hour, tm.tm_min, tm.tm_sec, since.subsec_millis()))
}

/// A line of `log --json`: field names are part of the command's interface.
#[derive(Serialize)]
pub struct RecordJson {
    position: u64,
    /// Milliseconds since 1970, and microseconds of the machine's monotonic clock.
    at_ms: u64,
    monotonic_us: u64,
    name: Option<String>,
    pid: u32,
    uid: u32,
    command: String,
    /// Where machines share the namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    claimant: u32,
    what: &'static str,
    /// The code that somebody got: 6, 87, 95, 102, 105, 121, 1131.
    code: Option<u32>,
    /// How an owner died.
    cause: Option<String>,
    asked: Option<String>,
    there: Option<String>,
    token: Option<u64>,
    permits: u32,
    took_us: Option<u64>,
    text: String,
}

impl From<&Record> for RecordJson {
    fn from(r: &Record) -> RecordJson {
        let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        let (asked, there) = match &r.what {
            Happened::Mismatch { asked, there, .. } => (Some(asked.clone()), Some(there.clone())),
            _ => (None, None),
        };
        RecordJson {
            position: r.position,
            at_ms: r.at.duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            monotonic_us: micros(r.monotonic),
            name: Some(r.name.clone()).filter(|n| !n.is_empty()),
            pid: r.process.pid,
            uid: r.process.uid,
            command: r.process.command.clone(),
            host: r.process.host.clone(),
            claimant: r.claimant,
            what: r.what.as_str(),
            code: r.what.code().map(Code::number),
            cause: if let Happened::Died(cause) = &r.what { Some(cause.to_string()) } else { None },
            asked,
            there,
            token: Some(r.token).filter(|t| *t != 0),
            permits: r.permits,
            took_us: r.took.map(micros),
            text: r.to_string(),
        }
    }
}
