//! `xsem gc`: names that nobody has used for a long time.

use crate::cli::GcArgs;
use crate::failure::Failure;
use crate::{exit_codes, places};
use std::io::{self, Write};
use xsem::age;

/// Removes them, and prints what it removed; with `--dry-run` what it would remove.
pub fn gc(args: &GcArgs, url: &str) -> Result<u8, Failure> {
    let Some(ns) = places::existing(url)? else { return Ok(exit_codes::OK) };
    let mut found = Vec::new();
    let removed = ns.gc(args.unused_for, |s| {
        found.push((s.name.clone(), s.unused_for));
        args.dry_run
    })?;
    let word = if args.dry_run { "would remove" } else { "removed" };
    found.retain(|(name, _)| args.dry_run || removed.contains(name));
    found.sort();
    let mut out = io::stdout().lock();
    for (name, unused) in found {
        writeln!(out, "{word} {name}, unused for {}", age(unused))?;
    }
    Ok(exit_codes::OK)
}
