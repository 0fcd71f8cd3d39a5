//! Dead links: to a file that is not there, to a heading that no document has.

use crate::documents::{Document, Documents};

/// Where a link leads.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// Out of the project.
    Elsewhere,
    /// A file or directory below the root, and the anchor in it.
    Here(String, Option<String>),
    /// Out of the root by `..`.
    Outside,
}

/// Where a link of a document leads.
pub fn target(from: &Document, link: &str) -> Target {
    if link.contains("://") || link.starts_with("mailto:") {
        return Target::Elsewhere;
    }
    let (path, anchor) = match link.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor.to_owned())),
        None => (link, None),
    };
    if path.is_empty() {
        return Target::Here(from.path.clone(), anchor);
    }
    let mut parts: Vec<&str> = from.path.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => return Target::Outside,
            ".." => {}
            name => parts.push(name),
        }
    }
    Target::Here(parts.join("/"), anchor)
}

/// A line for each dead link of each document.
pub fn check(documents: &Documents) -> Vec<String> {
    let mut dead = Vec::new();
    for from in &documents.all {
        for link in &from.outline.links {
            let why = match target(from, link) {
                Target::Elsewhere => continue,
                Target::Outside => "it leads out of the project",
                Target::Here(path, anchor) => match (documents.all.iter().find(|d| d.path == path), anchor) {
                    (Some(to), Some(anchor)) if !to.outline.has(&anchor) => "there is no such heading",
                    (Some(_), _) => continue,
                    (None, _) if !documents.root.join(&path).exists() => "there is no such file",
                    (None, Some(_)) => "it has an anchor, and leads to no document",
                    (None, None) => continue,
                },
            };
            dead.push(format!("{}: `{link}`: {why}", from.path));
        }
    }
    dead
}
