//! The words of a counting semaphore: how many permits are free, in one atomic step with who made the last change.
//!
//! ```text
//!  63        49 48          32 31    27 26  25          6  5    4    3    2    1    0
//! +------------+--------------+--------+---+-------------+----+----+----+----+----+----+
//! |  sequence  | free, signed | sequ.  | P |  entry + 1  | OP | CL | DR | PE | RE | WA |
//! +------------+--------------+--------+---+-------------+----+----+----+----+----+----+
//!                             |<------------- low half: the futex word -------------->|
//! ```
//!
//! # One change, two places
//! Permits move between the word and the ledger, where each claim has an *entry*: so many permits, of this owner. A death
//! between the two must neither lose nor double one. So the word names the entry whose operation it has just carried out,
//! with that operation's parity (P):
//!
//! 1. the entry's `op` says what shall be done (TAKING n, GIVING n, ...) under a new number, with the other parity;
//! 2. one compare-and-swap of the word moves the permits and names entry and parity: that is the instant;
//! 3. `op` says that it is done (HELD n, IDLE).
//!
//! Before anybody changes the word again, it sees to it that step 3 of the operation that the word names is done
//! ([`settle`]). So at any time an operation has been carried out if the word names it or its `op` says so, and not
//! otherwise: who finds an entry of a dead owner can tell, and end it ([`recover`]), and so can several at once.
//! What is compared and swapped is never the same twice: the word has a sequence, `op` a number.
//!
//! | op | the word names it | means | who finds the owner dead |
//! |---|---|---|---|
//! | IDLE | | no permits | nothing to do |
//! | TAKING n | no | wants n | IDLE |
//! | TAKING n | yes | has n | HELD n |
//! | HELD n | | has n | GIVING n |
//! | GIVING n, rest r | no | still has n + r; to be given back by whoever comes | gives them back |
//! | GIVING n, rest r | yes | has r | HELD r, or IDLE |
//! | BOUNDS | no | wants to change limit or total | IDLE |
//! | BOUNDS | yes | `arg` is the new limit and total | writes them; IDLE |
//! | USING n | no | has n, wants them used up | HELD n |
//! | USING n | yes | they are used up, `arg` is the new total | writes it; IDLE |
//! | JOINT n | no | a joint request wants n | IDLE |
//! | JOINT n | yes | has n if the joint request came true, else GIVING n | as that says |
//! | JOINT n, OF_EVENT | yes | IDLE if it came true, else GIVING n (n may be 0) | as that says |
//! | USER | | no permits: a process has the name open | IDLE |
//!
//! Free may be below zero: after the limit was lowered, more is held than there should be.
//!
//! | flag | set by | means | cleared by |
//! |---|---|---|---|
//! | WA waiters | who goes to sleep, before it does | a release wakes all | the release, in the same system call |
//! | RE reserved | the oldest waiter past its bound | newcomers look who it is | who changes the word when nobody is entered any more |
//! | PE pending | a release with sleepers | its permits count from the next system call on, which clears this and wakes all | anybody, with that system call |
//! | DR drained | who drains it | newcomers are refused (102) | who reopens it |
//! | CL closed | who removes it | the name is gone | nobody: the next life of the cell begins anew |
//! | OP opened | who opens it | somebody has opened it since a removal began (ephemeral names) | a removal |

use crate::seeded::{Bug, seeded};
use crate::sync::{AtomicU64, Ordering::*};

/// Somebody sleeps on the word.
pub const WAITERS: u64 = 1;
/// The oldest waiter has a reservation.
pub const RESERVED: u64 = 1 << 1;
/// A release is to wake the sleepers before its permits count.
pub const PENDING: u64 = 1 << 2;
/// New requests are refused.
pub const DRAINED: u64 = 1 << 3;
/// The name is gone.
pub const CLOSED: u64 = 1 << 4;
/// Opened since a removal began.
pub const OPENED: u64 = 1 << 5;

const FLAGS: u64 = 0x3f;
const ENTRY_SHIFT: u32 = 6;
const PARITY: u64 = 1 << 26;
const FREE_SHIFT: u32 = 32;
/// The sequence is in two parts, so that the futex word has some of it.
const SEQ_LOW_SHIFT: u32 = 27;
const SEQ_LOW_BITS: u32 = 5;
const SEQ_HIGH_SHIFT: u32 = 49;
const SEQ: u64 = (1 << 20) - 1;

