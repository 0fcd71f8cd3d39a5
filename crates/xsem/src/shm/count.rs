//! The words of a counting semaphore: how many permits are free, in one atomic step with who made the last change.
//!
//! ```text
//!  63          44 43            27 26  25            6  5    4    3    2    1    0
//! +--------------+----------------+---+---------------+----+----+----+----+----+----+
//! |   sequence   |  free, signed  | P |   entry + 1   | OP | CL | DR | PE | RE | WA |
//! +--------------+----------------+---+---------------+----+----+----+----+----+----+
//!                            |<--- low half: the futex word ---------------------->|
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
const FREE_SHIFT: u32 = 27;
const SEQ_SHIFT: u32 = 44;

/// A value of the count word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u64);

impl Count {
    /// The word of a new semaphore in a cell whose word was `before` in its life before.
    pub fn first(before: u64, free: u32) -> Count {
        Count(((before >> SEQ_SHIFT).wrapping_add(1) << SEQ_SHIFT) | (free as u64) << FREE_SHIFT)
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
        Count((self.0 & !FLAGS | flags).wrapping_add(1 << SEQ_SHIFT))
    }

    /// The word after `by`'s operation `op` has moved `delta` permits.
    fn after(self, by: u32, op: Op, delta: i32, flags: u64) -> Count {
        let seq = (self.0 >> SEQ_SHIFT).wrapping_add(1) << SEQ_SHIFT;
        let free = ((self.free() + delta) as u32 as u64 & 0x1_ffff) << FREE_SHIFT;
        let parity = if op.parity() { PARITY } else { 0 };
        Count(seq | free | parity | (by as u64 + 1) << ENTRY_SHIFT | flags)
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
        if !stands() {
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

/// Takes back what the caller has written into its entry's `op` and nobody has carried out.
pub fn give_up(entry: &EntryWords<'_>, op: Op, doing: Doing, permits: u32) {
    entry.op.store(op.undone(doing, permits).0, Release);
}
