//! Requests: transactions, failover, lost answers, quorum, refusals.

mod common;

use common::*;
use std::time::{Duration, Instant};
use xsem_etcd::client::Again;
use xsem_etcd::fault::Fault;
use xsem_etcd::kv::{Answer, Keys, Txn, delete, nested, put, range};
use xsem_etcd::runtime::run;
use xsem_etcd::wire::Compare;
use xsem_testkit::etcd::{Cluster, Options, Proxy, wanted};
use xsem_testkit::watchdog::Watchdog;

#[test]
fn transactions_compare_put_read_delete_and_nest() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("transactions");
    let c = open(&Cluster::shared().url("x"));
    let first = txn(&c, Txn::when([Compare::absent("t/a")]).then([put("t/a", "1", 0)]), patience()).unwrap();
    assert!(first.succeeded && !first.repeated && first.answers == [Answer::Put]);
    let again = Txn::when([Compare::absent("t/a")]).then([put("t/a", "2", 0)]).otherwise([range(Keys::one("t/a")).op()]);
    let second = txn(&c, again, patience()).unwrap();
    assert!(!second.succeeded);
    let kv = &second.found(0)[0];
    assert_eq!((kv.value.as_slice(), kv.create_revision, kv.lease), (&b"1"[..], first.revision, 0));
    assert_eq!(second.revision, first.revision, "nothing was changed");

    let holds = |when: Vec<Compare>| txn(&c, Txn::when(when), patience()).unwrap().succeeded;
    assert!(holds(vec![Compare::present("t/a"), Compare::created("t/a", first.revision), Compare::value("t/a", "1")]));
    assert!(holds(vec![Compare::modified("t/a", first.revision), Compare::leased("t/a", 0), Compare::modified("t/none", 0)]));
    assert!(!holds(vec![Compare::none(Keys::prefix("t/"))]) && holds(vec![Compare::none(Keys::prefix("t/none"))]));
    assert!(holds(vec![Compare::untouched(Keys::prefix("t/"), first.revision + 1)]));
    assert!(!holds(vec![Compare::untouched(Keys::prefix("t/"), first.revision)]));
    assert!(!holds(vec![Compare::not_value("t/none", "x")]), "of a key that is not there no value can be compared");

    let inner = Txn::when([Compare::value("t/a", "1")]).then([put("t/b", "3", 0), range(Keys::prefix("t/")).op()]);
    let r = txn(&c, Txn::of([nested(inner)]), patience()).unwrap();
    let Answer::Txn(inner) = &r.answers[0] else { panic!("{r:?}") };
    assert_eq!((inner.succeeded, inner.found(1).len()), (true, 2));
    let r = txn(&c, Txn::of([delete(Keys::prefix("t/"))]), patience()).unwrap();
    assert_eq!(r.found(0).len(), 2, "what was deleted is told");
    let lease = txn(&c, Txn::of([put("t/c", "", 12345)]), patience());
    assert_eq!(lease, Err(Fault::NoLease));
    let many: Vec<_> = (0..200).map(|i| put(format!("t/{i}"), "", 0)).collect();
    assert!(matches!(txn(&c, Txn::of(many), patience()), Err(Fault::TooLarge(_))));
}

#[test]
fn ranges_have_orders_limits_and_revisions() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("ranges");
    let c = open(&Cluster::shared().url("x"));
    let revisions: Vec<i64> = ["r/z", "r/y", "r/x"].iter().map(|k| write(&c, k, "v").revision).collect();
    let ask = |r: xsem_etcd::wire::RangeRequest| {
        let c = c.clone();
        run(async move { c.range(r, patience()).await }).unwrap()
    };
    let keys = |f: &xsem_etcd::kv::Found| f.kvs.iter().map(|k| String::from_utf8_lossy(&k.key).into_owned()).collect::<Vec<_>>();
    let all = || range(Keys::prefix("r/"));
    assert_eq!(keys(&ask(all().oldest_first())), ["r/z", "r/y", "r/x"]);
    let last = ask(all().youngest_first().created_before(revisions[2]).limit(1));
    assert_eq!((keys(&last), last.more), (vec!["r/y".to_owned()], true));
    assert_eq!(ask(all().count_only()).count, 3);
    assert_eq!(keys(&ask(all().at(revisions[0]))), ["r/z"]);
    assert!(ask(all().keys_only()).kvs.iter().all(|k| k.value.is_empty()));
    assert!(ask(all()).revision >= revisions[2]);
}