/// A value of the count word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u64);

impl Count {
    /// The word of a new semaphore in a cell of this generation whose word was `before` in its life before. Where that was
    /// the life of another kind, the generation keeps the sequence from beginning again where it once began.
    pub fn first(before: u64, generation: u32, free: u32) -> Count {
        let seq = Count(before).seq().wrapping_add((generation as u64).wrapping_mul(0x9e37_79b1));
        Count((free as u64) << FREE_SHIFT).with_seq(seq)
    }

    fn seq(self) -> u64 {
        self.0 >> SEQ_HIGH_SHIFT << SEQ_LOW_BITS | self.0 >> SEQ_LOW_SHIFT & ((1 << SEQ_LOW_BITS) - 1)
    }

    fn with_seq(self, seq: u64) -> Count {
        let (seq, low) = (seq & SEQ, (1u64 << SEQ_LOW_BITS) - 1);
        let cleared = self.0 & !(low << SEQ_LOW_SHIFT) & (1u64 << SEQ_HIGH_SHIFT).wrapping_sub(1);
        Count(cleared | (seq & low) << SEQ_LOW_SHIFT | seq >> SEQ_LOW_BITS << SEQ_HIGH_SHIFT)
    }

    /// Permits that nobody holds; below zero when more are held than there should be.
    pub fn free(self) -> i32 {
        // Sign extension of 17 bits.
        (((self.0 >> FREE_SHIFT) as u32) << 15) as i32 >> 15
    }

    /// The entry whose operation it names.
    pub fn entry(self) -> Option<u32> {
        ((self.0 >> ENTRY_SHIFT) as u32 & 0xf_ffff).checked_sub(1)
    }

    /// The flags.
    pub fn flags(self) -> u64 {
        self.0 & FLAGS
    }

    /// Whether a flag is set.
    pub fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    /// The futex half.
    pub fn low(self) -> u32 {
        self.0 as u32
    }

    /// With other flags, and nothing else changed.
    pub fn with_flags(self, flags: u64) -> Count {
        Count(self.0 & !FLAGS | flags)
    }

    /// With other flags, and never the same as before.
    pub fn bumped(self, flags: u64) -> Count {
        self.with_flags(flags).with_seq(self.seq().wrapping_add(1))
    }

    /// The word with another number of free permits, for who counts them again.
    pub fn recounted(self, free: i32) -> Count {
        let cleared = self.0 & !(0x1_ffff << FREE_SHIFT);
        Count(cleared | (free as u32 as u64 & 0x1_ffff) << FREE_SHIFT).with_seq(self.seq().wrapping_add(1))
    }

    /// The word of an event after a change that is no entry's.
    pub fn set(self, free: i32, flags: u64) -> Count {
        Count((free as u32 as u64 & 0x1_ffff) << FREE_SHIFT | flags).with_seq(self.seq().wrapping_add(1))
    }

    /// The word after `by`'s operation `op` has moved `delta` permits.
    fn after(self, by: u32, op: Op, delta: i32, flags: u64) -> Count {
        let free = (self.free().wrapping_add(delta) as u32 as u64 & 0x1_ffff) << FREE_SHIFT;
        let parity = if op.parity() { PARITY } else { 0 };
        Count(free | parity | (by as u64 + 1) << ENTRY_SHIFT | flags).with_seq(self.seq().wrapping_add(1))
    }

    /// Whether it names this operation of this entry: then that has been carried out.
    fn names(self, entry: u32, op: Op) -> bool {
        self.entry() == Some(entry) && (self.0 & PARITY != 0) == op.parity()
    }
}

impl std::fmt::Debug for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Count({} free, by {:?}, flags {:#x})", self.free(), self.entry(), self.flags())
    }
}

/// What an entry is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Doing {
    Idle = 0,
    Taking = 1,
    Held = 2,
    Giving = 3,
    Bounds = 4,
    Using = 5,
    Joint = 6,
    User = 7,
}

/// A value of an entry's `op`: `doing 3 | permits 17 | rest 17 | parity 1 | number 26`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Op(pub u64);

