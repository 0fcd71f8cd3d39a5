//! Damage, found and mended: each kind of it is written into a file at rest and into one that is in use, by its bytes. Check finds
//! it, repair mends it, check is content, the claims of the living have stayed, and operations work.

mod processes;

use processes::{Child, gate, namespace, until};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use xsem::shm::testing;
use xsem::{Code, Counting, Event, Exclusive, Namespace, Wait};

/// What is to be written where: tables, entries, fields as `docs/format.md` has them.
struct Bytes<'a> {
    ns: &'a Namespace,
    file: File,
}

impl Bytes<'_> {
    fn new(ns: &Namespace) -> Bytes<'_> {
        let path = ns.url().strip_prefix("shm:").unwrap();
        Bytes { ns, file: OpenOptions::new().read(true).write(true).open(path).unwrap() }
    }

    fn at(&self, table: &str, index: u64, size: u64, field: u64) -> u64 {
        testing::table(self.ns, table).unwrap() + index * size + field
    }

    fn get(&self, at: u64) -> u64 {
        let mut b = [0; 8];
        self.file.read_exact_at(&mut b, at).unwrap();
        u64::from_le_bytes(b)
    }

    fn put(&self, at: u64, value: u64) {
        self.file.write_all_at(&value.to_le_bytes(), at).unwrap();
    }

    fn put32(&self, at: u64, value: u32) {
        self.file.write_all_at(&value.to_le_bytes(), at).unwrap();
    }

    fn cell(&self, name: &str, field: u64) -> u64 {
        self.at("cells", testing::cell(self.ns, name).unwrap().0.into(), 64, field)
    }

    fn cold(&self, name: &str, field: u64) -> u64 {
        self.at("cold", testing::cell(self.ns, name).unwrap().0.into(), 64, field)
    }

    fn bucket(&self, name: &str) -> u64 {
        self.at("buckets", testing::cell(self.ns, name).unwrap().1.into(), 8, 0)
    }

    /// The entry of the ledger that holds something of it.
    fn entry(&self, name: &str, field: u64) -> u64 {
        let first = self.get(self.cold(name, LEDGER)) as u32;
        self.at("ledger", u64::from(first) - 1, 64, field)
    }
}

const WORD: u64 = 0;
const CLAIM: u64 = 8;
const OLDEST: u64 = 32;
const NEXT: u64 = 40;
const NAME: u64 = 48;
const HASH: u64 = 52;
const KIND: u64 = 60;
const LABEL: u64 = 0;
const OBITUARY: u64 = 8;
const DRAIN: u64 = 40;
const LEDGER: u64 = 48;
const BOUNDS: u64 = 56;
const CURSORS: u64 = 832;

/// A kind of damage: what it is, and how it is written.
type Damage = (&'static str, fn(&Bytes<'_>));

