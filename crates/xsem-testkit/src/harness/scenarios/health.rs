//! Looking, checking and repairing, with people alive beside it.

use super::play::{PLAY, Play};
use super::pool::{bystander, make_pool, no_bystander, whole};
use super::*;
use crate::harness::counting::{LIMIT, POOL};
use crate::sys::{self, Pid};
use std::os::unix::fs::FileExt;
use xsem::Repaired;

/// An exclusive semaphore that somebody owns, and a pool of which somebody holds two.
fn in_use(case: &Case<'_>) {
    make_pool(case);
    make(case);
    owner(case);
    bystander(case, 2);
}

/// Both give back, as if nobody had looked; and everything is there.
fn both_end(case: &Case<'_>) {
    case.stage.set(Flag::Release);
    passes(case);
    no_bystander(case);
    whole(case);
}

fn note_content(case: &Case<'_>) {
    case.until("the victim to be ready", Flag::Owning2);
    case.stage.put(Value::Before, case.content());
    case.stage.set(Flag::Go);
}

/// Nothing has changed since the victim was ready: it only looks, and nobody else did anything.
fn unchanged(case: &Case<'_>) {
    if case.content() != case.stage.get(Value::Before) {
        case.violation("it only looks, and the file has changed");
    }
}

/// Says that it is ready, looks, and is content.
fn looks(p: &Player<'_>, look: impl FnOnce() -> xsem::Result<Option<String>>) {
    p.stage.set(Flag::Owning2);
    p.until(Flag::Go);
    p.begin();
    let r = look();
    p.done();
    if let Some(wrong) = p.must("look", r) {
        p.violation(wrong);
    }
    p.stage.set(Flag::Left);
}

const LOOKS: Play = Play {
    walks: true,
    prepare: in_use,
    ready: note_content,
    killed: |case| {
        unchanged(case);
        both_end(case);
    },
    paused: |case| {
        unchanged(case);
        both_end(case);
    },
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        both_end(case);
    },
    ..PLAY
};

/// Everything that can be asked.
pub(crate) const LOOK: Play = Play {
    name: "look",
    about: "inspect, list and ask for the capacity, while others give back and acquire what is looked at",
    victim: |p| {
        let (ns, pool) = (p.ns(), p.pool());
        looks(p, || {
            let (s, all, report, now) = (ns.inspect(SEM)?, ns.list()?, ns.inspect(POOL)?, pool.capacity()?);
            let held: u32 = report.holders.iter().map(|h| h.permits).sum();
            let wrong = s.holders.len() > 1 || all.len() != 2 || held > LIMIT || now.total != LIMIT || now.free > LIMIT;
            Ok(wrong.then(|| format!("{} owners, {} names, {held} permits held, capacity {now:?}", s.holders.len(), all.len())))
        });
    },
    ..LOOKS
};

/// Everything that is stored, without being a member.
pub(crate) const CHECK: Play = Play {
    name: "check",
    about: "check a namespace that one does not have open, while others change what is looked at",
    victim: |p| {
        looks(p, || {
            let found = xsem::Namespace::check_at(p.url())?;
            Ok((!found.is_sound()).then(|| format!("nothing is damaged, and it finds {:?}", found.findings)))
        });
    },
    ..LOOKS
};

/// The word of the semaphore that is owned says that it is free; three permits of the pool are doubled.
fn damage(case: &Case<'_>) {
    let word = case.ask(|p| p.must("the word's place", xsem::shm::testing::place_of_word(p.ns(), SEM)));
    let count = case.ask(|p| p.must("the word's place", xsem::shm::testing::place_of_count(p.ns(), POOL)));
    let file = std::fs::File::options().read(true).write(true).open(case.path()).expect("the namespace file");
    let mut permits = [0; 8];
    file.write_all_at(&0u32.to_le_bytes(), word).expect("a word");
    file.read_exact_at(&mut permits, count).expect("a word");
    let more = u64::from_le_bytes(permits) ^ 3 << 32;
    file.write_all_at(&more.to_le_bytes(), count).expect("a word");
    if case.ask(|p| u64::from(p.must("check", p.ns().check()).is_sound())) == 1 {
        case.violation("it is damaged, and a check finds nothing");
    }
}

fn is_mended(p: &Player<'_>, r: xsem::Result<Repaired>) {
    let now = p.must("repair", r).now;
    if !now.is_sound() {
        p.violation(format_args!("after a repair there is damage: {:?}", now.findings));
    }
}

/// Whoever repairs next ends the work; no claim of the living is lost.
fn repaired_by_another(case: &Case<'_>) {
    case.run_player("second mender", |p| is_mended(p, p.ns().repair()));
    let owner = case.stage.get(Value::Dead) as u32;
    let owns = case.ask(|p| {
        let report = p.must("inspect", p.ns().inspect(SEM));
        u64::from(report.holders.iter().any(|h| h.process.pid == owner))
    });
    if owns == 0 {
        case.violation("the owner's claim was lost by the repair");
    }
}