/// What stays (`Op::rest`) of a JOINT: nothing, in an event, where it is consumed when the request comes true.
pub const OF_EVENT: u32 = 1;

const NUMBER: u64 = (1 << 26) - 1;
const OP_PARITY: u64 = 1 << 26;

impl Op {
    /// What it is doing.
    pub fn doing(self) -> Doing {
        match self.0 >> 61 {
            1 => Doing::Taking,
            2 => Doing::Held,
            3 => Doing::Giving,
            4 => Doing::Bounds,
            5 => Doing::Using,
            6 => Doing::Joint,
            7 => Doing::User,
            _ => Doing::Idle,
        }
    }

    /// Permits that it is about.
    pub fn permits(self) -> u32 {
        (self.0 >> 44) as u32 & 0x1_ffff
    }

    /// Permits that stay when it is done.
    pub fn rest(self) -> u32 {
        (self.0 >> 27) as u32 & 0x1_ffff
    }

    fn parity(self) -> bool {
        self.0 & OP_PARITY != 0
    }

    /// The same operation in another state.
    fn now(self, doing: Doing, permits: u32, rest: u32) -> Op {
        Op(self.0 & (NUMBER | OP_PARITY) | (doing as u64) << 61 | (permits as u64) << 44 | (rest as u64) << 27)
    }

    /// The next operation: a new number, the other parity.
    pub fn next(self, doing: Doing, permits: u32, rest: u32) -> Op {
        Op(self.0 & OP_PARITY ^ OP_PARITY | (self.0.wrapping_add(1)) & NUMBER).now(doing, permits, rest)
    }

    /// Another state that no word ever names, and so with the same parity as before.
    pub fn aside(self, doing: Doing) -> Op {
        Op(self.0 & OP_PARITY | self.0.wrapping_add(1) & NUMBER).now(doing, 0, 0)
    }

    /// Back to rest because it was not carried out: the next one must have this one's parity.
    fn undone(self, doing: Doing, permits: u32) -> Op {
        Op(self.0 ^ OP_PARITY).now(doing, permits, 0)
    }

    fn is_active(self) -> bool {
        matches!(self.doing(), Doing::Taking | Doing::Giving | Doing::Bounds | Doing::Using | Doing::Joint)
    }
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {} rest {} (number {})", self.doing(), self.permits(), self.rest(), self.0 & NUMBER)
    }
}

/// Limit and total of a semaphore, with a version: `version 30 | limit 17 | total 17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub limit: u32,
    pub total: u32,
    version: u32,
}

impl Bounds {
    /// Those of a new semaphore in a cell that had `before`.
    pub fn first(before: u64, limit: u32, total: u32) -> Bounds {
        Bounds::read(before).changed(limit, total)
    }

    /// From its stored form.
    pub fn read(bits: u64) -> Bounds {
        Bounds { version: (bits >> 34) as u32, limit: (bits >> 17) as u32 & 0x1_ffff, total: bits as u32 & 0x1_ffff }
    }

    /// Its stored form.
    pub fn bits(self) -> u64 {
        (self.version as u64) << 34 | (self.limit as u64) << 17 | self.total as u64
    }

    /// The next ones.
    pub fn changed(self, limit: u32, total: u32) -> Bounds {
        Bounds { version: self.version.wrapping_add(1) & 0x3fff_ffff, limit, total }
    }

    fn precedes(self, next: Bounds) -> bool {
        self.version.wrapping_add(1) & 0x3fff_ffff == next.version
    }
}

/// How a joint request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    CameTrue,
    Failed,
    /// Another one of the member is under way: so that one is over, and its entries and words are settled.
    Over,
}

/// The atomics of an entry.
pub struct EntryWords<'a> {
    pub op: &'a AtomicU64,
    pub arg: &'a AtomicU64,
}

/// The entries, wherever they are.
pub trait Ledger {
    fn entry(&self, i: u32) -> Option<EntryWords<'_>>;
    /// How the joint request went that an entry takes part in, under the number in its `arg`; makes it fail if it is
    /// still open.
    fn verdict(&self, entry: u32, number: u64) -> Verdict;
    /// Clears WAITERS and PENDING of the word and wakes all who sleep on it, in one system call.
    fn wake_pending(&self, word: &AtomicU64);
}