const DAMAGE: &[Damage] = &[
    ("the copy of the header", |b| b.put(8192 + 24, 7)),
    ("the header, which its copy has", |b| b.put(56, 0)),
    ("the limits in the header", |b| b.put(24, 99)),
    ("the epoch", |b| b.put(512, 3)),
    ("the boot of the epoch", |b| b.put(584, 1)),
    ("the cursor of cells, too low", |b| b.put32(CURSORS, 1)),
    ("the cursor of cells, impossible", |b| b.put32(CURSORS, u32::MAX)),
    ("the cursor of blocks, too low", |b| b.put32(CURSORS + 4, 0)),
    ("the cursor of wait records", |b| b.put32(CURSORS + 8, u32::MAX)),
    ("the cursor of slots", |b| b.put32(CURSORS + 12, u32::MAX)),
    ("the cursor of entries", |b| b.put32(CURSORS + 28, 0)),
    ("a hint", |b| b.put32(CURSORS + 64, u32::MAX - 3)),
    ("a bit of a unit behind the end", |b| b.put(b.at("present", 0, 8, 0) + 16368, u64::MAX)),
    ("the bits of what is there", |b| b.put(b.at("present", 0, 8, 0), 0)),
    ("the word of a free one", |b| b.put(b.cell("free", WORD), 0xffff_ffff_ffff_ffff)),
    ("the word of a held one", |b| b.put32(b.cell("held", WORD), 0x0000_0518)),
    ("the word of a held one, that it is free", |b| b.put32(b.cell("held", WORD), 0)),
    ("the word of a held one, that it is empty", |b| b.put(b.cell("held", WORD), 0)),
    ("the word of a held one, that it is of a slot that there is not", |b| b.put32(b.cell("held", WORD), 1 << 19 | 2000 << 8)),
    ("the word of a pool, that somebody owns it", |b| b.put32(b.cell("pool", WORD), 1 << 19)),
    ("the word of an event", |b| b.put32(b.cell("manual", WORD), 0x18)),
    ("the generation in a word", |b| b.put32(b.cell("waited-for", WORD) + 4, 77)),
    ("the generation in a link", |b| b.put32(b.cell("free", NEXT) + 4, 78 << 1)),
    ("the mark in a link", |b| b.put(b.cell("free", NEXT), b.get(b.cell("free", NEXT)) | 1 << 32)),
    ("a link into the void", |b| b.put32(b.cell("free", NEXT), u32::MAX - 9)),
    ("a link to itself", |b| b.put32(b.cell("free", NEXT), testing::cell(b.ns, "free").unwrap().0 + 1)),
    ("a bucket, into the void", |b| b.put32(b.bucket("held"), 0x00ff_ffff)),
    ("a bucket, to nothing", |b| b.put32(b.bucket("pool"), 0)),
    ("a bucket, to another's cell", |b| b.put32(b.bucket("held"), testing::cell(b.ns, "free").unwrap().0 + 1)),
    ("the way to a name", |b| b.put32(b.cell("held", NAME), 0x7fff_ffff)),
    ("the way to a name, gone", |b| b.put32(b.cell("free", NAME), 0)),
    ("a hash", |b| b.put32(b.cell("pool", HASH), 0x1234_5678)),
    ("a kind, where somebody owns it", |b| b.put32(b.cell("held", KIND), 0x77)),
    ("a flag of a kind", |b| b.put32(b.cell("pool", KIND), 2 | 1 << 14)),
    ("the oldest waiter", |b| b.put(b.cell("free", OLDEST), u64::MAX)),
    ("a label", |b| b.put32(b.cold("held", LABEL), 0x00ff_ffff)),
    ("an obituary", |b| b.put32(b.cold("died", OBITUARY), 0x00ff_ffff)),
    ("whether it is drained", |b| b.put(b.cold("held", DRAIN), 99 << 32)),
    ("free permits", |b| b.put(b.cell("pool", CLAIM), b.get(b.cell("pool", CLAIM)) ^ 3 << 32)),
    ("free permits of a credit", |b| b.put(b.cell("credit", CLAIM), b.get(b.cell("credit", CLAIM)) ^ 7 << 32)),
    ("a limit", |b| b.put(b.cold("pool", BOUNDS), 0)),
    ("a total", |b| b.put(b.cold("pool", BOUNDS), b.get(b.cold("pool", BOUNDS)) + 1)),
    ("a signal", |b| b.put(b.cell("auto", CLAIM), 5 << 32)),
    ("a ledger, into the void", |b| b.put32(b.cold("pool", LEDGER), 0x00ff_ffff)),
    ("a ledger, to nothing", |b| b.put32(b.cold("pool", LEDGER), 0)),
    ("a ledger in a circle", |b| b.put32(b.entry("pool", 52), b.get(b.cold("pool", LEDGER)) as u32)),
    ("the label of a claim", |b| b.put32(b.entry("pool", 48), 0x00ff_ffff)),
    ("a joint request", |b| b.put(b.at("joints", 1, 576, 0), 9)),
    ("the list of wait records", |b| b.put32(b.at("slots", 2, 256, 184), 0x00ff_ffff)),
    ("the list of wait records, gone", |b| b.put32(b.at("slots", 2, 256, 184), 0)),
    ("a wait record's next", |b| b.put32(b.at("waiters", 0, 64, 32), 1)),
    ("what is waited for", |b| b.put(b.at("waiters", 0, 64, 8), 0x00ff_ffff)),
    ("the use of a wait record", |b| b.put32(b.at("waiters", 0, 64, 36), 8)),
    ("what a member shares", |b| b.put(b.at("slots", 1, 256, 208), 0x00ff_ffff)),
    ("what a member covers", |b| b.put(b.at("slots", 1, 256, 192), u64::MAX)),
    ("inside of whose command a member runs", |b| b.put(b.at("slots", 1, 256, 240), 5)),
    ("that a member is dead", |b| b.put32(b.at("rows", 1, 16384, 0), 0x4000_0000)),
    ("the epoch and the generation of a member", |b| b.put32(b.at("rows", 1, 16384, 4), 7 << 24)),
    ("an identity of the morgue", |b| b.put(b.at("morgue", 3, 192, 0), 5)),
    ("a block that is nobody's", |b| b.put(b.at("blocks", 30, 48, 0), 0x00ff_ffff << 32)),
];

