//! Named semaphores across machines: the engine of [`xsem`] on etcd.
#[doc(hidden)]
pub mod engine;
