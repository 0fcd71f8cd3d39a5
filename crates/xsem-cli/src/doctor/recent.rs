//! What has gone wrong lately: from the disagreements that are always kept, and from the history where it is written.

use super::finding::Severity::{Note, Warning};
use super::finding::{Finding, Kind};
use super::{Look, typed};
use std::collections::BTreeMap;
use std::time::Duration;
use xsem::{Code, Happened, Record, age};

/// Older ones are notes.
const LATELY: Duration = Duration::from_secs(24 * 3600);
/// Timeouts are looked for in this time.
const AN_HOUR: Duration = Duration::from_secs(3600);

/// Who asked for something else than there is.
pub fn mismatches(d: &mut Look, all: &[Record], wanted: Option<&str>) {
    // The same question of the same program is one finding, however often it was asked.
    let mut seen: BTreeMap<(String, String, String), (&Record, usize)> = BTreeMap::new();
    for r in all.iter().filter(|r| wanted.is_none_or(|n| n == r.name)) {
        if let Happened::Mismatch { asked, there, .. } = &r.what {
            let entry = seen.entry((r.name.clone(), asked.clone(), there.clone())).or_insert((r, 0));
            *entry = (r, entry.1 + 1);
        }
    }
    for ((name, asked, there), (last, times)) in seen {
        let ago = last.at.elapsed().unwrap_or_default();
        let often = if times > 1 { format!(", {times} times") } else { String::new() };
        let p = &last.process;
        let what = format!("{} `{}` asked for {asked}, but it is {there}; {} ago{often}", p.pid, p.command, age(ago));
        let t = typed(&name);
        let (kind, todo) = match last.what.code() {
            Some(Code::InvalidParameter) => {
                (Kind::LimitMismatch, format!("let both ask for the same; `xsem resize {t} LIMIT` changes a limit"))
            }
            _ => (Kind::TypeMismatch, format!("use another name in one of them; `xsem show {t}` says what this one is")),
        };
        let severity = if ago < LATELY { Warning } else { Note };
        d.found(Finding::new(kind, severity, what, todo).of(&name));
    }
}

/// What the history tells.
pub fn history(d: &mut Look, all: &[Record], wanted: Option<&str>) {
    let lately = |r: &&Record| {
        wanted.is_none_or(|n| n == r.name)
            && r.at.elapsed().is_ok_and(|ago| ago < AN_HOUR)
            && matches!(r.what, Happened::Refused(_))
    };
    let mut seen: BTreeMap<(&str, u32), (&Record, usize)> = BTreeMap::new();
    for r in all.iter().filter(lately) {
        let code = r.what.code().map_or(0, Code::number);
        let entry = seen.entry((&r.name, code)).or_insert((r, 0));
        *entry = (r, entry.1 + 1);
    }
    for ((name, code), (last, times)) in seen {
        let t = typed(name);
        let often = if times == 1 { "once".into() } else { format!("{times} times") };
        let p = &last.process;
        let who = format!("the last was {} `{}`", p.pid, p.command);
        match code {
            1131 => d.found(
                Finding::new(
                    Kind::DeadlockLately,
                    Warning,
                    format!("{often} in the last hour somebody would have waited for ever for it (1131); {who}"),
                    "take semaphores in one order everywhere, or at once (`xsem run A B`, `acquire_all`)",
                )
                .of(name),
            ),
            121 => d.found(
                Finding::new(
                    Kind::TimedOutLately,
                    Note,
                    format!("{often} in the last hour somebody ran out of time waiting for it (121); {who}"),
                    format!("`xsem log {t}` has who held it meanwhile"),
                )
                .of(name),
            ),
            _ => {}
        }
    }
}
