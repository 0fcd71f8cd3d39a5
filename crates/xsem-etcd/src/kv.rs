//! Transactions in the words that the engine needs: constructors over the messages, and answers that are taken apart.

use crate::fault::{Fault, Result};
use crate::wire::{
    Compare, CompareResult, CompareTarget, CompareWith, DeleteRangeRequest, KeyValue, Op, OpAnswer, PutRequest, RangeRequest,
    RangeResponse, RequestOp, SortOrder, SortTarget, TxnRequest, TxnResponse,
};

/// One key, or all keys with a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Keys {
    /// The first.
    pub key: Vec<u8>,
    /// The end, not included; empty: the one key.
    pub end: Vec<u8>,
}

impl Keys {
    /// One.
    pub fn one(key: impl Into<Vec<u8>>) -> Keys {
        Keys { key: key.into(), end: Vec::new() }
    }

    /// All with this prefix.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Keys {
        let key = prefix.into();
        Keys { end: after_prefix(&key), key }
    }

    /// Those from `key` on and before `end`.
    pub fn between(key: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) -> Keys {
        Keys { key: key.into(), end: end.into() }
    }
}

/// The first key after all those with the prefix.
fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // All keys.
    vec![0]
}

/// What to read; a step of a transaction, too.
pub fn range(keys: Keys) -> RangeRequest {
    RangeRequest { key: keys.key, range_end: keys.end, ..RangeRequest::default() }
}

impl RangeRequest {
    /// At most so many.
    pub fn limit(mut self, n: i64) -> Self {
        self.limit = n;
        self
    }

    /// The oldest first, by the revision that created them.
    pub fn oldest_first(mut self) -> Self {
        (self.sort_order, self.sort_target) = (SortOrder::Ascend as i32, SortTarget::Create as i32);
        self
    }

    /// The youngest first, by the revision that created them.
    pub fn youngest_first(mut self) -> Self {
        (self.sort_order, self.sort_target) = (SortOrder::Descend as i32, SortTarget::Create as i32);
        self
    }

    /// Only those created before this revision.
    pub fn created_before(mut self, revision: i64) -> Self {
        self.max_create_revision = revision - 1;
        self
    }

    /// No values.
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// Only how many there are. (etcd 3.4 counts all keys of the range, whatever the limits by revision.)
    pub fn count_only(mut self) -> Self {
        self.count_only = true;
        self
    }

    /// As of this revision.
    pub fn at(mut self, revision: i64) -> Self {
        self.revision = revision;
        self
    }

    /// As a step.
    pub fn op(self) -> RequestOp {
        RequestOp { request: Some(Op::Range(self)) }
    }
}

/// A step that puts a key. `lease` 0: it stays.
pub fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>, lease: i64) -> RequestOp {
    let put = PutRequest { key: key.into(), value: value.into(), lease, ..PutRequest::default() };
    RequestOp { request: Some(Op::Put(put)) }
}

/// A step that deletes keys; the answer has what was there.
pub fn delete(keys: Keys) -> RequestOp {
    RequestOp { request: Some(Op::Delete(DeleteRangeRequest { key: keys.key, range_end: keys.end, prev_kv: true })) }
}

/// A step that is a transaction.
pub fn nested(txn: Txn) -> RequestOp {
    RequestOp { request: Some(Op::Txn(txn.into())) }
}

fn compare(key: impl Into<Vec<u8>>, result: CompareResult, target: CompareTarget, with: CompareWith) -> Compare {
    Compare { result: result as i32, target: target as i32, key: key.into(), with: Some(with), range_end: Vec::new() }
}

impl Compare {
    /// The key is not there.
    pub fn absent(key: impl Into<Vec<u8>>) -> Compare {
        compare(key, CompareResult::Equal, CompareTarget::Create, CompareWith::Create(0))
    }

    /// The key is there.
    pub fn present(key: impl Into<Vec<u8>>) -> Compare {
        compare(key, CompareResult::Greater, CompareTarget::Create, CompareWith::Create(0))
    }

    /// None of the keys is there.
    pub fn none(keys: Keys) -> Compare {
        let mut c = compare(keys.key, CompareResult::Equal, CompareTarget::Create, CompareWith::Create(0));
        c.range_end = keys.end;
        c
    }

    /// The key was created at this revision, and is there.
    pub fn created(key: impl Into<Vec<u8>>, revision: i64) -> Compare {
        compare(key, CompareResult::Equal, CompareTarget::Create, CompareWith::Create(revision))
    }

    /// The key was last put at this revision, and is there (0: it is not there).
    pub fn modified(key: impl Into<Vec<u8>>, revision: i64) -> Compare {
        compare(key, CompareResult::Equal, CompareTarget::Mod, CompareWith::Mod(revision))
    }

    /// All of the keys that are there were last put before this revision: nothing has been put since.
    pub fn untouched(keys: Keys, since: i64) -> Compare {
        let mut c = compare(keys.key, CompareResult::Less, CompareTarget::Mod, CompareWith::Mod(since));
        c.range_end = keys.end;
        c
    }