/// Who is there while the damage is done: slot 0 the test itself, 1 who holds, 2 who waits.
struct Crew {
    holder: Child,
    waiter: Child,
    give_back: processes::Opens,
    got_it: processes::Waits,
}

impl Crew {
    fn new(ns: &Namespace) -> Crew {
        testing::register(ns).unwrap();
        for name in ["free", "other/name", "waited-for"] {
            Exclusive::open_or_create(ns, name).unwrap();
        }
        Counting::create_pool(ns, "pool", 4, Default::default()).unwrap();
        Counting::create_credit(ns, "credit", 9, 5, Default::default()).unwrap();
        Event::create_auto(ns, "auto", Default::default()).unwrap();
        Event::create_manual(ns, "manual", Default::default()).unwrap();
        died(ns);
        let (waits, give_back) = gate();
        let (got_it, tell) = gate();
        let (holds, ready) = gate();
        let holder = Child::new(|| {
            let (held, mine) = (Exclusive::open_or_create(ns, "held").unwrap(), Exclusive::open(ns, "waited-for").unwrap());
            let pool = Counting::open(ns, "pool").unwrap();
            let label = Wait::forever().label("a label");
            let guard = held.acquire_with(label).unwrap();
            let second = mine.acquire().unwrap();
            let permit = pool.acquire_with(2, label).unwrap();
            permit.slots().unwrap();
            // A joint request, so that there is one.
            let (x, y) = (Exclusive::open(ns, "free").unwrap(), Exclusive::open(ns, "other/name").unwrap());
            drop(ns.acquire_all(&[(&x).into(), (&y).into()], Wait::forever()).unwrap());
            ready.open();
            waits.wait();
            // What it still has, it can give back; what was lost is 288, and never worse.
            for done in [guard.release(), second.release(), permit.release()] {
                if let Err(e) = done {
                    assert_eq!(e.code(), Code::NotOwner, "{e}");
                }
            }
        });
        holds.wait();
        let waiter = Child::new(|| {
            drop(Exclusive::open(ns, "waited-for").unwrap().acquire());
            tell.open();
        });
        until(|| ns.inspect("waited-for").is_ok_and(|r| r.waiters.len() == 1));
        Crew { holder, waiter, give_back, got_it }
    }

    /// The living end as they should: what is held is given back, and who waits gets it.
    fn end(self) {
        self.give_back.open();
        self.holder.succeeds();
        self.got_it.wait();
        self.waiter.succeeds();
    }
}

/// A semaphore whose owner has died.
fn died(ns: &Namespace) {
    let child = Child::that_stays(|| {
        std::mem::forget(Exclusive::open_or_create(ns, "died").unwrap().acquire());
    });
    child.kill();
    drop(Exclusive::open(ns, "died").unwrap().acquire().unwrap_err());
}

/// Everything works.
fn use_all(ns: &Namespace) {
    let short = Duration::from_secs(20);
    for name in ["free", "other/name", "held", "waited-for", "new"] {
        drop(Exclusive::open_or_create(ns, name).unwrap().acquire_timeout(short));
    }
    let pool = Counting::open_or_create_pool(ns, "pool", 4).unwrap();
    let all = pool.acquire_with(4, Wait::timeout(short)).unwrap();
    assert_eq!(all.slots().unwrap().len(), 4);
    drop(all);
    for auto in [true, false] {
        let event = match auto {
            true => Event::open_or_create_auto(ns, "auto").unwrap(),
            false => Event::open_or_create_manual(ns, "manual").unwrap(),
        };
        event.signal().unwrap();
        event.wait_timeout(short).unwrap();
    }
    let mut names: Vec<String> = ns.list().unwrap().into_iter().map(|s| s.name).collect();
    names.sort();
    for n in names.iter().filter(|n| *n != "died") {
        ns.remove(n).unwrap();
    }
}

fn sound(ns: &Namespace, when: &str) {
    let found = ns.check().unwrap();
    assert!(found.is_sound(), "{when}: {:#?}", found.damage().collect::<Vec<_>>());
}