#[test]
fn where_nobody_is_nothing_was_done_and_it_is_said_in_time() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("nobody there");
    let p = Proxy::to(Cluster::shared().port(0));
    p.refuse(true);
    let c = open(&p.url("x"));
    let start = Instant::now();
    assert!(matches!(read(&c, "n/a", soon(300)), Err(Fault::Unreachable(_))));
    assert!(start.elapsed() >= Duration::from_millis(300));
    // No port listens.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let c = open(&format!("etcd://127.0.0.1:{closed}/x"));
    let refused = txn(&c, Txn::of([put("n/a", "", 0)]), soon(200));
    let Err(Fault::Unreachable(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains(&closed.to_string()), "{why}");
    // A deadline that has passed sends nothing.
    let c = open(&Cluster::shared().url("x"));
    assert!(matches!(txn(&c, Txn::of([put("n/b", "", 0)]), soon(0)), Err(Fault::Unreachable(_))));
    assert_eq!(value(&c, "n/b"), None);
}

#[test]
fn an_answer_that_is_lost_is_told_as_such_and_the_repeated_request_finds_out() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("a lost answer");
    let p = Proxy::to(Cluster::shared().port(0));
    let c = open(&(p.url("x") + "?timeout=0.5"));
    let straight = open(&Cluster::shared().url("x"));
    write(&c, "l/before", "1");
    p.lose_answers(true);
    let lost = txn(&c, Txn::of([put("l/once", "1", 0)]), patience());
    assert!(matches!(lost, Err(Fault::Ambiguous(_))), "{lost:?}");
    assert_eq!(value(&straight, "l/once").as_deref(), Some("1"), "it was done");

    // An answer of which it is known that it cannot have been: the connection is not there.
    p.lose_answers(false);
    p.refuse(true);
    let refused = txn(&c, Txn::of([put("l/never", "1", 0)]), soon(300));
    assert!(matches!(refused, Err(Fault::Unreachable(_) | Fault::Ambiguous(_))), "{refused:?}");
    p.refuse(false);
    write(&c, "l/again", "1");

    // The second attempt of a transaction that is made so that this is harmless.
    p.lose_answers(true);
    let once = Txn::when([Compare::absent("l/op")]).then([put("l/op", "me", 0)]).otherwise([range(Keys::one("l/op")).op()]);
    let (theirs, ask) = (c.clone(), once.clone());
    let mut task =
        xsem_etcd::runtime::spawn(async move { theirs.txn_again(ask, Again::UntilAnswered, patience()).await }).unwrap();
    while value(&straight, "l/op").is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(20));
    p.lose_answers(false);
    let reply = task.wait(patience()).unwrap().unwrap().unwrap();
    assert!(reply.repeated && !reply.succeeded);
    assert_eq!(reply.found(0)[0].value, b"me");
}

#[test]
fn a_cut_while_the_request_is_under_way_is_ambiguous() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("a cut");
    let p = Proxy::to(Cluster::shared().port(0));
    let c = open(&p.url("x"));
    write(&c, "c/before", "1");
    p.hold(true);
    let before = p.sent();
    let theirs = c.clone();
    let ask = Txn::of([put("c/held", "1", 0)]);
    let mut task = xsem_etcd::runtime::spawn(async move { theirs.txn(ask, patience()).await }).unwrap();
    // It is held in the proxy: the client has sent it, and cannot know how far it has come.
    assert_eq!(task.wait(soon(100)).unwrap(), None);
    assert_eq!(p.sent(), before);
    p.cut();
    p.hold(false);
    let told = task.wait(patience()).unwrap().unwrap();
    assert!(matches!(told, Err(Fault::Ambiguous(_))), "{told:?}");
    write(&c, "c/after", "1");
}

