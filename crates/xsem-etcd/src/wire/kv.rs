//! The key-value service, with transactions and watches.

use super::ResponseHeader;

/// A key with what is known of it (`mvccpb.KeyValue`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeyValue {
    /// The key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// The revision that created it: as old as the key itself, whatever was put since.
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    /// The revision that last put it.
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    /// How often it was put since it was created; 0 in the event of a deletion.
    #[prost(int64, tag = "4")]
    pub version: i64,
    /// The value.
    #[prost(bytes = "vec", tag = "5")]
    pub value: Vec<u8>,
    /// The lease that it ends with, or 0.
    #[prost(int64, tag = "6")]
    pub lease: i64,
}

/// What happened to a key (`mvccpb.Event`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Event {
    /// Put or deleted.
    #[prost(enumeration = "EventType", tag = "1")]
    pub r#type: i32,
    /// The key as it is now; of a deletion only the key and the revision.
    #[prost(message, optional, tag = "2")]
    pub kv: Option<KeyValue>,
    /// The key as it was, where that was asked for.
    #[prost(message, optional, tag = "3")]
    pub prev_kv: Option<KeyValue>,
}

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum EventType {
    /// It was put.
    Put = 0,
    /// It was deleted, or its lease ended.
    Delete = 1,
}

/// What to read.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct RangeRequest {
    /// The first key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// The end, which is not in it; empty: the one key; `\0`: no end.
    #[prost(bytes = "vec", tag = "2")]
    pub range_end: Vec<u8>,
    /// At most so many; 0: all.
    #[prost(int64, tag = "3")]
    pub limit: i64,
    /// As of this revision; 0: now.
    #[prost(int64, tag = "4")]
    pub revision: i64,
    /// The order.
    #[prost(enumeration = "SortOrder", tag = "5")]
    pub sort_order: i32,
    /// What the order goes by.
    #[prost(enumeration = "SortTarget", tag = "6")]
    pub sort_target: i32,
    /// From the asked member's own memory, which may be old.
    #[prost(bool, tag = "7")]
    pub serializable: bool,
    /// No values.
    #[prost(bool, tag = "8")]
    pub keys_only: bool,
    /// Only how many.
    #[prost(bool, tag = "9")]
    pub count_only: bool,
    /// Only those last put at this revision or later.
    #[prost(int64, tag = "10")]
    pub min_mod_revision: i64,
    /// Only those last put at this revision or before.
    #[prost(int64, tag = "11")]
    pub max_mod_revision: i64,
    /// Only those created at this revision or later.
    #[prost(int64, tag = "12")]
    pub min_create_revision: i64,
    /// Only those created at this revision or before.
    #[prost(int64, tag = "13")]
    pub max_create_revision: i64,
}

/// The order of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SortOrder {
    /// As they come (which is by key).
    None = 0,
    /// The least first.
    Ascend = 1,
    /// The greatest first.
    Descend = 2,
}

/// What the order of a range goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SortTarget {
    /// The key.
    Key = 0,
    /// The number of puts.
    Version = 1,
    /// The revision that created it.
    Create = 2,
    /// The revision that last put it.
    Mod = 3,
    /// The value.
    Value = 4,
}

/// What was read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RangeResponse {
    /// The revision that it is as of.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The keys.
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
    /// Whether the limit left some off.
    #[prost(bool, tag = "3")]
    pub more: bool,
    /// How many there are. (etcd 3.4 counts without the limits by revision.)
    #[prost(int64, tag = "4")]
    pub count: i64,
}

/// What to put.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct PutRequest {
    /// The key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// The value.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
    /// The lease that it ends with; 0: none.
    #[prost(int64, tag = "3")]
    pub lease: i64,
    /// Tell what was there.
    #[prost(bool, tag = "4")]
    pub prev_kv: bool,
    /// Keep the value that is there.
    #[prost(bool, tag = "5")]
    pub ignore_value: bool,
    /// Keep the lease that it has.
    #[prost(bool, tag = "6")]
    pub ignore_lease: bool,
}

/// Put.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PutResponse {
    /// The revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// What was there.
    #[prost(message, optional, tag = "2")]
    pub prev_kv: Option<KeyValue>,
}

/// What to delete.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct DeleteRangeRequest {
    /// The first key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// As in [`RangeRequest`].
    #[prost(bytes = "vec", tag = "2")]
    pub range_end: Vec<u8>,
    /// Tell what was there.
    #[prost(bool, tag = "3")]
    pub prev_kv: bool,
}

/// Deleted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteRangeResponse {
    /// The revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// How many.
    #[prost(int64, tag = "2")]
    pub deleted: i64,
    /// What was there.
    #[prost(message, repeated, tag = "3")]
    pub prev_kvs: Vec<KeyValue>,
}

/// A step of a transaction.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RequestOp {
    /// Which.
    #[prost(oneof = "Op", tags = "1, 2, 3, 4")]
    pub request: Option<Op>,
}

/// A step of a transaction.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Op {
    /// Read.
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    /// Put.
    #[prost(message, tag = "2")]
    Put(PutRequest),
    /// Delete.
    #[prost(message, tag = "3")]
    Delete(DeleteRangeRequest),
    /// Another transaction.
    #[prost(message, tag = "4")]
    Txn(TxnRequest),
}

/// The answer to a step.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResponseOp {
    /// Which.
    #[prost(oneof = "OpAnswer", tags = "1, 2, 3, 4")]
    pub response: Option<OpAnswer>,
}

