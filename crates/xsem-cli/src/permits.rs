//! `xsem resize NAME LIMIT` and `xsem add NAME N`.

use crate::cli::{AddArgs, ResizeArgs};
use crate::failure::Failure;
use crate::{exit_codes, places};
use xsem::{Code, Counting, Error, Namespace};

/// Another limit, at once; nobody loses a permit.
pub fn resize(args: &ResizeArgs, url: &str) -> Result<u8, Failure> {
    counting(&places::with(&args.name, url)?, &args.name)?.resize(args.limit)?;
    Ok(exit_codes::OK)
}

/// More permits in a credit; 298 where there would be too many, and none is added then.
pub fn add(args: &AddArgs, url: &str) -> Result<u8, Failure> {
    counting(&places::with(&args.name, url)?, &args.name)?.add_permits(args.permits)?;
    Ok(exit_codes::OK)
}

/// An existing counting semaphore.
fn counting(ns: &Namespace, name: &str) -> xsem::Result<Counting> {
    Counting::open(ns, name).map_err(|e| match e.code() {
        Code::InvalidHandle => Error::new(e.code(), e.message())
            .of(name)
            .advice("permits are counted in pools (`xsem create --pool N NAME`) and credit (`--credit N`)"),
        _ => e,
    })
}
