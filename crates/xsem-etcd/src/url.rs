//! Where the store is and how to get in: `etcd://[user:password@]host:2379,host:2379/path?option=value&…`, and the environment
//! for what does not belong on a command line.
//!
//! | option | environment | meaning |
//! |---|---|---|
//! | (before `@`) | `XSEM_ETCD_USER` | the user; without one, none is named |
//! | (before `@`) | `XSEM_ETCD_PASSWORD` | the password |
//! | `password_file` | `XSEM_ETCD_PASSWORD_FILE` | a file with the password in its first line |
//! | `ca` | `XSEM_ETCD_CA` | TLS: a file with the certificates (PEM) that the members' have to be signed by |
//! | `cert`, `key` | `XSEM_ETCD_CERT`, `XSEM_ETCD_KEY` | TLS: the client's certificate and key (PEM) |
//! | `server_name` | `XSEM_ETCD_SERVER_NAME` | TLS: the name in the members' certificates, where it is not the host's |
//! | `tls` | `XSEM_ETCD_TLS` | `true`: TLS also without `ca`, by the system's certificates. `etcds://` is the same |
//! | `ttl` | `XSEM_ETCD_TTL` | seconds after which the claims of a host that is gone end: 10; 2 to 3600 |
//! | `guardian` | `XSEM_ETCD_GUARDIAN` | the path of the `xsem` command, which ends a dead owner's claims at once; `none`: nobody does, they end by `ttl` |
//! | `timeout` | `XSEM_ETCD_TIMEOUT` | seconds after which a member that does not answer is given up for another: 3, or a third of `ttl` where that is less; 0.1 to 60 |
//!
//! The URL wins over the environment. Reserved characters are written as `%40`, as in any URL. Paths are absolute.

use crate::fault::{Fault, Result};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The port, where none is named.
const PORT: u16 = 2379;
/// The certificates of the system, as most distributions keep them.
const SYSTEM_CA: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem"];

/// Everything that is known of a store before the first connection.
#[derive(Clone, PartialEq)]
pub struct Config {
    /// The members: `host:port`.
    pub endpoints: Vec<String>,
    /// What follows the hosts, without slashes around it.
    pub path: String,
    /// The user and the password.
    pub user: Option<(String, String)>,
    /// TLS, if it is used.
    pub tls: Option<Tls>,
    /// The lease's time to live.
    pub ttl: Duration,
    /// What ends a dead owner's claims.
    pub guardian: Guardian,
    /// How long one member may take for one request.
    pub attempt: Duration,
    /// The URL itself, for the guardian; it may have the password.
    source: String,
}

/// What ends a dead owner's claims at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Guardian {
    /// Whatever the program has set ([`crate::guardian::set_program`]); else nothing.
    #[default]
    Default,
    /// This `xsem` command.
    Program(PathBuf),
    /// Nothing: the lease's end does.
    None,
}

/// TLS: contents of PEM files.
#[derive(Clone, PartialEq, Eq)]
pub struct Tls {
    /// Who may have signed the members' certificates.
    pub ca: Vec<u8>,
    /// The client's certificate and key.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
    /// The name in the members' certificates.
    pub server_name: Option<String>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("url", &self.shown()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = self.client.is_some();
        f.debug_struct("Tls").field("client", &client).field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// Looks an environment variable up. Tests have an environment of their own.
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    /// Reads a URL, and the environment for what it does not say.
    ///
    /// # Errors
    /// `Config`: it is no such URL, an option is not known or out of range, a file cannot be read.
    pub fn parse(url: &str) -> Result<Config> {
        Config::parse_with(url, &|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
    }

    fn parse_with(url: &str, env: Env<'_>) -> Result<Config> {
        let (rest, secure) = match (url.strip_prefix("etcd://"), url.strip_prefix("etcds://")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            _ => return wrong("the URL of a store begins with `etcd://` (or `etcds://`, with TLS)"),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, authority),
        };
        let options = Options { pairs: pairs(query)?, env };
        let endpoints = hosts.split(',').map(endpoint).collect::<Result<Vec<_>>>()?;
        let ttl = options.seconds("ttl", 10.0, 2.0, 3600.0)?;
        let config = Config {
            endpoints,
            path: decoded(path.trim_matches('/'))?,
            user: credentials(user, &options)?,
            tls: tls(secure, &options)?,
            ttl,
            guardian: match options.get("guardian").as_deref() {
                None => Guardian::Default,
                Some("none") => Guardian::None,
                Some(path) => Guardian::Program(absolute("guardian", path)?),
            },
            attempt: options.seconds("timeout", (ttl.as_secs_f64() / 3.0).min(3.0), 0.1, 60.0)?,
            source: url.to_owned(),
        };
        Ok(config)
    }

    /// The URL that it was made of, with its secrets.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// The URL for people: without user and secrets.
    pub fn shown(&self) -> String {
        let scheme = if self.tls.is_some() { "etcds" } else { "etcd" };
        format!("{scheme}://{}/{}", self.endpoints.join(","), self.path)
    }
}

fn wrong<T>(what: impl Into<String>) -> Result<T> {
    Err(Fault::Config(what.into()))
}

struct Options<'a> {
    pairs: Vec<(String, String)>,
    env: Env<'a>,
}

