//! What every page has, and what it must not say otherwise than the code does.

use crate::blocks::{Page, errors, pages};
use crate::common::{Place, clean, text};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use xsem::Code;

const SECTIONS: [&str; 12] = [
    "Technical meaning",
    "Error details",
    "Usage context",
    "Common causes",
    "Real-world context",
    "Is this error critical?",
    "How to diagnose",
    "How to resolve",
    "Developer notes",
    "Related errors",
    "FAQ",
    "Summary",
];

/// Where it is known, between the real world and whether it is critical.
const HISTORY: &str = "History";

const STEPS: [&str; 5] = ["Context", "Parameters", "Object type", "Input data", "Limits"];

impl Page {
    fn code(&self) -> Code {
        Code::from_number(self.number).expect("the page of a code")
    }

    fn section(&self, heading: &str) -> &str {
        let after = self.text.split(&format!("\n## {heading}\n")).nth(1);
        let after = after.unwrap_or_else(|| panic!("{}: no section {heading}", self.path.display()));
        after.split("\n## ").next().unwrap_or_default()
    }

    /// The row of the table of details that begins with this word.
    fn row(&self, word: &str) -> &str {
        let rows = self.section("Error details").lines().find_map(|l| l.strip_prefix(&format!("| {word} | ")));
        rows.unwrap_or_else(|| panic!("{}: no row `{word}`", self.path.display())).trim_end_matches(" |")
    }
}

fn sentence(text: &str) -> String {
    text[..1].to_uppercase() + &text[1..] + "."
}

#[test]
fn every_page_has_its_sections_in_order() {
    for page in pages() {
        let headings: Vec<&str> =
            page.text.lines().filter_map(|l| l.strip_prefix("## ")).filter(|h| *h != HISTORY && !h.starts_with('#')).collect();
        assert_eq!(headings, SECTIONS, "{}", page.path.display());
        for section in SECTIONS {
            assert!(page.section(section).trim().len() > 40, "{}: {section}", page.path.display());
        }
    }
}

#[test]
fn the_head_of_a_page_is_what_the_code_says() {
    for page in pages() {
        let code = page.code();
        let (n, symbol) = (code.number(), code.symbol());
        let head = format!("# {symbol} - {n} (0x{n:X})\n\n{}\n\nUpdated: ", sentence(code.text()));
        assert!(page.text.starts_with(&head), "{symbol}: the page begins as {head:?}");
        let date = page.text[head.len()..].lines().next().expect("a date");
        let parts: Vec<&str> = date.split([' ', ',']).filter(|w| !w.is_empty()).collect();
        assert!(matches!(parts.as_slice(), [m, d, y] if m.len() == 3 && d.parse::<u8>().is_ok() && y.len() == 4), "{date}");
    }
}

#[test]
fn the_details_are_those_of_the_code() {
    let place = Place::new();
    let listed: Value = serde_json::from_slice(&place.output(&["codes", "--json"]).stdout).expect("JSON");
    for page in pages() {
        let code = page.code();
        let n = code.number();
        let of = listed.as_array().expect("an array").iter().find(|c| c["number"] == n).expect("listed");
        assert_eq!(page.row("number"), format!("{n}, hexadecimal 0x{n:X}"));
        assert_eq!(page.row("symbol"), format!("`{}`", code.symbol()));
        assert_eq!(page.row("message"), code.text());
        let hresult = 0x8007_0000 | n;
        let note = if n == 95 { "; Win32 itself does not have the number" } else { "" };
        assert_eq!(page.row("HRESULT"), format!("0x{hresult:08X}, as a signed number {}{note}", hresult.cast_signed()));
        let statuses: Vec<String> = of["ntstatus"]
            .as_array()
            .expect("an array")
            .iter()
            .map(|s| format!("{} `{}`", s["value"].as_str().expect("text"), s["symbol"].as_str().expect("text")))
            .collect();
        let statuses = if statuses.is_empty() { "none becomes this number".to_owned() } else { statuses.join(", ") };
        assert_eq!(page.row("NTSTATUS"), statuses, "{n}");
        assert_eq!(page.row("retryable"), format!("{}: {}", code.retryable(), code.retryable_when()), "{n}");
        for row in ["Rust", "command", "state"] {
            assert!(!page.row(row).is_empty());
        }
    }
}

/// The sentence about it agrees with the table in the code.
#[test]
fn whether_it_is_retryable_is_said_once_more_in_words() {
    for page in pages() {
        let words: String = page.section("Is this error critical?").split_whitespace().collect::<Vec<_>>().join(" ");
        let no = words.contains("**not retryable**");
        let yes = words.contains("**retryable**");
        let want = page.code().retryable() != xsem::Retryable::No;
        assert!(yes != no && yes == want, "{}: {words}", page.path.display());
    }
}

