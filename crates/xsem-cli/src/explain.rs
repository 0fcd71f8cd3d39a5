//! `xsem explain CODE`: the pages of `docs/errors`, which travel inside the binary.

use crate::cli::ExplainArgs;
use crate::exit_codes;
use crate::failure::Failure;
use std::io::{self, Write};
use xsem::Code;

/// The codes that have a page.
pub const PAGES: &[(Code, &str)] = &[
    (Code::ExclSemAlreadyOwned, include_str!("../../../docs/errors/101-EXCL_SEM_ALREADY_OWNED.md")),
    (Code::SemIsSet, include_str!("../../../docs/errors/102-SEM_IS_SET.md")),
    (Code::InvalidAtInterruptTime, include_str!("../../../docs/errors/104-INVALID_AT_INTERRUPT_TIME.md")),
    (Code::SemOwnerDied, include_str!("../../../docs/errors/105-SEM_OWNER_DIED.md")),
    (Code::SemTimeout, include_str!("../../../docs/errors/121-SEM_TIMEOUT.md")),
];

/// Prints the page of a code, or the one line that there is where it has none yet.
pub fn explain(args: &ExplainArgs) -> Result<u8, Failure> {
    let Some(code) = Code::parse(&args.code) else {
        let known: Vec<String> = Code::ALL.iter().map(|c| c.number().to_string()).collect();
        let line = format!(
            "`{}` is not a code of this system; those that exist: {}; write one as 101, 0x65 or ERROR_EXCL_SEM_ALREADY_OWNED",
            args.code,
            known.join(", ")
        );
        return Err(Failure::new(exit_codes::FAILED, line));
    };
    let mut out = io::stdout().lock();
    match PAGES.iter().find(|(c, _)| *c == code) {
        Some((_, page)) => out.write_all(page.as_bytes())?,
        None => {
            let (n, symbol) = (code.number(), code.symbol());
            writeln!(out, "{symbol} - {n} (0x{n:X})\n\n{}.\n\nThis code has no page yet.", sentence(code.text()))?;
        }
    }
    out.flush()?;
    Ok(exit_codes::OK)
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::PAGES;

    /// Every page names its code in full, and has the sections that the codes' historical pages have.
    #[test]
    fn every_page_is_complete() {
        for (code, page) in PAGES {
            let (n, symbol) = (code.number(), code.symbol());
            assert!(page.starts_with(&format!("# {symbol} - {n} (0x{n:X})\n")), "{symbol}: its first line");
            assert!(page.contains("\nUpdated: "), "{symbol}: its date");
            for section in [
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
            ] {
                assert!(page.contains(&format!("\n## {section}\n")), "{symbol}: no section {section}");
            }
            for step in 1..=5 {
                assert!(page.contains(&format!("\n{step}. ")), "{symbol}: step {step} of the diagnosis");
            }
            assert!(page.contains("```rust\n") && page.contains("```sh\n"), "{symbol}: code for both kinds of reader");
        }
    }
}
