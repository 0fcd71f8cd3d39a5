//! How an exclusive semaphore changes hands: the loops around its word. Everything else (time, sleep, who lives, who
//! waits) comes through [`World`], so that the very same code runs on shared memory and under the model checker.
//!
//! # Order
//! A waiter has a record with the time of its beginning. Before it sleeps it enters itself as the *oldest* of the semaphore,
//! unless somebody older is there. Newcomers may overtake the oldest for [`BOUND`]; then everybody else stands back from a
//! free word, until the oldest takes it, leaves, dies, or lets [`LAPSE`] pass (it may be stopped). RESERVED takes newcomers
//! off the fast path, so that they look who it is and since when.
//!
//! # The line
//! Where sections are short and many wait, a release that wakes all wakes them for one of them, and that one waits for the
//! scheduler behind all others. So who is not the oldest waits in line first (`line.rs`): it sleeps on its own record, and
//! watches the oldest, who calls the next in line when it has got the semaphore or given up. That lasts for [`LAPSE`] at most:
//! whatever becomes of those ahead, from then on it sleeps as described below.
//!
//! # Nobody stays asleep
//! Everyone sleeps on the semaphore's own word, and on the word through which the kernel tells the owner's death. A
//! release sets the word and wakes all in one system call, so no stop or death of the releaser comes between; and a woken
//! waiter that dies or is stopped owes nobody a wake-up, because all were woken.
//!
//! A request at one semaphore is a [`Turn`] of [`look`]s; who waits for several of them takes the turns in parallel.

use super::careful::Ticket;
use super::line::IN_LINE;
use super::patience::Patience;
use super::word::{CLOSING, DRAINED, INHERITED, JOINED, MARK, Owner, RESERVED, State, WAITERS, Word};
use crate::seeded::{Bug, seeded};
use crate::sync::{AtomicU64, Ordering::*};

/// How long newcomers may overtake a waiter, in nanoseconds.
pub const BOUND: u64 = 1_000_000;
/// How long a free semaphore is kept for the oldest waiter, in nanoseconds.
pub const LAPSE: u64 = 10_000_000;

/// The atomics of a semaphore that the protocol moves.
pub struct Words<'a> {
    pub word: &'a AtomicU64,
    /// The reference of the waiter that has the reservation; 0: nobody.
    pub oldest: &'a AtomicU64,
    /// The generation of the semaphore that the caller means.
    pub generation: u32,
}

/// A waiter as others see it.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    pub since: u64,
    /// Since when it may count on others to stand back after [`BOUND`]: its beginning, or when it was called from the line.
    pub first: u64,
    pub owner: Owner,
    pub permits: u32,
    /// When it last looked at the semaphore while it was the oldest.
    pub seen: u64,
    /// When somebody last woke it to see whether it stirs.
    pub pinged: u64,
}

/// Whether what is free is enough for the oldest waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fits {
    Now,
    Later,
    /// It wants more than there can be.
    Never,
    /// There is not enough for it yet, and it may be waiting for the caller, who holds something.
    Pass,
}

/// Whether what a dead member left may be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It has certainly stopped writing, and what it covers has ended.
    Open,
    /// It may still be writing. That is over in a moment.
    Writing,
    /// The command that it covers still runs. That may take long.
    Covering,
}

/// What may be done with the claim of a dead owner whose gate is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// Take it; its obituary is published.
    Take,
    /// Somebody shares the claim: it is theirs now. The obituary is published.
    PassTo(Owner),
}

/// How long a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Now,
    At(u64),
    Never,
}

/// How an acquire ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Owned,
    /// Owned by a living other, or kept for the oldest waiter; only for [`Limit::Now`].
    Taken,
    /// More permits than this limit, which was lowered after the caller had looked at it, and before anybody saw it wait.
    Above(u32),
    TimedOut,
    Cancelled,
    /// The semaphore that was meant is gone.
    Stale,
    /// The semaphore that was meant goes on in another cell.
    Moved,
    /// New requests are refused.
    Drained,
    /// Waiting would never end.
    Deadlock,
    /// What the caller had in the file is not there any more.
    Damaged,
    /// It could be had; only for who only looks.
    Free,
}

