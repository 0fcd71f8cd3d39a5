//! `xsem completions SHELL`.

use crate::cli::{Cli, CompletionsArgs};
use crate::exit_codes;
use crate::failure::Failure;
use clap::CommandFactory;
use std::io::{self, Write};

/// Prints the shell's own code. It knows the commands and options, not the names in a namespace.
pub fn completions(args: &CompletionsArgs) -> Result<u8, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "xsem", &mut text);
    let mut out = io::stdout().lock();
    out.write_all(&text)?;
    out.flush()?;
    Ok(exit_codes::OK)
}
