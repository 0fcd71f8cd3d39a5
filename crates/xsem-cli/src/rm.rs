//! `xsem rm NAME`.

use crate::cli::NameArg;
use crate::failure::Failure;
use crate::{exit_codes, places};

/// Takes the name away; 102 with the holders and waiters, and nothing changed, while there are some.
pub fn rm(args: &NameArg, url: &str) -> Result<u8, Failure> {
    places::with(&args.name, url)?.remove(&args.name)?;
    Ok(exit_codes::OK)
}
