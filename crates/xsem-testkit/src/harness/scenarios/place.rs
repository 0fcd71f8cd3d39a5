//! The namespace itself: made, begun anew after a restart of the machine or as a copy, and reset.

use super::acquire::{acknowledging_peer, checks_death};
use super::others::members_fit;
use super::play::{PLAY, Play};
use super::*;
use crate::harness::player::MEMBERS;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;
use xsem::{Code, Namespace};

/// In its directory are the file and its gate, and nothing that somebody has left.
fn nothing_is_left(case: &Case<'_>) {
    case.run_player("tidier", |p| drop(p.must("gc", p.ns().gc(Duration::from_secs(3600), |_| true))));
    let dir = Path::new(case.path()).parent().expect("a directory");
    let mut names: Vec<_> = std::fs::read_dir(dir).expect("the directory").flatten().map(|e| e.file_name()).collect();
    names.sort();
    let text = |i: usize| names.get(i).map_or(String::new(), |n| n.to_string_lossy().into_owned());
    if names.len() != 2 || !text(0).starts_with(".ns.") || !text(0).ends_with(".gate") || text(1) != "ns" {
        case.violation(format_args!("the file and its gate belong there, and there are {names:?}"));
    }
}

/// Somebody new makes what there is not, and everything works.
fn works_anew(case: &Case<'_>) {
    case.stage.put(Value::Token, 0);
    case.run_player("newcomer", |p| p.pass(&p.must("open or create", Exclusive::open_or_create(p.ns(), SEM))));
}

/// The file that is not there yet.
pub(crate) const MAKE: Play = Play {
    name: "namespace-make",
    about: "open a namespace that does not exist, while another process does, too: both have the same one",
    walks: true,
    victim: |p| {
        p.begin();
        let ns = p.ns();
        p.done();
        p.until(Flag::Leave);
        // It meets what the peer has made and owns.
        let found = Exclusive::open(ns, SEM).and_then(|s| match s.try_acquire() {
            Ok(_) => Ok(()),
            Err(e) => Err(e.into()),
        });
        p.put_code(Value::VictimCode, &found);
        p.stage.set(Flag::Left);
    },
    killed: |case| {
        works_anew(case);
        nothing_is_left(case);
    },
    paused: |case| {
        case.play("peer", |p| {
            let s = p.must("create", Exclusive::create(p.ns(), SEM));
            let held = p.succeed(&s);
            p.stage.set(Flag::Got);
            p.until(Flag::Give);
            p.release(held);
            p.stage.set(Flag::Peer);
        });
        case.until("a peer to own what it has made", Flag::Got);
        // Nobody takes for left what somebody is still at.
        case.run_player("tidier", |p| drop(p.must("gc", p.ns().gc(Duration::from_secs(3600), |_| true))));
    },
    resumed: |case| {
        case.until("the resumed victim to open it", Flag::Done);
        case.stage.set(Flag::Leave);
        case.until("the victim to look into it", Flag::Left);
        if case.stage.get(Value::VictimCode) != 101 {
            case.violation(format_args!("the peer owns it, and the victim's try gives {}", case.stage.get(Value::VictimCode)));
        }
        case.stage.set(Flag::Give);
        case.until("the peer to give it up", Flag::Peer);
        passes(case);
        nothing_is_left(case);
    },
    ..PLAY
};

/// Where the file says for which boot and which inode it was made: the first of its epochs (docs/format.md).
const BOOT_AT: u64 = xsem::shm::testing::EPOCHS_AT + 8;

/// Somebody has died as the owner, and then the machine was restarted.
fn restarted(case: &Case<'_>) {
    make(case);
    let dead = owner(case);
    case.kill(dead);
    let file = std::fs::File::options().write(true).open(case.path()).expect("the namespace file");
    file.write_all_at(&[0x5a; 16], BOOT_AT).expect("a boot that is not this one");
}

/// The same file as another inode.
fn copied(case: &Case<'_>) {
    make(case);
    let dead = owner(case);
    case.kill(dead);
    case.replace_by_copy().expect("a copy in its place");
}

/// It is told of the owner before the restart, and of nobody else; all member slots are there again.
fn begun_anew(case: &Case<'_>) {
    case.run_player("successor", |p| {
        let s = p.open(SEM);
        let held = p.succeed(&s);
        checks_death(p, &held);
        p.must("mark consistent", held.guard.mark_consistent());
        p.stage.set(Flag::Acknowledged);
        p.release(held);
    });
    passes(case);
    members_fit(case, MEMBERS - 1);
}