const NAMES: &[&str] = &["password_file", "ca", "cert", "key", "server_name", "tls", "ttl", "guardian", "timeout"];

fn pairs(query: &str) -> Result<Vec<(String, String)>> {
    let mut all: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !NAMES.contains(&name) {
            return wrong(format!("`{name}` is not an option; the options are {}", NAMES.join(", ")));
        }
        if all.iter().any(|(n, _)| n == name) {
            return wrong(format!("the option `{name}` is there twice"));
        }
        all.push((name.to_owned(), decoded(value)?));
    }
    Ok(all)
}

impl Options<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let said = self.pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        said.or_else(|| (self.env)(&format!("XSEM_ETCD_{}", name.to_ascii_uppercase())))
    }

    fn seconds(&self, name: &str, default: f64, least: f64, most: f64) -> Result<Duration> {
        let Some(text) = self.get(name) else { return Ok(Duration::from_secs_f64(default)) };
        match text.parse::<f64>() {
            Ok(s) if (least..=most).contains(&s) => Ok(Duration::from_secs_f64(s)),
            _ => wrong(format!("`{name}` is {text}, and has to be {least} to {most} seconds")),
        }
    }

    fn file(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.get(name).map(|path| read(name, &absolute(name, &path)?)).transpose()
    }
}

fn absolute(name: &str, path: &str) -> Result<PathBuf> {
    match Path::new(path) {
        p if p.is_absolute() => Ok(p.to_owned()),
        _ => wrong(format!("the path of `{name}` has to be absolute, and is `{path}`")),
    }
}

fn read(name: &str, path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).or_else(|e| wrong(format!("the file of `{name}`, {}, cannot be read: {e}", path.display())))
}

/// `host`, `host:port`, `[address]:port`.
fn endpoint(text: &str) -> Result<String> {
    let bad = || wrong(format!("`{text}` is not a host, or host:port"));
    let (host, port) = match text.rfind(']') {
        Some(end) => (&text[..=end], &text[end + 1..]),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let good = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    let port = match port.strip_prefix(':').map(str::parse::<u16>) {
        None if port.is_empty() => PORT,
        Some(Ok(p)) if p > 0 => p,
        _ => return bad(),
    };
    if good { Ok(format!("{host}:{port}")) } else { bad() }
}

fn credentials(said: Option<&str>, options: &Options<'_>) -> Result<Option<(String, String)>> {
    let (user, password) = match said.map(|s| s.split_once(':').map_or((s, None), |(u, p)| (u, Some(p)))) {
        Some((user, password)) => (Some(decoded(user)?), password.map(decoded).transpose()?),
        None => (options.get("user"), None),
    };
    let Some(user) = user.filter(|u| !u.is_empty()) else { return Ok(None) };
    let password = match password.or_else(|| options.get("password")) {
        Some(p) => p,
        None => match options.file("password_file")? {
            Some(text) => String::from_utf8_lossy(&text).lines().next().unwrap_or("").to_owned(),
            None => {
                return wrong(format!(
                    "the user `{user}` has no password: set XSEM_ETCD_PASSWORD, or the option `password_file`"
                ));
            }
        },
    };
    Ok(Some((user, password)))
}

fn tls(secure: bool, options: &Options<'_>) -> Result<Option<Tls>> {
    let (ca, cert, key) = (options.file("ca")?, options.file("cert")?, options.file("key")?);
    let on = match options.get("tls").as_deref() {
        None => secure || ca.is_some() || cert.is_some(),
        Some("true" | "1") => true,
        Some("false" | "0") if !secure => false,
        Some(other) => return wrong(format!("`tls` is `{other}`, and has to be true or false (and true for `etcds://`)")),
    };
    if !on {
        return Ok(None);
    }
    let client = match (cert, key) {
        (Some(c), Some(k)) => Some((c, k)),
        (None, None) => None,
        _ => return wrong("`cert` and `key` go together"),
    };
    let ca = match ca {
        Some(ca) => ca,
        None => match SYSTEM_CA.iter().find_map(|p| std::fs::read(p).ok()) {
            Some(ca) => ca,
            None => {
                return wrong("this system has no certificates of authorities where they are looked for: say which, with `ca`");
            }
        },
    };
    Ok(Some(Tls { ca, client, server_name: options.get("server_name") }))
}

/// Takes `%40` back.
fn decoded(text: &str) -> Result<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match (digit(bytes.next()), digit(bytes.next())) {
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => return wrong("a `%` in a URL is followed by two hexadecimal digits (`%25` is a `%`)"),
        }
    }
    String::from_utf8(out).or_else(|_| wrong("a part of the URL is not UTF-8"))
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
