//! What an operator wants to know of a store: each member asked by itself, alarms, who belongs to it.

use crate::client::{Again, Client};
use crate::fault::{Fault, Result};
use crate::member::Verdict;
use crate::wire::{
    AlarmMember, AlarmRequest, AlarmResponse, Member, MemberListRequest, MemberListResponse, StatusRequest, StatusResponse,
};
use std::time::{Duration, Instant};
use xsem::Deadline;

/// One member, as it answers for itself.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// `host:port`, as the URL has it.
    pub endpoint: String,
    /// How it is, or why that is not known.
    pub status: Result<StatusResponse>,
    /// How long it took to say so; with the first request, making the connection, too.
    pub took: Duration,
}

impl Client {
    /// Asks each member of the URL by itself, one after the other, whatever the others say. Two requests each, and the second is timed:
    /// the first may have to make the connection.
    pub async fn survey(&self) -> Vec<Surveyed> {
        let mut all = Vec::new();
        for index in 0..self.members() {
            let endpoint = self.member(index).endpoint().to_owned();
            let first = self.status_of(index).await;
            let start = Instant::now();
            let status = match first {
                Ok(_) => self.status_of(index).await,
                Err(why) => Err(why),
            };
            all.push(Surveyed { endpoint, status, took: start.elapsed() });
        }
        all
    }

    async fn status_of(&self, index: usize) -> Result<StatusResponse> {
        let limit = self.config().attempt;
        self.authenticated(Deadline::after(limit)).await?;
        let path = "/etcdserverpb.Maintenance/Status";
        match self.member(index).unary(path, self.request(StatusRequest {}), limit).await {
            Verdict::Answer(status) => Ok(status),
            Verdict::Final(fault) => Err(fault),
            Verdict::Stranger(why) => Err(Fault::Denied(why)),
            Verdict::NotDone(why) | Verdict::Unknown(why) => Err(Fault::Unreachable(why)),
        }
    }

    /// The alarms that are raised.
    ///
    /// # Errors
    /// All of [`Fault`]; `Denied` where this user may not know.
    pub async fn alarms(&self, deadline: Deadline) -> Result<Vec<AlarmMember>> {
        let path = "/etcdserverpb.Maintenance/Alarm";
        let done = self.call::<_, AlarmResponse>(path, AlarmRequest::default(), Again::UntilAnswered, deadline).await?;
        Ok(done.answer.alarms)
    }

    /// Who belongs to the store, also those that the URL does not name.
    ///
    /// # Errors
    /// As [`alarms`](Client::alarms).
    pub async fn member_list(&self, deadline: Deadline) -> Result<Vec<Member>> {
        let path = "/etcdserverpb.Cluster/MemberList";
        let done = self.call::<_, MemberListResponse>(path, MemberListRequest::default(), Again::UntilAnswered, deadline).await?;
        Ok(done.answer.members)
    }

    /// The seconds that a lease has left.
    ///
    /// # Errors
    /// All of [`Fault`]; `NoLease`.
    pub async fn lease_left(&self, lease: i64, deadline: Deadline) -> Result<i64> {
        crate::lease::time_left(self, lease, deadline).await
    }
}
