//! The line that says who is waited for: alive on a terminal, as apt has it.

use std::io::{self, IsTerminal, Write};
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use xsem::{Namespace, Report};

/// A wait that is over sooner shows nothing.
const FIRST: Duration = Duration::from_millis(300);
const EVERY: Duration = Duration::from_secs(1);

/// Whether a line that redraws itself makes sense.
pub fn on_terminal() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// "waiting for `deploy`: held by 812 `make -j8` (alice) for 12 s, 2 ahead of you".
pub fn text(report: &Report) -> String {
    let held = match report.holders.as_slice() {
        [] => "it is being passed on".to_owned(),
        holders => format!("held by {}", holders.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")),
    };
    let me = process::id();
    let ahead = match report.waiters.iter().position(|w| w.process.pid == me) {
        Some(place) => place,
        None => report.waiters.len(),
    };
    let ahead = if ahead == 0 { String::new() } else { format!(", {ahead} ahead of you") };
    format!("waiting for `{}`: {held}{ahead}", report.name)
}

/// A thread that redraws the line every second; dropping it erases the line and waits for the thread.
pub struct LiveLine {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LiveLine {
    /// Starts it. Where there is no thread to be had there is no line either: the wait matters more.
    pub fn start(ns: &Namespace, name: &str) -> LiveLine {
        let (stop, stopped) = mpsc::channel::<()>();
        let (ns, name) = (ns.clone(), name.to_owned());
        let draw = move || {
            let mut pause = FIRST;
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                if let Ok(report) = ns.inspect(&name) {
                    show(&text(&report));
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