/// What is damaged is rebuilt from what the living hold.
pub(crate) const REPAIR: Play = Play {
    name: "repair",
    about: "repair the word of an owned semaphore and the permits of a pool, while another process repairs them, too",
    walks: true,
    prepare: |case| {
        in_use(case);
        damage(case);
    },
    victim: |p| {
        let ns = p.ns();
        p.begin();
        let r = ns.repair();
        p.done();
        is_mended(p, r);
        p.stage.set(Flag::Left);
    },
    killed: |case| {
        repaired_by_another(case);
        both_end(case);
    },
    // The owner has released, and others have been there, when the victim goes on.
    paused: |case| {
        repaired_by_another(case);
        both_end(case);
    },
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        both_end(case);
        case.run_player("inspector", |p| is_mended(p, p.ns().repair()));
    },
    ..PLAY
};

/// An owner whose word says `low`; it gives up when `Release` is set, and may be told that its claim is lost.
fn owner_is_lost(case: &Case<'_>, low: u32) {
    make(case);
    case.play("owner", |p| {
        let s = p.open(SEM);
        let held = p.acquire(&s);
        p.stage.set(Flag::Owning);
        p.until(Flag::Release);
        p.leaves(0);
        match held.guard.release() {
            Err(e) if e.code() != xsem::Code::NotOwner => p.violation(format_args!("a lost claim is released: {e}")),
            _ => {}
        }
        p.stage.set(Flag::Peer);
    });
    case.until("the owner to own", Flag::Owning);
    let word = case.ask(|p| p.must("the word's place", xsem::shm::testing::place_of_word(p.ns(), SEM)));
    let file = std::fs::File::options().write(true).open(case.path()).expect("the namespace file");
    file.write_all_at(&low.to_le_bytes(), word).expect("a word");
}

fn owner_gives_up(case: &Case<'_>) {
    case.stage.set(Flag::Release);
    case.until("the owner to give up", Flag::Peer);
}

/// Nothing is damaged any more, and whoever comes gets it.
fn is_nobodys(case: &Case<'_>) {
    case.run_player("inspector", |p| is_mended(p, p.ns().repair()));
    case.run_player("newcomer", |p| {
        let s = p.open(SEM);
        let held = p.succeed(&s);
        p.release(held);
    });
}

/// The owner gives up in the middle of a repair that has seen that it owns it: it must not be put back.
pub(crate) const REPAIR_LEFT: Play = Play {
    name: "repair-left",
    about: "repair the word of a semaphore that says that it is free, while its owner gives it up",
    prepare: |case| owner_is_lost(case, 0),
    paused: owner_gives_up,
    killed: |case| {
        owner_gives_up(case);
        is_nobodys(case);
    },
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        is_nobodys(case);
    },
    ..REPAIR
};

/// The same with a word that no operation makes.
pub(crate) const REPAIR_LEFT_LOST: Play = Play {
    name: "repair-left-lost",
    about: "repair the word of a semaphore that says nothing, while its owner gives it up",
    prepare: |case| owner_is_lost(case, 0x518),
    ..REPAIR_LEFT
};

/// An owner whose word says that nobody owns it gives it up while a repair has the word in its hands, and stands still there.
pub(crate) const RELEASE_REPAIRED: Play = Play {
    name: "release-repaired",
    about: "release a semaphore whose word was damaged and is in the hands of a repair that stands still",
    prepare: make,
    victim: |p| {
        let s = p.open(SEM);
        let held = p.acquire(&s);
        p.leaves(0);
        p.stage.set(Flag::Owning);
        p.until(Flag::Go);
        p.begin();
        let r = held.guard.release();
        p.done();
        match r {
            Err(e) if e.code() != xsem::Code::NotOwner => p.violation(format_args!("a lost claim is released: {e}")),
            _ => {}
        }
        p.stage.set(Flag::Left);
    },
    ready: |case| {
        case.until("the victim to own", Flag::Owning);
        let word = case.ask(|p| p.must("the word's place", xsem::shm::testing::place_of_word(p.ns(), SEM)));
        let file = std::fs::File::options().write(true).open(case.path()).expect("the namespace file");
        file.write_all_at(&0u32.to_le_bytes(), word).expect("a word");
        let mender = case.play_beside("mender", |p| {
            let ns = p.ns();
            p.begin();
            p.must("repair", ns.repair());
            p.stage.set(Flag::Got3);
        });
        case.bring_to_change(mender, word, is_in_a_request);
        case.stage.put(Value::Joiner, mender as u64);
        case.stage.set(Flag::Go);
    },
    killed: |case| {
        mender_goes_on(case);
        is_nobodys(case);
    },
    paused: mender_goes_on,
    resumed: |case| {
        case.until("the resumed victim to finish", Flag::Left);
        is_nobodys(case);
    },
    ..PLAY
};

/// Whether a semaphore's word is in the hands of a joint request (docs/format.md).
fn is_in_a_request(word: u64) -> bool {
    word & 0x50 == 0x40
}

fn mender_goes_on(case: &Case<'_>) {
    sys::detach(case.stage.get(Value::Joiner) as Pid);
    case.until("the mender to end", Flag::Got3);
}
