//! Requests: what can be had at once, who waits, who may be next.

use super::{Claim, Claimant, Code, Entry, Grant, Handle, How, Model, Reply, Result, State, Until, Waiting};

impl Model {
    /// A request for one semaphore, for the first that can be had, or for all of a list. In the order of the contract: 87,
    /// 151, 153; 6; 102 it is drained; 106, 103; 101 or 121 at once; 1131 instead of a wait without an end.
    pub fn request(&mut self, who: Claimant, how: How, list: &[(&Handle, u32)], until: Until) -> Reply {
        let mut entries = Vec::with_capacity(list.len());
        if how != How::One && (list.is_empty() || list.len() > self.limits.list) {
            return Reply::Refused(Code::InvalidEventCount, Vec::new());
        }
        for (i, (handle, permits)) in list.iter().enumerate() {
            if let Some(first) = list[..i].iter().position(|(h, _)| how == How::All && h.name == handle.name) {
                return Reply::Refused(Code::InvalidListFormat, vec![first, i]);
            }
            let most = match self.find(handle).map(|s| &s.state) {
                Ok(State::Counting(c)) => c.limit(),
                Ok(_) => 1,
                Err(_) => u32::MAX,
            };
            if *permits == 0 || *permits > most {
                return Reply::Refused(Code::InvalidParameter, vec![i]);
            }
            entries.push(self.entry(handle, *permits));
        }
        let at = |i: usize| if how == How::One { Vec::new() } else { vec![i] };
        for (i, (handle, _)) in list.iter().enumerate() {
            if let Err(code) = self.find(handle) {
                return Reply::Refused(code, at(i));
            }
        }
        for (i, (handle, _)) in list.iter().enumerate() {
            // A further level belongs to the claim that the drain waits for.
            if self.find(handle).is_ok_and(|s| s.drain.is_some() && !s.nests(who)) {
                return Reply::Refused(Code::SemIsSet, at(i));
            }
        }
        if let Err(code) = self.enter(who.process) {
            return Reply::Refused(code, Vec::new());
        }
        let wait = Waiting { who, how, list: entries, has_deadline: until == Until::Deadline };
        match self.possible(&wait) {
            Ok(which) => return Reply::Granted(self.take(&wait, &which)),
            Err(code @ (Code::ExclSemAlreadyOwned | Code::SemTimeout)) => {
                if until == Until::Now {
                    return Reply::Refused(if how == How::One { code } else { Code::SemTimeout }, Vec::new());
                }
            }
            Err(code) => return Reply::Refused(code, Vec::new()),
        }
        self.waits.push(wait);
        if until == Until::Forever && self.stuck().contains(&who) {
            self.waits.pop();
            return Reply::Refused(Code::PossibleDeadlock, Vec::new());
        }
        Reply::Waits
    }

    /// Supposes that `who` waits for this without an end, whether it would be let or not. For those who judge from outside:
    /// one that is about to be told 1131 waits until it is told.
    pub fn suppose_waiting(&mut self, who: Claimant, how: How, list: &[(&Handle, u32)]) {
        let list = list.iter().map(|(h, n)| self.entry(h, *n)).collect();
        self.waits.push(Waiting { who, how, list, has_deadline: false });
    }

    fn entry(&self, handle: &Handle, permits: u32) -> Entry {
        let since = match self.by_incarnation(handle.incarnation).map(|s| &s.state) {
            Some(State::Event(e)) => e.signals(),
            _ => 0,
        };
        Entry { incarnation: handle.incarnation, permits, through: handle.id, since }
    }

    /// 106: the process needs a member slot.
    fn enter(&mut self, process: u32) -> Result<()> {
        if !self.members.contains(&process) {
            if self.members.len() >= self.limits.members {
                return Err(Code::SemUserLimit);
            }
            self.members.insert(process);
        }
        Ok(())
    }

    /// Which entries of a wait it would be given now, or why none.
    fn possible(&self, wait: &Waiting) -> Result<Vec<usize>> {
        let can = |e: &Entry| match &self.by_incarnation(e.incarnation).ok_or(Code::InvalidHandle)?.state {
            State::Exclusive(x) => x.check(wait.who, self.limits.depth),
            State::Counting(c) if c.free() >= e.permits => Ok(()),
            State::Event(v) if v.is_there(e.since, wait.how == How::All) => Ok(()),
            State::Counting(_) | State::Event(_) => Err(Code::SemTimeout),
        };
        match wait.how {
            How::One => can(&wait.list[0]).map(|()| vec![0]),
            How::Any => wait.list.iter().position(|e| can(e).is_ok()).map(|i| vec![i]).ok_or(Code::SemTimeout),
            How::All => wait.list.iter().try_for_each(can).map(|()| (0..wait.list.len()).collect()),
        }
    }

    fn take(&mut self, wait: &Waiting, which: &[usize]) -> Vec<(usize, Grant)> {
        let mut grants = Vec::with_capacity(which.len());
        for &i in which {
            let e = wait.list[i];
            let Some(s) = self.names.values_mut().find(|s| s.incarnation == e.incarnation) else { continue };
            let (token, nested, died) = match &mut s.state {
                State::Exclusive(x) => x.acquire(wait.who, e.through),
                State::Counting(c) => (c.acquire(wait.who, e.permits, e.through), false, None),
                State::Event(v) => (v.seen(), false, None),
            };
            grants.push((i, Grant { claim: Claim { incarnation: e.incarnation, token }, nested, died }));
        }
        grants
    }

    pub(super) fn waits_on(&self, incarnation: u64) -> impl Iterator<Item = &Waiting> {
        self.waits.iter().filter(move |w| w.list.iter().any(|e| e.incarnation == incarnation))
    }

    /// Who waits for this semaphore and could be granted what it waits for now, oldest first.
    pub fn next(&mut self, handle: &Handle) -> Vec<Claimant> {
        let Ok(s) = self.find(handle) else { return Vec::new() };
        let incarnation = s.incarnation;
        self.waits_on(incarnation).filter(|w| self.possible(w).is_ok()).map(|w| w.who).collect()
    }

    /// The waiter `who` was seen to be granted what it waits for. `None` when the contract forbids that.
    pub fn granted(&mut self, who: Claimant) -> Option<Vec<(usize, Grant)>> {
        let at = self.waits.iter().position(|w| w.who == who)?;
        let which = self.possible(&self.waits[at]).ok()?;
        let wait = self.waits.remove(at);
        Some(self.take(&wait, &which))
    }

    /// The same for a wait for one semaphore.
    pub fn grant(&mut self, who: Claimant, handle: &Handle) -> Option<Grant> {
        if !self.next(handle).contains(&who) {
            return None;
        }
        self.granted(who).map(|mut g| g.remove(0).1)
    }

    /// The wait of `who` ended without a grant: 121 when its time ran out, 95 when it was cancelled. It leaves nothing.
    pub fn stop_waiting(&mut self, who: Claimant) {
        self.waits.retain(|w| w.who != who);
        self.settle_drains();
    }
}