/// What one look at a semaphore came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    End(Outcome),
    /// Sleep while the futex word has this value, at most until `until`, and watch those lives.
    Sleep {
        expect: u32,
        watch: Watching,
        until: Option<u64>,
    },
    /// A dead owner may still be writing.
    Gate {
        dead: Owner,
        attempt: u32,
    },
}

/// Whether a wait could never end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuck {
    No,
    /// Others moved while that was looked up: again soon.
    Unclear,
    Yes,
}

/// How soon, in nanoseconds.
pub const SOON: u64 = 2_000_000;

/// Whose deaths would change something for a sleeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watching {
    Nobody,
    One(Owner),
    /// The oldest waiter's; and the sleep is on the caller's own record, in line.
    InLine(Owner),
    /// Everybody who holds permits, or is about to; and the oldest waiter if it is that for which permits are kept.
    Holders(Option<Owner>),
}

/// Everything that the protocol needs beside the words.
pub trait World {
    type Error;
    fn now(&self) -> u64;
    fn is_alive(&self, owner: Owner) -> bool;
    /// The caller's wait record, published before this returns: reference and beginning.
    fn record(&mut self) -> Result<(u64, u64), Self::Error>;
    /// The waiter behind a reference, if it lives and waits for this semaphore.
    fn waiting(&self, reference: u64) -> Option<Waiting>;
    /// The caller, who is the oldest, has looked.
    fn touch(&self) {}
    /// Notes that the waiter behind a reference is being woken.
    fn ping(&self, _reference: u64, _now: u64) {}
    /// Whether the caller holds something that others may be waiting for.
    fn holds_something(&self) -> bool {
        false
    }
    /// A number that changes with the owner.
    fn pulse(&self) -> u64 {
        0
    }
    /// The caller waits in line from here on, unless it is the oldest; whom it is behind, and for how long at most. See `line.rs`.
    fn line_up(&self, _oldest: &AtomicU64) -> Option<(Owner, u64)> {
        None
    }
    /// The caller, who was the oldest and is not any more, calls who is next in line.
    fn call_next(&self, _oldest: &AtomicU64) {}
    /// The caller's request is over: it is not in line any more.
    fn step_out(&self) {}
    /// The caller takes the place of another as the oldest: who waits in line behind that one waits behind the caller now.
    fn inherit_line(&self) {}
    /// Sleeps while the low half is `expect`, at most until `until`; ends when one that is watched dies. May end early.
    fn sleep(&self, word: &AtomicU64, expect: u32, watch: Watching, until: Option<u64>);
    /// Whether the caller's wait, which is published, could never end.
    fn is_deadlocked(&self) -> Stuck {
        Stuck::No
    }
    /// Whether the flag that says "drained" stands: who set it lives, or has come to its end.
    fn is_drained(&self) -> bool {
        true
    }
    /// Settles a word that is in the hands of a joint request.
    fn settle_joint(&self, word: &AtomicU64, seen: Word);
    fn is_cancelled(&self) -> bool;
    /// Whether a dead owner's claim may be touched.
    fn gate(&self, dead: Owner) -> Gate;
    /// What may be done with it then.
    fn takeover(&self, dead: Owner) -> Takeover;
    /// Waits a little for a dead owner to stop writing.
    fn wait_for_gate(&self, dead: Owner, attempt: u32);
    /// Who shares the caller's claim, if anybody does.
    fn joiner(&self) -> Option<Owner>;
    /// The claim ends with the next step: whoever reads it from here on must not believe what is written beside the word.
    fn unbook(&self);
    fn wake_all(&self, word: &AtomicU64);
    /// Sets the low half and wakes all, so that no stop or death of the caller comes between.
    fn set_low_and_wake_all(&self, word: &AtomicU64, low: u32);
    /// Sees to it that the owner of the semaphore does not give it back without looking at its word. None: it is in the middle of
    /// something; again soon. See `plain.rs`.
    fn ask(&self) -> Option<Ticket>;
    /// Whether that was so from then until now.
    fn is_still(&self, since: Ticket) -> bool;
    /// The caller, who owns the semaphore and has not set a flag, gives it back with the next step, and not plainly: may it be
    /// plain for others?
    fn calm(&self) {}
}

