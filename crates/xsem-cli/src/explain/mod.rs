//! `xsem explain` and `xsem codes`: what a code means.
//!
//! | file | what |
//! |---|---|
//! | `pages` | the pages of `docs/errors`, inside the binary |
//! | `others` | codes of Win32, OS/2 and NT that this system does not say |
//! | `find` | from what people write to the code that they mean |
//! | `page`, `render`, `pager` | a page in its parts, on a terminal, page by page |
//! | `json` | for programs |

mod find;
mod json;
mod others;
mod page;
mod pager;
mod pages;
mod render;

use crate::cli::{CodesArgs, ColourArgs, ExplainArgs, When};
use crate::exit_codes;
use crate::failure::Failure;
use find::{Entry, Found, find};
use pages::PAGES;
use render::{Look, render};
use serde_json::Value;
use xsem::Code;

/// A page is read like a book: wider lines are harder to follow. The table of codes is no book.
const WIDEST: usize = 100;
/// Where there is no terminal.
const USUAL: usize = 80;

/// Explains a code.
pub fn explain(args: &ExplainArgs) -> Result<u8, Failure> {
    let words = args.code.join(" ");
    let text = match find(&words) {
        Found::One(entry, form, also) => match (entry, args.json, args.markdown) {
            (_, true, _) => pretty(&one_json(entry)),
            (Entry::Ours(code), _, true) => page_of(code).to_owned(),
            (Entry::Other(_), _, true) => not_ours(entry),
            _ => {
                let look = args.colour.look(WIDEST);
                let form = form.map(|f| format!("{f}.\n\n")).unwrap_or_default();
                let body = match entry {
                    Entry::Ours(code) => page_of(code).to_owned(),
                    Entry::Other(_) => not_ours(entry),
                };
                let mut shown = form + &render(&body, look);
                if !also.is_empty() {
                    shown += &format!("\n{words} is a part of these, too:\n{}", lines(&also, look));
                }
                shown
            }
        },
        Found::Several(found) if args.json => pretty(&found.iter().map(|e| json::code(*e)).collect()),
        Found::Several(found) => {
            let look = args.colour.look(WIDEST);
            format!("{words}: one of these; `xsem explain NUMBER` explains it\n{}", lines(&found, look))
        }
        Found::Nothing(near, hint) => return Err(nothing(&words, &near, hint)),
    };
    pager::show(&text, !args.no_pager && !args.json)?;
    Ok(exit_codes::OK)
}

/// Lists the codes.
pub fn codes(args: &CodesArgs) -> Result<u8, Failure> {
    let entries = || Entry::all().filter(|e| args.all || matches!(e, Entry::Ours(_)));
    let text = match args.json {
        true => pretty(&entries().map(json::code).collect()),
        false => render(&table(args.all), args.colour.look(usize::MAX)),
    };
    pager::show(&text, !args.no_pager && !args.json)?;
    Ok(exit_codes::OK)
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn one_json(entry: Entry) -> Value {
    match entry {
        Entry::Ours(code) => json::page(entry, page_of(code)),
        Entry::Other(_) => json::code(entry),
    }
}

/// A test holds that every code has one.
fn page_of(code: Code) -> &'static str {
    PAGES.iter().find(|(c, _)| *c == code).map_or("", |(_, page)| page)
}

/// What is said about a code that this system does not say.
fn not_ours(entry: Entry) -> String {
    let Entry::Other(o) = entry else { return String::new() };
    let statuses: Vec<String> = entry.statuses().map(|s| format!("0x{:08X} `{}`", s.value, s.symbol)).collect();
    let mut text = format!("# {} - {n} (0x{n:X})\n\nxsem does not say this.\n\n", o.symbol, n = o.number);
    text += &format!("- Elsewhere it means: {}.\n- Here instead: {}.\n", o.text, o.instead);
    if !statuses.is_empty() {
        text += &format!("- NTSTATUS: {}.\n", statuses.join(", "));
    }
    for code in o.see {
        text += &format!("- More: `xsem explain {}` ({}).\n", code.number(), code.symbol());
    }
    text
}

/// A line for each.
fn lines(entries: &[Entry], look: Look) -> String {
    let rows: Vec<String> = entries.iter().map(|e| format!("| {} | {} | {} |\n", e.number(), e.symbol(), e.text())).collect();
    render(&format!("| | | |\n|---|---|---|\n{}", rows.concat()), look)
}

fn table(all: bool) -> String {
    let mut text = "| CODE | HEX | SYMBOL | RETRYABLE | MEANING |\n|---|---|---|---|---|\n".to_owned();
    for c in Code::ALL {
        let n = c.number();
        text += &format!("| {n} | 0x{n:X} | {} | {} | {} |\n", c.symbol(), c.retryable(), c.text());
    }
    if all {
        text += "\nNot said by xsem:\n\n| CODE | HEX | SYMBOL | MEANING | HERE INSTEAD |\n|---|---|---|---|---|\n";
        for o in others::OTHERS {
            text += &format!("| {n} | 0x{n:X} | {} | {} | {} |\n", o.symbol, o.text, o.instead, n = o.number);
        }
    }
    text + "\n`xsem explain CODE` has the page of a code.\n"
}

fn nothing(words: &str, near: &[Entry], hint: Option<String>) -> Failure {
    let near: Vec<String> = near.iter().map(|e| format!("{} {}", e.number(), e.symbol())).collect();
    if let Some(hint) = hint {
        return Failure::new(exit_codes::FAILED, format!("{hint}; `xsem codes` lists the codes"));
    }
    let mut line = format!("`{words}` is neither a code nor a part of one, nor words of a page");
    if !near.is_empty() {
        line += &format!("; did you mean {}?", near.join(", "));
    }
    line += "; a code is written as 101, 0x65, 0x80070065, C0000046, ERROR_EXCL_SEM_ALREADY_OWNED, a part of that, or in words \
             (`already owned`); `xsem codes` lists all";
    Failure::new(exit_codes::FAILED, line)
}

impl ColourArgs {
    /// As the options and the terminal have it.
    fn look(&self, widest: usize) -> Look {
        let width = pager::size().map_or(USUAL, |(columns, _)| columns.min(widest));
        let colour = match self.color {
            When::Auto => pager::colours(),
            When::Always => true,
            When::Never => false,
        };
        Look { width, colour }
    }
}
