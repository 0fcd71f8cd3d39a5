//! Every exit code of the command, in one place.
//!
//! `xsem run` passes on the code of its command. Its own codes are those that `timeout` and `env` made customary, so that
//! a script can tell "taken" from "failed" (with `flock` both are 1).

/// Done; or skipped, with `run -q`.
pub const OK: u8 = 0;
/// A command other than `run` could not do it; stderr says why.
pub const FAILED: u8 = 1;
/// `doctor` has found something that somebody should look at.
pub const WARNING: u8 = 2;
/// `doctor` has found somebody who waits in vain, or will be refused.
pub const TROUBLE: u8 = 3;
/// Somebody holds it (101, 121), or it is in use or drained (102). `run -E` changes it. It is EX_TEMPFAIL of sysexits.h: try
/// again later.
pub const TAKEN: u8 = 75;
/// The previous owner died, and `--on-owner-death fail` was given.
pub const OWNER_DIED: u8 = 76;
/// The command's `--time-limit` passed.
pub const TIME_LIMIT: u8 = 124;
/// `xsem` itself failed: bad options, no permission, a damaged namespace.
pub const XSEM_FAILED: u8 = 125;
/// The command was found and could not be executed.
pub const CANNOT_EXECUTE: u8 = 126;
/// The command was not found.
pub const NOT_FOUND: u8 = 127;

/// A command that was ended by a signal.
pub fn ended_by(signal: i32) -> u8 {
    // Linux has signals 1 to 64, so that the sum fits.
    128u8.saturating_add(u8::try_from(signal).unwrap_or(u8::MAX))
}