#[test]
fn members_that_are_killed_or_frozen_are_left_for_others() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("members that fail");
    let cluster = Cluster::start(3);
    let c = open(&(cluster.url("x") + "?timeout=1"));
    write(&c, "f/a", "0");
    for round in 1..=3 {
        let leader = cluster.leader();
        let follower = (0..3).find(|&i| i != leader).unwrap();
        let victim = if round == 2 { follower } else { leader };
        if round == 3 {
            cluster.freeze(victim);
        } else {
            cluster.kill(victim);
        }
        // A write that is repeated until it is answered is harmless here.
        let (theirs, text) = (c.clone(), round.to_string());
        let txn = Txn::of([put("f/a", text.as_str(), 0)]);
        run(async move { theirs.txn_again(txn, Again::UntilAnswered, patience()).await }).unwrap();
        assert_eq!(value(&c, "f/a"), Some(text));
        if round == 3 {
            cluster.thaw(victim);
        } else {
            cluster.restart(victim);
        }
    }
    // No request goes to a dead member while others are there: ten in a row are answered by the one that is current.
    let leader = cluster.leader();
    cluster.kill((leader + 1) % 3);
    value(&c, "f/a");
    for _ in 0..10 {
        assert!(!write(&c, "f/b", "x").repeated);
    }
}

#[test]
fn without_a_majority_nothing_is_done() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("no majority");
    let cluster = Cluster::start(3);
    let c = open(&(cluster.url("x") + "?timeout=1"));
    write(&c, "q/a", "1");
    cluster.kill(0);
    cluster.kill(1);
    // Also one that was answered a moment before the loss was noticed may not be.
    let refused = read(&c, "q/a", soon(4000));
    assert!(matches!(refused, Err(Fault::Unreachable(_))), "{refused:?}");
    let refused = txn(&c, Txn::of([put("q/b", "1", 0)]), soon(2000));
    assert!(
        matches!(refused, Err(Fault::Unreachable(_))),
        "a member without a leader refuses before it does anything: {refused:?}"
    );
    cluster.restart(0);
    assert_eq!(value(&c, "q/a").as_deref(), Some("1"));
    assert_eq!(value(&c, "q/b"), None);
}

#[test]
fn each_member_is_asked_by_itself_for_an_operator() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("a survey");
    let cluster = Cluster::start(3);
    let c = open(&(cluster.url("x") + "?timeout=1"));
    let leader = cluster.leader();
    let dead = (leader + 1) % 3;
    cluster.kill(dead);
    let theirs = c.clone();
    let found = run(async move { Ok(theirs.survey().await) }).unwrap();
    for (i, s) in found.iter().enumerate() {
        assert_eq!(s.endpoint, format!("127.0.0.1:{}", cluster.port(i)));
        match &s.status {
            Ok(status) => {
                assert!(i != dead && status.version.starts_with("3.") && status.db_size > 0);
                let own = status.header.unwrap().member_id;
                assert_eq!(status.leader == own, i == leader);
            }
            Err(fault) => assert!(i == dead && matches!(fault, Fault::Unreachable(_)), "{i}: {fault}"),
        }
    }
    let theirs = c.clone();
    let list = run(async move { theirs.member_list(patience()).await }).unwrap();
    assert_eq!(list.len(), 3);
    assert!(list.iter().all(|m| !m.client_urls.is_empty()));
}

#[test]
fn a_store_without_space_says_so() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("no space");
    let arguments = vec!["--quota-backend-bytes=200000".to_owned()];
    let cluster = Cluster::with(&Options { arguments, ..Options::default() });
    let c = open(&cluster.url("x"));
    let big = "x".repeat(50_000);
    let full = (0..100).find_map(|i| txn(&c, Txn::of([put(format!("s/{i}"), big.as_str(), 0)]), patience()).err());
    assert_eq!(full, Some(Fault::NoSpace));
    let theirs = c.clone();
    let alarms = run(async move { theirs.alarms(patience()).await }).unwrap();
    assert!(alarms.iter().any(|a| a.alarm == xsem_etcd::wire::AlarmType::NoSpace as i32), "{alarms:?}");
    assert!(read(&c, "s/0", patience()).is_ok());
}

#[test]
fn what_is_larger_than_the_store_takes_is_refused() {
    if !wanted() {
        return;
    }
    let _dog = Watchdog::start("too large");
    let c = open(&Cluster::shared().url("x"));
    for size in [1_600_000, 4_000_000] {
        let refused = txn(&c, Txn::of([put("h/a", "x".repeat(size), 0)]), patience());
        assert!(matches!(refused, Err(Fault::TooLarge(_))), "{refused:?}");
    }
    assert_eq!(value(&c, "h/a"), None);
}
