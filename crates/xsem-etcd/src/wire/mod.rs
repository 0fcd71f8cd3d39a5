//! The messages of etcd's API, version 3, that are used here, written down from its published description: numbers and types of
//! the fields are etcd's, some names are shorter.

mod cluster;
mod kv;

pub use cluster::*;
pub use kv::*;

/// What comes with every answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct ResponseHeader {
    /// Which cluster.
    #[prost(uint64, tag = "1")]
    pub cluster_id: u64,
    /// Which member.
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    /// The revision of the store when this was answered.
    #[prost(int64, tag = "3")]
    pub revision: i64,
    /// The term.
    #[prost(uint64, tag = "4")]
    pub raft_term: u64,
}
