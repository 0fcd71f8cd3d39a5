//! What the tests of this crate share.

use std::path::PathBuf;
use std::process::Command;

/// Builds one of the libraries, with the profile that this test was built with, and says where it is.
pub fn library(example: &str) -> PathBuf {
    // target/PROFILE/deps/TEST-HASH: what the library is made of is there already.
    let me = std::env::current_exe().expect("a test is a program");
    let profile = me.ancestors().nth(2).expect("it lies in a target directory").to_owned();
    let target = profile.parent().expect("it lies in a target directory");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "-p", "xsem-hosts", "--example", example, "--target-dir"]).arg(target);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo").success(), "the build of the library");
    profile.join(format!("examples/lib{example}.so"))
}
