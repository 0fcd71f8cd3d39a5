//! What a test says to an actor and what it answers: one line each way.
//!
//! `THREAD VERB ARGUMENT` goes in, `THREAD ANSWER` comes out. Threads of an actor are claimants of their own; they are
//! started when they are first spoken to. Handles belong to the actor, guards to the thread; both are numbered from 0. A
//! worker process is spoken to over pipes; an actor in the test's own process (`worker::Local`) gets the same values.

mod answer;
#[cfg(test)]
mod tests;
mod verb;

pub use answer::{Answer, Dead};
pub use verb::{Script, Till, Verb, What};

use std::fmt::Display;
use std::str::FromStr;

/// Reads one word of a line.
fn word<T: FromStr<Err: Display>>(line: &str, word: Option<&str>) -> Result<T, String> {
    let word = word.ok_or_else(|| format!("`{line}`: a word is missing"))?;
    word.parse().map_err(|e| format!("`{line}`: `{word}`: {e}"))
}

/// Numbers with commas; `-` for none, since a word must not be empty.
fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = items.into_iter().map(|i| i.to_string()).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(",") }
}

/// The other way.
fn items<T: FromStr<Err: Display>>(line: &str, text: Option<&str>) -> Result<Vec<T>, String> {
    match text {
        Some("-") => Ok(Vec::new()),
        Some(text) => text.split(',').map(|w| word(line, Some(w))).collect(),
        None => Err(format!("`{line}`: a list is missing")),
    }
}