#[test]
fn the_five_steps_of_the_diagnosis_are_named_and_have_commands() {
    for page in pages() {
        let section = page.section("How to diagnose");
        for (i, step) in STEPS.iter().enumerate() {
            let from = section.find(&format!("\n{}. **{step}.** ", i + 1));
            let from = from.unwrap_or_else(|| panic!("{}: step {} is {step}", page.path.display(), i + 1));
            let text = section[from..].split("\n\n").next().expect("a part");
            let text = text[1..].split(&format!("\n{}. ", i + 2)).next().expect("a step");
            assert!(text.contains('`'), "{}: {step}: which command does it?", page.path.display());
        }
        assert!(section.contains("`xsem doctor"), "{}: doctor does these steps", page.path.display());
    }
}

#[test]
fn related_errors_are_links() {
    for page in pages() {
        let section = page.section("Related errors");
        let items: Vec<&str> = section.lines().filter(|l| l.starts_with("- ")).collect();
        assert!(items.len() >= 3, "{}", page.path.display());
        assert!(items.iter().all(|i| i.starts_with("- [") && i.contains("](")), "{}: {items:?}", page.path.display());
        for other in [(1, "1-INVALID_FUNCTION.md"), (31, "README.md#codes-that-xsem-does-not-say")] {
            assert!(page.number == other.0 || section.contains(other.1), "{}: {}", page.path.display(), other.1);
        }
    }
}

/// A code that is named with its symbol is a link to its page, also in the middle of a text.
#[test]
fn codes_with_symbols_are_links() {
    for page in pages() {
        // A number at the end of a line and its symbol on the next belong together.
        let text = page.text.split_whitespace().collect::<Vec<_>>().join(" ");
        for code in Code::ALL.iter().filter(|c| c.number() != page.number) {
            let named = format!("{} `{}`", code.number(), code.symbol());
            for (at, _) in text.match_indices(&named) {
                let inside = text[..at].ends_with('[');
                let part_of_a_number = text[..at].ends_with(|c: char| c.is_ascii_digit());
                assert!(inside || part_of_a_number, "{}: {named} is no link", page.path.display());
            }
        }
    }
}

#[test]
fn the_list_of_the_codes_is_complete() {
    let list = fs::read_to_string(errors().join("README.md")).expect("the list");
    let place = Place::new();
    let all: Value = serde_json::from_slice(&place.output(&["codes", "--json", "--all"]).stdout).expect("JSON");
    for code in all.as_array().expect("an array") {
        let (n, symbol) = (code["number"].as_u64().expect("a number"), code["symbol"].as_str().expect("a symbol"));
        let row = match code["emitted"].as_bool().expect("yes or no") {
            true => {
                let file = format!("{n}-{}.md", symbol.trim_start_matches("ERROR_"));
                format!(
                    "| [{n}]({file}) | 0x{n:X} | `{symbol}` | {} | {} |",
                    code["message"].as_str().unwrap(),
                    code["retryable"].as_str().unwrap()
                )
            }
            false => {
                format!("| {n} | `{symbol}` | {} | {} |", code["message"].as_str().unwrap(), code["instead"].as_str().unwrap())
            }
        };
        assert!(list.contains(&format!("\n{row}\n")), "no row {row}");
        for s in code["ntstatus"].as_array().expect("an array") {
            let row = format!("| {} | `{}` | {n} |", s["value"].as_str().unwrap(), s["symbol"].as_str().unwrap());
            assert!(list.contains(&format!("\n{row}\n")), "no row {row}");
        }
    }
}

/// A block without a language is shown as it may be, and nobody checks it.
#[test]
fn every_block_has_its_language() {
    for page in pages() {
        assert!(page.blocks("").is_empty(), "{}: `console` for a session, else rust, sh, text", page.path.display());
    }
}

/// The Rust code is compiled as documentation tests of the testkit.
#[test]
fn every_page_is_compiled() {
    let list = concat!(env!("CARGO_MANIFEST_DIR"), "/../xsem-testkit/src/pages.rs");
    let list = fs::read_to_string(list).expect("the list");
    for page in pages() {
        let name = page.path.file_stem().expect("a name").to_string_lossy();
        assert!(list.contains(&format!("P{} = \"{name}\"", page.number)), "{name}");
    }
}

/// A shell reads every block of shell code without an error.
#[test]
fn blocks_of_shell_code_are_shell() {
    for page in pages() {
        let blocks = page.blocks("sh");
        assert!(!blocks.is_empty() && !page.blocks("rust").is_empty(), "{}: code for both", page.path.display());
        for (_, block) in blocks {
            // A line of a crontab is none of a shell.
            let lines: Vec<&str> = block.lines().filter(|l| !l.starts_with("* * * * *")).collect();
            let mut sh = clean(Command::new("sh")).args(["-n"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sh");
            sh.stdin.take().expect("piped").write_all((lines.join("\n") + "\n").as_bytes()).expect("it reads");
            let out = sh.wait_with_output().expect("it ends");
            assert!(out.status.success(), "{}: {}\n{block}", page.path.display(), text(&out.stderr));
        }
    }
}
