//! `etcd://…` for [`xsem::Namespace::open`].

use crate::client::Client;
use crate::engine::{EtcdEngine, Who};
use crate::remote::{self, Remote};
use crate::url::Config;
use std::sync::Arc;
use xsem::Result;
use xsem::engine::Engine;

/// Makes `etcd://` and `etcds://` known to [`xsem::Namespace::open`]. Call it once, before the first such URL is opened; again does
/// no harm.
///
/// ```
/// xsem_etcd::register();
/// // Opening asks nobody yet.
/// let ns = xsem::Namespace::open("etcd://127.0.0.1:2379/builds")?;
/// assert_eq!(ns.url(), "etcd://127.0.0.1:2379/builds");
/// # Ok::<(), xsem::Error>(())
/// ```
pub fn register() {
    xsem::engine::register_scheme("etcd", open);
    xsem::engine::register_scheme("etcds", open);
}

fn open(url: &str) -> Result<Arc<dyn Engine>> {
    let config = Config::parse(url).map_err(|f| remote::error(&f))?;
    let shown = config.shown();
    let client = Client::open(config).map_err(|f| remote::error(&f))?;
    Ok(Arc::new(EtcdEngine::on(Arc::new(Remote::new(client)), who(), shown)))
}

/// This process, as others see it.
fn who() -> Who {
    // SAFETY: it has no preconditions.
    let uid = unsafe { libc::getuid() };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let words: Vec<_> = line.split(|b| *b == 0).filter(|w| !w.is_empty()).map(String::from_utf8_lossy).collect();
    Who { host, pid: std::process::id(), uid, command: crate::engine::short(&words.join(" ")), covers: None }
}
