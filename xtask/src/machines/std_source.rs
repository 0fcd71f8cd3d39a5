//! The source of the standard library, for targets and flags for which no compiled one comes with the toolchain.

use super::{Archive, directory};
use crate::Failure;
use crate::proc::Job;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian has compilers that are newer than its releases.
const SUITES: [&str; 3] = ["trixie-backports", "trixie", "sid"];

/// The directory `library` of the installed compiler's own version; fetched if need be, not installed.
pub fn find() -> Result<PathBuf, Failure> {
    let version = version()?;
    let is_there = |dir: &Path| dir.join("std/Cargo.toml").exists();
    let own = directory()?.join("rust-src");
    let unpacked = own.join(format!("usr/src/rustc-{version}/library"));
    let installed = PathBuf::from(format!("/usr/src/rustc-{version}/library"));
    let component = sysroot()?.join("lib/rustlib/src/rust/library");
    if let Some(found) = [component, installed, unpacked.clone()].into_iter().find(|d| is_there(d)) {
        return Ok(found);
    }
    let archive = Archive::open(&directory()?.join("apt-all"), &SUITES, "amd64")?;
    let Some(package) = archive.newest("rust-src", &format!("{version}+")) else {
        return Err(Failure::check(format!(
            "std has to be built from its source, and Debian has no `rust-src` of rustc {version}: \
             install the toolchain's component `rust-src`, or a compiler that Debian has"
        )));
    };
    archive.unpack(&format!("rust-src={package}"), &format!("./usr/src/rustc-{version}/library"), &own)?;
    if is_there(&unpacked) { Ok(unpacked) } else { Err(Failure::check(format!("{} was not in rust-src", unpacked.display()))) }
}

/// Makes a cargo job build std from that source. Stable compilers do that only for those who say that they know what it is.
pub fn with_own_std(job: Job, source: &Path) -> Job {
    job.arg("-Zbuild-std=std,panic_unwind,test")
        .env("RUSTC_BOOTSTRAP", "1")
        // Where cargo looks for it instead of the toolchain's own directory.
        .env("__CARGO_TESTS_ONLY_SRC_ROOT", source)
}

fn version() -> Result<String, Failure> {
    let text = ask(&["-vV"])?;
    let version = text.lines().find_map(|l| l.strip_prefix("release: "));
    version.map(str::to_owned).ok_or_else(|| Failure::check("rustc does not say its version".to_owned()))
}

/// The toolchain's directory.
pub fn sysroot() -> Result<PathBuf, Failure> {
    ask(&["--print", "sysroot"]).map(|p| PathBuf::from(p.trim()))
}

fn ask(args: &[&str]) -> Result<String, Failure> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    match Command::new(rustc).args(args).output() {
        Ok(o) if o.status.success() => Ok(String::from_utf8_lossy(&o.stdout).into_owned()),
        _ => Err(Failure::check("`rustc` does not run".to_owned())),
    }
}
