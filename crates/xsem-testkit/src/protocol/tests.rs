use super::*;

#[test]
fn verbs_survive_the_wire() {
    let name = || "a name / with spaces".to_owned();
    let script =
        Script { actor: 2, seed: 3, ops: 12, at: 99, mix: 1, handles: vec![0, 4], keep: true, file: "/a b/c".to_owned() };
    for v in [
        Verb::Create(name()),
        Verb::Open(name()),
        Verb::OpenOrCreate(name()),
        Verb::Make(What::Exclusive, true, name()),
        Verb::Make(What::Pool(4), false, String::new()),
        Verb::Either(What::Credit(4, 2), name()),
        Verb::Make(What::Manual(true), true, name()),
        Verb::Either(What::Auto(false), name()),
        Verb::OpenEvent(name()),
        Verb::Start(true, Box::new(Verb::Any(vec![(0, 1)], Till::Ms(3)))),
        Verb::Poll(1),
        Verb::Await(0),
        Verb::Forsake(2),
        Verb::Interrupt(Box::new(Verb::Drain(name(), Till::Now))),
        Verb::Signal(3),
        Verb::Reset(0),
        Verb::State(12),
        Verb::OpenCounting(name()),
        Verb::Elsewhere(name()),
        Verb::Remove(String::new()),
        Verb::Try(3),
        Verb::Timeout(1, 250),
        Verb::Acquire(0),
        Verb::Ask(1, 3, Till::Ever, true),
        Verb::Ask(1, 3, Till::Ms(7), false),
        Verb::Any(vec![(0, 1), (3, 2)], Till::Now),
        Verb::All(vec![], Till::Ms(5)),
        Verb::Cancel,
        Verb::Release(7),
        Verb::ReleaseSome(7, 2),
        Verb::Forget(1),
        Verb::Slots(1),
        Verb::Abandon(1),
        Verb::MarkConsistent(1),
        Verb::Held(2),
        Verb::Give(1, 2),
        Verb::Add(1, 2),
        Verb::Resize(1, 2),
        Verb::Capacity(1),
        Verb::Close(1),
        Verb::Drain(name(), Till::Ms(8)),
        Verb::Reopen(name()),
        Verb::Evict(name(), 9),
        Verb::Gc(0),
        Verb::Count(vec![(0, 1), (1, 2)], 5, name()),
        Verb::Why,
        Verb::Play(script),
        Verb::DropInChild(2),
        Verb::EndThread,
        Verb::Hoard(3),
        Verb::Confine(true, "futex_waitv=ENOSYS,fork=kill".into()),
        Verb::Exit,
        Verb::Exec,
    ] {
        assert_eq!(v.to_string().parse::<Verb>().as_ref(), Ok(&v));
    }
    for bad in ["timeout 1", "fly", "ask 1 2 soon false", "any 3 now", "make pool 4 x"] {
        assert!(bad.parse::<Verb>().is_err(), "{bad}");
    }
}

#[test]
fn answers_survive_the_wire() {
    let dead = |pid: u32| (pid, "ended".to_owned());
    for a in [
        Answer::Handle(4),
        Answer::Granted { guard: 0, token: 9, died: None },
        Answer::Granted { guard: 1, token: 9, died: Some(None) },
        Answer::Granted { guard: 2, token: 10, died: Some(Some((dead(7), dead(8), 3))) },
        Answer::Taken { index: 3, guard: 1, token: 4, died: true },
        Answer::All { guards: vec![0, 1], tokens: vec![5, 6], died: vec![] },
        Answer::Done,
        Answer::Is(true),
        Answer::Is(false),
        Answer::Numbers(vec![]),
        Answer::Numbers(vec![1, 2]),
        Answer::Refused(101),
        Answer::RefusedAt(153, vec![0, 2]),
        Answer::Why { holders: vec![7], ahead: 2, cycle: 0, text: "121 it is: so".to_owned() },
        Answer::Broken("no such guard".to_owned()),
    ] {
        assert_eq!(a.to_string().parse::<Answer>().as_ref(), Ok(&a));
    }
    assert!("granted 1".parse::<Answer>().is_err());
}