/// The cases that are asked for (`XSEM_DAMAGE=TEXT`, or `all`), or every so many of them.
fn cases(every: usize) -> impl Iterator<Item = &'static Damage> {
    let only = std::env::var("XSEM_DAMAGE").ok();
    let wanted = move |i: usize, what: &str| match only.as_deref() {
        None => i.is_multiple_of(every),
        Some("all") => true,
        Some(text) => what.contains(text),
    };
    DAMAGE.iter().enumerate().filter(move |(i, (what, _))| wanted(*i, what)).map(|(_, d)| d)
}

/// Each case by itself, so that one run tells all that fail; some at a time, since most of it is waiting.
fn each(every: usize, play: impl Fn(&'static str, fn(&Bytes<'_>)) + Sync) {
    let (todo, failed) = (Mutex::new(cases(every)), Mutex::new(Vec::new()));
    let next = || todo.lock().unwrap().next();
    let lane = || {
        while let Some((what, damage)) = next() {
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(what, *damage))).is_err() {
                failed.lock().unwrap().push(*what);
            }
        }
    };
    std::thread::scope(|s| (0..4).for_each(|_| drop(s.spawn(lane))));
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "failed (XSEM_DAMAGE=... plays one of them): {failed:#?}");
}

#[test]
fn what_is_damaged_is_found_and_mended_and_the_living_keep_what_they_hold() {
    each(1, |what, damage| {
        let (_dir, ns) = namespace();
        let crew = Crew::new(&ns);
        sound(&ns, what);
        let holders = |name: &str| ns.inspect(name).map(|r| r.holders.iter().map(|h| h.process.pid).collect::<Vec<_>>());
        damage(&Bytes::new(&ns));
        assert!(!ns.check().unwrap().is_sound(), "{what}: is not found");
        let done = ns.repair().unwrap();
        assert!(done.now.is_sound(), "{what}: {:#?}\nmended: {:#?}", done.now.findings, done.mended);
        assert!(!done.mended.is_empty(), "{what}");
        // Who waits for a member that seems to be gone takes over at once; what nobody asked for stays.
        let lost = what.contains("generation of a member");
        for name in ["held", "pool", "waited-for"].iter().take(if lost { 2 } else { 3 }) {
            assert_eq!(holders(name).unwrap(), [crew.holder.pid()], "{what}: {name}, {:#?}", done.mended);
        }
        crew.end();
        use_all(&ns);
        sound(&ns, what);
    });
}

/// Somebody who uses names of its own, and is content with whatever is refused meanwhile.
fn busy(ns: &Namespace, n: u32) -> Child {
    Child::new(|| {
        for i in 0u32.. {
            let name = format!("busy-{n}-{}", i % 7);
            let short = Wait::timeout(Duration::from_millis(1));
            if let Ok(sem) = Exclusive::open_or_create(ns, &name) {
                drop(sem.acquire_with(short));
            }
            if let Ok(pool) = Counting::open_or_create_pool(ns, "busy-pool", 3) {
                drop(pool.acquire_with(1 + i % 3, short));
            }
            let _ = ns.remove(&name);
        }
    })
}

#[test]
fn it_is_mended_while_others_work_by_several_who_are_killed() {
    each(4, |what, damage| {
        let (_dir, ns) = namespace();
        let crew = Crew::new(&ns);
        let others = [busy(&ns, 0), busy(&ns, 1)];
        damage(&Bytes::new(&ns));
        // Two at once; one of them is killed somewhere, at once or after some milliseconds.
        let seed = what.len() as u64;
        for round in 0..2 {
            let mend = || {
                Child::new(|| {
                    ns.repair().unwrap();
                })
            };
            let (first, second) = (mend(), mend());
            std::thread::sleep(Duration::from_micros((seed * 7919 + round * 104_729) % 60_000));
            first.kill();
            second.succeeds();
        }
        others.into_iter().for_each(Child::kill);
        let done = ns.repair().unwrap();
        assert!(done.now.is_sound(), "{what}: {:#?}\nmended: {:#?}", done.now.findings, done.mended);
        crew.end();
        use_all(&ns);
        sound(&ns, what);
    });
}

/// In a process that has nothing of it open, as `xsem repair` is.
fn repair_elsewhere(url: &str, judge: impl FnOnce(xsem::Repaired)) {
    Child::new(|| judge(Namespace::repair_at(url).unwrap())).succeeds();
}

