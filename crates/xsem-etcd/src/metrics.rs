//! What a member counts of itself, which it tells over plain HTTP on the port of its clients (not where that has TLS).

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// More than any release says.
const MOST: u64 = 8 << 20;

/// Some of a member's own figures; `None`: this release does not have it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Bytes that its data may have.
    pub quota: Option<u64>,
    /// How often it has seen another leader since it was started.
    pub leaders: Option<u64>,
    /// Heartbeats that it sent too late: it was kept from running, or its disk was slow.
    pub late_heartbeats: Option<u64>,
    /// Requests that took it too long to carry out.
    pub slow: Option<u64>,
}

/// Asks a member (`host:port`); `None` where it does not tell.
pub fn read(endpoint: &str, patience: Duration) -> Option<Metrics> {
    let address = endpoint.to_socket_addrs().ok()?.next()?;
    let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    stream.set_write_timeout(Some(patience)).ok()?;
    let ask = format!("GET /metrics HTTP/1.0\r\nHost: {endpoint}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).ok()?;
    let mut said = Vec::new();
    stream.take(MOST).read_to_end(&mut said).ok()?;
    let said = String::from_utf8_lossy(&said);
    let (head, body) = said.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200").then(|| parse(body))
}

fn parse(text: &str) -> Metrics {
    // Numbers come as `2.147483648e+09`.
    let value = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')))?;
        line.trim().parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 0.0).map(|v| v as u64)
    };
    Metrics {
        quota: value("etcd_server_quota_backend_bytes"),
        leaders: value("etcd_server_leader_changes_seen_total"),
        late_heartbeats: value("etcd_server_heartbeat_send_failures_total"),
        slow: value("etcd_server_slow_apply_total"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Metrics, parse};

    #[test]
    fn figures_are_found_by_their_whole_names() {
        let text = "# HELP etcd_server_quota_backend_bytes Current backend storage quota size in bytes.\n\
                    etcd_server_quota_backend_bytes 2.147483648e+09\netcd_server_slow_apply_total_x 9\n\
                    etcd_server_slow_apply_total 3\netcd_server_leader_changes_seen_total NaN\n";
        assert_eq!(parse(text), Metrics { quota: Some(1 << 31), slow: Some(3), ..Metrics::default() });
    }
}
