//! The table, as people read it.

use super::{Outcome, Row};
use std::fmt::Write;

/// What came of a row on each engine, in the order of the engines.
pub type Played = (Row, Vec<Outcome>);

/// One line for each operation with its outcomes, and a column for each engine; below it the reasons for what an engine
/// cannot have, and what failed.
pub fn table(engines: &[&str], played: &[Played]) -> String {
    let mut operations: Vec<&str> = Vec::new();
    for (row, _) in played {
        if !operations.contains(&row.operation) {
            operations.push(row.operation);
        }
    }
    let of = |op: &str| played.iter().filter(|(r, _)| r.operation == op).collect::<Vec<_>>();
    let shown = |op: &str| of(op).iter().map(|(r, _)| r.outcome.to_string()).collect::<Vec<_>>().join(" ");
    let width = |head: &str, f: &dyn Fn(&str) -> usize| operations.iter().map(|op| f(op)).max().unwrap_or(0).max(head.len());
    let (first, second) = (width("operation", &|op| op.len()), width("outcomes", &|op| shown(op).chars().count()));
    let mut text = format!("{:first$}  {:second$}", "operation", "outcomes");
    for e in engines {
        let _ = write!(text, "  {e:10}");
    }
    text.push('\n');
    for op in &operations {
        let _ = write!(text, "{op:first$}  {:second$}", shown(op));
        for e in 0..engines.len() {
            let with = |is: &dyn Fn(&Outcome) -> bool, sign: &str| -> String {
                of(op).iter().filter(|(_, o)| is(&o[e])).map(|(r, _)| format!(" {sign}{}", r.outcome)).collect()
            };
            let failed = with(&|o| matches!(o, Outcome::Failed(_)), "✗");
            let not = with(&|o| matches!(o, Outcome::Not(_)), "-");
            let all_not = of(op).iter().all(|(_, o)| matches!(o[e], Outcome::Not(_)));
            let cell = match (failed.is_empty(), all_not) {
                (true, true) => "-".to_owned(),
                (true, false) => format!("✓{not}"),
                (false, _) => format!("{}{not}", failed.trim_start()),
            };
            let _ = write!(text, "  {cell:10}");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for (row, outcomes) in played {
        for (e, o) in outcomes.iter().enumerate() {
            let Outcome::Not(why) = o else { continue };
            let (reason, what) = (format!("{}: {why}", engines[e]), format!("{} {}", row.operation, row.outcome));
            match reasons.iter_mut().find(|(r, _)| *r == reason) {
                Some((_, rows)) => rows.push(what),
                None => reasons.push((reason, vec![what])),
            }
        }
    }
    for (reason, rows) in reasons {
        let _ = writeln!(text, "- {reason} ({})", rows.join(", "));
    }
    for (what, why) in failures(engines, played) {
        let _ = writeln!(text, "\n✗ {what}\n    {}", why.replace('\n', "\n    "));
    }
    text
}

/// What failed, and how.
pub fn failures(engines: &[&str], played: &[Played]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (row, outcomes) in played {
        for (e, o) in outcomes.iter().enumerate() {
            if let Outcome::Failed(why) = o {
                all.push((format!("{} {} on {}", row.operation, row.outcome, engines[e]), why.clone()));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{Engine, run};
    use crate::rig::MemoryRig;

    #[test]
    fn a_scene_that_fails_is_shown_and_one_that_cannot_be_has_its_reason() {
        let memory =
            Engine::new("memory", |_| Ok(Box::new(MemoryRig::new(xsem::Namespace::builder()).expect("memory opens")) as _));
        let without = Engine::new("none", |_| Err("it has nothing"));
        let rows = [super::super::row("look", 0, |_| {}), super::super::row("look", 87, |_| panic!("seen {}", 88))];
        let played: Vec<Played> = rows.iter().map(|r| (*r, vec![run(r, &memory), run(r, &without)])).collect();
        let names = ["memory", "none"];
        assert_eq!(failures(&names, &played), [("look 87 on memory".to_owned(), "seen 88".to_owned())]);
        let text = table(&names, &played);
        assert!(text.contains("look       ok 87     ✗87         -\n"), "{text}");
        assert!(text.contains("- none: it has nothing (look ok, look 87)"), "{text}");
        assert!(text.contains("✗ look 87 on memory\n    seen 88"), "{text}");
    }
}
