//! `xsem create NAME`.

use crate::cli::NameArg;
use crate::exit_codes;
use crate::failure::Failure;
use xsem::{Exclusive, Namespace};

/// A new exclusive semaphore; 183 where the name exists.
pub fn create(args: &NameArg, url: &str) -> Result<u8, Failure> {
    let ns = Namespace::open(url)?;
    Exclusive::create(&ns, &args.name)?;
    Ok(exit_codes::OK)
}