impl Words<'_> {
    fn load(&self) -> Word {
        Word(self.word.load(Acquire))
    }

    fn swap(&self, from: Word, to: Word) -> bool {
        self.word.compare_exchange(from.0, to.0, AcqRel, Relaxed).is_ok()
    }
}

/// Acquires for `me`, a claimant that does not own it yet.
pub fn acquire<W: World>(w: &mut W, words: &Words<'_>, me: Owner, limit: Limit) -> Result<Outcome, W::Error> {
    let mut turn = Turn::patient();
    let done = loop {
        match look(&mut turn, w, words, me, limit) {
            Ok(Look::End(outcome)) => break Ok(outcome),
            Ok(Look::Sleep { expect, watch, until }) => w.sleep(words.word, expect, watch, until),
            Ok(Look::Gate { dead, attempt }) => w.wait_for_gate(dead, attempt),
            Err(e) => break Err(e),
        }
    };
    turn.leave(w, words.word, words.oldest, matches!(done, Ok(Outcome::Owned)));
    done
}

/// One request at one semaphore, from look to look.
#[derive(Debug)]
pub struct Turn {
    /// The caller's wait record: reference and beginning.
    pub mine: Option<(u64, u64)>,
    /// Takes nothing, only finds out what to sleep on.
    pub only_looks: bool,
    /// Enters itself as the oldest when it is.
    pub reserves: bool,
    /// It was a waiter, as others see it, before the semaphore was drained.
    admitted: bool,
    /// What a manual-reset event had been changed to when the wait began.
    began: Option<i32>,
    /// It must not wait by itself: between its looks somebody else decides when the next one is.
    pub polled: bool,
    /// It waits in line before it sleeps.
    pub lines_up: bool,
    patience: Patience,
    /// Looks at the gate of a dead owner.
    pub attempt: u32,
    /// Looks that have found the owner in the middle of something.
    unclear: u32,
    lapse: Option<Lapse>,
    /// As of the latest look, there is an oldest waiter past its bound, which the caller passes.
    pub passes: bool,
}

/// So many looks at an owner in the middle of something before a pause: mostly it is a few instructions from its end.
const UNCLEAR_LOOKS: u32 = if cfg!(loom) { 0 } else { 3 };

/// The first pause before the next look, in nanoseconds.
pub const A_MOMENT: u64 = 20_000;

/// The pause after so many looks: up to 5 milliseconds, at an owner that was stopped in the middle of something.
fn unclear_pause(looks: u32) -> u64 {
    if cfg!(loom) { A_MOMENT } else { (A_MOMENT << looks.saturating_sub(UNCLEAR_LOOKS).min(8)).min(5_000_000) }
}

/// For whom the caller stands back, and until when.
#[derive(Clone, Copy, Debug)]
struct Lapse {
    reference: u64,
    until: u64,
}

impl Turn {
    /// At its beginning.
    pub fn new() -> Turn {
        Turn {
            mine: None,
            only_looks: false,
            reserves: true,
            admitted: false,
            began: None,
            polled: false,
            lines_up: false,
            patience: Patience::default(),
            attempt: 0,
            unclear: 0,
            lapse: None,
            passes: false,
        }
    }

    /// Of a thread that waits for this semaphore only: it looks again for a while before it sleeps, and lines up.
    pub fn patient() -> Turn {
        Turn { lines_up: true, patience: Patience::new(true), ..Turn::new() }
    }

    /// Whether a manual-reset event has changed since the first look at it.
    pub fn has_changed(&mut self, now: i32) -> bool {
        *self.began.get_or_insert(now) != now
    }

    /// Whether a word that says "drained", or does not, ends the request. Who drains sets the flag and then looks for
    /// waiters; so a waiter that finds no flag after it has published its record is waited for.
    pub fn is_refused(&mut self, drained: bool, stands: impl FnOnce() -> bool) -> bool {
        let refused = drained && !self.admitted && stands();
        self.admitted |= !refused && self.mine.is_some();
        refused
    }

    /// Whether it looks again before it sleeps. Who is to wait in line does not: it would take the semaphore from the oldest.
    pub fn looks_again<W: World>(&mut self, w: &W, oldest: &AtomicU64) -> bool {
        let meets_oldest = oldest.load(Relaxed) != self.mine.map_or(0, |(mine, _)| mine);
        !(self.lines_up && meets_oldest) && self.patience.lasts(w)
    }

