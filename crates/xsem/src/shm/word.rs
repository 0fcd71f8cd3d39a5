//! The word of a semaphore: who owns it, in one atomic step.
//!
//! ```text
//!  63            32 31        19 18     8  7    6    5    4    3    2    1    0
//! +----------------+------------+---------+----+----+----+----+----+----+----+----+
//! |  generation of |  member's  |  slot   | DR | TE | IN | CL | JO | RE | MA | WA |
//! |  the cell      | generation |         |    |    |    |    |    |    |    |    |
//! +----------------+------------+---------+----+----+----+----+----+----+----+----+
//!                  |<--------- low half: the futex word ----------------------->|
//! ```
//!
//! The high half is constant for the life of a semaphore, so a handle to a removed one can never acquire its successor,
//! and a release with sleepers can set the whole low half and wake in one system call (FUTEX_WAKE_OP takes a constant of
//! eleven bits: that is why the flags are at the bottom). The exception is TENTATIVE: there the high half is the number of
//! the joint request, so that no two such words are ever alike; the cell's generation is in its `next` then.
//!
//! | owner field | TE | JO | CL | meaning |
//! |---|---|---|---|---|
//! | 0 | 0 | 0 | 0 | FREE (generation above 0), or a cell that was never used (generation 0) |
//! | slot 1, generation 0 | 0 | 0 | 0 | EMPTY: no semaphore lives here |
//! | slot 2, generation 0 | 0 | 0 | 0 | REMOVED: the name is gone, the cell is being unlinked; anybody may finish |
//! | a cell's index | 1 | 0 | 1 | MOVED: its owner was evicted; the semaphore goes on in that cell |
//! | a member | 0 | 1 | 1 | CREATING: being built by that member; FREE as soon as it is linked, by whoever sees it |
//! | a member | 0 | 0 | 0 | OWNED |
//! | a member | 0 | 1 | 0 | OWNED, and others may share the claim: look at the members' join fields before it ends |
//! | a member | 0 | 0 | 1 | OWNED, its release has begun or was prepared: nobody may join any more |
//! | a member | 1 | 0 | 0 | TENTATIVE: free or owned, as the member's joint request with this number says |
//!
//! | flag | set by | means | cleared by |
//! |---|---|---|---|
//! | WA waiters | who goes to sleep, by CAS, before it sleeps | a release wakes all | the release, in the same system call |
//! | MA mark | the release or takeover after a death | 105 for every new owner | the owner, `mark_consistent` |
//! | RE reserved | the oldest waiter past its bound | newcomers take the slow path and stand back | the next owner |
//! | JO joined | a joiner, after it published its join | see above | the owner or a taker, before it scans |
//! | CL closing | the owner | see above | the release |
//! | IN inherited | who passes the claim to an heir | the owner did not acquire it: it was passed on | every end of the claim |
//! | TE tentative | a joint request | see above | whoever settles it |
//! | DR drained | who drains it | newcomers are refused (102) | who reopens it |

/// Somebody sleeps on the word.
pub const WAITERS: u32 = 1;
/// An owner died and nobody has said that the state is whole.
pub const MARK: u32 = 1 << 1;
/// The oldest waiter has a reservation.
pub const RESERVED: u32 = 1 << 2;
/// Somebody may share the claim.
pub const JOINED: u32 = 1 << 3;
/// The owner's release has begun.
pub const CLOSING: u32 = 1 << 4;
/// The owner shares the claim and has it from a previous owner.
pub const INHERITED: u32 = 1 << 5;
/// A joint request has it, perhaps.
pub const TENTATIVE: u32 = 1 << 6;
/// New requests are refused.
pub const DRAINED: u32 = 1 << 7;

const FLAGS: u32 = 0xff;
const SLOT_SHIFT: u32 = 8;
const GEN_SHIFT: u32 = 19;
const EMPTY: u32 = 1 << SLOT_SHIFT;
const REMOVED: u32 = 2 << SLOT_SHIFT;
const MOVED: u32 = TENTATIVE | CLOSING;
const CREATING: u32 = JOINED | CLOSING;

/// Slots that the owner field can name.
pub const SLOTS: u32 = 1 << (GEN_SHIFT - SLOT_SHIFT);
/// Distinct values of a member's generation in a word; 0 is none.
pub const GENERATIONS: u32 = (1 << (32 - GEN_SHIFT)) - 1;

/// A member process: its slot, and which incarnation of the slot. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(u32);

impl Owner {
    /// The owner that a slot's incarnation with this full generation number is.
    pub fn new(slot: u32, generation: u32) -> Owner {
        debug_assert!(slot < SLOTS);
        Owner((generation % GENERATIONS + 1) << GEN_SHIFT | slot << SLOT_SHIFT)
    }

    /// From its 32-bit form, if it is one.
    pub fn from_bits(bits: u32) -> Option<Owner> {
        (bits & FLAGS == 0 && bits >> GEN_SHIFT != 0).then_some(Owner(bits))
    }

    /// Its 32-bit form: the low half of a word without flags.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The slot.
    pub fn slot(self) -> u32 {
        self.0 >> SLOT_SHIFT & (SLOTS - 1)
    }

    /// Whether this full generation number of the slot is the incarnation meant.
    pub fn is_generation(self, generation: u32) -> bool {
        self.0 >> GEN_SHIFT == generation % GENERATIONS + 1
    }
}

/// What a word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No semaphore lives here.
    Empty,
    /// Being built by a member.
    Creating(Owner),
    /// Nobody owns it.
    Free,
    /// A member owns it.
    Owned(Owner),
    /// A joint request of a member has it, perhaps.
    Tentative(Owner),
    /// The name is gone.
    Removed,
    /// Its owner was evicted, and it goes on elsewhere.
    Moved,
    /// No operation makes this value: the memory is damaged.
    Damaged,
}

