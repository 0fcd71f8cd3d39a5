//! Leases, authentication, and what is asked about the cluster.

use super::ResponseHeader;

/// Makes a lease.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct LeaseGrantRequest {
    /// Seconds.
    #[prost(int64, tag = "1")]
    pub ttl: i64,
    /// Its number; 0: the server's choice.
    #[prost(int64, tag = "2")]
    pub id: i64,
}

/// Made.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseGrantResponse {
    /// The revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Its number.
    #[prost(int64, tag = "2")]
    pub id: i64,
    /// Seconds, as the server has decided.
    #[prost(int64, tag = "3")]
    pub ttl: i64,
    /// Why not.
    #[prost(string, tag = "4")]
    pub error: String,
}

/// Ends a lease, with all its keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct LeaseRevokeRequest {
    /// Which.
    #[prost(int64, tag = "1")]
    pub id: i64,
}

/// Ended.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseRevokeResponse {
    /// The revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
}

/// Renews a lease.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct LeaseKeepAliveRequest {
    /// Which.
    #[prost(int64, tag = "1")]
    pub id: i64,
}

/// Renewed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseKeepAliveResponse {
    /// The revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Which.
    #[prost(int64, tag = "2")]
    pub id: i64,
    /// Seconds from now; 0: there is no such lease.
    #[prost(int64, tag = "3")]
    pub ttl: i64,
}

/// Asks about a lease.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct LeaseTimeToLiveRequest {
    /// Which.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Tell its keys.
    #[prost(bool, tag = "2")]
    pub keys: bool,
}

/// About a lease.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseTimeToLiveResponse {
    /// The revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Which.
    #[prost(int64, tag = "2")]
    pub id: i64,
    /// Seconds left; -1: there is no such lease.
    #[prost(int64, tag = "3")]
    pub ttl: i64,
    /// Seconds at the start.
    #[prost(int64, tag = "4")]
    pub granted_ttl: i64,
    /// Its keys.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub keys: Vec<Vec<u8>>,
}

/// Says who one is.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct AuthenticateRequest {
    /// The user.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The password.
    #[prost(string, tag = "2")]
    pub password: String,
}

/// Believed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AuthenticateResponse {
    /// The revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// What every request has to carry.
    #[prost(string, tag = "2")]
    pub token: String,
}

/// Asks a member how it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct StatusRequest {}

/// How a member is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StatusResponse {
    /// The revision, and which member.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Its release.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Bytes of its file.
    #[prost(int64, tag = "3")]
    pub db_size: i64,
    /// Whom it takes for the leader; 0: nobody.
    #[prost(uint64, tag = "4")]
    pub leader: u64,
    /// How far its log is.
    #[prost(uint64, tag = "5")]
    pub raft_index: u64,
    /// The term.
    #[prost(uint64, tag = "6")]
    pub raft_term: u64,
    /// How far the log was applied.
    #[prost(uint64, tag = "7")]
    pub raft_applied_index: u64,
    /// What is wrong with it.
    #[prost(string, repeated, tag = "8")]
    pub errors: Vec<String>,
    /// Bytes of its file that are used.
    #[prost(int64, tag = "9")]
    pub db_size_in_use: i64,
    /// It does not vote.
    #[prost(bool, tag = "10")]
    pub is_learner: bool,
}

/// Asks for alarms, or ends them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct AlarmRequest {
    /// 0 asks, 1 raises, 2 ends.
    #[prost(int32, tag = "1")]
    pub action: i32,
    /// Of which member; 0: all.
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    /// Which.
    #[prost(enumeration = "AlarmType", tag = "3")]
    pub alarm: i32,
}

/// What members are alarmed about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum AlarmType {
    /// Nothing (asked: anything).
    None = 0,
    /// The quota is used up: nothing can be put.
    NoSpace = 1,
    /// The data of a member differs from that of the others.
    Corrupt = 2,
}

/// An alarm.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct AlarmMember {
    /// Whose.
    #[prost(uint64, tag = "1")]
    pub member_id: u64,
    /// Which.
    #[prost(enumeration = "AlarmType", tag = "2")]
    pub alarm: i32,
}

/// The alarms.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AlarmResponse {
    /// The revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The alarms.
    #[prost(message, repeated, tag = "2")]
    pub alarms: Vec<AlarmMember>,
}

/// Asks who is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct MemberListRequest {
    /// As the majority knows it (since 3.5).
    #[prost(bool, tag = "1")]
    pub linearizable: bool,
}

/// A member.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Member {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Where other members find it.
    #[prost(string, repeated, tag = "3")]
    pub peer_urls: Vec<String>,
    /// Where clients find it.
    #[prost(string, repeated, tag = "4")]
    pub client_urls: Vec<String>,
    /// It does not vote.
    #[prost(bool, tag = "5")]
    pub is_learner: bool,
}

/// Who is there.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MemberListResponse {
    /// The revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The members.
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<Member>,
}
