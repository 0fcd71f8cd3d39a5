//! Builds tests for somewhere else, and says which programs that gave.

use crate::Failure;
use crate::proc::Job;
use std::path::{Path, PathBuf};

/// A program that cargo has built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The directory of its package.
    pub package: String,
    /// `fork` of `tests/fork.rs`; a library's own tests have its name.
    pub name: String,
    /// `lib`, `test` or `bin`.
    pub kind: String,
    /// Whether it is made of tests; otherwise it is a program that tests start.
    pub is_test: bool,
    pub path: PathBuf,
}

impl Built {
    /// How it is called in plans and reports.
    pub fn title(&self) -> String {
        match self.kind.as_str() {
            "lib" => format!("{}/unit", self.package),
            "bin" => format!("{}/bin/{}", self.package, self.name),
            _ => format!("{}/{}", self.package, self.name),
        }
    }
}

/// Runs a `cargo test` without running what it builds.
pub fn build(job: Job, what: &str) -> Result<Vec<Built>, Failure> {
    let messages = job.args(["--no-run", "--message-format=json-render-diagnostics"]).output(what)?;
    Ok(messages.lines().filter_map(parse).collect())
}

/// One of cargo's messages, if it is about a program. (They are one line each, and these fields hold no quotes.)
fn parse(line: &str) -> Option<Built> {
    let text = |key: &str, end: char| {
        let at = line.find(key)? + key.len();
        line[at..].split(end).next()
    };
    let path = PathBuf::from(text("\"executable\":\"", '"')?);
    let manifest = Path::new(text("\"manifest_path\":\"", '"')?);
    Some(Built {
        package: manifest.parent()?.file_name()?.to_str()?.to_owned(),
        name: text("\"name\":\"", '"')?.to_owned(),
        kind: text("\"kind\":[\"", '"')?.to_owned(),
        is_test: line.contains("\"test\":true},\"features\""),
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_from_the_rest() {
        let line = r#"{"reason":"compiler-artifact","package_id":"path+file:///w/crates/xsem#0.1.0","manifest_path":"/w/crates/xsem/Cargo.toml","target":{"kind":["test"],"crate_types":["bin"],"name":"fork","src_path":"/w/crates/xsem/tests/fork.rs","edition":"2024","doc":false,"doctest":false,"test":true},"profile":{"opt_level":"1","debuginfo":1,"debug_assertions":true,"overflow_checks":true,"test":true},"features":[],"filenames":["/t/deps/fork-1"],"executable":"/t/deps/fork-1","fresh":false}"#;
        let built = parse(line).unwrap();
        assert_eq!((built.package.as_str(), built.name.as_str(), built.kind.as_str()), ("xsem", "fork", "test"));
        assert!(built.is_test && built.path == Path::new("/t/deps/fork-1"));
        assert_eq!(built.title(), "xsem/fork");
        let program = line.replace("\"overflow_checks\":true,\"test\":true", "\"overflow_checks\":true,\"test\":false");
        assert!(!parse(&program).unwrap().is_test);
        assert_eq!(parse(&line.replace("\"executable\":\"/t/deps/fork-1\"", "\"executable\":null")), None);
        assert_eq!(parse(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