/// A file of an earlier boot.
pub(crate) const RENEW: Play = Play {
    name: "namespace-renew",
    about: "open a namespace after a restart of the machine, while another process does, and takes over from the dead",
    walks: true,
    prepare: restarted,
    victim: |p| {
        p.begin();
        let ns = p.ns();
        p.done();
        p.until(Flag::Leave);
        let s = p.must("open", Exclusive::open(ns, SEM));
        let held = p.succeed(&s);
        checks_death(p, &held);
        p.release(held);
        p.stage.set(Flag::Left);
    },
    killed: begun_anew,
    paused: |case| {
        let peer = acknowledging_peer(case);
        case.until("a peer to take over from the dead", Flag::Got);
        case.stage.put(Value::Joiner, peer as u64);
    },
    resumed: |case| {
        case.until("the resumed victim to open it", Flag::Done);
        // A step of the victim that is late must not end what the peer has claimed since.
        let peer = case.stage.get(Value::Joiner) as u32;
        let owns = case.ask(|p| {
            let report = p.must("inspect", p.ns().inspect(SEM));
            u64::from(report.holders.iter().any(|h| h.process.pid == peer && h.process.state == xsem::ProcessState::Alive))
        });
        if owns == 0 {
            case.violation("the peer owned it, and is not its living owner any more");
        }
        case.stage.set(Flag::Give);
        case.until("the peer to give it up", Flag::Peer);
        case.stage.set(Flag::Leave);
        case.until("the victim to own it once", Flag::Left);
        case.end_players("peer");
        case.kill(case.victim.get());
        begun_anew(case);
    },
    ..PLAY
};

/// A copy of the file.
pub(crate) const RENEW_COPY: Play = Play {
    name: "namespace-renew-copy",
    about: "open a copy of a namespace in its place, while another process does, and takes over from the dead",
    prepare: copied,
    ..RENEW
};

/// Who sleeps in the old namespace is told that it is over, or is served; who owns something there gives it back.
fn old_ones_end(case: &Case<'_>) {
    case.stage.set(Flag::Release);
    case.until("the owner in the old namespace to give it back", Flag::Left2);
    case.wake("who sleeps in the old namespace", Flag::Got);
}

/// A new namespace in the place of the old one.
pub(crate) const RESET: Play = Play {
    name: "namespace-reset",
    about: "reset a namespace, while somebody owns and somebody sleeps in the old one, and others begin with the new one",
    walks: true,
    prepare: |case| {
        make(case);
        case.play("owner", |p| {
            let s = p.open(SEM);
            let guard = p.must("acquire", s.acquire().map_err(xsem::Error::from));
            p.stage.set(Flag::Owning);
            p.until(Flag::Release);
            p.must("give it back in the old namespace", guard.release());
            p.stage.set(Flag::Left2);
        });
        case.until("the owner to own", Flag::Owning);
        let sleeper = case.play("waiter", |p| {
            let s = p.open(SEM);
            p.register();
            p.stage.set(Flag::Waiting);
            match s.acquire().map_err(xsem::Error::from) {
                Ok(guard) => p.must("release", guard.release()),
                Err(e) if e.code() == Code::InvalidHandle => {}
                Err(e) => p.violation(format_args!("6 was due, or to be served: {e}")),
            }
            p.stage.set(Flag::Got);
        });
        case.until("the waiter to begin", Flag::Waiting);
        case.until_asleep(sleeper);
    },
    victim: |p| {
        p.begin();
        let r = Namespace::reset_at(p.url());
        p.done();
        p.must("reset", r);
        p.stage.set(Flag::Left);
    },
    killed: |case| {
        old_ones_end(case);
        works_anew(case);
        nothing_is_left(case);
    },
    paused: |case| {
        // It takes room in whichever of the two is there, and gives it back; nobody takes for left what the victim is still at.
        case.run_player("peer", |p| {
            drop(p.must("create another", Exclusive::create(p.ns(), "other")));
            p.pass(&p.open("other"));
            drop(p.must("gc", p.ns().gc(Duration::from_secs(3600), |_| true)));
        });
    },
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        old_ones_end(case);
        works_anew(case);
        nothing_is_left(case);
    },
    ..PLAY
};
