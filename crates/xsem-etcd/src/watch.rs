//! Watches: what happens to some keys, from a point on, each change once and in order.
//!
//! A watch begins "now": etcd polls a watch that begins at a revision which is past already only every 100 ms, one that begins now it
//! tells at once. So a user begins it, and *then* reads what it wants to know of before. When the connection breaks, or the
//! member is frozen or cut off from the majority, it goes on at another one, from the change after the last that it has told.
//! If the store has forgotten that, the watch ends with [`Fault::Compacted`]: begin another, and read everything again.

use crate::client::{Client, within};
use crate::fault::{Fault, Result};
use crate::kv::Keys;
use crate::life::Life;
use crate::member::Verdict;
use crate::runtime;
use crate::wire::{Event, EventType, RangeRequest, RangeResponse, WatchAsk, WatchCreateRequest, WatchRequest, WatchResponse};
use std::fmt;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tonic::{Code as GrpcCode, Status, Streaming};
use xsem::Deadline;

/// The pause before a stream that could not be begun is begun again, at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which keys.
    pub keys: Keys,
    /// Not when they are put.
    pub deletes_only: bool,
    /// Tell what was there before.
    pub previous: bool,
}

/// What happened at one revision or several.
#[derive(Clone, Debug, PartialEq)]
pub struct Happened {
    /// Which of the things wanted it concerns.
    pub of: usize,
    /// The changes, in their order. [`Event::kv`] is there, as far as the server keeps to its description.
    pub events: Vec<Event>,
}

/// A watch. Dropped, it ends.
pub struct Watch {
    told: mpsc::UnboundedReceiver<Result<Happened>>,
    /// From this revision on (it not included) everything is told.
    since: i64,
    _end: oneshot::Sender<()>,
    life: Life,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("since", &self.since).finish_non_exhaustive()
    }
}

impl Watch {
    /// Begins; when this returns, what changes from here on will be told.
    ///
    /// # Errors
    /// `Unreachable`: not by the deadline. `Denied`, `Refused`.
    pub async fn start(client: &Client, wanted: Vec<Wanted>, deadline: Deadline) -> Result<Watch> {
        Watch::start_at(client, wanted, 0, deadline).await
    }

    /// The same from this revision on, which is past already (0: now). A store that has forgotten it says so by `Compacted`, here or in
    /// what happens next.
    ///
    /// # Errors
    /// As [`start`](Watch::start).
    pub async fn start_at(client: &Client, wanted: Vec<Wanted>, revision: i64, deadline: Deadline) -> Result<Watch> {
        client.life().check()?;
        let (tell, told) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let (begun, beginning) = oneshot::channel();
        let from = vec![revision; wanted.len()];
        let pump = Pump { client: client.clone(), wanted, from, tell, begun: Some(begun) };
        drop(runtime::spawn(async move {
            tokio::select! {
                () = pump.run() => {}
                _ = ended => {}
            }
        })?);
        match within(deadline, beginning).await {
            Some(Ok(since)) => Ok(Watch { told, since: since?, _end: end, life: Life::here() }),
            Some(Err(_)) => Err(Fault::Unreachable("the watch was broken off".into())),
            None => Err(Fault::Unreachable("no member has begun the watch in time".into())),
        }
    }

    /// The revision of the store at which it began: later changes are told.
    pub fn since(&self) -> i64 {
        self.since
    }

    /// What happens next. A future for any runtime; dropped, it forgets nothing.
    ///
    /// # Errors
    /// `Compacted`, `Denied`, `Refused`: it has ended.
    pub async fn next(&mut self) -> Result<Happened> {
        self.life.check()?;
        self.told.recv().await.unwrap_or_else(|| Err(Fault::Refused("the watch has ended".into())))
    }

    /// What happens next, by the deadline. Waits as a thread.
    ///
    /// # Errors
    /// As [`next`](Watch::next).
    pub fn wait(&mut self, deadline: Deadline) -> Result<Option<Happened>> {
        self.life.check()?;
        runtime::park_until(deadline, self.next()).transpose()
    }

