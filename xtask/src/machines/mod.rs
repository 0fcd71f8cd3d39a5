//! What commands for other machines share: packages, the source of std, built tests, an emulated machine.

mod built;
mod cpio;
mod debian;
mod qemu;
pub mod std_source;

pub use built::{Built, build};
pub use cpio::Cpio;
pub use debian::Archive;
pub use qemu::{Machine, Outcome, cross, task};
pub use std_source::with_own_std;

use crate::Failure;
use crate::proc::target;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Where these commands keep what they fetch and build.
pub fn directory() -> Result<PathBuf, Failure> {
    let dir = target().join("machines");
    fs::create_dir_all(&dir).map_err(|e| Failure::check(format!("{}: {e}", dir.display())))?;
    Ok(dir)
}

/// Runs a command to its end.
fn run(command: &mut Command, what: &str) -> Result<(), Failure> {
    match command.status() {
        Ok(s) if s.success() => Ok(()),
        Ok(s) => Err(Failure::check(format!("{what} failed ({s})"))),
        Err(e) => Err(Failure::check(format!("{what}: `{}`: {e}", command.get_program().to_string_lossy()))),
    }
}
