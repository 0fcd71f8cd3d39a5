//! Users, passwords, tokens that run out; certificates.

mod common;

use common::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};
use std::time::Duration;
use xsem_etcd::client::Client;
use xsem_etcd::fault::Fault;
use xsem_etcd::kv::{Txn, put};
use xsem_etcd::url::Config;
use xsem_testkit::etcd::{Cluster, Options, wanted};
use xsem_testkit::watchdog::Watchdog;

/// Text in base64, as etcd's JSON wants keys.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = text.as_bytes().chunks(3).map(|c| {
        let n = c.iter().fold(0u32, |n, &b| n << 8 | u32::from(b)) << (8 * (3 - c.len()));
        let digit = |i: usize| if i <= c.len() { DIGITS[(n >> (18 - 6 * i)) as usize & 63] as char } else { '=' };
        (0..4).map(digit).collect::<String>()
    });
    groups.collect()
}

/// A cluster on which one has to be somebody: `me` may do what he likes below `mine/`. Tokens last for a second after their last use.
fn guarded() -> Cluster {
    let arguments = vec!["--auth-token-ttl=1".to_owned()];
    let cluster = Cluster::with(&Options { arguments, ..Options::default() });
    let ask = |path: &str, json: &str| cluster.ask(0, &format!("/v3/auth/{path}"), json);
    for user in ["root", "me"] {
        ask("user/add", &format!(r#"{{"name":"{user}","password":"of {user}"}}"#)).unwrap();
        // The role of root is there already with some releases.
        let _ = ask("role/add", &format!(r#"{{"name":"{user}"}}"#));
        ask("user/grant", &format!(r#"{{"user":"{user}","role":"{user}"}}"#)).unwrap();
    }
    let (from, to) = (base64("mine/"), base64("mine0"));
    let perm = format!(r#"{{"name":"me","perm":{{"permType":"READWRITE","key":"{from}","range_end":"{to}"}}}}"#);
    ask("role/grant", &perm).unwrap();
    ask("enable", "{}").unwrap();
    cluster
}

fn url_of(cluster: &Cluster, user: &str, options: &str) -> String {
    format!("etcd://{user}@{}/mine{options}", cluster.endpoints())
}

#[test]
fn who_one_is_and_what_one_may() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("users");
    assert_eq!((base64("mine/"), base64("mine0"), base64("mine")), ("bWluZS8=".into(), "bWluZTA=".into(), "bWluZQ==".into()));
    let cluster = guarded();
    let c = open(&url_of(&cluster, "me:of%20me", ""));
    write(&c, "mine/a", "1");
    let denied = |c: &Client, key: &str| match txn(c, Txn::of([put(key, "1", 0)]), patience()) {
        Err(Fault::Denied(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(denied(&c, "yours/a").contains("permission"));
    assert!(denied(&open(&url_of(&cluster, "me:wrong", "")), "mine/a").contains("authentication failed"));
    denied(&open(&cluster.url("mine")), "mine/a");
    xsem_etcd::register();
    let told = |user: &str, path: &str| {
        let user = if user.is_empty() { String::new() } else { format!("{user}@") };
        let ns = xsem::Namespace::open(&format!("etcd://{user}{}/{path}?guardian=none", cluster.endpoints())).unwrap();
        xsem::Exclusive::open(&ns, "a").unwrap_err().code()
    };
    assert_eq!(told("me:of%20me", "mine"), xsem::Code::SemNotFound);
    assert_eq!(told("me:wrong", "mine"), xsem::Code::LogonFailure);
    assert_eq!(told("", "mine"), xsem::Code::LogonFailure);
    assert_eq!(told("me:of%20me", "yours"), xsem::Code::AccessDenied);
    let theirs = open(&url_of(&cluster, "me:of%20me", ""));
    let elsewhere = xsem_etcd::runtime::run(async move {
        let wanted =
            vec![xsem_etcd::watch::Wanted { keys: xsem_etcd::kv::Keys::prefix("yours/"), deletes_only: false, previous: false }];
        xsem_etcd::watch::Watch::start(&theirs, wanted, patience()).await
    });
    assert!(matches!(elsewhere, Err(Fault::Denied(_))), "{elsewhere:?}");
}

#[test]
fn a_token_that_ran_out_is_renewed() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("tokens");
    let cluster = guarded();
    let c = open(&url_of(&cluster, "me:of%20me", "?ttl=4"));
    let s = session(&c);
    leased(&c, "mine/a", &s);
    let mut w = watch(&c, "mine/");
    // Tokens run out after a second, and are looked at once in a second.
    std::thread::sleep(Duration::from_secs(4));
    assert!(s.is_alive());
    write(&c, "mine/b", "1");
    assert!(w.wait(patience()).unwrap().is_some());
    // A server that was restarted knows none of them.
    cluster.kill(0);
    cluster.restart(0);
    write(&c, "mine/b", "2");
    let told = w.wait(patience()).unwrap().unwrap();
    assert_eq!(told.events[0].kv.as_ref().unwrap().value, b"2", "the watch goes on with a new token");
    // A watch that begins when the token has run out.
    std::thread::sleep(Duration::from_secs(3));
    let mut w = watch(&c, "mine/");
    write(&c, "mine/b", "3");
    assert!(w.wait(patience()).unwrap().is_some());
    assert!(s.is_alive());
}

/// The same under the engine: tokens that are over by their time, and those that a restarted server does not know, while one waits and
/// another gives back.
#[test]
fn tokens_run_out_under_a_wait_and_a_release() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("tokens under a wait");
    xsem_etcd::register();
    let cluster = guarded();
    // A session of its own each, as processes have; nothing is asked for between a renewal (after 20 s) and the next.
    let ns = |n: u32| xsem::Namespace::open(&url_of(&cluster, "me:of%20me", &format!("?guardian=none&ttl=60&timeout=3.{n:03}")));
    let (one, two, looker) = (ns(1).unwrap(), ns(2).unwrap(), ns(3).unwrap());
    let x = xsem::Exclusive::open_or_create(&one, "x").unwrap();
    let y = xsem::Exclusive::open_or_create(&two, "x").unwrap();
    let until_waiting = || {
        while looker.inspect("x").unwrap().waiters.is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    for restarted in [false, true] {
        let held = x.acquire().unwrap();
        std::thread::scope(|s| {
            let heir = s.spawn(|| y.acquire().map(drop).map_err(xsem::Error::from));
            until_waiting();
            if restarted {
                cluster.kill(0);
                cluster.restart(0);
            } else {
                // Tokens run out after a second, and are looked at once in a second.
                std::thread::sleep(Duration::from_secs(3));
            }
            held.release().unwrap();
            heir.join().unwrap().unwrap();
        });
        x.acquire().unwrap().release().unwrap();
    }
    assert!(looker.check().unwrap().is_sound());
}

#[test]
fn who_says_who_he_is_where_nobody_asks_is_let_in() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("no users");
    let c = open(&url_of(Cluster::shared(), "me:of%20me", ""));
    write(&c, "access/a", "1");
    assert_eq!(value(&c, "access/a").as_deref(), Some("1"));
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

fn authority(dir: &Path, name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    let file = dir.join(format!("{name}.pem"));
    std::fs::write(&file, cert.pem()).unwrap();
    Authority { issuer: Issuer::new(params, key), file }
}

impl Authority {
    /// A certificate for these names, and its key.
    fn sign(&self, dir: &Path, who: &str, names: &[&str]) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(names.iter().map(|n| n.to_string()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, who);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let (c, k) = (dir.join(format!("{who}.crt")), dir.join(format!("{who}.key")));
        std::fs::write(&c, cert.pem()).unwrap();
        std::fs::write(&k, key.serialize_pem()).unwrap();
        (c, k)
    }
}

#[test]
fn certificates_of_both_sides_are_looked_at() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("certificates");
    xsem_etcd::register();
    let dir = tempfile::tempdir().unwrap();
    let (ours, strange) = (authority(dir.path(), "ours"), authority(dir.path(), "strange"));
    let (cert, key) = ours.sign(dir.path(), "server", &["127.0.0.1", "store.example"]);
    let tls = Some((cert, key, Some(ours.file.clone())));
    let cluster = Cluster::with(&Options { tls, ..Options::default() });
    let (cert, key) = ours.sign(dir.path(), "client", &["client"]);
    let client = format!("cert={}&key={}", cert.display(), key.display());
    let url = |ca: &Authority, rest: &str| format!("etcd://{}/x?ca={}&timeout=1&{rest}", cluster.endpoints(), ca.file.display());

    let c = open(&url(&ours, &client));
    write(&c, "tls/a", "1");
    assert_eq!(value(&c, "tls/a").as_deref(), Some("1"));
    let s = session(&c);
    assert!(s.is_alive());
    let c = open(&url(&ours, &format!("{client}&server_name=store.example")));
    assert_eq!(value(&c, "tls/a").as_deref(), Some("1"));

    for (what, url) in [
        ("no client certificate", url(&ours, "")),
        ("a server that a stranger has signed", url(&strange, &client)),
        ("a server of another name", url(&ours, &format!("{client}&server_name=other.example"))),
    ] {
        // Not only when the time is over: nothing mends it.
        let refused = read(&open(&url), "tls/a", patience());
        assert!(matches!(refused, Err(Fault::Certificate(_))), "{what}: {refused:?}");
        // Nor is a change left in doubt, where the server's word arrives before the connection's end does.
        let refused = txn(&open(&url), Txn::of([put("tls/b", "1", 0)]), patience());
        assert!(matches!(refused, Err(Fault::Certificate(_) | Fault::Ambiguous(_))), "{what}: {refused:?}");
        let ns = xsem::Namespace::open(&url).unwrap();
        let told = xsem::Exclusive::open(&ns, "a").unwrap_err();
        assert_eq!(told.code(), xsem::Code::WinhttpSecureFailure, "{what}: {told}");
    }
    let refused = read(&open(&cluster.url("x?timeout=1")), "tls/a", soon(1500));
    assert!(matches!(refused, Err(Fault::Unreachable(_))), "no TLS: {refused:?}");
    let nonsense = Config::parse(&format!("etcd://a/x?ca={}&cert={1}&key={1}", ours.file.display(), ours.file.display()));
    assert!(matches!(nonsense.and_then(Client::open), Err(Fault::Config(_))), "a certificate is no key");
}