/// A value of the word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Word(pub u64);

impl Word {
    /// From its parts.
    pub fn new(generation: u32, low: u32) -> Word {
        Word((generation as u64) << 32 | low as u64)
    }

    /// A cell without a semaphore.
    pub fn empty(generation: u32) -> Word {
        Word::new(generation, EMPTY)
    }

    /// A semaphore whose name is gone.
    pub fn removed(generation: u32) -> Word {
        Word::new(generation, REMOVED)
    }

    /// A semaphore that goes on in another cell.
    pub fn moved(generation: u32, to: u32) -> Word {
        Word::new(generation, to << SLOT_SHIFT | MOVED)
    }

    /// The cell where a moved semaphore goes on.
    pub fn moved_to(self) -> Option<u32> {
        (self.state() == State::Moved).then_some(self.low() >> SLOT_SHIFT)
    }

    /// The same semaphore in the hands of `owner`'s joint request of this number.
    pub fn tentative(self, number: u32, owner: Owner) -> Word {
        Word::new(number, owner.0 | self.flags() & (WAITERS | MARK | RESERVED | DRAINED) | TENTATIVE)
    }

    /// A semaphore that `by` is building.
    pub fn creating(generation: u32, by: Owner) -> Word {
        Word::new(generation, CREATING | by.0)
    }

    /// The cell's generation.
    pub fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The futex half.
    pub fn low(self) -> u32 {
        self.0 as u32
    }

    /// The flags.
    pub fn flags(self) -> u32 {
        self.low() & FLAGS
    }

    /// Whether a flag is set.
    pub fn has(self, flag: u32) -> bool {
        self.low() & flag != 0
    }

    /// With flags added.
    pub fn with(self, flags: u32) -> Word {
        Word(self.0 | flags as u64)
    }

    /// Without some flags.
    pub fn without(self, flags: u32) -> Word {
        Word(self.0 & !(flags as u64))
    }

    /// The same semaphore owned by `owner`, with only these of its flags kept.
    pub fn owned_by(self, owner: Owner, keep: u32) -> Word {
        Word::new(self.generation(), owner.0 | self.flags() & keep)
    }

    /// The same semaphore owned by nobody, with only these of its flags kept.
    pub fn freed(self, keep: u32) -> Word {
        Word::new(self.generation(), self.flags() & keep)
    }

    /// What it says.
    pub fn state(self) -> State {
        let field = self.low() & !FLAGS;
        match (field, self.flags() & (CREATING | TENTATIVE)) {
            (0, 0) if self.generation() == 0 => State::Empty,
            (0, 0) => State::Free,
            (EMPTY, 0) => State::Empty,
            (REMOVED, 0) => State::Removed,
            (_, MOVED) => State::Moved,
            (f, c) => match Owner::from_bits(f) {
                Some(o) if c == CREATING => State::Creating(o),
                Some(o) if c == TENTATIVE => State::Tentative(o),
                Some(o) if c & TENTATIVE == 0 => State::Owned(o),
                _ => State::Damaged,
            },
        }
    }

    /// The owner, when it is owned.
    pub fn owner(self) -> Option<Owner> {
        match self.state() {
            State::Owned(o) => Some(o),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Word(gen {}, {:?}, flags {:#x})", self.generation(), self.state(), self.flags())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_truth_table() {
        let o = Owner::new(7, 3);
        let table = [
            (Word(0), State::Empty),
            (Word::new(1, 0), State::Free),
            (Word::new(1, WAITERS | MARK | RESERVED), State::Free),
            (Word::empty(4), State::Empty),
            (Word::removed(4), State::Removed),
            (Word::creating(4, o), State::Creating(o)),
            (Word::new(4, o.bits()), State::Owned(o)),
            (Word::new(4, o.bits() | JOINED | WAITERS), State::Owned(o)),
            (Word::new(4, o.bits() | CLOSING | MARK), State::Owned(o)),
            (Word::moved(4, 0), State::Moved),
            (Word::moved(4, 0xff_ffff), State::Moved),
            (Word::new(4, JOINED | WAITERS), State::Damaged),
            (Word::new(4, DRAINED), State::Free),
            (Word::new(4, o.bits() | DRAINED | MARK), State::Owned(o)),
            (Word::new(4, MARK | WAITERS).tentative(99, o), State::Tentative(o)),
            (Word::new(4, o.bits() | TENTATIVE | JOINED), State::Damaged),
            (Word::new(4, CLOSING), State::Damaged),
            (Word::new(4, 5 << SLOT_SHIFT), State::Damaged),
            (Word::new(4, EMPTY | CLOSING), State::Damaged),
        ];
        for (word, state) in table {
            assert_eq!(word.state(), state, "{word:?}");
        }
    }

    #[test]
    fn every_owner_is_distinct_and_never_zero() {
        for slot in [0, 1, 2, SLOTS - 1] {
            for generation in [0, 1, GENERATIONS - 1, GENERATIONS, u32::MAX] {
                let o = Owner::new(slot, generation);
                assert_eq!(o.slot(), slot);
                assert!(o.is_generation(generation) && !o.is_generation(generation.wrapping_add(1)));
                assert_eq!(Owner::from_bits(o.bits()), Some(o));
                assert_eq!(Word::new(1, o.bits()).state(), State::Owned(o));
            }
        }
    }

    #[test]
    fn flags_of_a_free_word_fit_a_wake_op() {
        assert!(Word::new(9, u32::MAX).freed(FLAGS).low() < 1 << 11);
    }
}
