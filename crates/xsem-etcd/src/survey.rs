//! What an operator wants to know of a store: each member asked by itself, alarms, who belongs to it, whose leases are near their end.

use crate::client::{Again, Client};
use crate::engine::{DEFAULT_PREFIX, SESSIONS, Who};
use crate::fault::{Fault, Result};
use crate::judge::is_without_majority;
use crate::kv::{Keys, range};
use crate::member::Verdict;
use crate::metrics::{self, Metrics};
use crate::url::Config;
use crate::wire::{
    AlarmMember, AlarmRequest, AlarmResponse, Member, MemberListRequest, MemberListResponse, StatusRequest, StatusResponse,
};
use crate::{lease, runtime};
use std::time::{Duration, Instant};
use xsem::Deadline;

/// Sessions whose leases are asked for, at most.
const MOST: usize = 500;

/// All that can be found out about a store from here. Nothing is changed.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The URL, without its secrets.
    pub url: String,
    /// The life of a lease that this URL asks for.
    pub ttl: Duration,
    /// Each member of the URL.
    pub members: Vec<Surveyed>,
    /// What each of them counts, in the same order, where it tells.
    pub metrics: Vec<Option<Metrics>>,
    /// How long a read took that a majority has to confirm.
    pub read: Result<Duration>,
    /// Who belongs to the store.
    pub known: Result<Vec<Member>>,
    /// The alarms that are raised.
    pub alarms: Result<Vec<AlarmMember>>,
    /// The sessions below the URL's path.
    pub sessions: Result<Vec<Seen>>,
}

/// A session, and the life that its lease has left.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The lease.
    pub lease: i64,
    /// Whose it is, where that can be read.
    pub who: Option<Who>,
    /// Seconds that are left, and seconds that it was given at its last renewal.
    pub left: (i64, i64),
}

/// Looks at the store of this URL.
///
/// # Errors
/// `Config`: no such URL. What the store does not answer is part of the result.
pub fn look(url: &str) -> Result<Survey> {
    let config = Config::parse(url)?;
    let (plain, endpoints, attempt) = (config.tls.is_none(), config.endpoints.clone(), config.attempt);
    let client = Client::open(config)?;
    let mut survey = runtime::run(async move { Ok(client.look().await) })?;
    let tells = |(s, e): (&Surveyed, &String)| s.status.is_ok().then(|| metrics::read(e, attempt)).flatten();
    if plain {
        survey.metrics = survey.members.iter().zip(&endpoints).map(tells).collect();
    }
    Ok(survey)
}

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

impl Surveyed {
    /// Whether it is there: also one that only says that it has no leader.
    #[must_use]
    pub fn answers(&self) -> bool {
        match &self.status {
            Ok(_) => true,
            Err(Fault::Unreachable(why) | Fault::Ambiguous(why)) => is_without_majority(why),
            Err(_) => false,
        }
    }
}

impl Client {
    async fn look(&self) -> Survey {
        let config = self.config();
        let members = self.survey().await;
        let by = || Deadline::after(config.attempt * 2);
        // Where this user may read at all. The first one may have to make the connection.
        let key = format!("{}/", self.prefix());
        let _ = self.range(range(Keys::one(key.clone())), by()).await;
        let begun = Instant::now();
        let read = self.range(range(Keys::one(key)), by()).await.map(|_| begun.elapsed());
        // Where nobody answers, asking on would only take time.
        let (known, alarms, sessions) = match &read {
            Ok(_) => (self.member_list(by()).await, self.alarms(by()).await, self.sessions().await),
            Err(why) => (self.member_list(by()).await, Err(why.clone()), Err(why.clone())),
        };
        let metrics = vec![None; members.len()];
        Survey { url: config.shown(), ttl: config.ttl, members, metrics, read, known, alarms, sessions }
    }

    fn prefix(&self) -> &str {
        let path = &self.config().path;
        if path.is_empty() { DEFAULT_PREFIX } else { path }
    }

    async fn sessions(&self) -> Result<Vec<Seen>> {
        let prefix = format!("{}/{SESSIONS}", self.prefix());
        let by = Deadline::after(self.config().attempt * 4);
        let found = self.range(range(Keys::prefix(prefix)), by).await?;
        let mut all = Vec::new();
        for kv in found.kvs.iter().take(MOST) {
            match lease::life(self, kv.lease, by).await {
                Ok(left) => all.push(Seen { lease: kv.lease, who: serde_json::from_slice(&kv.value).ok(), left }),
                // It has ended since.
                Err(Fault::NoLease) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(all)
    }

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
        lease::time_left(self, lease, deadline).await
    }
}
