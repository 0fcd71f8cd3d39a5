//! What a step needs beyond cargo: looked for, installed where that is possible, else named.

use crate::Failure;
use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

/// A program (or a file, by its absolute path, in which `*` may stand for one directory) that has to be there, the Debian package that has it, and how to get it elsewhere.
#[derive(Debug, PartialEq, Eq)]
pub struct Need {
    pub program: &'static str,
    pub package: &'static str,
    pub otherwise: &'static str,
}

/// The linker of every Rust program here; nothing else is built from C.
pub const CC: Need = Need { program: "cc", package: "gcc", otherwise: "install a C compiler" };
/// Part of the Rust toolchain; never fetched from here, since which toolchain to change is the user's decision.
pub const FMT: Need = Need { program: "cargo-fmt", package: "", otherwise: "install the toolchain's `rustfmt` component" };
/// As `FMT`.
pub const CLIPPY: Need = Need { program: "cargo-clippy", package: "", otherwise: "install the toolchain's `clippy` component" };
/// Peer of the command tests and of the benchmark.
pub const FLOCK: Need = Need { program: "flock", package: "util-linux", otherwise: "install util-linux" };
/// Peers of the benchmark, from here on: compiled there, in C++.
pub const CXX: Need = Need { program: "c++", package: "g++", otherwise: "install a C++ compiler" };
pub const BOOST: Need = Need {
    program: "/usr/include/boost/interprocess/sync/named_mutex.hpp",
    package: "libboost-dev",
    otherwise: "install the headers of Boost",
};
pub const PYTHON: Need = Need { program: "python3", package: "python3-venv", otherwise: "install Python 3" };
/// GNU parallel's other name.
pub const PARALLEL: Need = Need { program: "sem", package: "parallel", otherwise: "install GNU parallel" };
/// Counts instructions.
pub const VALGRIND: Need = Need { program: "valgrind", package: "valgrind", otherwise: "install valgrind" };

/// Servers for the tests of the etcd engine.
pub const ETCD: Need = Need { program: "etcd", package: "etcd-server", otherwise: "install etcd 3.4 or later" };
/// A peer of the benchmark.
pub const ETCDCTL: Need = Need { program: "etcdctl", package: "etcd-client", otherwise: "install etcdctl" };
/// The table of the worked example that checks tokens.
pub const POSTGRES: Need = Need {
    program: "/usr/lib/postgresql/*/bin/initdb",
    package: "postgresql",
    otherwise: "install a PostgreSQL server, or set XSEM_NO_POSTGRES=1 to do without that one test",
};

/// Network namespaces.
pub const IP: Need = Need { program: "ip", package: "iproute2", otherwise: "install iproute2" };

impl Need {
    /// Makes sure that it is there.
    pub fn satisfy(&self) -> Result<(), Failure> {
        // Somebody else's PostgreSQL does as well, and a machine may do without.
        if on_path(self.program) || *self == POSTGRES && (on_path("initdb") || env::var_os("XSEM_NO_POSTGRES").is_some()) {
            return Ok(());
        }
        if !self.package.is_empty() && on_path("apt-get") {
            println!("`{}` is missing: installing the package {}", self.program, self.package);
            // The lists of a fresh image are empty, so a first failure is answered with an update.
            if (apt(&["install", "-y", "--no-install-recommends", self.package])
                || apt(&["update"]) && apt(&["install", "-y", "--no-install-recommends", self.package]))
                && on_path(self.program)
            {
                return Ok(());
            }
        }
        let how = match self.package {
            "" => self.otherwise.to_owned(),
            p => format!("{} (Debian and Ubuntu: `apt-get install {p}`)", self.otherwise),
        };
        Err(Failure::check(format!("`{}` is needed and is not on the PATH: {how}", self.program)))
    }
}

fn apt(args: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command.status().is_ok_and(|s| s.success())
}

fn on_path(program: &str) -> bool {
    if let Some((dir, file)) = program.split_once("/*/") {
        // Each version has a directory of its own.
        return std::fs::read_dir(dir).is_ok_and(|mut all| all.any(|e| e.is_ok_and(|e| e.path().join(file).exists())));
    }
    if Path::new(program).is_absolute() {
        return Path::new(program).exists();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_bin = env::var_os("CARGO").and_then(|c| Path::new(&c).parent().map(Path::to_path_buf));
    env::split_paths(&path).chain(cargo_bin).any(|dir| dir.join(program).is_file())
}
