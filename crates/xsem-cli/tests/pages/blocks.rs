//! The pages, their blocks of code, and the sessions among them.

use std::fs;
use std::path::{Path, PathBuf};

/// A page as it stands in the file.
pub struct Page {
    pub path: PathBuf,
    pub number: u32,
    pub text: String,
}

/// A command with what it prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub command: String,
    pub output: String,
}

pub fn errors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors")
}

/// Every page, in the order of the numbers.
pub fn pages() -> Vec<Page> {
    let files = fs::read_dir(errors()).expect("the pages").map(|f| f.expect("an entry").path());
    let mut pages: Vec<Page> = files
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            let number = name.split('-').next()?.parse().ok()?;
            let text = fs::read_to_string(&path).expect("a page");
            Some(Page { path, number, text })
        })
        .collect();
    pages.sort_by_key(|p| p.number);
    assert!(pages.len() >= 24, "the pages are not where they were");
    pages
}

impl Page {
    /// Blocks of code of this language, with where their content begins.
    pub fn blocks(&self, language: &str) -> Vec<(usize, &str)> {
        let mut found = Vec::new();
        let (mut at, mut open) = (0, None);
        for line in self.text.split_inclusive('\n') {
            if let Some(words) = line.trim_end().strip_prefix("```") {
                match open.take() {
                    None => open = Some((words, at + line.len())),
                    Some((l, from)) if l == language => found.push((from, &self.text[from..at])),
                    Some(_) => {}
                }
            }
            at += line.len();
        }
        assert!(open.is_none(), "{}: a block without an end", self.path.display());
        found
    }

    /// The blocks of language `console`, each a session: lines with `$ ` are commands, the others what they print.
    pub fn sessions(&self) -> Vec<(usize, Vec<Step>)> {
        self.blocks("console").into_iter().map(|(at, block)| (at, steps(block))).collect()
    }
}

fn steps(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step { command: command.to_owned(), output: String::new() }),
            (None, Some(step)) => {
                step.output += line;
                step.output += "\n";
            }
            (None, None) => panic!("a session begins with a command: {line}"),
        }
    }
    steps
}
