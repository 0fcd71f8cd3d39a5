//! A history that nobody can explain, for people.

use super::History;
use super::steps::Step;
use std::fmt::{self, Write};

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&explain(self, &[], 0))
    }
}

/// The events in the order of their beginnings, with times in microseconds, and which could not be explained any more on
/// the way that came furthest.
pub(super) fn explain(history: &History, steps: &[Step], done: u128) -> String {
    let zero = history.events.iter().map(|e| e.begin).min().unwrap_or(0);
    let us = |t: u64| format!("{:9.1}", t.saturating_sub(zero) as f64 / 1000.0);
    let mut order: Vec<usize> = (0..history.events.len()).collect();
    order.sort_by_key(|&i| history.events[i].begin);
    let left = |i: usize| steps.iter().enumerate().any(|(k, s)| s.event == Some(i) && done & (1 << k) == 0);
    let mut text = format!(
        "the objects: {:?}\n  begin, end (us), actor; `!`: no place was found for it, on the best way\n",
        history.objects
    );
    for i in order {
        let e = &history.events[i];
        let mark = if left(i) { '!' } else { ' ' };
        let _ = match &e.end {
            Some((end, answer)) => {
                writeln!(text, "{mark} {} {}  {}  {} -> {answer}", us(e.begin), us(*end), e.actor, e.verb)
            }
            None => writeln!(text, "{mark} {}   (died)   {}  {}", us(e.begin), e.actor, e.verb),
        };
    }
    for d in &history.deaths {
        let _ = writeln!(text, "  {} {}  {}  dies", us(d.from), us(d.to), d.actor);
    }
    text
}
