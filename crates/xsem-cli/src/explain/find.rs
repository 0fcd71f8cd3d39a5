//! From what people write to the code that they mean.

use super::others::{OTHERS, Other, STATUSES, Status};
use super::pages::PAGES;
use crate::exit_codes;
use xsem::Code;

/// A number that can be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A code of this system.
    Ours(Code),
    /// One that it does not say.
    Other(&'static Other),
}

impl Entry {
    /// The number.
    pub fn number(self) -> u32 {
        match self {
            Entry::Ours(c) => c.number(),
            Entry::Other(o) => o.number,
        }
    }

    /// The symbol.
    pub fn symbol(self) -> &'static str {
        match self {
            Entry::Ours(c) => c.symbol(),
            Entry::Other(o) => o.symbol,
        }
    }

    /// The meaning in one line.
    pub fn text(self) -> &'static str {
        match self {
            Entry::Ours(c) => c.text(),
            Entry::Other(o) => o.text,
        }
    }

    /// The HRESULT form of the number.
    pub fn hresult(self) -> u32 {
        HRESULT_WIN32 | self.number()
    }

    /// The NTSTATUS values that Windows makes it of.
    pub fn statuses(self) -> impl Iterator<Item = &'static Status> {
        STATUSES.iter().filter(move |s| s.number == self.number())
    }

    /// The one with this number.
    pub fn of(number: u32) -> Option<Entry> {
        Code::from_number(number).map(Entry::Ours).or_else(|| OTHERS.iter().find(|o| o.number == number).map(Entry::Other))
    }

    /// Ours first, each group in the order of the numbers.
    pub fn all() -> impl Iterator<Item = Entry> {
        Code::ALL.iter().copied().map(Entry::Ours).chain(OTHERS.iter().map(Entry::Other))
    }
}

/// What somebody may have meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// This, by that form of it where it is not the plain one; and others that the words fit, too.
    One(Entry, Option<String>, Vec<Entry>),
    /// One of these.
    Several(Vec<Entry>),
    /// None; these are near, and this may be a hint.
    Nothing(Vec<Entry>, Option<String>),
}

/// Severity "error", facility Win32: an HRESULT of a Win32 number has these bits.
const HRESULT_WIN32: u32 = 0x8007_0000;
/// FACILITY_NT_BIT: an HRESULT made of an NTSTATUS has it.
const NT_BIT: u32 = 0x1000_0000;
/// As many suggestions as one reads.
const NEAR: usize = 5;

/// Finds what is meant by `words`: a number in any form, a symbol or a part of one, or words of the message or page.
pub fn find(words: &str) -> Found {
    let words = words.trim();
    let mut found: Vec<Found> = numbers(words).into_iter().map(by_number).collect();
    // The first that is known; none, as the first reading of it.
    found.sort_by_key(|f| matches!(f, Found::Nothing(..)));
    if let Some(first) = found.into_iter().next() {
        return first;
    }
    let symbol = as_symbol(words);
    // No number that anybody has, and no word.
    if symbol.is_empty() || words.starts_with(|c: char| c.is_ascii_digit()) {
        return Found::Nothing(Vec::new(), None);
    }
    if let Some(s) = STATUSES.iter().find(|s| s.symbol == symbol || s.symbol.strip_prefix("STATUS_") == Some(symbol.as_str())) {
        // A status and a code of one name (STATUS_INVALID_HANDLE) mean the same; the code's own is looked for first.
        if symbol.starts_with("STATUS_") || !Entry::all().any(|e| bare(e.symbol()) == symbol) {
            return by_status(s);
        }
    }
    // The longer number is the present Win32 one, where a symbol stands for two (ERROR_TIMEOUT).
    let exact = Entry::all().filter(|e| e.symbol() == symbol || bare(e.symbol()) == symbol).last();
    let part: Vec<Entry> = Entry::all().filter(|e| e.symbol().contains(&symbol)).collect();
    // `timeout` is in full what others say, and a part of what we do. With the `ERROR_` only the first is meant.
    let of_others = matches!(exact, Some(Entry::Other(_))) && part.iter().any(|e| matches!(e, Entry::Ours(_)));
    if let Some(exact) = exact.filter(|e| !of_others || words.eq_ignore_ascii_case(e.symbol())) {
        let part = part.into_iter().filter(|e| *e != exact);
        return Found::One(exact, None, part.filter(|e| matches!(e, Entry::Ours(_))).collect());
    }
    for found in [part, saying(words, |e| format!("{} {}", bare(e.symbol()), e.text())), saying(words, whole_page)] {
        match found.as_slice() {
            [] => {}
            [one] => return Found::One(*one, None, Vec::new()),
            _ => return Found::Several(found),
        }
    }
    Found::Nothing(near(&symbol), None)
}