/// The answer to a step.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum OpAnswer {
    /// Read.
    #[prost(message, tag = "1")]
    Range(RangeResponse),
    /// Put.
    #[prost(message, tag = "2")]
    Put(PutResponse),
    /// Deleted.
    #[prost(message, tag = "3")]
    Delete(DeleteRangeResponse),
    /// Another transaction.
    #[prost(message, tag = "4")]
    Txn(TxnResponse),
}

/// A condition. Over a range it holds if it holds for every key there; of a key that is not there, everything is 0.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Compare {
    /// How.
    #[prost(enumeration = "CompareResult", tag = "1")]
    pub result: i32,
    /// What of the key.
    #[prost(enumeration = "CompareTarget", tag = "2")]
    pub target: i32,
    /// The key.
    #[prost(bytes = "vec", tag = "3")]
    pub key: Vec<u8>,
    /// With what.
    #[prost(oneof = "CompareWith", tags = "4, 5, 6, 7, 8")]
    pub with: Option<CompareWith>,
    /// As in [`RangeRequest`].
    #[prost(bytes = "vec", tag = "64")]
    pub range_end: Vec<u8>,
}

/// How to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum CompareResult {
    /// Equal.
    Equal = 0,
    /// The key's is greater.
    Greater = 1,
    /// The key's is less.
    Less = 2,
    /// Not equal.
    NotEqual = 3,
}

/// What of a key is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum CompareTarget {
    /// The number of puts.
    Version = 0,
    /// The revision that created it.
    Create = 1,
    /// The revision that last put it.
    Mod = 2,
    /// The value.
    Value = 3,
    /// The lease.
    Lease = 4,
}

/// What it is compared with.
#[derive(Clone, PartialEq, Eq, Hash, prost::Oneof)]
pub enum CompareWith {
    /// A number of puts.
    #[prost(int64, tag = "4")]
    Version(i64),
    /// A revision.
    #[prost(int64, tag = "5")]
    Create(i64),
    /// A revision.
    #[prost(int64, tag = "6")]
    Mod(i64),
    /// A value.
    #[prost(bytes, tag = "7")]
    Value(Vec<u8>),
    /// A lease.
    #[prost(int64, tag = "8")]
    Lease(i64),
}

/// A transaction.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TxnRequest {
    /// The conditions.
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    /// What is done when all hold.
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
    /// What is done otherwise.
    #[prost(message, repeated, tag = "3")]
    pub failure: Vec<RequestOp>,
}

/// The answer to a transaction.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TxnResponse {
    /// The revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Whether the conditions held.
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
    /// The answers of the branch that was taken.
    #[prost(message, repeated, tag = "3")]
    pub responses: Vec<ResponseOp>,
}

/// Forgets the past.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct CompactionRequest {
    /// What is older than this revision.
    #[prost(int64, tag = "1")]
    pub revision: i64,
    /// Answer when it is done, not when it is decided.
    #[prost(bool, tag = "2")]
    pub physical: bool,
}

/// Forgotten.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CompactionResponse {
    /// The revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
}

/// A request on a stream of watches.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchRequest {
    /// Which.
    #[prost(oneof = "WatchAsk", tags = "1, 2, 3")]
    pub ask: Option<WatchAsk>,
}

/// A request on a stream of watches.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum WatchAsk {
    /// Begin one.
    #[prost(message, tag = "1")]
    Create(WatchCreateRequest),
    /// End one.
    #[prost(message, tag = "2")]
    Cancel(WatchCancelRequest),
    /// Tell how far the stream is.
    #[prost(message, tag = "3")]
    Progress(WatchProgressRequest),
}

/// Begins a watch.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct WatchCreateRequest {
    /// The first key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// As in [`RangeRequest`].
    #[prost(bytes = "vec", tag = "2")]
    pub range_end: Vec<u8>,
    /// From this revision on (it included); 0: from now on.
    #[prost(int64, tag = "3")]
    pub start_revision: i64,
    /// Tell the revision now and then when nothing happens.
    #[prost(bool, tag = "4")]
    pub progress_notify: bool,
    /// What is not told: 0 puts, 1 deletions.
    #[prost(enumeration = "EventType", repeated, tag = "5")]
    pub filters: Vec<i32>,
    /// Tell what was there.
    #[prost(bool, tag = "6")]
    pub prev_kv: bool,
    /// The number of it on the stream; 0: the server's choice.
    #[prost(int64, tag = "7")]
    pub watch_id: i64,
    /// Large answers may come in parts.
    #[prost(bool, tag = "8")]
    pub fragment: bool,
}

/// Ends a watch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct WatchCancelRequest {
    /// Which.
    #[prost(int64, tag = "1")]
    pub watch_id: i64,
}

/// Asks how far the stream is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct WatchProgressRequest {}

/// What a stream of watches says.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WatchResponse {
    /// The revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Which watch.
    #[prost(int64, tag = "2")]
    pub watch_id: i64,
    /// It has begun.
    #[prost(bool, tag = "3")]
    pub created: bool,
    /// It has ended.
    #[prost(bool, tag = "4")]
    pub canceled: bool,
    /// Because what is older than this was forgotten.
    #[prost(int64, tag = "5")]
    pub compact_revision: i64,
    /// Why it has ended.
    #[prost(string, tag = "6")]
    pub cancel_reason: String,
    /// More parts of this follow.
    #[prost(bool, tag = "7")]
    pub fragment: bool,
    /// What happened.
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<Event>,
}