    /// It sleeps now; after that it is patient again. (Who waits for several would be so at each of them.)
    pub fn rests(&mut self) {
        self.patience = Patience::new(self.lines_up);
    }

    /// Before the caller sleeps, whether it is admitted: its own change of the word says so, else it has to look again.
    pub fn is_admitted(&mut self, changed: bool) -> bool {
        self.admitted |= changed;
        self.admitted
    }

    /// The end of the request here.
    pub fn leave<W: World>(&self, w: &W, word: &AtomicU64, oldest: &AtomicU64, owned: bool) {
        let Some((reference, _)) = self.mine else { return };
        w.step_out();
        let was_oldest = oldest.load(SeqCst) == reference;
        vacate(oldest, reference);
        if was_oldest {
            w.call_next(oldest);
        }
        if was_oldest && !owned {
            // Others may be standing back from a free semaphore for the sake of a waiter that leaves.
            w.wake_all(word);
        }
    }
}

/// One look: owned, refused, or what to sleep on.
pub fn look<W: World>(turn: &mut Turn, w: &mut W, words: &Words<'_>, me: Owner, limit: Limit) -> Result<Look, W::Error> {
    loop {
        let word = words.load();
        if let State::Tentative(_) = word.state() {
            w.settle_joint(words.word, word);
            continue;
        }
        let is_its = word.generation() == words.generation || seeded(Bug::FreeIsZero) && word.state() == State::Free;
        if !is_its {
            return Ok(Look::End(Outcome::Stale));
        }
        if turn.is_refused(word.has(DRAINED), || w.is_drained()) {
            return Ok(Look::End(Outcome::Drained));
        }
        let (flags, watch, standing_back) = match word.state() {
            State::Free => {
                let Some((kept_for, oldest, until)) = stand_back(w, words.word, words.oldest, turn, |_| Fits::Now) else {
                    if turn.only_looks {
                        return Ok(Look::End(Outcome::Free));
                    }
                    if words.swap(word, word.owned_by(me, WAITERS | MARK | DRAINED)) {
                        return Ok(Look::End(Outcome::Owned));
                    }
                    continue;
                };
                if limit == Limit::Now {
                    return Ok(Look::End(Outcome::Taken));
                }
                (WAITERS | RESERVED, Watching::One(oldest), Some((kept_for, until)))
            }
            State::Owned(owner) if !w.is_alive(owner) && turn.only_looks => return Ok(Look::End(Outcome::Free)),
            State::Owned(owner) if !w.is_alive(owner) => {
                let covered = match take_over(w, words, word, owner, me) {
                    Taking::Mine => return Ok(Look::End(Outcome::Owned)),
                    Taking::Again => match over(w, limit) {
                        Some(over) => return Ok(Look::End(over)),
                        None => continue,
                    },
                    Taking::NotYet { covered } => covered,
                };
                if limit == Limit::Now && (covered || turn.attempt > 21) {
                    return Ok(Look::End(Outcome::Taken));
                }
                if let Some(over) = over(w, limit) {
                    return Ok(Look::End(over));
                }
                if covered {
                    // That may take long: who looks shall see the caller wait.
                    queue(turn, w, words.oldest)?;
                }
                let attempt = turn.attempt;
                turn.attempt += 1;
                return Ok(Look::Gate { dead: owner, attempt });
            }
            State::Owned(owner) => {
                turn.lapse = None;
                turn.attempt = 0;
                if limit == Limit::Now {
                    return Ok(Look::End(Outcome::Taken));
                }
                if turn.looks_again(w, words.oldest) {
                    continue;
                }
                (WAITERS, if owner == me { Watching::Nobody } else { Watching::One(owner) }, None)
            }
            State::Creating(_) => {
                // Linked, or nobody could have asked for it: it is complete.
                words.swap(word, Word::new(word.generation(), 0));
                continue;
            }
            State::Moved => return Ok(Look::End(Outcome::Moved)),
            State::Tentative(_) | State::Empty | State::Removed | State::Damaged => return Ok(Look::End(Outcome::Stale)),
        };
        if let Some(over) = over(w, limit) {
            return Ok(Look::End(over));
        }
        let (aged, oldest, since) = queue(turn, w, words.oldest)?;
        turn.rests();
        if let Some(sleep) = in_line(turn, w, words.oldest, limit, standing_back.map(|(_, until)| until)) {
            match turn.is_admitted(false) {
                true => return Ok(sleep),
                false => continue,
            }
        }
        let armed = word.with(if oldest { flags | RESERVED } else { flags });
        let owned = standing_back.is_none();
        let careful = if owned { w.ask() } else { None };
        if owned && careful.is_none() {
            // What would be set now might be overwritten, and nobody would wake the caller.
            turn.unclear += 1;
            if turn.unclear <= UNCLEAR_LOOKS && !turn.polled {
                std::hint::spin_loop();
                continue;
            }
            let soon = w.now() + unclear_pause(turn.unclear);
            let until = Some(wake_up(limit, None, None).map_or(soon, |t| t.min(soon)));
            return Ok(Look::Sleep { expect: word.low(), watch, until });
        }
        // Also where it is set already: that may be about to be overwritten.
        let unchanged = if armed == word { words.load() == word } else { words.swap(word, armed) };
        if !unchanged || careful.is_some_and(|c| !w.is_still(c)) || !turn.is_admitted(armed != word) {
            continue;
        }
        turn.unclear = 0;
        if let Some((kept_for, _)) = standing_back
            && words.oldest.load(Acquire) != kept_for
        {
            // It was taken and released again before the flags were set: then nobody is left who would wake us. After
            // the flags, the oldest's release, its leaving and its death all do.
            continue;
        }
        let mut again = standing_back.map(|(_, until)| until);
        match if aged && limit == Limit::Never { w.is_deadlocked() } else { Stuck::No } {
            Stuck::No => {}
            Stuck::Unclear => again = [again, Some(w.now() + SOON)].into_iter().flatten().min(),
            Stuck::Yes => return Ok(Look::End(Outcome::Deadlock)),
        }
        let until = wake_up(limit, deadlock_at(w, limit, aged, since), again);
        return Ok(Look::Sleep { expect: armed.low(), watch, until });
    }
}

