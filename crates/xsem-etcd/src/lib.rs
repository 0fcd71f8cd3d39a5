//! Named semaphores across machines: the engine of xsem on etcd.

#[doc(hidden)]
pub mod client;
#[doc(hidden)]
pub mod clock;
mod contact;
#[doc(hidden)]
pub mod engine;
mod exit;
#[doc(hidden)]
pub mod fault;
pub mod guardian;
mod judge;
#[doc(hidden)]
pub mod kv;
mod lease;
#[doc(hidden)]
pub mod life;
mod member;
#[doc(hidden)]
pub mod metrics;
mod open;
#[doc(hidden)]
pub mod remote;
#[doc(hidden)]
pub mod runtime;
mod sentry;
#[doc(hidden)]
pub mod session;
#[doc(hidden)]
pub mod survey;
pub mod url;
#[doc(hidden)]
pub mod watch;
#[doc(hidden)]
pub mod wire;

pub use contact::{Contact, on_contact};
pub use open::register;
