//! `xsem repair`: mends what is damaged.

use crate::cli::RepairArgs;
use crate::failure::Failure;
use crate::findings::{self, RepairedJson};
use crate::{exit_codes, places};
use std::io::{self, Write};
use xsem::{Namespace, Remedy};

/// Mends, says what it has done, and what is left.
pub fn repair(args: &RepairArgs, url: &str) -> Result<u8, Failure> {
    let done = Namespace::repair_at(url).map_err(|e| if e.is_not_found() { places::none(url) } else { e })?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &RepairedJson::from(&done)).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        for f in &done.mended {
            let name = f.name.as_ref().map_or(String::new(), |n| format!(" (`{n}`)"));
            let index = f.index.map_or(String::new(), |i| format!(" {i}"));
            let how = match &f.remedy {
                Remedy::Repair(how) | Remedy::Itself(how) => how.as_str(),
                _ => "done",
            };
            let line = format!("mended: {}{index}{name}: {}: {how}", f.table, f.found);
            writeln!(out, "{}", line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>())?;
        }
        findings::list(&done.now.findings, &mut out)?;
    }
    findings::verdict(&done.now, url)?;
    if !args.json {
        writeln!(out, "{}", findings::sum(&done.now, url))?;
    }
    Ok(exit_codes::OK)
}