/// The atomics of a counting semaphore that change with its permits.
pub struct CountWords<'a> {
    pub count: &'a AtomicU64,
    pub bounds: &'a AtomicU64,
    /// It is an event (`signal.rs`): what a joint request has taken of it when it came true is consumed.
    pub event: bool,
}

impl CountWords<'_> {
    /// The word now.
    pub fn load(&self) -> Count {
        Count(self.count.load(Acquire))
    }

    /// One change of the word.
    pub fn swap(&self, from: Count, to: Count) -> bool {
        self.count.compare_exchange(from.0, to.0, AcqRel, Acquire).is_ok()
    }
}

fn swap(word: &AtomicU64, from: Op, to: Op) -> bool {
    word.compare_exchange(from.0, to.0, AcqRel, Acquire).is_ok()
}

/// The word, with the operation that it names done in the ledger, too. What is read of the ledger after this and before
/// the word changes is true.
pub fn settle<L: Ledger>(words: &CountWords<'_>, ledger: &L) -> Count {
    loop {
        let w = words.load();
        let Some(e) = w.entry() else { return w };
        // An entry that does not exist: damaged memory. The word's number is all there is.
        let Some(entry) = ledger.entry(e) else { return w };
        let op = Op(entry.op.load(Acquire));
        if !op.is_active() || !w.names(e, op) {
            return w;
        }
        let (arg, bounds) = (entry.arg.load(Acquire), words.bounds.load(Acquire));
        // If the word is still the same, all that was read belongs to it.
        if words.load() != w {
            continue;
        }
        match op.doing() {
            Doing::Taking => swap(entry.op, op, op.now(Doing::Held, op.permits(), 0)),
            Doing::Giving if op.rest() > 0 => swap(entry.op, op, op.now(Doing::Held, op.rest(), 0)),
            Doing::Giving => swap(entry.op, op, op.now(Doing::Idle, 0, 0)),
            Doing::Bounds | Doing::Using => {
                if Bounds::read(bounds).precedes(Bounds::read(arg)) {
                    let _ = words.bounds.compare_exchange(bounds, arg, AcqRel, Acquire);
                }
                swap(entry.op, op, op.now(Doing::Idle, 0, 0))
            }
            Doing::Joint => match ledger.verdict(e, arg) {
                // Asked of the operation: the words may be those of the cell's life before, to somebody who was stopped.
                Verdict::CameTrue if op.rest() == OF_EVENT => swap(entry.op, op, op.now(Doing::Idle, 0, 0)),
                Verdict::CameTrue => swap(entry.op, op, op.now(Doing::Held, op.permits(), 0)),
                Verdict::Failed => swap(entry.op, op, op.next(Doing::Giving, op.permits(), 0)),
                // It was settled before the next request began: so something of this has changed. Else the memory is damaged.
                Verdict::Over if words.load() == w && entry.op.load(Acquire) == op.0 => {
                    swap(entry.op, op, op.next(Doing::Giving, op.permits(), 0))
                }
                Verdict::Over => false,
            },
            Doing::Idle | Doing::Held | Doing::User => false,
        };
    }
}

/// What an entry has when the word is `w`, for who only looks and settles nothing. It is the same from one change of the word
/// to the next, whatever is written down in between.
pub fn held(w: Count, e: u32, op: Op) -> u32 {
    match (op.doing(), w.names(e, op)) {
        (Doing::Held, _) | (Doing::Taking | Doing::Joint, true) | (Doing::Using, false) => op.permits(),
        (Doing::Giving, false) => op.permits() + op.rest(),
        (Doing::Giving, true) => op.rest(),
        _ => 0,
    }
}

/// The bounds when the word is `w` and `bounds` is written, and the entry that the word names says `op` with `arg`.
pub fn bounds_with(w: Count, bounds: u64, e: u32, op: Op, arg: u64) -> Bounds {
    let (there, next) = (Bounds::read(bounds), Bounds::read(arg));
    let carried_out = matches!(op.doing(), Doing::Bounds | Doing::Using) && w.names(e, op);
    if carried_out && there.precedes(next) { next } else { there }
}

