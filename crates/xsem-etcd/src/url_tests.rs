use super::*;

fn parse(url: &str) -> Result<Config> {
    Config::parse_with(url, &|_| None)
}

fn refused(url: &str) -> String {
    parse(url).expect_err(url).to_string()
}

#[test]
fn hosts_and_path() {
    let c = parse("etcd://a,b.example:1234,[::1]:99,[::2]/team/x").unwrap();
    assert_eq!(c.endpoints, ["a:2379", "b.example:1234", "[::1]:99", "[::2]:2379"]);
    assert_eq!((c.path.as_str(), c.user, c.tls.is_none(), c.ttl.as_secs()), ("team/x", None, true, 10));
    assert_eq!(parse("etcd://a").unwrap().path, "");
    for bad in [
        "etcd://",
        "etcd:///x",
        "etcd://a,,b/x",
        "etcd://a:0/x",
        "etcd://a:x/x",
        "etcd://a b/x",
        "http://a/x",
        "etcd://[::g]/x",
        "etcd://[::1]x/y",
    ] {
        assert!(matches!(parse(bad), Err(Fault::Config(_))), "{bad}");
    }
}

#[test]
fn user_and_password() {
    let c = parse("etcd://me:p%40ss%3a:word@a/x").unwrap();
    assert_eq!(c.user, Some(("me".into(), "p@ss::word".into())));
    assert!(!format!("{c:?} {}", c.shown()).contains("ss"), "a secret is never shown");
    assert!(refused("etcd://me@a/x").contains("password"));
    let env = |name: &str| match name {
        "XSEM_ETCD_USER" => Some("you".to_owned()),
        "XSEM_ETCD_PASSWORD" => Some("secret".to_owned()),
        _ => None,
    };
    let c = Config::parse_with("etcd://a/x", &env).unwrap();
    assert_eq!(c.user, Some(("you".into(), "secret".into())));
    let c = Config::parse_with("etcd://me@a/x", &env).unwrap();
    assert_eq!(c.user, Some(("me".into(), "secret".into())));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pw");
    std::fs::write(&file, "in a file\nrest").unwrap();
    let c = parse(&format!("etcd://me@a/x?password_file={}", file.display())).unwrap();
    assert_eq!(c.user, Some(("me".into(), "in a file".into())));
}

#[test]
fn options() {
    let c = parse("etcd://a/x?ttl=2.5&guardian=/usr/bin/xsem&timeout=0.5").unwrap();
    assert_eq!((c.ttl.as_millis(), c.attempt.as_millis()), (2500, 500));
    assert_eq!(c.guardian, Guardian::Program("/usr/bin/xsem".into()));
    assert_eq!(parse("etcd://a/x?guardian=none").unwrap().guardian, Guardian::None);
    for (url, word) in [
        ("etcd://a/x?ttl=1", "2 to 3600"),
        ("etcd://a/x?ttl=abc", "2 to 3600"),
        ("etcd://a/x?tll=3", "not an option"),
        ("etcd://a/x?ttl=3&ttl=4", "twice"),
        ("etcd://a/x?ca=ca.pem", "absolute"),
        ("etcd://a/x?ca=/nowhere/ca.pem", "/nowhere/ca.pem"),
        ("etcds://a/x?tls=false", "etcds"),
        ("etcd://a/%zz", "hexadecimal"),
        ("etcd://a/%ff", "UTF-8"),
    ] {
        assert!(refused(url).contains(word), "{url}: {}", refused(url));
    }
}

#[test]
fn certificates() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, name).unwrap();
        path.display().to_string()
    };
    let (ca, cert, key) = (file("ca"), file("cert"), file("key"));
    let c = parse(&format!("etcd://a/x?ca={ca}")).unwrap();
    assert_eq!(c.tls, Some(Tls { ca: b"ca".to_vec(), client: None, server_name: None }));
    assert_eq!(c.shown(), "etcds://a:2379/x");
    let c = parse(&format!("etcds://a/x?ca={ca}&cert={cert}&key={key}&server_name=n")).unwrap().tls.unwrap();
    assert_eq!((c.client, c.server_name), (Some((b"cert".to_vec(), b"key".to_vec())), Some("n".to_owned())));
    assert!(refused(&format!("etcd://a/x?ca={ca}&cert={cert}")).contains("go together"));
}
