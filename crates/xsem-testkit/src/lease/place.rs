//! The engine's seam on the simulated network: transactions, leases that are kept alive, feeds.

use super::clock::{Clock, Tick, lock};
use super::net::{self, Link};
use super::store::{Answer, Event, Revision, Store, Txn};
use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use xsem_etcd::engine::store::{self as seam, Feed, Lease, OnLeaseLost, Silence, Wanted};

/// One client's end of the store.
pub struct Place {
    /// The connection.
    pub link: Arc<Link>,
    clock: Arc<Clock>,
    /// Only for what happens when the process ends.
    store: Arc<Store>,
    ttl: Tick,
    leases: Mutex<Vec<Weak<Kept>>>,
}

impl Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

fn silence(s: net::Silence) -> Silence {
    match s {
        net::Silence::Unknown => Silence::Unknown,
        net::Silence::Killed => Silence::Closed,
    }
}

impl Place {
    /// With leases of this life.
    pub fn new(link: Link, clock: Arc<Clock>, store: Arc<Store>, ttl: Tick) -> Place {
        Place { link: Arc::new(link), clock, store, ttl, leases: Mutex::default() }
    }

    /// Nothing passes any more, and whoever waits is told.
    pub fn kill(&self) {
        self.link.kill();
        let leases: Vec<_> = lock(&self.leases).iter().filter_map(Weak::upgrade).collect();
        leases.iter().for_each(|l| l.lose());
    }

    /// What an operator, or a guardian, can do.
    pub fn revoke_at_the_store(&self, lease: u64) {
        let _ = self.store.revoke(lease);
    }
}

impl seam::Store for Place {
    fn change(&self, txn: &Arc<Txn>) -> Result<Answer, Silence> {
        let txn = txn.clone();
        self.link.change(move |store| store.txn(&txn)).map_err(silence)?.map_err(|_| Silence::NoLease)
    }

    fn ask(&self, txn: &Arc<Txn>) -> Result<Answer, Silence> {
        let txn = txn.clone();
        self.link.ask(move |store| store.txn(&txn)).map_err(silence)?.map_err(|_| Silence::NoLease)
    }

    fn grant(&self) -> Result<Arc<dyn Lease>, Silence> {
        let (asked, ttl) = (self.clock.now(), self.ttl);
        let id = self.link.beat(move |store, now| store.grant(ttl, now)).map_err(silence)?;
        let kept = Arc::new(Kept {
            id,
            link: self.link.clone(),
            clock: self.clock.clone(),
            store: self.store.clone(),
            ttl,
            safe_until: AtomicU64::new(asked + safe(ttl)),
            lost: AtomicBool::new(false),
            callbacks: Mutex::default(),
        });
        let me = Arc::downgrade(&kept);
        let mut leases = lock(&self.leases);
        leases.retain(|l| l.strong_count() > 0);
        leases.push(me.clone());
        drop(leases);
        let clock = self.clock.clone();
        std::thread::spawn(move || keep_alive(&me, &clock));
        Ok(kept)
    }

    fn feed(&self, wanted: &[Wanted]) -> Result<Box<dyn Feed>, Silence> {
        let next = self.link.beat(|store, _| store.revision() + 1).map_err(silence)?;
        Ok(Box::new(Changes { link: self.link.clone(), wanted: wanted.to_vec(), next }))
    }

    fn now(&self) -> u64 {
        self.clock.now()
    }

    fn ttl(&self) -> u64 {
        self.ttl
    }

    fn is_closed(&self) -> bool {
        self.link.is_killed() || self.clock.is_stopped()
    }
}

/// How long after a keep-alive was sent its answer may be relied upon.
fn safe(ttl: Tick) -> Tick {
    ttl - ttl / 8 - 1
}

/// A lease that is kept alive.
struct Kept {
    id: u64,
    link: Arc<Link>,
    clock: Arc<Clock>,
    store: Arc<Store>,
    ttl: Tick,
    safe_until: AtomicU64,
    lost: AtomicBool,
    callbacks: Mutex<Vec<OnLeaseLost>>,
}

impl Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease {}", self.id)
    }
}

impl Kept {
    fn lose(&self) {
        self.lost.store(true, SeqCst);
        let callbacks = std::mem::take(&mut *lock(&self.callbacks));
        callbacks.into_iter().for_each(|call| call("its time is over"));
    }

    /// One keep-alive. False: it was not answered.
    fn beat(&self) -> bool {
        if !self.is_alive() {
            self.lose();
            return true;
        }
        let (sent, id) = (self.clock.now(), self.id);
        match self.link.beat(move |store, now| store.keep_alive(id, now)) {
            Ok(Ok(())) => drop(self.safe_until.fetch_max(sent + safe(self.ttl), SeqCst)),
            Ok(Err(_)) => self.lose(),
            Err(_) => return false,
        }
        true
    }
}

impl Lease for Kept {
    fn id(&self) -> u64 {
        self.id
    }

    fn is_alive(&self) -> bool {
        !self.lost.load(SeqCst) && !self.link.is_killed() && self.clock.now() < self.safe_until.load(SeqCst)
    }

    fn give_up(&self) {
        self.lose();
        if self.link.is_killed() {
            return;
        }
        let (link, clock, id, end) = (self.link.clone(), self.clock.clone(), self.id, self.clock.now() + 2 * self.ttl);
        let tell = move || {
            while !link.is_killed() && !clock.is_stopped() && clock.now() < end && link.beat(move |s, _| s.revoke(id)).is_err() {}
        };
        // What has no faults needs no thread.
        match self.link.is_cut() {
            true => drop(std::thread::spawn(tell)),
            false => {
                let _ = self.store.revoke(id);
            }
        }
    }

    fn on_loss(&self, tell: OnLeaseLost) {
        lock(&self.callbacks).push(tell);
        if !self.is_alive() {
            self.lose();
        }
    }
}

fn keep_alive(me: &Weak<Kept>, clock: &Clock) {
    let mut pause = 1;
    loop {
        clock.sleep_until(clock.now() + pause, || me.strong_count() == 0);
        let Some(lease) = me.upgrade().filter(|l| !l.link.is_killed() && !clock.is_stopped()) else { return };
        pause = if lease.beat() { lease.ttl / 4 } else { lease.ttl / 20 } + 1;
        if lease.lost.load(SeqCst) {
            return;
        }
    }
}

/// The changes of some keys.
#[derive(Debug)]
struct Changes {
    link: Arc<Link>,
    wanted: Vec<Wanted>,
    next: Revision,
}

impl Feed for Changes {
    fn next(&mut self, patience: Duration) -> Result<Vec<Event>, Silence> {
        let wanted = &self.wanted;
        let fits = |e: &Event| wanted.iter().any(|w| e.key.starts_with(&w.prefix) && (!w.deletes_only || e.now.is_none()));
        match self.link.watch(self.next, patience.min(Duration::from_millis(20)), &fits) {
            Ok(Ok((events, next))) => {
                self.next = next;
                Ok(events)
            }
            // Compacted: read everything again.
            Ok(Err(_)) => Err(Silence::Unknown),
            // What a cut holds up comes afterwards.
            Err(net::Silence::Unknown) => Ok(Vec::new()),
            Err(s) => Err(silence(s)),
        }
    }
}
