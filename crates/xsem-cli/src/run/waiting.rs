//! The line that says who is waited for: alive on a terminal, as apt has it.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use xsem::{Kind, Namespace, Report, Wants};

/// A wait that is over sooner shows nothing.
const FIRST: Duration = Duration::from_millis(300);
const EVERY: Duration = Duration::from_secs(1);

/// Whether a line that redraws itself makes sense.
pub fn on_terminal() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// Others are counted, not listed: it is one line.
const LISTED: usize = 3;

/// What to say about a wait for these by the process `me`; None when it will not take long: nobody has any of the semaphores,
/// the events are signalled.
pub fn look(ns: &Namespace, names: &[String], me: u32, wants: Wants) -> Option<String> {
    let reports: Vec<Report> = names.iter().filter_map(|n| ns.inspect(n).ok()).collect();
    reports.iter().any(keeps_waiting).then(|| text(&reports, me, wants))
}

/// Whether it is what somebody waits for.
fn keeps_waiting(r: &Report) -> bool {
    !r.holders.is_empty() || r.signal.is_some_and(|s| !s.is_set)
}

/// "waiting for `deploy`: held by 812 `make -j8` (alice) for 12 s, 2 ahead of you".
pub fn text(reports: &[Report], me: u32, wants: Wants) -> String {
    let names: Vec<String> = reports.iter().map(named).collect();
    let several = reports.len() > 1;
    let mut out = format!("waiting for {}: ", names.join(if wants == Wants::Any { " or " } else { " and " }));
    // Of several, those that somebody has are what we wait for.
    let held: Vec<&Report> = reports.iter().filter(|r| !several || keeps_waiting(r)).collect();
    if held.is_empty() {
        out += "they are being passed on";
    }
    for (i, r) in held.iter().enumerate() {
        if i > 0 {
            out += "; ";
        }
        if several {
            out += &format!("`{}` ", r.name);
        }
        out += &one(r, me);
    }
    out
}

fn named(r: &Report) -> String {
    let kind = if r.kind == Kind::Event { "event " } else { "" };
    format!("{kind}`{}`", r.name)
}

/// An event has nobody who could be named. That it was never signalled may mean that the name is wrong.
fn signals(r: &Report) -> String {
    match r.counters.acquired {
        0 => "never signalled so far".to_owned(),
        1 => "signalled once so far".to_owned(),
        n => format!("signalled {n} times so far"),
    }
}

fn one(report: &Report, me: u32) -> String {
    if report.kind == Kind::Event {
        return signals(report);
    }
    let mut out = String::new();
    if let Some(c) = report.capacity {
        out += &format!("{} of {} free, ", c.free, c.limit);
    }
    match report.holders.as_slice() {
        [] => out += "it is being passed on",
        holders => {
            let listed: Vec<String> = holders.iter().take(LISTED).map(ToString::to_string).collect();
            out += &format!("held by {}", listed.join(" and "));
            if holders.len() > LISTED {
                out += &format!(" and {} more", holders.len() - LISTED);
            }
        }
    }
    let ahead = match report.waiters.iter().position(|w| w.process.pid == me) {
        Some(place) => place,
        None => report.waiters.len(),
    };
    if ahead > 0 {
        out += &format!(", {ahead} ahead of you");
    }
    out
}

/// A thread that redraws the line every second; dropping it erases the line and waits for the thread.
pub struct LiveLine {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LiveLine {
    /// Starts it, for a wait of the process `me`. Where there is no thread to be had there is no line either: the wait
    /// matters more.
    pub fn start(ns: &Namespace, names: Vec<String>, me: u32, wants: Wants) -> LiveLine {
        let (stop, stopped) = mpsc::channel::<()>();
        let ns = ns.clone();
        let draw = move || {
            let mut pause = FIRST;
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let reports: Vec<Report> = names.iter().filter_map(|n| ns.inspect(n).ok()).collect();
                if !reports.is_empty() {
                    show(&text(&reports, me, wants));
                }
                pause = EVERY;
            }
            if pause == EVERY {
                show("");
            }
        };
        LiveLine { stop: Some(stop), thread: thread::Builder::new().name("xsem-line".into()).spawn(draw).ok() }
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // The thread's panic has been printed; the command shall run all the same.
            let _ = thread.join();
        }
    }
}

/// Puts `text` in place of what stands in the line: one write, cut to the terminal's width so that it never wraps.
fn show(text: &str) {
    let room = columns().saturating_sub(1);
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(room).collect();
    let _ = io::stderr().write_all(format!("\r{clean}\x1b[K").as_bytes());
}

fn columns() -> usize {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one `winsize`, which `size` is; the descriptor may be anything.
    let ok = unsafe { libc::ioctl(libc::STDERR_FILENO, libc::TIOCGWINSZ, &mut size) } == 0;
    if ok && size.ws_col > 0 { usize::from(size.ws_col) } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::text;
    use std::time::Duration;
    use xsem::{Capacity, Holder, Kind, Mode, Process, ProcessState, Report, Reset, Signal, Waiter, Wants};

    fn process(pid: u32) -> Process {
        Process::new(pid, 0, format!("job {pid}"), ProcessState::Alive)
    }

    #[test]
    fn the_line_for_one_and_for_several() {
        let mut gpu = Report::new("gpu", Kind::Counting);
        gpu.capacity = Some(Capacity::new(Mode::Pool, 5, 5, 0));
        gpu.holders = (1..=5).map(|pid| Holder::new(process(pid), 1, pid.into())).collect();
        gpu.waiters = [8, 9].map(|pid| Waiter::new(process(pid), 1, 1, Duration::ZERO)).into();
        let alone = text(&[gpu.clone()], 9, Wants::One);
        assert!(alone.starts_with("waiting for `gpu`: 0 of 5 free, held by 1 `job 1`"), "{alone}");
        assert!(alone.ends_with(" and 2 more, 1 ahead of you") && !alone.contains("job 4"), "{alone}");
        let free = Report::new("db", Kind::Exclusive);
        let both = text(&[free.clone(), gpu.clone()], 8, Wants::All);
        assert!(both.starts_with("waiting for `db` and `gpu`: `gpu` 0 of 5 free, held by "), "{both}");
        let either = text(&[free.clone(), gpu], 8, Wants::Any);
        assert!(either.starts_with("waiting for `db` or `gpu`: `gpu` 0 of 5 free, held by "), "{either}");
        assert_eq!(text(&[free], 8, Wants::One), "waiting for `db`: it is being passed on");
    }

    #[test]
    fn the_line_for_events() {
        let mut up = Report::new("up", Kind::Event);
        up.signal = Some(Signal::new(Reset::Manual, false));
        assert_eq!(text(&[up.clone()], 8, Wants::One), "waiting for event `up`: never signalled so far");
        let mut work = Report::new("work", Kind::Event);
        (work.signal, work.counters.acquired) = (Some(Signal::new(Reset::Auto, false)), 3);
        let either = text(&[up.clone(), work.clone()], 8, Wants::Any);
        let both = "`up` never signalled so far; `work` signalled 3 times so far";
        assert_eq!(either, format!("waiting for event `up` or event `work`: {both}"));
        up.signal = Some(Signal::new(Reset::Manual, true));
        let all = text(&[up, work], 8, Wants::All);
        assert_eq!(
            all, "waiting for event `up` and event `work`: `work` signalled 3 times so far",
            "what is signalled keeps nobody"
        );
    }
}