/// One try to carry out what `op` of entry `e` says and the caller has just written there: the word must still be `w`,
/// which is settled.
pub fn carry_out(words: &CountWords<'_>, w: Count, e: u32, op: Op, delta: i32, flags: u64) -> bool {
    words.swap(w, w.after(e, op, delta, flags))
}

/// Gives back what entry `e` is GIVING, unless somebody has done it already. `reserved`: whether a waiter is entered as the
/// oldest.
pub fn give<L: Ledger>(words: &CountWords<'_>, ledger: &L, e: u32, giving: Op, reserved: impl Fn() -> bool) {
    let Some(entry) = ledger.entry(e) else { return };
    loop {
        let w = settle(words, ledger);
        // Read after the word: if it is still to be done, the word has not carried it out, and if the swap succeeds, nobody
        // has in between.
        if entry.op.load(Acquire) != giving.0 {
            return;
        }
        let keep = w.flags() & !RESERVED | if reserved() { RESERVED } else { 0 };
        let flags = if w.has(WAITERS) { keep | PENDING } else { keep };
        if carry_out(words, w, e, giving, giving.permits() as i32, flags) {
            if flags & PENDING != 0 {
                ledger.wake_pending(words.count);
            }
            settle(words, ledger);
            return;
        }
    }
}

/// Ends whatever an entry was doing or holding whose owner will not touch it any more, and makes it IDLE. Several may do
/// this at once: `stands` says whether the entry is still that owner's, and is asked after `op` was read, so that what is
/// compared and swapped is never the operation of the entry's next user.
pub fn recover<L: Ledger>(
    words: &CountWords<'_>,
    ledger: &L,
    e: u32,
    stands: impl Fn() -> bool,
    reserved: impl Fn() -> bool + Copy,
) {
    let Some(entry) = ledger.entry(e) else { return };
    loop {
        settle(words, ledger);
        let op = Op(entry.op.load(Acquire));
        if !stands() && !seeded(Bug::ReclaimUnchecked) {
            return;
        }
        match op.doing() {
            Doing::Idle => return,
            Doing::User => swap(entry.op, op, op.now(Doing::Idle, 0, 0)),
            Doing::Held => swap(entry.op, op, op.next(Doing::Giving, op.permits(), 0)),
            // With a rest: that is HELD then, and comes next.
            Doing::Giving => {
                give(words, ledger, e, op, reserved);
                continue;
            }
            // Nobody carries these out but the owner, so what was not done when we settled never will be.
            Doing::Taking | Doing::Bounds | Doing::Joint => swap(entry.op, op, op.undone(Doing::Idle, 0)),
            Doing::Using => swap(entry.op, op, op.undone(Doing::Held, op.permits())),
        };
    }
}

/// Whether the operation that the word names is done in the ledger as far as the next one needs it: the caller's own entry
/// `mine` is at rest, or about to begin the next.
fn is_settled<L: Ledger>(w: Count, ledger: &L, mine: u32) -> bool {
    match w.entry() {
        None => true,
        Some(e) if e == mine => true,
        Some(e) => ledger.entry(e).is_none_or(|entry| {
            let op = Op(entry.op.load(Acquire));
            !op.is_active() || !w.names(e, op)
        }),
    }
}

/// The short way to take `n` permits for entry `e` of the caller: no flag is set, nobody has to be helped. It leaves `op` at
/// TAKING, which the word names; who changes the word next writes down that they are held. False: the long way.
#[inline]
pub fn take_shortly<L: Ledger>(
    words: &CountWords<'_>,
    ledger: &L,
    (e, n): (u32, u32),
    entry: &EntryWords<'_>,
    is_there: impl FnOnce() -> bool,
) -> bool {
    let w = words.load();
    if w.flags() != 0 || w.free() < n as i32 || !is_there() {
        return false;
    }
    let op = Op(entry.op.load(Relaxed));
    let at_rest = match op.doing() {
        Doing::Idle => true,
        // Given back the short way, and nobody has come since.
        Doing::Giving => op.rest() == 0 && w.names(e, op),
        _ => false,
    };
    if !at_rest || !is_settled(w, ledger, e) {
        return false;
    }
    let taking = op.next(Doing::Taking, n, 0);
    if !seeded(Bug::TakenBeforeBooked) {
        entry.op.store(taking.0, Release);
    }
    if carry_out(words, w, e, taking, -(n as i32), 0) {
        if seeded(Bug::TakenBeforeBooked) {
            entry.op.store(taking.0, Release);
        }
        return true;
    }
    give_up(entry, taking, Doing::Idle, 0);
    false
}

