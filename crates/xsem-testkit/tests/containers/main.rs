//! Containers, filters, restarts, copies: processes in surroundings of their own, which the program `within` sets up.
//! `docs/testing.md`, "Containers, kernels, machines".

#[path = "../common/mod.rs"]
mod common;
mod ends;
mod limits;
mod pids;
mod restart;
mod scene;
mod seccomp;
mod seccomp_calls;
