//! Scenes that bring about by themselves what a storm meets only by chance: one for each fault that a storm seldom finds.

use super::sloppy::namespace;
use crate::etcd::{Cluster, Proxy};
use crate::sys::nap;
use crate::watchdog::Watchdog;
use std::time::Duration;
use xsem::{AcquireError, Counting, Exclusive, Namespace, Result};

/// The faults that have a scene of their own.
pub const DIRECTED: &[&str] = &["twice", "deaf"];

/// Plays the scene of a fault, with an engine that has it or with a sound one: what must not be, if that was seen.
///
/// # Errors
/// The scene cannot be played.
pub fn play(bug: &str, has_it: bool) -> Result<Option<String>> {
    let _dog = Watchdog::with_time(&format!("the scene of `{bug}`"), Duration::from_secs(120));
    let cluster = Cluster::start(1);
    let proxy = Proxy::to(cluster.port(0));
    let with = if has_it { bug } else { "" };
    match bug {
        "twice" => twice(&cluster, &proxy, with),
        _ => deaf(&cluster, &proxy, with),
    }
}

fn open(ns: &Namespace) -> Result<Counting> {
    Counting::open_or_create_credit(ns, "credit", 9, 0)
}

/// A permit is added while what the server says is lost: the server has done it, and whoever asked for it cannot know.
fn twice(cluster: &Cluster, proxy: &Proxy, bug: &str) -> Result<Option<String>> {
    let theirs = namespace(&format!("{}?guardian=none&ttl=30&timeout=1", proxy.url("twice")), bug)?;
    let sees = Namespace::open(&format!("{}?guardian=none", cluster.url("twice")))?;
    let (credit, seen) = (open(&theirs)?, open(&sees)?);
    // Its session and its connection are there, so what is lost is the answer to the change and nothing before it.
    credit.add_permits(1)?;
    proxy.lose_answers(true);
    std::thread::scope(|s| {
        let adds = s.spawn(|| credit.add_permits(1));
        while seen.capacity()?.free < 2 {
            nap(5_000);
        }
        proxy.lose_answers(false);
        adds.join().expect("it does not panic")
    })?;
    let there = seen.capacity()?.free;
    Ok((there != 2).then(|| format!("2 permits were added, one by one, and {there} are there")))
}

/// An owner is cut off until its lease has ended and somebody else owns.
fn deaf(cluster: &Cluster, proxy: &Proxy, bug: &str) -> Result<Option<String>> {
    let theirs = namespace(&format!("{}?guardian=none&ttl=3&timeout=1", proxy.url("deaf")), bug)?;
    let other = Namespace::open(&format!("{}?guardian=none&ttl=30", cluster.url("deaf")))?;
    let (x, y) = (Exclusive::open_or_create(&theirs, "x")?, Exclusive::open_or_create(&other, "x")?);
    let guard = x.acquire().map_err(xsem::Error::from)?;
    let token = guard.token();
    proxy.hold(true);
    let _owner = match y.acquire() {
        Err(AcquireError::OwnerDied(heir)) => heir.mark_consistent()?,
        Ok(_) => return Ok(Some("the owner's death was not told".to_owned())),
        Err(e) => return Err(e.into()),
    };
    let believes = guard.is_held();
    proxy.hold(false);
    Ok(believes.then(|| format!("who was cut off believed in its claim, token {token}, while another owned")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A scene finds its fault each time, and nothing where there is none.
    #[test]
    fn each_scene_finds_its_fault_and_no_other() {
        if !crate::etcd::wanted() {
            return;
        }
        for bug in DIRECTED {
            let found = |has_it| play(bug, has_it).unwrap_or_else(|e| panic!("{bug}: {e}"));
            assert!(found(true).is_some(), "{bug}: not found");
            assert_eq!(found(false), None, "{bug}");
        }
    }
}
