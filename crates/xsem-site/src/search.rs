//! What the pages search in: one entry for each heading of each document.

use crate::documents::Documents;
use serde_json::{Value, json};

/// More of a section than this is not searched, and not shown.
const LONGEST: usize = 2000;

/// The index as a script, so that a page that is opened as a file can read it, too.
pub fn index(documents: &Documents) -> String {
    let mut entries: Vec<Value> = Vec::new();
    for d in &documents.all {
        for (i, h) in d.outline.headings.iter().enumerate() {
            let words: Vec<&str> = h.below.split_whitespace().collect();
            let text: String = words.join(" ").chars().take(LONGEST).collect();
            let url = if i == 0 { d.page() } else { format!("{}#{}", d.page(), h.anchor) };
            entries.push(json!({ "page": d.name(), "title": h.text, "url": url, "text": text }));
        }
    }
    format!("const SEARCH_INDEX = {};\n", Value::Array(entries))
}