#[test]
fn room_that_the_dead_have_left_is_freed_when_nobody_can_come_back_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("shm:{}/ns", dir.path().display());
    // A member that dies, and one that lives.
    let child = |name: &'static str| {
        let url = url.clone();
        Child::that_stays(move || {
            let ns = Namespace::open(&url).unwrap();
            std::mem::forget(Exclusive::open_or_create(&ns, name).unwrap().acquire());
        })
    };
    let dead = child("a");
    let alive = child("b");
    dead.kill();
    let url_of_child = url.clone();
    Child::new(move || {
        let ns = Namespace::open(&url_of_child).unwrap();
        let b = Bytes::new(&ns);
        drop(Counting::create_pool(&ns, "pool", 3, Default::default()).unwrap().acquire().unwrap());
        let (cells, blocks) = (b.get(CURSORS) as u32, (b.get(CURSORS) >> 32) as u32);
        let dead = 2 << 19; // Slot 0, its first generation.
        // A cell that is half built, with a block for its name.
        b.put32(CURSORS, cells + 1);
        b.put(b.at("cells", cells.into(), 64, WORD), 1 << 32 | dead | 0x18);
        // Blocks of a half-built cell, and of one that is whole.
        b.put32(CURSORS + 4, blocks + 2);
        b.put(b.at("blocks", blocks.into(), 48, 0), (u64::from(cells) + 1) << 32);
        b.put32(b.at("cells", cells.into(), 64, NAME), blocks + 1);
        b.put(b.at("blocks", u64::from(blocks) + 1, 48, 0), 1 << 32);
        // An entry that was taken and not linked.
        let entries = b.get(CURSORS + 28) as u32;
        b.put32(CURSORS + 28, entries + 1);
        b.file.write_all_at(&[0; 64], b.at("ledger", entries.into(), 64, 0)).unwrap();
        b.put(b.at("ledger", entries.into(), 64, 16), dead << 32 | 1);
        let found = ns.check().unwrap();
        assert!(found.is_sound(), "{:#?}", found.findings);
        let leaks = found.findings.iter().filter(|f| f.severity == xsem::Severity::Leak);
        assert_eq!(leaks.map(|f| f.table).collect::<Vec<_>>(), ["cells", "ledger", "blocks"]);
    })
    .succeeds();
    let leaks = |c: &xsem::Checkup| c.findings.iter().filter(|f| f.severity == xsem::Severity::Leak).count();
    // While somebody lives, a block may be one that is just being used: who took it cannot be told.
    repair_elsewhere(&url, |done| assert_eq!((done.now.is_sound(), leaks(&done.now)), (true, 1), "{done:#?}"));
    alive.kill();
    repair_elsewhere(&url, |done| assert_eq!((done.now.is_sound(), leaks(&done.now)), (true, 0), "{done:#?}"));
    Child::new(move || {
        let ns = Namespace::open(&url).unwrap();
        drop(Exclusive::open(&ns, "b").unwrap().acquire().unwrap_err());
    })
    .succeeds();
}

type Ruin = fn(&Path);

fn gate_of(dir: &Path) -> PathBuf {
    let mut all = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    all.find(|p| p.extension().is_some_and(|e| e == "gate")).unwrap()
}

fn ns_of(dir: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(dir.join("ns")).unwrap()
}

#[test]
fn what_keeps_a_file_from_being_opened_is_mended_where_it_can_be() {
    let cases: [(&str, bool, Ruin); 4] = [
        ("its gate is gone", true, |dir| std::fs::remove_file(gate_of(dir)).unwrap()),
        ("it is too long", true, |dir| {
            let f = ns_of(dir);
            f.set_len(f.metadata().unwrap().len() + 5).unwrap();
        }),
        ("it is too short", false, |dir| {
            let f = ns_of(dir);
            f.set_len(f.metadata().unwrap().len() - 1).unwrap();
        }),
        ("nothing of its header is left", false, |dir| ns_of(dir).write_all_at(&[0; 16384], 0).unwrap()),
    ];
    for (what, can, ruin) in cases {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("shm:{}/ns", dir.path().display());
        let url_of_child = url.clone();
        Child::new(move || drop(Exclusive::create(&Namespace::open(&url_of_child).unwrap(), "a").unwrap())).succeeds();
        ruin(dir.path());
        let found = Namespace::check_at(&url).unwrap();
        assert_eq!((found.is_sound(), found.findings[0].remedy.is_repair()), (false, can), "{what}: {found:#?}");
        repair_elsewhere(&url, |done| assert_eq!(done.now.is_sound(), can, "{what}: {done:#?}"));
        if !can {
            Child::new(|| drop(Namespace::reset_at(&url).unwrap())).succeeds();
        }
        Child::new(move || {
            let ns = Namespace::open(&url).unwrap();
            assert_eq!(Exclusive::open(&ns, "a").is_ok(), can);
            drop(Exclusive::open_or_create(&ns, "a").unwrap().acquire().unwrap());
        })
        .succeeds();
    }
}