    /// The key has this value.
    pub fn value(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Compare {
        compare(key, CompareResult::Equal, CompareTarget::Value, CompareWith::Value(value.into()))
    }

    /// The key is there with another value.
    pub fn not_value(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Compare {
        compare(key, CompareResult::NotEqual, CompareTarget::Value, CompareWith::Value(value.into()))
    }

    /// The key ends with this lease.
    pub fn leased(key: impl Into<Vec<u8>>, lease: i64) -> Compare {
        compare(key, CompareResult::Equal, CompareTarget::Lease, CompareWith::Lease(lease))
    }
}

/// A transaction: conditions, what is done when all of them hold, and what otherwise. At most 128 steps (etcd's default), no
/// key put twice in one branch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Txn {
    /// The conditions.
    pub when: Vec<Compare>,
    /// When all hold.
    pub then: Vec<RequestOp>,
    /// Otherwise.
    pub otherwise: Vec<RequestOp>,
}

impl Txn {
    /// Without conditions.
    pub fn of(then: impl Into<Vec<RequestOp>>) -> Txn {
        Txn { then: then.into(), ..Txn::default() }
    }

    /// With conditions.
    pub fn when(when: impl Into<Vec<Compare>>) -> Txn {
        Txn { when: when.into(), ..Txn::default() }
    }

    /// What is done when they hold.
    pub fn then(mut self, ops: impl Into<Vec<RequestOp>>) -> Txn {
        self.then = ops.into();
        self
    }

    /// What is done when one does not.
    pub fn otherwise(mut self, ops: impl Into<Vec<RequestOp>>) -> Txn {
        self.otherwise = ops.into();
        self
    }

    /// Whether it changes nothing, whatever holds.
    pub fn is_read_only(&self) -> bool {
        fn reads(op: &RequestOp) -> bool {
            match &op.request {
                Some(Op::Range(_)) | None => true,
                Some(Op::Txn(t)) => t.success.iter().chain(&t.failure).all(reads),
                Some(Op::Put(_) | Op::Delete(_)) => false,
            }
        }
        self.then.iter().chain(&self.otherwise).all(reads)
    }
}

impl From<Txn> for TxnRequest {
    fn from(t: Txn) -> TxnRequest {
        TxnRequest { compare: t.when, success: t.then, failure: t.otherwise }
    }
}

/// What a transaction gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The store's revision: of the change, if there was one.
    pub revision: i64,
    /// Whether the conditions held.
    pub succeeded: bool,
    /// One for each step of the branch that was taken.
    pub answers: Vec<Answer>,
    /// An earlier attempt of the same request was not answered: it may have been done before this one.
    pub repeated: bool,
}

/// What a step gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// What was read.
    Range(Found),
    /// It was put.
    Put,
    /// What was there before it was deleted.
    Delete(Vec<KeyValue>),
    /// A transaction in a transaction.
    Txn(Reply),
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The keys.
    pub kvs: Vec<KeyValue>,
    /// How many there are, also beyond the limit.
    pub count: i64,
    /// The limit left some off.
    pub more: bool,
    /// The store's revision (0 inside of a transaction: see [`Reply::revision`]).
    pub revision: i64,
}

impl From<RangeResponse> for Found {
    fn from(r: RangeResponse) -> Found {
        Found { kvs: r.kvs, count: r.count, more: r.more, revision: r.header.map_or(0, |h| h.revision) }
    }
}

impl Found {
    /// The first (the one).
    pub fn first(&self) -> Option<&KeyValue> {
        self.kvs.first()
    }
}

impl Answer {
    /// What was read; nothing, where the step was no read.
    pub fn found(&self) -> &[KeyValue] {
        match self {
            Answer::Range(f) => &f.kvs,
            Answer::Delete(kvs) => kvs,
            Answer::Put | Answer::Txn(_) => &[],
        }
    }
}

impl Reply {
    /// Takes the store's answer apart. The store is another program: an answer without its parts is an error, not a panic.
    pub(crate) fn from_wire(t: TxnResponse, repeated: bool) -> Result<Reply> {
        let revision = t.header.map_or(0, |h| h.revision);
        let one = |r: crate::wire::ResponseOp| match r.response {
            Some(OpAnswer::Range(r)) => Ok(Answer::Range(r.into())),
            Some(OpAnswer::Put(_)) => Ok(Answer::Put),
            Some(OpAnswer::Delete(d)) => Ok(Answer::Delete(d.prev_kvs)),
            Some(OpAnswer::Txn(t)) => Reply::from_wire(t, repeated).map(Answer::Txn),
            None => Err(Fault::Ambiguous("an answer without its parts".into())),
        };
        let answers = t.responses.into_iter().map(one).collect::<Result<Vec<_>>>()?;
        Ok(Reply { revision, succeeded: t.succeeded, answers, repeated })
    }

    /// The keys that the step with this index has found; nothing, where there is no such step.
    pub fn found(&self, step: usize) -> &[KeyValue] {
        self.answers.get(step).map_or(&[], Answer::found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix() {
        assert_eq!(after_prefix(b"a/"), b"a0");
        assert_eq!(after_prefix(b"a\xff"), b"b");
        assert_eq!(after_prefix(b"\xff\xff"), b"\0");
        assert_eq!(after_prefix(b""), b"\0");
    }

    #[test]
    fn a_transaction_that_changes_something_is_known() {
        let read = range(Keys::one("a")).op();
        assert!(Txn::of([read.clone()]).is_read_only());
        assert!(Txn::of([nested(Txn::of([read.clone()]))]).is_read_only());
        assert!(!Txn::of([read.clone()]).otherwise([put("a", "", 0)]).is_read_only());
        assert!(!Txn::of([read, nested(Txn::default().otherwise([delete(Keys::one("a"))]))]).is_read_only());
    }
}
