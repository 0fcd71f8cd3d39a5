//! Real etcd servers for tests, and a proxy between them and a client that delays and cuts.
//!
//! Where `etcd` is not on the PATH, [`Cluster::start`] panics and says how to get it: a test that checks nothing must not pass. A
//! machine that shall do without says so by `XSEM_NO_ETCD=1`; tests then ask [`wanted`] first, and print that they were skipped.

mod cluster;
pub mod hosts;
mod http;
mod proxy;
pub mod storm;

pub use cluster::{Cluster, Options};
pub use proxy::Proxy;

/// False where `XSEM_NO_ETCD` is set: the test says so and returns.
pub fn wanted() -> bool {
    let wanted = std::env::var_os("XSEM_NO_ETCD").is_none();
    if !wanted {
        eprintln!("SKIPPED: XSEM_NO_ETCD is set, so nothing that needs an etcd server was tested");
    }
    wanted
}
