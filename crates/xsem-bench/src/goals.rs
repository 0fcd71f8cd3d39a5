//! What the project wants to reach: each goal with what was measured, "met" or "not met", and by how much.

use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, io};

/// A bound of something measured.
#[derive(Clone, Debug)]
pub struct Goal {
    pub text: String,
    pub bound: Bound,
    pub value: Option<f64>,
    /// After the value: `x` for a ratio, `ns`, `B`.
    pub unit: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    /// A ratio to stay below.
    pub fn at_most(limit: f64, text: impl Into<String>, value: Option<f64>) -> Goal {
        Goal { text: text.into(), bound: Bound::AtMost(limit), value, unit: "x" }
    }

    /// A ratio to reach.
    pub fn at_least(limit: f64, text: impl Into<String>, value: Option<f64>) -> Goal {
        Goal { text: text.into(), bound: Bound::AtLeast(limit), value, unit: "x" }
    }

    /// The same, of something that is no ratio.
    pub fn in_units(self, unit: &'static str) -> Goal {
        Goal { unit, ..self }
    }

    /// In a few words.
    fn verdict(&self) -> String {
        match (self.bound, self.value) {
            (_, None) => "not measured".to_owned(),
            (Bound::AtMost(limit), Some(v)) if v <= limit => "met".to_owned(),
            (Bound::AtLeast(limit), Some(v)) if v >= limit => "met".to_owned(),
            (Bound::AtMost(limit), Some(v)) => over(v / limit),
            (Bound::AtLeast(limit), Some(v)) => format!("not met: {:.0} % below", ((1.0 - v / limit) * 100.0).max(1.0)),
        }
    }

    /// A line of a table.
    pub fn line(&self) -> String {
        let (word, limit) = match self.bound {
            Bound::AtMost(l) => ("at most", l),
            Bound::AtLeast(l) => ("at least", l),
        };
        let number = |n: f64| match self.unit {
            "x" => format!("{n:.2} x"),
            unit => format!("{n:.0} {unit}"),
        };
        let value = self.value.map_or_else(|| "-".to_owned(), number);
        format!("{:<25} {value:>9}  {word:<8} {:>9}  {}", self.verdict(), number(limit), self.text)
    }

    /// For the file.
    pub fn json(&self) -> Value {
        let (word, limit) = match self.bound {
            Bound::AtMost(l) => ("at most", l),
            Bound::AtLeast(l) => ("at least", l),
        };
        json!({ "text": self.text, "bound": word, "limit": limit, "value": self.value, "unit": self.unit,
                "verdict": self.verdict() })
    }

    fn from_json(v: &Value) -> Option<Goal> {
        let limit = v["limit"].as_f64()?;
        let bound = if v["bound"] == "at least" { Bound::AtLeast(limit) } else { Bound::AtMost(limit) };
        let unit = ["ns", "us", "ms", "B", "/s"].into_iter().find(|u| v["unit"] == *u).unwrap_or("x");
        Some(Goal { text: v["text"].as_str()?.to_owned(), bound, value: v["value"].as_f64(), unit })
    }
}

/// By how much something is above its limit: percent, or how many times as much.
fn over(ratio: f64) -> String {
    if ratio < 2.0 {
        format!("not met: {:.0} % above", ((ratio - 1.0) * 100.0).max(1.0))
    } else {
        format!("not met: {ratio:.1} x the goal")
    }
}

/// Goals that are measured elsewhere, and where.
const ELSEWHERE: [(&str, &str); 1] =
    [("etcd: acquire, release, handoff beside raw transactions", "needs a server; the etcd engine brings its own benchmark")];

/// One table of the goals of all benchmarks, from the files that their last runs have left in `dir`.
///
/// # Errors
/// Of reading.
pub fn table(dir: &Path, benches: &[&str]) -> io::Result<String> {
    let mut out = String::from("\ngoals\n");
    let (mut met, mut not) = (0, 0);
    for name in benches {
        let file = dir.join(format!("{name}.json"));
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let _ = writeln!(out, "\n{name}: not measured yet (`cargo xtask bench {name}`)");
                continue;
            }
            Err(e) => return Err(e),
        };
        let report: Value = serde_json::from_str(&text).map_err(io::Error::other)?;
        let goals: Vec<Goal> = report["goals"].as_array().into_iter().flatten().filter_map(Goal::from_json).collect();
        if goals.is_empty() {
            continue;
        }
        let age = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_secs(report["time"].as_u64().unwrap_or(0)));
        let _ = writeln!(out, "\n{name}, measured {}", ago(age.unwrap_or_default()));
        for g in &goals {
            let _ = writeln!(out, "  {}", g.line());
            let one = if g.verdict() == "met" { &mut met } else { &mut not };
            *one += 1;
        }
    }
    for (goal, why) in ELSEWHERE {
        let _ = writeln!(out, "\n  {:<25} {goal}: {why}", "not measured here");
    }
    let _ = writeln!(out, "\ngoals met: {met}, not met or not measured: {not}");
    Ok(out)
}

fn ago(age: Duration) -> String {
    match age.as_secs() {
        0..120 => "just now".to_owned(),
        s @ 120..7200 => format!("{} minutes ago", s / 60),
        s => format!("{} hours ago", s / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_bound_and_say_by_how_much() {
        let most = |value| Goal::at_most(0.8, "", value).verdict();
        assert_eq!(most(Some(0.8)), "met");
        assert_eq!(most(Some(1.0)), "not met: 25 % above");
        assert_eq!(most(Some(8.0)), "not met: 10.0 x the goal");
        assert_eq!(most(None), "not measured");
        assert_eq!(Goal::at_least(2.0, "", Some(2.0)).verdict(), "met");
        assert_eq!(Goal::at_least(2.0, "", Some(1.5)).verdict(), "not met: 25 % below");
    }

    #[test]
    fn the_closing_table_has_what_the_files_say() {
        let dir = tempfile::tempdir().expect("a directory");
        let goals = [Goal::at_most(500.0, "look-up", Some(600.0)).in_units("ns"), Goal::at_least(2.0, "throughput", Some(3.0))];
        let report = json!({ "time": 0, "goals": goals.iter().map(Goal::json).collect::<Vec<_>>() });
        fs::write(dir.path().join("a.json"), report.to_string()).expect("written");
        let text = table(dir.path(), &["a", "b"]).expect("readable");
        for line in goals.iter().map(Goal::line) {
            assert!(text.contains(&line), "{text}");
        }
        assert!(text.contains("600 ns") && text.contains("b: not measured yet"), "{text}");
        assert!(text.contains("goals met: 1, not met or not measured: 1"), "{text}");
    }
}
