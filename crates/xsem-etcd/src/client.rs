//! Requests to the store: which member is asked, for how long, and what it means when none answers.
//!
//! A client keeps one connection to each member that it has used, stays with one as long as that answers, and goes on to the next
//! when it does not. Reads are linearizable. Everything carries `hasleader`, so that a member cut off from the majority refuses
//! instead of waiting.
//!
//! All `async` functions here belong on [`crate::runtime`]: hand them to [`crate::runtime::run`] (a thread that waits) or
//! [`crate::runtime::spawn`] (a future for any runtime). None of them hangs: each ends by its deadline, with [`Fault::Unreachable`]
//! (nothing was done) or [`Fault::Ambiguous`] (it may have been done, or be done yet). A deadline that has passed already
//! sends nothing.

use crate::clock;
use crate::fault::{Fault, Result};
use crate::judge::{is_certificate, is_without_majority};
use crate::kv::{Found, Reply, Txn};
use crate::life::Life;
use crate::member::{Answered, Member, Verdict, channel};
use crate::runtime::{self, instant};
use crate::url::Config;
use crate::wire::{self, RangeRequest};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use xsem::Deadline;

/// The first pause after all members have failed, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// For so long a member that has failed is asked only after the others.
const SHUNNED: Duration = Duration::from_secs(5);

/// A store. Clones share the connections.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    config: Config,
    members: Vec<Member>,
    /// The member that is asked first.
    current: AtomicUsize,
    /// What authentication gave.
    token: Mutex<Token>,
    /// One renewal at a time.
    renewing: tokio::sync::Mutex<()>,
    life: Life,
}

/// What may be done with a request that was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Nothing: that is told.
    Never,
    /// It may be sent again: it changes nothing, or its conditions make the second time harmless.
    UntilAnswered,
}

/// What a request says of who sends it.
#[derive(Clone, Default)]
enum Token {
    /// That is to be asked for.
    #[default]
    Unknown,
    /// This.
    Some(MetadataValue<Ascii>),
    /// Nothing: nobody has to be anybody there.
    NotNeeded,
}

/// How a request is sent.
#[derive(Clone, Copy)]
enum Form {
    Unary,
    /// As the only one of a stream of requests, to which the first of a stream of answers belongs.
    Stream,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0.config.shown()).finish()
    }
}

impl Client {
    /// Prepares the connections; the first request makes them.
    ///
    /// # Errors
    /// `Config`: certificates that are none. `NoRoom`.
    pub fn open(config: Config) -> Result<Client> {
        runtime::run(async move {
            let members = config.endpoints.iter().map(|e| channel(e, &config)).collect::<Result<Vec<_>>>()?;
            // Processes that have the same list do not all go to its first member.
            let first = (std::process::id() as usize) % members.len().max(1);
            Ok(Client(Arc::new(Shared {
                config,
                members,
                current: AtomicUsize::new(first),
                token: Mutex::default(),
                renewing: tokio::sync::Mutex::new(()),
                life: Life::here(),
            })))
        })
    }

    /// What it was opened with.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The process that it belongs to.
    pub fn life(&self) -> Life {
        self.0.life
    }

    /// A transaction, sent once (and again only where it is certain that nothing was done). One that only reads is
    /// repeated until it is answered.
    ///
    /// # Errors
    /// All of [`Fault`]; `Ambiguous`: it may have been done, or be done yet.
    pub async fn txn(&self, txn: Txn, deadline: Deadline) -> Result<Reply> {
        let again = if txn.is_read_only() { Again::UntilAnswered } else { Again::Never };
        self.txn_again(txn, again, deadline).await
    }

