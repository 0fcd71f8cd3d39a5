//! A place in a store, for the three that are compared: raw requests, xsem, etcd's own lock service.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use xsem::{Deadline, Exclusive, Namespace};
use xsem_etcd::client::{Again, Client};
use xsem_etcd::kv::{Keys, Txn, put, range};
use xsem_etcd::session::Session;
use xsem_etcd::url::Config;
use xsem_etcd::{runtime, wire};
use xsem_testkit::etcd::Cluster;

/// Nothing here takes that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A semaphore's record with one owner has about so many bytes.
const RECORD: usize = 300;

/// The messages of `v3lockpb`.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
struct LockRequest {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(int64, tag = "2")]
    lease: i64,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
struct LockResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<wire::ResponseHeader>,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
struct UnlockRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
struct UnlockResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<wire::ResponseHeader>,
}

pub fn failed(e: impl std::fmt::Display) -> io::Error {
    io::Error::other(e.to_string())
}

/// The version of a member.
pub fn version(cluster: &Cluster, i: usize) -> String {
    let said = cluster.ask(i, "/v3/maintenance/status", "{}").ok();
    said.and_then(|v| v["version"].as_str().map(str::to_owned)).unwrap_or_else(|| "of an unknown version".to_owned())
}

/// A session of its own, as another host has: the same URL would be the same one.
pub fn session(url: &str) -> io::Result<Namespace> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let n = NUMBER.fetch_add(1, Ordering::Relaxed);
    Namespace::open(&format!("{url}&timeout=3.{n:06}")).map_err(failed)
}

pub fn exclusive(ns: &Namespace, name: &str) -> io::Result<Exclusive> {
    Exclusive::open_or_create(ns, name).map_err(failed)
}

/// A client with a lease.
#[derive(Debug)]
pub struct Raw {
    client: Client,
    session: Session,
}

impl Raw {
    pub fn open(url: &str) -> io::Result<Raw> {
        let client = Client::open(Config::parse(url).map_err(failed)?).map_err(failed)?;
        let c = client.clone();
        let session = runtime::run(async move { Session::start(&c, Deadline::after(PATIENCE)).await }).map_err(failed)?;
        Ok(Raw { client, session })
    }

    /// One transaction that puts one value.
    pub fn put(&self, key: &str) {
        let (client, txn) = (self.client.clone(), Txn::of([put(format!("bench/{key}"), "x".repeat(RECORD), 0)]));
        let done = runtime::run(async move { client.txn(txn, Deadline::after(PATIENCE)).await });
        assert!(done.is_ok(), "{done:?}");
    }

    fn call<Q, A>(&self, path: &'static str, ask: Q) -> A
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        let client = self.client.clone();
        let done = runtime::run(async move { client.call::<Q, A>(path, ask, Again::Never, Deadline::after(PATIENCE)).await });
        done.unwrap_or_else(|e| panic!("{path}: {e}")).answer
    }

    /// etcd's lock with the lease that this client has; gives its key.
    pub fn lock(&self, name: &str) -> Vec<u8> {
        self.lock_with(name, self.session.lease())
    }

    fn lock_with(&self, name: &str, lease: i64) -> Vec<u8> {
        let ask = LockRequest { name: format!("bench/{name}").into_bytes(), lease };
        self.call::<_, LockResponse>("/v3lockpb.Lock/Lock", ask).key
    }

    pub fn unlock(&self, key: Vec<u8>) {
        self.call::<_, UnlockResponse>("/v3lockpb.Lock/Unlock", UnlockRequest { key });
    }

    /// etcd's lock as its clients use it that keep no lease: one for each acquire.
    pub fn lock_and_unlock_with_a_lease_of_its_own(&self, name: &str) {
        let lease: wire::LeaseGrantResponse =
            self.call("/etcdserverpb.Lease/LeaseGrant", wire::LeaseGrantRequest { ttl: 10, id: 0 });
        let key = self.lock_with(name, lease.id);
        self.unlock(key);
        self.call::<_, wire::LeaseRevokeResponse>("/etcdserverpb.Lease/LeaseRevoke", wire::LeaseRevokeRequest { id: lease.id });
    }

    /// How many have the lock of this name, or wait for it.
    pub fn queued(&self, name: &str) -> i64 {
        let (client, ask) = (self.client.clone(), range(Keys::prefix(format!("bench/{name}/"))).count_only());
        let found = runtime::run(async move { client.range(ask, Deadline::after(PATIENCE)).await });
        found.unwrap_or_else(|e| panic!("{e}")).count
    }
}
