//! Which documents there are, and where each goes.

use crate::markdown::Outline;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Directories of the root in which nobody writes documents.
const NOT_IN: [&str; 3] = ["target", ".git", "crates"];

/// The groups of the navigation, with the documents in their order. One that is not listed comes in the last group.
const GROUPS: [(&str, &[&str]); 3] = [
    ("Use", &["README.md", "docs/semantics.md", "docs/doctor.md", "docs/security.md", "docs/containers.md", "docs/interrupt.md"]),
    ("Errors", &["docs/errors/README.md"]),
    (
        "Inside",
        &[
            "ARCHITECTURE.md",
            "docs/format.md",
            "docs/crash.md",
            "docs/testing.md",
            "docs/performance.md",
            "CONTRIBUTING.md",
            "CHANGELOG.md",
        ],
    ),
];

/// A document.
#[derive(Debug)]
pub struct Document {
    /// Its path from the root.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Its headings and links.
    pub outline: Outline,
    /// The group in the navigation.
    pub group: &'static str,
}

impl Document {
    /// The page's path in the site.
    pub fn page(&self) -> String {
        page(&self.path)
    }

    /// What it is called in the navigation.
    pub fn name(&self) -> String {
        let title = self.outline.headings.first().map_or(self.path.as_str(), |h| h.text.as_str());
        match self.path.as_str() {
            "README.md" => "Overview".to_owned(),
            // `ERROR_SEM_IS_SET - 102 (0x66)`
            p if p.starts_with("docs/errors/") && title.starts_with("ERROR_") => {
                let (symbol, number) = title.split_once(" - ").unwrap_or((title, ""));
                format!("{} {}", number.split(' ').next().unwrap_or(""), symbol.trim_start_matches("ERROR_"))
            }
            _ => title.split(": ").next().unwrap_or(title).to_owned(),
        }
    }
}

/// The page of a document.
pub fn page(path: &str) -> String {
    match path {
        "README.md" => "index.html".to_owned(),
        "docs/errors/README.md" => "docs/errors/index.html".to_owned(),
        _ => format!("{}.html", path.trim_end_matches(".md")),
    }
}

/// All of them, in the order of the navigation.
#[derive(Debug)]
pub struct Documents {
    /// Where they come from.
    pub root: PathBuf,
    /// The documents.
    pub all: Vec<Document>,
}

impl Documents {
    /// Reads every Markdown file below `root`.
    ///
    /// # Errors
    /// Of reading.
    pub fn read(root: &Path) -> io::Result<Documents> {
        let mut paths = BTreeSet::new();
        find(root, root, &mut paths)?;
        let mut all = Vec::new();
        for path in paths {
            let text = fs::read_to_string(root.join(&path))?;
            let outline = Outline::of(&text);
            let listed = GROUPS.iter().find(|(_, paths)| paths.contains(&path.as_str())).map(|(group, _)| *group);
            let group = listed.unwrap_or(if path.starts_with("docs/errors/") { GROUPS[1].0 } else { GROUPS[2].0 });
            all.push(Document { path, text, outline, group });
        }
        all.sort_by_key(|d| place(&d.path));
        Ok(Documents { root: root.to_owned(), all })
    }

    /// The groups of the navigation with their documents.
    pub fn groups(&self) -> impl Iterator<Item = (&'static str, Vec<&Document>)> {
        GROUPS.iter().map(|(group, _)| (*group, self.all.iter().filter(|d| d.group == *group).collect()))
    }
}

/// Group, place in the list, number of an error, path.
fn place(path: &str) -> (usize, usize, u32, String) {
    for (g, (_, paths)) in GROUPS.iter().enumerate() {
        if let Some(i) = paths.iter().position(|p| *p == path) {
            return (g, i, 0, String::new());
        }
    }
    let number = path.strip_prefix("docs/errors/").and_then(|p| p.split('-').next()?.parse().ok());
    (if number.is_some() { 1 } else { 2 }, usize::MAX, number.unwrap_or(0), path.to_owned())
}

fn find(root: &Path, dir: &Path, found: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        match path.is_dir() {
            true if dir == root && NOT_IN.contains(&relative.as_str()) => {}
            true => find(root, &path, found)?,
            false if relative.ends_with(".md") => drop(found.insert(relative)),
            false => {}
        }
    }
    Ok(())
}
