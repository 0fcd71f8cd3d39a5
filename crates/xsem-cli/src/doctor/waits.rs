//! Who waits, how long, and whether that can ever end.

use super::finding::Severity::{Note, Trouble, Warning};
use super::finding::{Finding, Kind};
use super::{Look, typed};
use std::time::Duration;
use xsem::{Kind as Is, Report, age, cycle_text};

/// A wait that lasts longer is worth a warning.
const LONG: Duration = Duration::from_secs(60);

/// Looks at those who wait.
pub fn look(d: &mut Look, r: &Report) {
    let name = &r.name;
    if !r.deadlock.is_empty() {
        let mut around: Vec<String> = r.deadlock.iter().map(|e| e.name.clone()).collect();
        around.sort();
        // One cycle goes through several semaphores.
        if d.cycles.insert(around) {
            let what = format!("a deadlock, which never ends by itself: {}", cycle_text(&r.deadlock, false));
            let todo = "end one of them (`kill PID`), or take what one holds away (`xsem evict NAME`); then let all take them in one order, or at once (`xsem run A B`)";
            d.found(Finding::new(Kind::Deadlock, Trouble, what, todo).of(name));
        }
    }
    if r.drained {
        let todo = format!("to let requests in again: `xsem drain --reopen {}`", typed(name));
        d.found(Finding::new(Kind::Drained, Warning, "it is drained: whoever asks for it is refused (102)", todo).of(name));
    }
    let Some(first) = r.waiters.first() else { return };
    // Told with what they wait for.
    if d.findings.iter().any(|f| f.severity == Trouble && f.name.as_ref() == Some(name)) {
        return;
    }
    let longest = r.waiters.iter().map(|w| w.waiting_for).max().unwrap_or_default();
    let n = r.waiters.len();
    let many = if n == 1 { "one waits".into() } else { format!("{n} wait") };
    let behind = match (r.kind, r.holders.as_slice(), &r.capacity) {
        (Is::Event, ..) => " for a signal".to_owned(),
        (_, [], _) => String::new(),
        (_, [h], None) => format!(", behind {}", super::owners::person(h)),
        (_, all, Some(c)) => format!(": {} of {} permits are free, {} hold the others", c.free, c.total.max(c.limit), all.len()),
        (_, all, None) => format!(", behind {} holders", all.len()),
    };
    let severity = if longest > LONG { Warning } else { Note };
    let p = &first.process;
    let who = match &p.host {
        Some(host) => format!("{} on {host} `{}`", p.pid, p.command),
        None => format!("{} `{}` ({})", p.pid, p.command, p.user()),
    };
    let what = format!("{many}{behind}. The longest has waited for {}: {who}", age(longest));
    let todo = match r.kind {
        Is::Event => format!("`xsem event signal {}` signals it, if it should be", typed(name)),
        _ => format!("`xsem show {}` has all of them in order; ask whoever holds it to give it back", typed(name)),
    };
    d.found(Finding::new(Kind::Waiting, severity, what, todo).of(name));
}
