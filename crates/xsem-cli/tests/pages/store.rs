//! Stores for the pages of the network's codes: real servers, each in the state that the page is about.

use super::Cast;
use crate::common::{Place, until};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use xsem::Deadline;
use xsem_etcd::kv::{Txn, put};
use xsem_etcd::{client::Client, fault::Fault, runtime, url::Config};
use xsem_testkit::etcd::{Cluster, Options};

/// The store that the page of this code needs.
pub fn set(p: &Place, code: u32) -> Cast {
    let with = |arguments: &[&str]| {
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        Cluster::with(&Options { arguments, ..Options::default() })
    };
    match code {
        53 => {
            // A port that was free just now.
            let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
            Cast { members: vec![("etcd1:2379".to_owned(), format!("127.0.0.1:{port}"))], ..Cast::default() }
        }
        112 => {
            let cluster = with(&["--quota-backend-bytes=200000"]);
            fill(&cluster);
            cast(cluster)
        }
        1326 => {
            let cluster = with(&[]);
            let ask = |path: &str, json: &str| cluster.ask(0, &format!("/v3/auth/{path}"), json);
            ask("user/add", r#"{"name":"root","password":"of root"}"#).expect("a user");
            // It is there already with some releases.
            let _ = ask("role/add", r#"{"name":"root"}"#);
            ask("user/grant", r#"{"user":"root","role":"root"}"#).expect("a role");
            ask("enable", "{}").expect("users");
            cast(cluster)
        }
        5925 => {
            let cluster = Cluster::start(3);
            cluster.kill(1);
            cluster.kill(2);
            until("it knows that it is alone", || !cluster.is_healthy(0));
            cast(cluster)
        }
        12175 => cast(Cluster::with(&Options { tls: Some(certificates(p)), ..Options::default() })),
        other => panic!("no store for {other}"),
    }
}

fn cast(store: Cluster) -> Cast {
    let members = (0..store.len()).map(|i| (format!("etcd{}:2379", i + 1), format!("127.0.0.1:{}", store.port(i)))).collect();
    Cast { members, _store: Some(store), ..Cast::default() }
}

/// Until it takes nothing any more.
fn fill(cluster: &Cluster) {
    let client = Client::open(Config::parse(&cluster.url("x")).expect("a URL")).expect("a client");
    for i in 0.. {
        let (c, txn) = (client.clone(), Txn::of([put(format!("fill/{i}"), "x".repeat(50_000), 0)]));
        match runtime::run(async move { c.txn(txn, Deadline::after(std::time::Duration::from_secs(50))).await }) {
            Ok(_) => {}
            Err(Fault::NoSpace) => return,
            Err(other) => panic!("{other}"),
        }
    }
}

/// Certificate and key of a server; `ca.pem` is of an authority that has not signed it.
fn certificates(p: &Place) -> (PathBuf, PathBuf, Option<PathBuf>) {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("a certificate");
        (Issuer::new(params, key), cert)
    };
    fs::write(p.file("ca.pem"), authority("a stranger").1.pem()).expect("a file");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    let cert = params.signed_by(&key, &authority("its own").0).expect("a certificate");
    let files = (p.file("server.crt"), p.file("server.key"));
    fs::write(&files.0, cert.pem()).expect("a file");
    fs::write(&files.1, key.serialize_pem()).expect("a file");
    (files.0, files.1, None)
}