/// Who takes a name away takes its cell out of the chain; here the cell cannot be used again yet, since its evicted owner lives, and
/// its link leads to itself.
#[test]
fn the_end_of_a_moved_name_whose_link_leads_to_itself_comes_to_an_end() {
    let (_dir, ns) = namespace();
    let sem = Exclusive::create(&ns, "moved").unwrap();
    let owner = Child::that_stays(|| std::mem::forget(sem.acquire().unwrap()));
    ns.evict("moved", ns.inspect("moved").unwrap().holders[0].token).unwrap();
    let b = Bytes::new(&ns);
    b.put32(b.cell("moved", NEXT), testing::cell(&ns, "moved").unwrap().0 + 1);
    // In a process with a watchdog: it may say anything but nothing.
    let url = ns.url().to_owned();
    let remover = Child::new(|| {
        let ns = Namespace::open(&url).unwrap();
        let _ = ns.remove("moved");
        let _ = ns.gc(Duration::ZERO, |_| false);
    });
    remover.succeeds();
    drop(owner);
    assert!(ns.repair().unwrap().now.is_sound());
}

/// Words of what is in use, overwritten at random: no crash, no hang, and mostly whole again. What cannot be mended is said.
#[test]
fn random_damage_is_survived() {
    let seeds = std::env::var("XSEM_SEEDS").map_or(24, |s| s.parse().expect("a number"));
    let first = std::env::var("XSEM_SEED").map_or(1, |s| s.parse().expect("a number"));
    let todo = Mutex::new(first..first + seeds);
    let mended = Mutex::new(0);
    let next = || todo.lock().unwrap().next();
    let lane = || {
        while let Some(seed) = next() {
            let (_dir, ns) = namespace();
            let crew = Crew::new(&ns);
            overwrite(&ns, seed);
            let (waits, tell) = gate();
            Child::new(|| {
                let done = Namespace::repair_at(ns.url());
                let again = Namespace::check_at(ns.url());
                if let (Ok(done), Ok(again)) = (done, again) {
                    // What it said at its end is how it stands. Others may have come since to what is not mended.
                    assert!(!done.now.is_sound() || again.is_sound(), "seed {seed}: {again:#?}");
                    if again.is_sound() {
                        tell.open();
                    }
                }
            })
            .succeeds();
            drop(crew);
            *mended.lock().unwrap() += u32::from(waits.is_open());
        }
    };
    std::thread::scope(|s| (0..4).for_each(|_| drop(s.spawn(lane))));
    let mended = mended.into_inner().unwrap();
    println!("{mended} of {seeds} are whole again");
    assert!(u64::from(mended) * 2 > seeds, "only {mended} of {seeds} are whole again");
}

/// Some words, in tables and entries that are in use, become what such words may become.
fn overwrite(ns: &Namespace, seed: u64) {
    let b = Bytes::new(ns);
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut roll = |n: u64| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x % n
    };
    let tables = [
        ("header", 210),
        ("slots", 96),
        ("rows", 2),
        ("waiters", 24),
        ("cells", 72),
        ("cold", 72),
        ("blocks", 90),
        ("ledger", 32),
        ("joints", 140),
    ]
    .map(|(table, words)| (b.at(table, 0, 8, 0), words));
    let cells = tables[4].0;
    for _ in 0..=roll(6) {
        let (table, words) = tables[roll(9) as usize];
        let at = table + roll(words) * 8;
        let old = b.get(at);
        let new = match roll(7) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => old.wrapping_add(1),
            4 => old ^ 1 << roll(64),
            5 => b.get(cells + roll(72) * 8),
            _ => roll(u64::MAX),
        };
        b.put(at, new);
    }
}
