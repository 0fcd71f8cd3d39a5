//! Codes and pages as programs read them.

use super::find::Entry;
use super::page::Page;
use serde_json::{Map, Value, json};

/// One code. `emitted` says whether this system says it.
pub fn code(entry: Entry) -> Value {
    let statuses: Vec<Value> =
        entry.statuses().map(|s| json!({ "value": format!("0x{:08X}", s.value), "symbol": s.symbol })).collect();
    let mut object = json!({
        "number": entry.number(),
        "hex": format!("0x{:X}", entry.number()),
        "symbol": entry.symbol(),
        "message": entry.text(),
        "hresult": format!("0x{:08X}", entry.hresult()),
        "ntstatus": statuses,
        "emitted": matches!(entry, Entry::Ours(_)),
    });
    match entry {
        Entry::Ours(c) => {
            object["retryable"] = json!(c.retryable().to_string());
            object["retryable_when"] = json!(c.retryable_when());
        }
        Entry::Other(o) => {
            object["instead"] = json!(o.instead);
            object["see"] = json!(o.see.iter().map(|c| c.number()).collect::<Vec<_>>());
        }
    }
    object
}

/// One code with its page: the sections in Markdown, by their headings in small letters.
pub fn page(entry: Entry, text: &str) -> Value {
    let mut object = code(entry);
    let page = Page::read(text);
    object["summary"] = json!(page.message);
    object["updated"] = json!(page.updated);
    let sections: Map<String, Value> = page.sections.iter().map(|(h, t)| (key(h), json!(t))).collect();
    object["sections"] = Value::Object(sections);
    object
}

/// `Is this error critical?` as `is_this_error_critical`.
fn key(heading: &str) -> String {
    let words = heading.to_lowercase();
    words.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect::<Vec<_>>().join("_")
}