/// Sees to it that the caller has a record, and that it is entered as the oldest if nobody is older. Whether it is aged,
/// whether it is so and the oldest, since when it waits.
pub fn queue<W: World>(turn: &mut Turn, w: &mut W, oldest: &AtomicU64) -> Result<(bool, bool, u64), W::Error> {
    let (reference, since) = match turn.mine {
        Some(m) => m,
        None => *turn.mine.insert(w.record()?),
    };
    let is_oldest = turn.reserves && enter(w, oldest, reference, since);
    if is_oldest {
        w.touch();
    }
    let aged = w.now().saturating_sub(since) >= BOUND;
    Ok((aged, is_oldest && aged, since))
}

/// Whether the caller, who is to sleep, does so in line, and how.
pub fn in_line<W: World>(turn: &Turn, w: &W, oldest: &AtomicU64, limit: Limit, lapse_at: Option<u64>) -> Option<Look> {
    let (first, until) = if turn.lines_up { w.line_up(oldest)? } else { return None };
    let until = wake_up(limit, None, [Some(until), lapse_at].into_iter().flatten().min());
    Some(Look::Sleep { expect: IN_LINE, watch: Watching::InLine(first), until })
}

/// When a sleeper has something to do at the latest. That it is aged now, others see by themselves: a timer for that would be
/// earlier than the next tick of the processor's clock, whose setting costs more than the sleep.
pub fn wake_up(limit: Limit, bound: Option<u64>, lapse_at: Option<u64>) -> Option<u64> {
    let deadline = if let Limit::At(t) = limit { Some(t) } else { None };
    [deadline, bound, lapse_at].into_iter().flatten().min()
}

/// When who sleeps has to look whether its wait could ever end, if it has not looked yet.
pub fn deadlock_at<W: World>(w: &W, limit: Limit, aged: bool, since: u64) -> Option<u64> {
    (!aged && limit == Limit::Never && w.holds_something()).then_some(since + BOUND)
}

/// Whether the request has to end here.
pub fn over<W: World>(w: &W, limit: Limit) -> Option<Outcome> {
    if w.is_cancelled() {
        return Some(Outcome::Cancelled);
    }
    matches!(limit, Limit::At(t) if w.now() >= t).then_some(Outcome::TimedOut)
}

