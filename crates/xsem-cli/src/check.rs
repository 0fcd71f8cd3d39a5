//! `xsem check`: is everything that the namespace has stored as it should be?

use crate::cli::CheckArgs;
use crate::failure::Failure;
use crate::findings::{self, CheckupJson};
use crate::{exit_codes, places};
use std::io::{self, Write};
use xsem::Namespace;

/// Looks, and says what it has found. Nothing is changed, and nothing is made.
pub fn check(args: &CheckArgs, url: &str) -> Result<u8, Failure> {
    let found = Namespace::check_at(url).map_err(|e| if e.is_not_found() { places::none(url) } else { e })?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &CheckupJson::from(&found)).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        findings::list(&found.findings, &mut out)?;
    }
    findings::verdict(&found, url)?;
    if !args.json {
        writeln!(out, "{}", findings::sum(&found, url))?;
    }
    Ok(exit_codes::OK)
}
