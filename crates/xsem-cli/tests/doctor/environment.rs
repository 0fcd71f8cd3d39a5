//! The environment, and the command line.

use super::common::Place;
use super::{doctor, run};
use xsem::{Exclusive, Namespace};

#[test]
fn a_name_that_is_elsewhere() {
    let p = Place::new();
    // The namespaces of this user are looked into, too: what is in those is not this test's affair.
    let name = &format!("deploy-{}", std::process::id());
    assert!(p.output(&["create", "a"]).status.success());
    doctor(&p, &[name]).must("no-such-name", "warning", &["nor in another namespace", "xsem ls"]);
    let other = format!("shm:{}", p.file("other").display());
    let ns = Namespace::open(&other).expect("open");
    Exclusive::create(&ns, name).expect("create");
    doctor(&p, &[name]).must("no-such-name", "warning", &["but there is one in", &other]);
    // By the variable, and in a namespace that does not exist at all.
    let mut c = p.xsem(&["doctor", "--json", name]);
    c.env("XSEM_NAMESPACE", &other);
    run(c).must("no-such-name", "warning", &[&other]);
    let nowhere = format!("shm:{}", p.file("nowhere").display());
    let mut c = super::common::clean(std::process::Command::new(super::common::XSEM));
    c.args(["doctor", "--json", name]).env("XSEM_NAMESPACE", &nowhere);
    run(c).must("no-such-name", "warning", &["XSEM_NAMESPACE says so", &other]);
}

#[test]
fn a_claim_of_a_run_that_has_ended() {
    let p = Place::new();
    assert!(p.output(&["run", "deploy", "true"]).status.success());
    let mut c = p.xsem(&["doctor", "--json"]);
    c.env("XSEM_CLAIMS", format!("1,{},deploy", p.url()));
    run(c).must("claim-over", "note", &["token 1", "unset XSEM_CLAIMS"]);
    // Inside of one that has it, all is well.
    let said = p.sh("$X run deploy -- $X doctor --json deploy");
    assert!(!said.contains("claim-over"), "{said}");
}
