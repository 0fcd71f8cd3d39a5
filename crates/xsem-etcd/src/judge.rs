//! What it means that a member did not give what was asked for: nothing was done, or that is not known, or no other would.

use crate::fault::Fault;
use crate::member::Verdict;
use tonic::Code as GrpcCode;

/// What a status of gRPC means for a request that was (or was not) sent.
pub(crate) fn judge<A>(status: &tonic::Status) -> Verdict<A> {
    let message = status.message().to_owned();
    let has = |part: &str| message.contains(part);
    match status.code() {
        GrpcCode::Unauthenticated => Verdict::Stranger(message),
        // etcd says these with a code that says nothing.
        _ if has("user name is empty") || has("revision of auth store is old") => Verdict::Stranger(message),
        _ if has("permission denied") || has("authentication failed") => Verdict::Final(Fault::Denied(message)),
        _ if has("has been compacted") => Verdict::Final(Fault::Compacted(0)),
        _ if has("requested lease not found") => Verdict::Final(Fault::NoLease),
        _ if has("database space exceeded") => Verdict::Final(Fault::NoSpace),
        _ if has("request is too large") || has("larger than max") || has("too many operations") => {
            Verdict::Final(Fault::TooLarge(message))
        }
        // These are said before a request goes to the others.
        _ if has("no leader") || has("proposal dropped") || has("too many requests") => Verdict::NotDone(message),
        _ if has("not supported for learner") || has("unhealthy cluster") => Verdict::NotDone(message),
        // TLS 1.3: a server that does not like the client's certificate says so when that has begun to send; it has read nothing.
        _ if is_certificate(&told(status)) => Verdict::NotDone(told(status)),
        _ if was_not_sent(status) => Verdict::NotDone(told(status)),
        GrpcCode::Unavailable
        | GrpcCode::DeadlineExceeded
        | GrpcCode::Cancelled
        | GrpcCode::Unknown
        | GrpcCode::Internal
        | GrpcCode::Aborted => Verdict::Unknown(told(status)),
        _ => Verdict::Final(Fault::Refused(message)),
    }
}

/// Whether a member answered, and said that it cannot decide anything alone.
pub(crate) fn is_without_majority(why: &str) -> bool {
    why.contains("no leader") || why.contains("etcdserver: request timed out") || why.contains("unhealthy cluster")
}

/// Whether there is no connection because one side does not accept the other's certificate.
pub(crate) fn is_certificate(why: &str) -> bool {
    let theirs = ["Required", "Expired", "Revoked", "Unknown"].map(|what| format!("fatal alert: Certificate{what}"));
    let other = [
        "invalid peer certificate",
        "fatal alert: BadCertificate",
        "fatal alert: UnsupportedCertificate",
        "fatal alert: UnknownCA",
    ];
    theirs.iter().any(|said| why.contains(said)) || other.iter().any(|said| why.contains(said))
}

/// Whether no connection could be made.
fn was_not_sent(status: &tonic::Status) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(status);
    while let Some(e) = cause {
        if e.is::<tonic::ConnectError>() {
            return true;
        }
        cause = e.source();
    }
    false
}

/// What went wrong, from the innermost cause, which says most.
fn told(status: &tonic::Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(status);
    while let Some(e) = cause {
        text = e.to_string();
        cause = e.source();
    }
    text
}