/// The short way to give back all that entry `e` of the caller holds: as [`take_shortly`]. False: the claim is over.
#[inline]
pub fn give_shortly<L: Ledger>(
    words: &CountWords<'_>,
    ledger: &L,
    e: u32,
    entry: &EntryWords<'_>,
    reserved: impl Fn() -> bool,
) -> bool {
    let giving = loop {
        let op = Op(entry.op.load(Relaxed));
        if !matches!(op.doing(), Doing::Held | Doing::Taking) {
            return false;
        }
        let giving = op.next(Doing::Giving, op.permits(), 0);
        // By compare-and-swap: somebody may be evicting it, or writing down that it is held.
        if swap(entry.op, op, giving) {
            break giving;
        }
    };
    let w = words.load();
    // Anybody who lacks permits may have carried it out already. If `op` still says so after the word was read, and the
    // word does not name it, nobody has, and the swap fails if somebody does.
    let open = entry.op.load(Acquire) == giving.0 && !w.names(e, giving);
    if open && w.flags() == 0 && is_settled(w, ledger, e) && carry_out(words, w, e, giving, giving.permits() as i32, 0) {
        return true;
    }
    give(words, ledger, e, giving, reserved);
    true
}

/// Takes back what the caller has written into its entry's `op` and nobody has carried out.
pub fn give_up(entry: &EntryWords<'_>, op: Op, doing: Doing, permits: u32) {
    entry.op.store(op.undone(doing, permits).0, Release);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_they_were() {
        for free in [-65_535, -1, 0, 1, 17, 65_535] {
            for entry in [0, 5, crate::shm::layout::MAX_ENTRIES - 1] {
                for seq in [0, 31, 32, SEQ - 1, SEQ] {
                    let start = Count(0).with_seq(seq);
                    let op = Op(0).next(Doing::Taking, 3, 0);
                    let w = start.after(entry, op, free, WAITERS | DRAINED);
                    assert_eq!((w.free(), w.entry(), w.flags()), (free, Some(entry), WAITERS | DRAINED));
                    assert_eq!(w.seq(), (seq + 1) & SEQ);
                    assert!(w.names(entry, op) && !w.names(entry, op.next(Doing::Giving, 3, 0)) && !w.names(entry + 1, op));
                    assert_eq!(w.bumped(CLOSED).free(), free);
                    assert_ne!(w.bumped(w.flags()).low(), w.low());
                    assert_ne!(w.after(entry, op, 32, w.flags()).low(), w.low());
                }
            }
        }
        let fresh = Count::first(0, 7, 65_535);
        assert_eq!((fresh.free(), fresh.entry(), fresh.flags()), (65_535, None, 0));
        assert_ne!(Count::first(0, 8, 65_535), fresh);
    }

    #[test]
    fn operations_alternate() {
        let idle = Op(0);
        let taking = idle.next(Doing::Taking, 65_535, 7);
        assert_eq!((taking.doing(), taking.permits(), taking.rest()), (Doing::Taking, 65_535, 7));
        assert_ne!(taking.parity(), idle.parity());
        assert_eq!(taking.undone(Doing::Idle, 0).next(Doing::Taking, 1, 0).parity(), taking.parity());
        assert_eq!(taking.now(Doing::Held, 1, 0).parity(), taking.parity());
        assert_eq!(idle.aside(Doing::User).parity(), idle.parity());
        assert_eq!(Op(NUMBER).next(Doing::Taking, 1, 0).permits(), 1);
    }

    #[test]
    fn bounds_follow_each_other() {
        let b = Bounds::first(u64::MAX, 65_535, 65_535);
        assert_eq!(Bounds::read(b.bits()), b);
        let next = b.changed(1, 0);
        assert!(b.precedes(next) && !next.precedes(b) && !b.precedes(b));
    }
}