    /// What has happened and was not told yet, without waiting.
    ///
    /// # Errors
    /// As [`next`](Watch::next).
    pub fn poll(&mut self) -> Result<Option<Happened>> {
        self.life.check()?;
        match self.told.try_recv() {
            Ok(told) => told.map(Some),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => Err(Fault::Refused("the watch has ended".into())),
        }
    }
}

/// Why a stream is over.
enum Over {
    /// Another one can go on.
    Broken(String),
    /// The member does not know who asks.
    Stranger,
    /// None can.
    For(Fault),
}

struct Pump {
    client: Client,
    wanted: Vec<Wanted>,
    /// The revision from which each goes on; 0: now.
    from: Vec<i64>,
    tell: mpsc::UnboundedSender<Result<Happened>>,
    begun: Option<oneshot::Sender<Result<i64>>>,
}

impl Pump {
    async fn run(mut self) {
        let (mut pause, mut stranger) = (PAUSE.0, false);
        loop {
            let member = self.client.choose();
            let mut heard = false;
            let over = self.stream(member, &mut heard).await;
            if heard {
                (pause, stranger) = (PAUSE.0, false);
            }
            match over {
                Over::For(fault) => return self.end(fault),
                Over::Stranger if stranger => return self.end(Fault::Denied("the store does not know this user".into())),
                Over::Stranger => {
                    stranger = true;
                    self.client.forget_token();
                    continue;
                }
                Over::Broken(why) => {
                    tracing::debug!(member = self.client.member(member).endpoint(), why, "a watch is to go on elsewhere");
                    self.client.failed(member);
                }
            }
            if !heard {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }

    fn end(&mut self, fault: Fault) {
        match self.begun.take() {
            Some(begun) => drop(begun.send(Err(fault))),
            None => drop(self.tell.send(Err(fault))),
        }
    }

    /// One stream at one member, from its beginning to its end.
    async fn stream(&mut self, index: usize, heard: &mut bool) -> Over {
        let limit = self.client.config().attempt;
        if let Err(fault) = self.client.authenticated(Deadline::after(limit)).await {
            return match fault {
                Fault::Unreachable(why) | Fault::Ambiguous(why) => Over::Broken(why),
                other => Over::For(other),
            };
        }
        let (ask, asked) = mpsc::channel(self.wanted.len().max(1));
        for request in self.requests() {
            if ask.send(request).await.is_err() {
                return Over::Broken("no room for a request".into());
            }
        }
        // Kept open by `ask` being kept.
        let requests = self.client.request(Requests(asked));
        let client = self.client.clone();
        let member = client.member(index);
        let opened = member.stream::<_, WatchResponse>("/etcdserverpb.Watch/Watch", requests);
        let mut answers = match within(Deadline::after(limit), opened).await {
            Some(Ok(answers)) => answers,
            Some(Err(status)) => return over(&status),
            None => return Over::Broken("no answer to the beginning of a watch".into()),
        };
        let by = Deadline::after(limit);
        let mut missing = self.wanted.len();
        while missing > 0 {
            match within(by, self.answer(&mut answers)).await {
                None => return Over::Broken("a watch was not begun in time".into()),
                Some(Err(over)) => return over,
                Some(Ok(created)) => missing -= usize::from(created),
            }
        }
        *heard = true;
        member.good();
        if let Some(begun) = self.begun.take() {
            let _ = begun.send(Ok(self.from.iter().min().map_or(0, |r| r - 1)));
        }
        loop {
            tokio::select! {
                answer = self.answer(&mut answers) => {
                    if let Err(over) = answer {
                        return over;
                    }
                    continue;
                }
                // A member that is frozen, or gone without a word, says nothing on this stream; nor does one where nothing happens.
                () = member.failing.notified() => {}
                () = tokio::time::sleep(limit) => {}
            }
            // What arrives meanwhile is not lost: it waits in the stream.
            if let Err(why) = self.probe(index, limit).await {
                return Over::Broken(why);
            }
        }
    }

    fn requests(&self) -> Vec<WatchRequest> {
        let one = |(i, w): (usize, &Wanted)| {
            let create = WatchCreateRequest {
                key: w.keys.key.clone(),
                range_end: w.keys.end.clone(),
                start_revision: self.from[i],
                progress_notify: true,
                filters: if w.deletes_only { vec![EventType::Put as i32] } else { Vec::new() },
                prev_kv: w.previous,
                watch_id: i as i64 + 1,
                fragment: false,
            };
            WatchRequest { ask: Some(WatchAsk::Create(create)) }
        };
        self.wanted.iter().enumerate().map(one).collect()
    }

    /// Takes one answer in. True: one of the watches was begun.
    async fn answer(&mut self, answers: &mut Streaming<WatchResponse>) -> std::result::Result<bool, Over> {
        let answer = match answers.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Err(Over::Broken("the stream has ended".into())),
            Err(status) => return Err(over(&status)),
        };
        let revision = answer.header.map_or(0, |h| h.revision);
        let of = usize::try_from(answer.watch_id - 1).ok().filter(|&i| i < self.wanted.len());
        if answer.canceled {
            let reason = &answer.cancel_reason;
            return Err(match answer.compact_revision {
                0 if reason.contains("token") || reason.contains("user name is empty") => Over::Stranger,
                0 if reason.contains("permission") => Over::For(Fault::Denied(reason.clone())),
                0 => Over::Broken(format!("a watch was ended: {reason}")),
                oldest => Over::For(Fault::Compacted(oldest)),
            });
        }
        let Some(of) = of else { return Ok(false) };
        match answer.events.last().and_then(|e| e.kv.as_ref()) {
            // Not the revision of the header: a watch that catches up is told in parts, all with the present one.
            Some(kv) => self.from[of] = self.from[of].max(kv.mod_revision + 1),
            // Begun, or a sign of life: nothing is missing up to there. Of one that goes on, the past is still to come.
            None if !answer.created || self.from[of] == 0 => self.from[of] = self.from[of].max(revision + 1),
            None => {}
        }
        if !answer.events.is_empty() {
            let _ = self.tell.send(Ok(Happened { of, events: answer.events }));
        }
        Ok(answer.created)
    }

    /// Whether the member answers at all; from its own memory, so that costs the others nothing.
    async fn probe(&self, index: usize, limit: Duration) -> std::result::Result<(), String> {
        let Some(first) = self.wanted.first() else { return Ok(()) };
        let ask = RangeRequest { key: first.keys.key.clone(), serializable: true, count_only: true, ..RangeRequest::default() };
        let request = self.client.request(ask);
        match self.client.member(index).unary::<_, RangeResponse>("/etcdserverpb.KV/Range", request, limit).await {
            Verdict::NotDone(why) | Verdict::Unknown(why) => Err(why),
            // Whatever it says, it is there.
            Verdict::Answer(_) | Verdict::Stranger(_) | Verdict::Final(_) => Ok(()),
        }
    }
}

fn over(status: &Status) -> Over {
    match status.code() {
        GrpcCode::Unauthenticated => Over::Stranger,
        GrpcCode::PermissionDenied | GrpcCode::InvalidArgument | GrpcCode::FailedPrecondition | GrpcCode::Unimplemented => {
            match crate::judge::judge::<()>(status) {
                Verdict::Final(fault) => Over::For(fault),
                Verdict::Stranger(_) => Over::Stranger,
                _ => Over::Broken(status.message().to_owned()),
            }
        }
        _ => Over::Broken(status.message().to_owned()),
    }
}

/// The requests of a stream.
struct Requests(mpsc::Receiver<WatchRequest>);

impl tokio_stream::Stream for Requests {
    type Item = WatchRequest;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<WatchRequest>> {
        self.0.poll_recv(cx)
    }
}