/// Whether what is free is kept for somebody else: for which reference, who that is, and until when at most.
///
/// The oldest gets [`LAPSE`] of each waiter's time to take what it can have; and where there is not enough for it yet, as
/// long as it stirs when it is woken. Whether it does is noted in its record, so that those who do not wait find a stopped
/// one out as well.
pub fn stand_back<W: World>(
    w: &W,
    word: &AtomicU64,
    oldest: &AtomicU64,
    turn: &mut Turn,
    fits: impl Fn(&Waiting) -> Fits,
) -> Option<(u64, Owner, u64)> {
    turn.passes = false;
    let reference = oldest.load(Acquire);
    if reference == 0 || turn.mine.is_some_and(|(m, _)| m == reference) {
        return None;
    }
    let waiting = w.waiting(reference).filter(|o| fits(o) != Fits::Never);
    let Some(waiting) = waiting else {
        vacate(oldest, reference);
        return None;
    };
    let now = w.now();
    if now < waiting.first.saturating_add(BOUND) {
        return None;
    }
    if fits(&waiting) == Fits::Pass {
        turn.passes = true;
        return None;
    }
    let mut lapse = turn.lapse.filter(|l| l.reference == reference).unwrap_or(Lapse { reference, until: now + LAPSE });
    // A time to come cannot be: damaged.
    let asked = waiting.pinged > waiting.seen && waiting.pinged <= now;
    let over = now >= lapse.until;
    let lapsed = over && fits(&waiting) == Fits::Now || asked && now >= waiting.pinged.saturating_add(LAPSE);
    if lapsed && !seeded(Bug::NoLapse) {
        vacate(oldest, reference);
        return None;
    }
    if !asked && now >= waiting.seen.saturating_add(LAPSE) {
        w.ping(reference, now);
        w.wake_all(word);
    }
    if over {
        lapse.until = now + LAPSE;
    }
    turn.lapse = Some(lapse);
    Some((reference, waiting.owner, lapse.until))
}

/// Takes a reference out of `oldest`, if it is still there.
fn vacate(oldest: &AtomicU64, reference: u64) {
    let _ = oldest.compare_exchange(reference, 0, AcqRel, Relaxed);
}

/// Enters the caller as the oldest, unless somebody older is. True: it is the caller.
fn enter<W: World>(w: &W, oldest: &AtomicU64, reference: u64, since: u64) -> bool {
    loop {
        let there = oldest.load(Acquire);
        if there == reference {
            return true;
        }
        if there != 0 && w.waiting(there).is_some_and(|o| o.since <= since) {
            return false;
        }
        if oldest.compare_exchange(there, reference, AcqRel, Relaxed).is_ok() {
            if there != 0 {
                w.inherit_line();
            }
            return true;
        }
    }
}

/// How a try to end a dead owner's claim went.
enum Taking {
    Mine,
    Again,
    NotYet { covered: bool },
}

/// One try to end a dead owner's claim.
fn take_over<W: World>(w: &W, words: &Words<'_>, word: Word, dead: Owner, me: Owner) -> Taking {
    // First the gate: a member that was only taken for dead (another epoch) must keep its JOINED.
    match w.gate(dead) {
        Gate::Open => {}
        Gate::Writing => return Taking::NotYet { covered: false },
        Gate::Covering => return Taking::NotYet { covered: true },
    }
    // A joiner publishes itself and then sees to it that JOINED is set. So: clear it, then look for joiners; if one
    // appears after the look, it changes the word, and the compare-and-swap below fails.
    let word = if word.has(JOINED) {
        let cleared = word.without(JOINED);
        if !words.swap(word, cleared) {
            return Taking::Again;
        }
        cleared
    } else {
        word
    };
    match w.takeover(dead) {
        Takeover::Take if words.swap(word, word.owned_by(me, WAITERS | DRAINED).with(MARK)) => Taking::Mine,
        Takeover::Take => Taking::Again,
        Takeover::PassTo(heir) => {
            if words.swap(word, word.owned_by(heir, WAITERS | RESERVED | DRAINED).with(MARK | JOINED | INHERITED)) {
                w.wake_all(words.word);
            }
            Taking::Again
        }
    }
}

