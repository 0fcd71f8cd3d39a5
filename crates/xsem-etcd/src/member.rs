//! One member of the store: its connection, and whether it has answered lately.

use crate::fault::{Fault, Result};
use crate::judge::judge;
use crate::url::Config;
use http::uri::PathAndQuery;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_stream::Stream;
use tonic::client::Grpc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// A connection on which nothing comes is asked after so long whether it is alive. Servers of etcd end connections that ask
/// more often than every five seconds, or while no request is open.
const ASK_ALIVE: Duration = Duration::from_secs(6);
/// The largest answer that is taken: a server sends far less by default.
const MAX_ANSWER: usize = 64 << 20;

/// A member.
pub(crate) struct Member {
    endpoint: String,
    channel: Channel,
    /// When it has last failed, if it has not answered since.
    failed: Mutex<Option<Instant>>,
    /// Told at each failure: whoever has a stream there looks after it.
    pub(crate) failing: Notify,
}

/// What became of one attempt.
pub(crate) enum Verdict<A> {
    /// An answer.
    Answer(A),
    /// Nothing was done; another member, or this one later, can.
    NotDone(String),
    /// It is not known whether something was done.
    Unknown(String),
    /// Nothing was done: the member does not know who asks.
    Stranger(String),
    /// No other member would say anything else.
    Final(Fault),
}

/// An answer with how it was got.
#[derive(Clone, Debug)]
pub struct Answered<A> {
    /// The answer.
    pub answer: A,
    /// An earlier attempt was sent and not answered.
    pub repeated: bool,
    /// When the attempt that was answered was begun, by [`crate::clock`].
    pub sent: u64,
}

/// The connection to a member, which is made when it is needed.
pub(crate) fn channel(endpoint: &str, config: &Config) -> Result<Member> {
    let wrong = |e: tonic::transport::Error| {
        let cause = std::error::Error::source(&e).map(|s| format!(": {s}")).unwrap_or_default();
        Fault::Config(format!("{endpoint}: {e}{cause}"))
    };
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let mut built = Endpoint::from_shared(format!("{scheme}://{endpoint}"))
        .map_err(wrong)?
        // Shorter than an attempt, so that a member that is not there is known as "not sent", not as "not answered".
        .connect_timeout(config.attempt * 2 / 3)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(ASK_ALIVE)
        .keep_alive_timeout(config.attempt)
        .keep_alive_while_idle(false);
    if let Some(tls) = &config.tls {
        let mut client = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca));
        if let Some((cert, key)) = &tls.client {
            client = client.identity(Identity::from_pem(cert, key));
        }
        if let Some(name) = &tls.server_name {
            client = client.domain_name(name);
        }
        built = built.tls_config(client).map_err(wrong)?;
    }
    let channel = built.connect_lazy();
    Ok(Member { endpoint: endpoint.to_owned(), channel, failed: Mutex::new(None), failing: Notify::new() })
}

impl Member {
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(crate) fn good(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn bad(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.failing.notify_waiters();
    }

    pub(crate) fn failed_within(&self, time: Duration) -> bool {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|t| t.elapsed() < time)
    }

    fn grpc(&self) -> Grpc<Channel> {
        Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// One request, one answer.
    pub(crate) async fn unary<Q, A>(&self, path: &'static str, request: Request<Q>, limit: Duration) -> Verdict<A>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = self.grpc();
        attempt(limit, async {
            grpc.ready().await.map_err(|e| Status::from_error(Box::new(e)))?;
            let codec = ProstCodec::<Q, A>::default();
            grpc.unary(request, PathAndQuery::from_static(path), codec).await.map(|r| r.into_inner())
        })
        .await
    }

    /// A stream of requests, and its first answer.
    pub(crate) async fn one_of_stream<Q, A>(
        &self,
        path: &'static str,
        requests: Request<impl Stream<Item = Q> + Send + 'static>,
        limit: Duration,
    ) -> Verdict<A>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        attempt(limit, async {
            let mut answers = self.stream::<Q, A>(path, requests).await?;
            answers.message().await?.ok_or_else(|| Status::unavailable("the stream has ended"))
        })
        .await
    }

    /// A stream of requests and answers.
    pub(crate) async fn stream<Q, A>(
        &self,
        path: &'static str,
        requests: Request<impl Stream<Item = Q> + Send + 'static>,
    ) -> std::result::Result<Streaming<A>, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut grpc = self.grpc();
        grpc.ready().await.map_err(|e| Status::from_error(Box::new(e)))?;
        let codec = ProstCodec::<Q, A>::default();
        grpc.streaming(requests, PathAndQuery::from_static(path), codec).await.map(|r| r.into_inner())
    }
}

async fn attempt<A>(limit: Duration, work: impl Future<Output = std::result::Result<A, Status>>) -> Verdict<A> {
    match tokio::time::timeout(limit, work).await {
        Ok(Ok(answer)) => Verdict::Answer(answer),
        Ok(Err(status)) => judge(&status),
        Err(_) => Verdict::Unknown(format!("no answer within {limit:?}")),
    }
}