    /// A transaction that is repeated until it is answered: its conditions have to make it harmless the second time, and the
    /// caller has to tell from the answer of the second time what the first has done ([`Reply::repeated`]). A copy that
    /// was given up may still be done *after* the answer (a frozen member passes it on when it goes on): what must not come back
    /// needs a condition that has become false for good, such as the revision of a key that has changed since.
    ///
    /// # Errors
    /// As [`txn`](Client::txn); `Ambiguous` only at the deadline.
    pub async fn txn_again(&self, txn: Txn, again: Again, deadline: Deadline) -> Result<Reply> {
        let request = wire::TxnRequest::from(txn);
        let done = self.call("/etcdserverpb.KV/Txn", request, again, deadline).await?;
        Reply::from_wire(done.answer, done.repeated)
    }

    /// Reads, as of a revision that is at least that of every change answered before.
    ///
    /// # Errors
    /// All of [`Fault`] but `Ambiguous`.
    pub async fn range(&self, range: RangeRequest, deadline: Deadline) -> Result<Found> {
        let done = self.call::<_, wire::RangeResponse>("/etcdserverpb.KV/Range", range, Again::UntilAnswered, deadline);
        done.await.map(|d| d.answer.into()).map_err(read_only)
    }

    /// Any unary request.
    ///
    /// # Errors
    /// All of [`Fault`].
    pub async fn call<Q, A>(&self, path: &'static str, ask: Q, again: Again, deadline: Deadline) -> Result<Answered<A>>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        self.persist(Form::Unary, path, ask, again, deadline).await
    }

    /// One request and its first answer on a stream: a renewal.
    pub(crate) async fn call_stream<Q, A>(&self, path: &'static str, ask: Q, deadline: Deadline) -> Result<Answered<A>>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        self.persist(Form::Stream, path, ask, Again::UntilAnswered, deadline).await
    }