/// What the end of a claim needs when all else has been done before.
pub trait Ends {
    /// See [`World::unbook`].
    fn unbook(&self);
    /// See [`World::set_low_and_wake_all`].
    fn set_low_and_wake_all(&self, word: &AtomicU64, low: u32);
}

/// How the preparation of a release went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preparing {
    Done,
    /// Somebody shares the claim.
    Shared,
    NotOwner,
}

/// From here on nobody joins the claim of `me`, so that [`release_prepared`] can end it without looking around.
pub fn prepare<W: World>(w: &W, words: &Words<'_>, me: Owner) -> Preparing {
    let mut look_for_joiners = false;
    loop {
        let word = words.load();
        if word.generation() != words.generation || word.owner() != Some(me) || word.has(CLOSING) {
            return Preparing::NotOwner;
        }
        if word.has(INHERITED) {
            return Preparing::Shared;
        }
        if word.has(JOINED) {
            // As in `release`: cleared before the look, so that a join after it changes the word.
            look_for_joiners |= words.swap(word, word.without(JOINED));
            continue;
        }
        if look_for_joiners && w.joiner().is_some() {
            if words.swap(word, word.with(JOINED)) {
                return Preparing::Shared;
            }
            continue;
        }
        if words.swap(word, word.with(CLOSING)) {
            return Preparing::Done;
        }
    }
}

/// Ends a claim whose release was prepared. False: it had been ended from outside. No allocation, no lock.
pub fn release_prepared<E: Ends>(e: &E, words: &Words<'_>, me: Owner) -> bool {
    // Who evicts it sets INHERITED, and then looks whether it is still written down; so that must be over before the swaps
    // below, each of which fails if the flag came in between.
    e.unbook();
    loop {
        let word = words.load();
        if word.generation() != words.generation || word.owner() != Some(me) {
            return false;
        }
        let reserved = if words.oldest.load(Acquire) != 0 { RESERVED } else { 0 };
        let free = word.freed(MARK | DRAINED).with(reserved);
        if !word.has(WAITERS) {
            if words.swap(word, free) {
                return true;
            }
            continue;
        }
        // Nobody evicts it any more, even if the word stays the same.
        if words.swap(word, word.without(INHERITED)) {
            e.set_low_and_wake_all(words.word, free.low());
            return true;
        }
    }
}

/// Gives the claim of `me` back, with the mark if `mark`. False: `me` does not own it.
pub fn release<W: World>(w: &W, words: &Words<'_>, me: Owner, mark: bool) -> bool {
    let mark = if mark { MARK } else { 0 };
    let mut look_for_joiners = false;
    loop {
        let word = words.load();
        if word.generation() != words.generation || word.owner() != Some(me) {
            return false;
        }
        if word.has(JOINED) {
            look_for_joiners |= words.swap(word, word.without(JOINED));
            continue;
        }
        if look_for_joiners && let Some(heir) = w.joiner() {
            if words.swap(word, word.owned_by(heir, WAITERS | MARK | RESERVED | DRAINED).with(JOINED | INHERITED | mark)) {
                // The sleepers watch the caller's life; now it is the heir's that matters.
                w.wake_all(words.word);
                return true;
            }
            continue;
        }
        w.unbook();
        let reserved = if words.oldest.load(Acquire) != 0 { RESERVED } else { 0 };
        let free = word.freed(MARK | DRAINED).with(mark | reserved);
        if !word.has(WAITERS) {
            if seeded(Bug::ReleaseByStore) {
                words.word.store(free.0, Release);
                return true;
            }
            if word.flags() == 0 && free.flags() == 0 {
                w.calm();
            }
            if words.swap(word, free) {
                return true;
            }
            continue;
        }
        if seeded(Bug::WakeBeforePublish) || seeded(Bug::ReleaseInTwoSteps) {
            let wakes_first = seeded(Bug::WakeBeforePublish);
            if wakes_first {
                w.wake_all(words.word);
            }
            if words.swap(word, free) {
                if !wakes_first {
                    w.wake_all(words.word);
                }
                return true;
            }
            continue;
        }
        // Nobody may join any more: the next step sets the low half without looking.
        if words.swap(word, word.with(CLOSING | mark)) {
            w.set_low_and_wake_all(words.word, free.low());
            return true;
        }
    }
}
