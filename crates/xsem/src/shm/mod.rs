//! stub
#![allow(missing_docs, unused)]
use crate::engine::*;
use crate::*;
use std::ops::ControlFlow;
use std::sync::Arc;
pub mod futex {
    pub fn wake_private_all(_w: &std::sync::atomic::AtomicU32) {}
}
/// Options.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub max_semaphores: u32,
    pub max_members: u32,
    pub create: bool,
}
/// Fast.
#[derive(Clone, Copy)]
pub struct FastPath;
impl FastPath {
    pub fn acquire(&self) -> Option<Claim> {
        None
    }
    pub fn release(&self, _c: &Claim) -> bool {
        false
    }
}
pub fn claimant() -> u32 {
    1
}
pub fn user_name(_uid: u32) -> String {
    String::new()
}
#[derive(Debug)]
pub struct ShmEngine;
impl ShmEngine {
    pub fn open(_p: &str, _o: &Options) -> Result<ShmEngine> {
        unreachable!()
    }
}
impl Engine for ShmEngine {
    fn url(&self) -> &str {
        ""
    }
    fn create(&self, _: &Name, _: &Spec) -> Result<Arc<dyn Object>> {
        unreachable!()
    }
    fn open(&self, _: &Name, _: Kind) -> Result<Arc<dyn Object>> {
        unreachable!()
    }
    fn open_or_create(&self, _: &Name, _: &Spec) -> Result<Arc<dyn Object>> {
        unreachable!()
    }
    fn remove(&self, _: &Name) -> Result<()> {
        unreachable!()
    }
    fn inspect(&self, _: &Name) -> Result<Report> {
        unreachable!()
    }
    fn list(&self, _: &mut dyn FnMut(Summary) -> ControlFlow<()>) -> Result<()> {
        unreachable!()
    }
    fn describe(&self, _: &str) -> Result<()> {
        unreachable!()
    }
    fn cover(&self, _: Option<u32>) -> Result<()> {
        unreachable!()
    }
}
/// For the harness only: not part of the API.
pub mod testing {
    use super::*;
    /// Registers with the calling thread as the keeper, so that a tracer can step through it.
    pub fn register_inline(_ns: &Namespace) -> Result<()> {
        unreachable!()
    }
    /// Registers this process as a member as the first acquire does.
    pub fn register(_ns: &Namespace) -> Result<()> {
        unreachable!()
    }
    /// Checks every invariant of the file that holds at rest or in flight; each violation is one line.
    pub fn audit(_ns: &Namespace) -> Vec<String> {
        unreachable!()
    }
    /// Switches the periodic safety re-check of this process's waits off (or on again).
    pub fn set_recheck(_on: bool) {}
}
