//! The guardian as a program of its own, for programs that use the library where the `xsem` command is not installed:
//! `etcd://…?guardian=/path/to/xsem-guardian`.

use std::process::ExitCode;
use xsem_etcd::guardian;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((first, rest)) if first == guardian::ARGUMENT => guardian::main(rest),
        _ => guardian::main(&[]),
    }
}