    /// Asks one member after the other.
    async fn persist<Q, A>(&self, form: Form, path: &'static str, ask: Q, again: Again, deadline: Deadline) -> Result<Answered<A>>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        self.0.life.check()?;
        let (mut repeated, mut renewed, mut failures, mut strange, mut pause) = (false, false, 0, 0, PAUSE.0);
        let mut last = "the time was over before anything was sent".to_owned();
        let give_up =
            |repeated: bool, last: String| Err(if repeated { Fault::Ambiguous(last) } else { Fault::Unreachable(last) });
        loop {
            let left = deadline.remaining();
            if left.is_zero() {
                return give_up(repeated, last);
            }
            if let Err(fault) = self.authenticated(deadline).await {
                return match fault {
                    Fault::Unreachable(why) | Fault::Ambiguous(why) => give_up(repeated, why),
                    other => Err(other),
                };
            }
            let index = self.choose();
            let member = &self.0.members[index];
            let sent = clock::now();
            let limit = left.min(self.patience(form));
            let verdict = match form {
                Form::Unary => member.unary(path, self.request(ask.clone()), limit).await,
                Form::Stream => member.one_of_stream(path, self.request(tokio_stream::once(ask.clone())), limit).await,
            };
            match verdict {
                Verdict::Answer(answer) => {
                    member.good();
                    return Ok(Answered { answer, repeated, sent });
                }
                Verdict::Final(fault) => return Err(fault),
                Verdict::Stranger(why) if renewed => return Err(Fault::Denied(why)),
                Verdict::Stranger(_) => {
                    renewed = true;
                    self.forget_token();
                    continue;
                }
                Verdict::NotDone(why) => {
                    strange += usize::from(is_certificate(&why));
                    say(&mut last, member, &why);
                    // As often as there are members: that does not pass.
                    if strange >= self.0.members.len() {
                        return Err(Fault::Certificate(last));
                    }
                }
                Verdict::Unknown(why) => {
                    say(&mut last, member, &why);
                    if again == Again::Never {
                        self.failed(index);
                        return Err(Fault::Ambiguous(last));
                    }
                    repeated = true;
                }
            }
            tracing::debug!(member = member.endpoint(), why = last, "a member did not answer");
            self.failed(index);
            failures += 1;
            if failures % self.0.members.len() == 0 {
                tokio::time::sleep(pause.min(deadline.remaining())).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }

    /// For how long one member is asked. What is asked on a stream is a lease's renewal, which is begun at a third of its life: there must be
    /// time for other members where this one is silent, however long other requests may take.
    fn patience(&self, form: Form) -> Duration {
        match form {
            Form::Unary => self.0.config.attempt,
            Form::Stream => self.0.config.attempt.min(self.0.config.ttl / 6),
        }
    }

    /// The member to ask: the current one, if it has not failed lately; else the next that has not.
    pub(crate) fn choose(&self) -> usize {
        let (n, current) = (self.0.members.len(), self.0.current.load(Ordering::Relaxed));
        let order = (0..n).map(|k| (current + k) % n);
        order.clone().find(|&i| !self.0.members[i].failed_within(SHUNNED)).unwrap_or(current % n)
    }

    /// Notes that a member has failed: the next is asked first from now on.
    pub(crate) fn failed(&self, index: usize) {
        self.0.members[index].bad();
        let next = (index + 1) % self.0.members.len();
        let _ = self.0.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn members(&self) -> usize {
        self.0.members.len()
    }

    pub(crate) fn member(&self, index: usize) -> &Member {
        &self.0.members[index]
    }

    fn token(&self) -> std::sync::MutexGuard<'_, Token> {
        self.0.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the token: the store does not know it any more.
    pub(crate) fn forget_token(&self) {
        *self.token() = Token::Unknown;
    }

    /// A request with what every request carries.
    pub(crate) fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        if let Token::Some(token) = self.token().clone() {
            request.metadata_mut().insert("token", token);
        }
        request
    }

    /// Sees to it that there is a token, where a user is named.
    pub(crate) async fn authenticated(&self, deadline: Deadline) -> Result<()> {
        let Some((user, password)) = &self.0.config.user else { return Ok(()) };
        if !matches!(*self.token(), Token::Unknown) {
            return Ok(());
        }
        let _one = self.0.renewing.lock().await;
        if !matches!(*self.token(), Token::Unknown) {
            return Ok(());
        }
        let ask = wire::AuthenticateRequest { name: user.clone(), password: password.clone() };
        let mut last = String::new();
        for _ in 0..2 * self.0.members.len() {
            let limit = deadline.remaining().min(self.0.config.attempt);
            if limit.is_zero() {
                break;
            }
            let index = self.choose();
            let path = "/etcdserverpb.Auth/Authenticate";
            match self.0.members[index].unary::<_, wire::AuthenticateResponse>(path, Request::new(ask.clone()), limit).await {
                Verdict::Answer(a) => {
                    let token = a.token.parse().map_err(|_| Fault::Refused("a token that is none".into()))?;
                    *self.token() = Token::Some(token);
                    return Ok(());
                }
                // A user is named, and nobody has to be one.
                Verdict::Final(Fault::Refused(why)) if why.contains("authentication is not enabled") => {
                    *self.token() = Token::NotNeeded;
                    return Ok(());
                }
                Verdict::Final(fault) => return Err(fault),
                Verdict::Stranger(why) => return Err(Fault::Denied(why)),
                Verdict::NotDone(why) | Verdict::Unknown(why) => last = format!("{}: {why}", self.0.members[index].endpoint()),
            }
            self.failed(index);
        }
        Err(Fault::Unreachable(last))
    }
}

/// What is told in the end: the latest failure; but one that says that there is no majority says more than those of members that are not
/// there.
fn say(last: &mut String, member: &Member, why: &str) {
    if is_without_majority(why) || !is_without_majority(last) {
        *last = format!("{}: {why}", member.endpoint());
    }
}

/// A read that was sent and not answered has done nothing all the same.
fn read_only(fault: Fault) -> Fault {
    match fault {
        Fault::Ambiguous(why) => Fault::Unreachable(why),
        other => other,
    }
}

/// Waits, at most until the deadline.
pub(crate) async fn within<T>(deadline: Deadline, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(instant(deadline), future).await.ok()
}
