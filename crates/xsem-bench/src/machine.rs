//! What the figures were measured on: without it they mean nothing.

use serde_json::{Value, json};
use std::ffi::CStr;
use std::fs;

/// Facts of this machine, in one line for people.
pub fn line() -> String {
    format!("{}, {} cores, Linux {}, glibc {}, xsem {}", cpu(), cores(), kernel(), glibc(), env!("CARGO_PKG_VERSION"))
}

/// The same for the JSON file.
pub fn json() -> Value {
    json!({ "cpu": cpu(), "cores": cores(), "kernel": kernel(), "glibc": glibc(), "xsem": env!("CARGO_PKG_VERSION") })
}

fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ").map(|p| p.1.to_owned()));
    model.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn glibc() -> String {
    // SAFETY: returns a static, NUL-terminated string.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    version.to_string_lossy().into_owned()
}
