//! Tables for people, JSON for machines, goals with "met" or "not met".

use crate::machine;
use crate::rounds::Series;
use serde_json::{Value, json};
use std::fmt::Write;

/// Everything that one benchmark has to say.
#[derive(Debug)]
pub struct Report {
    /// The heading.
    pub title: String,
    /// How it was measured, in a sentence or two.
    pub how: String,
    /// Tables, in order.
    pub tables: Vec<Table>,
    /// What the project wants to reach.
    pub goals: Vec<Goal>,
}

/// Series that belong beside each other.
#[derive(Debug)]
pub struct Table {
    pub title: &'static str,
    pub unit: Unit,
    pub series: Vec<Series>,
    /// Names of the series to which the others are compared, one column each.
    pub against: Vec<&'static str>,
}

/// The unit in which a table is printed; samples are always in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    Nanoseconds,
    Microseconds,
    Milliseconds,
}

/// A ratio to stay below.
#[derive(Debug)]
pub struct Goal {
    pub text: &'static str,
    pub limit: f64,
    pub value: Option<f64>,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Microseconds => "us",
            Unit::Milliseconds => "ms",
        }
    }

    fn of(self, ns: f64) -> f64 {
        match self {
            Unit::Nanoseconds => ns,
            Unit::Microseconds => ns / 1e3,
            Unit::Milliseconds => ns / 1e6,
        }
    }
}

impl Table {
    fn get(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|s| s.name == name)
    }

    /// The ratio of two series: the median over the rounds of the ratio within a round, which a machine that runs
    /// faster or slower for a while does not move.
    pub fn ratio(&self, of: &str, to: &str) -> Option<f64> {
        let (a, b) = (self.get(of)?, self.get(to)?);
        let mut each: Vec<f64> = a.samples.iter().zip(&b.samples).filter(|p| *p.1 > 0.0).map(|(a, b)| a / b).collect();
        (!each.is_empty()).then(|| spread(&mut each).1)
    }

    fn text(&self, out: &mut String) {
        let wide = self.series.iter().map(|s| s.name.len()).chain([self.title.len()]).max().unwrap_or(0);
        let unit = self.unit.name();
        let _ = write!(out, "\n{:<wide$}  {:>10}  {:>10}  {:>10}", self.title, format!("median {unit}"), "min", "max");
        for a in &self.against {
            let _ = write!(out, "  {:>16}", format!("x {a}"));
        }
        out.push('\n');
        for s in &self.series {
            let (min, median, max) = spread(&mut s.samples.clone());
            let [median, min, max] = [median, min, max].map(|x| self.unit.of(x));
            let _ = write!(out, "{:<wide$}  {median:>10.2}  {min:>10.2}  {max:>10.2}", s.name);
            for a in &self.against {
                let ratio = self.ratio(s.name, a).map_or_else(|| "-".to_owned(), |r| format!("{r:.2}"));
                let _ = write!(out, "  {ratio:>16}");
            }
            out.push('\n');
        }
    }

    fn json(&self) -> Value {
        let rows: Vec<_> = self.series.iter().map(|s| {
            let (min, median, max) = spread(&mut s.samples.clone());
            let ratios: serde_json::Map<_, _> =
                self.against.iter().map(|a| ((*a).to_owned(), json!(self.ratio(s.name, a)))).collect();
            json!({ "name": s.name, "rounds": s.samples.len(), "median_ns": median, "min_ns": min, "max_ns": max, "ratio_to": ratios })
        }).collect();
        json!({ "title": self.title, "rows": rows })
    }
}

impl Goal {
    fn verdict(&self) -> &'static str {
        match self.value {
            Some(v) if v <= self.limit => "met",
            Some(_) => "not met",
            None => "not measured",
        }
    }
}

impl Report {
    /// For the terminal.
    pub fn text(&self) -> String {
        let mut out = format!("{}\n{}\n{}\n", self.title, self.how, machine::line());
        self.tables.iter().for_each(|t| t.text(&mut out));
        if !self.goals.is_empty() {
            out.push_str("\ngoals\n");
        }
        for g in &self.goals {
            let value = g.value.map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"));
            let _ = writeln!(out, "  {:<8} {value:>6} (at most {:.2})  {}", g.verdict(), g.limit, g.text);
        }
        out
    }

    /// For the file.
    pub fn json(&self) -> Value {
        let goals: Vec<_> = self
            .goals
            .iter()
            .map(|g| json!({ "text": g.text, "limit": g.limit, "value": g.value, "verdict": g.verdict() }))
            .collect();
        json!({
            "title": self.title,
            "how": self.how,
            "machine": machine::json(),
            "tables": self.tables.iter().map(Table::json).collect::<Vec<_>>(),
            "goals": goals,
        })
    }
}

/// Minimum, median, maximum. Sorts.
fn spread(samples: &mut [f64]) -> (f64, f64, f64) {
    samples.sort_by(f64::total_cmp);
    match samples {
        [] => (f64::NAN, f64::NAN, f64::NAN),
        s => {
            let middle = s.len() / 2;
            let median = if s.len() % 2 == 1 { s[middle] } else { (s[middle - 1] + s[middle]) / 2.0 };
            (s[0], median, s[s.len() - 1])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let series = vec![
            Series { name: "us", samples: vec![10.0, 40.0, 20.0] },
            Series { name: "them", samples: vec![20.0, 80.0, 20.0] },
        ];
        Table { title: "t", unit: Unit::Nanoseconds, series, against: vec!["them"] }
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds() {
        assert_eq!(table().ratio("us", "them"), Some(0.5));
        assert_eq!(table().ratio("us", "nobody"), None);
    }

    #[test]
    fn a_spread_is_in_order_for_odd_and_even() {
        assert_eq!(spread(&mut [3.0, 1.0, 2.0]), (1.0, 2.0, 3.0));
        assert_eq!(spread(&mut [4.0, 1.0, 2.0, 3.0]), (1.0, 2.5, 4.0));
    }

    #[test]
    fn verdicts_follow_the_limit() {
        let goal = |value| Goal { text: "", limit: 0.8, value };
        assert_eq!(goal(Some(0.8)).verdict(), "met");
        assert_eq!(goal(Some(0.81)).verdict(), "not met");
        assert_eq!(goal(None).verdict(), "not measured");
    }
}