/// What a number can be, as people copy it: `101`, `0x65`, `-2147024795`; eight digits may be hexadecimal (`C0000046`, as Windows
/// prints it), too.
fn numbers(text: &str) -> Vec<u32> {
    let hex = |h: &str| u32::from_str_radix(h, 16).ok().filter(|_| !h.starts_with('+'));
    if let Some(h) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return hex(h).into_iter().collect();
    }
    let decimal = match text.strip_prefix('-') {
        // The same 32 bits, as a signed number.
        Some(_) => text.parse::<i32>().ok().map(i32::cast_unsigned),
        None => text.parse().ok(),
    };
    let bare = if text.len() == 8 { hex(text) } else { None };
    decimal.into_iter().chain(bare).collect()
}

fn by_number(n: u32) -> Found {
    if let Some(entry) = Entry::of(n) {
        return Found::One(entry, None, Vec::new());
    }
    if n & 0xFFFF_0000 == HRESULT_WIN32
        && let Some(entry) = Entry::of(n & 0xFFFF)
    {
        return Found::One(entry, Some(format!("0x{n:08X} is the HRESULT form of {}", entry.number())), Vec::new());
    }
    if let Some(s) = STATUSES.iter().find(|s| s.value == n || (n & NT_BIT != 0 && s.value == n & !NT_BIT)) {
        return by_status(s);
    }
    Found::Nothing(Vec::new(), u8::try_from(n).ok().and_then(exit_code).map(String::from))
}

fn by_status(s: &'static Status) -> Found {
    match Entry::of(s.number) {
        Some(e) => Found::One(e, Some(format!("0x{:08X} {} is {} in Win32", s.value, s.symbol, s.number)), Vec::new()),
        None => Found::Nothing(Vec::new(), None),
    }
}

/// The command's own exit codes, which people look up, too.
fn exit_code(n: u8) -> Option<&'static str> {
    Some(match n {
        exit_codes::TAKEN => {
            "75 is an exit code: somebody holds it (101, 121), or it is in use or drained (102); the line on stderr says which"
        }
        exit_codes::OWNER_DIED => "76 is an exit code of `xsem run --on-owner-death fail`: the previous owner died (105)",
        exit_codes::TIME_LIMIT => "124 is an exit code of `xsem run`: the command's --time-limit passed",
        exit_codes::XSEM_FAILED => "125 is an exit code: xsem itself failed; the line on stderr has the code",
        exit_codes::CANNOT_EXECUTE => "126 is an exit code of `xsem run`: the command was found and could not be executed",
        exit_codes::NOT_FOUND => "127 is an exit code of `xsem run`: the command was not found",
        _ => return None,
    })
}

/// `SemIsSet`, `sem is set`, `Code::SemIsSet`, `error_sem_is_set` as `SEM_IS_SET`; a status keeps its `STATUS_`.
fn as_symbol(words: &str) -> String {
    let words = words.rsplit("::").next().unwrap_or(words);
    let mut out = String::new();
    let mut before = ' ';
    for c in words.chars() {
        if c.is_uppercase() && before.is_lowercase() {
            out.push('_');
        }
        match c.is_ascii_alphanumeric() {
            true => out.push(c.to_ascii_uppercase()),
            false if out.ends_with('_') || out.is_empty() => {}
            false => out.push('_'),
        }
        before = c;
    }
    let out = out.trim_end_matches('_');
    bare(out).to_owned()
}

/// Without `ERROR_`.
fn bare(symbol: &str) -> &str {
    symbol.strip_prefix("ERROR_").unwrap_or(symbol)
}

/// Those of which the text has all of the words.
fn saying(words: &str, text: impl Fn(Entry) -> String) -> Vec<Entry> {
    let words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
    if !words.iter().any(|w| w.len() > 2) {
        return Vec::new();
    }
    let has = |e: &Entry| {
        let text = text(*e).to_lowercase().replace('_', " ");
        words.iter().all(|w| text.contains(w.as_str()))
    };
    Entry::all().filter(has).collect()
}

fn whole_page(entry: Entry) -> String {
    match entry {
        Entry::Ours(code) => PAGES.iter().filter(|(c, _)| *c == code).map(|(_, page)| *page).collect(),
        Entry::Other(_) => String::new(),
    }
}

/// Symbols that are spelled alike, the nearest first.
fn near(symbol: &str) -> Vec<Entry> {
    let mut scored: Vec<(f64, Entry)> = Entry::all().map(|e| (alike(symbol, bare(e.symbol())), e)).collect();
    scored.retain(|(score, _)| *score >= 0.75);
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().map(|(_, e)| e).take(NEAR).collect()
}

/// The whole symbol, or as many of its words as there are.
fn alike(given: &str, symbol: &str) -> f64 {
    let words: Vec<&str> = symbol.split('_').collect();
    let n = given.split('_').count();
    let parts = words.windows(n.min(words.len())).map(|w| w.join("_"));
    parts.chain([symbol.to_owned()]).map(|s| strsim::normalized_damerau_levenshtein(given, &s)).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests;
