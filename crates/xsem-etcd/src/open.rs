//! `etcd://…` for [`xsem::Namespace::open`].

use crate::client::Client;
use crate::engine::{EtcdEngine, Who};
use crate::life::Life;
use crate::remote::{self, Remote};
use crate::url::Config;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
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

/// What this process has open, by URL: it is one session then, so that a thread's claims nest whichever handle it asks by.
static OPEN: Mutex<Known> = Mutex::new(Vec::new());

fn open(url: &str) -> Result<Arc<dyn Engine>> {
    if let Some(engine) = find(url) {
        return Ok(engine);
    }
    let engine = make(url)?;
    match known() {
        // Another thread may have been faster.
        Some(mut known) => match look_up(&known, url) {
            Some(first) => Ok(first),
            None => {
                known.push((url.to_owned(), Life::here(), Arc::downgrade(&engine)));
                Ok(engine)
            }
        },
        None => Ok(engine),
    }
}

type Known = Vec<(String, Life, Weak<EtcdEngine>)>;

/// The table. It is locked for an instant only; but in a child that was forked in that instant, for ever: there each open is a
/// session of its own.
fn known() -> Option<MutexGuard<'static, Known>> {
    (0..10_000).find_map(|_| {
        OPEN.try_lock().ok().or_else(|| {
            std::thread::yield_now();
            None
        })
    })
}

fn find(url: &str) -> Option<Arc<EtcdEngine>> {
    let mut known = known()?;
    known.retain(|(_, life, engine)| *life == Life::here() && engine.strong_count() > 0);
    look_up(&known, url)
}

fn look_up(known: &Known, url: &str) -> Option<Arc<EtcdEngine>> {
    let here = |(u, life, _): &&(String, Life, Weak<EtcdEngine>)| u == url && *life == Life::here();
    known.iter().find(here).and_then(|(.., engine)| engine.upgrade())
}

fn make(url: &str) -> Result<Arc<EtcdEngine>> {
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
    Who { host, pid: std::process::id(), uid, command: crate::engine::short(&words.join(" ")), covers: None, inside: Vec::new() }
}
