//! Requests of a pair for two at one instant: the semaphore of the case, and one that nobody else wants. So whoever meets it finds
//! the first one taken tentatively, and the judge may take it for a request for that one.

use super::hand::{GIVEN_UP, Hand, Lent, Own, done, granted, refused, told};
use super::log::Answer;
use super::ops::Way;
use crate::harness::polling::poll_twice;
use xsem::{AllError, Code, Held, OwnedAllError, OwnedHeld, Pick, Wait};

impl Hand<'_> {
    pub(super) fn ask_all(&mut self, n: u32, way: Way) -> Answer {
        let first: Pick<'static> = match self.lent {
            Some(Lent::Exclusive(s)) => s.into(),
            Some(Lent::Counting(s)) => Pick::permits(s, n),
            Some(Lent::Event(e)) => e.into(),
            None => return refused(Code::InvalidHandle),
        };
        let Some(second) = self.second else { return refused(Code::InvalidHandle) };
        let list = [first, second.into()];
        let wait = match way {
            Way::Ever | Way::Dropped => Wait::forever(),
            Way::Now => Wait::not(),
            Way::Brief => Wait::timeout(super::hand::BRIEF),
        };
        if way == Way::Dropped {
            let mut f = self.ns().acquire_all_async(&list, wait);
            let polled = poll_twice(&mut f);
            drop(f);
            let (all, died) = match polled {
                None => return Answer { code: GIVEN_UP, ..Answer::default() },
                Some(Ok(all)) => (all, None),
                Some(Err(OwnedAllError::OwnerDied(r))) => {
                    let deaths = told(r.deaths(0));
                    (r.into_all(), Some(deaths))
                }
                Some(Err(OwnedAllError::Failed(e))) => return refused(e.code()),
            };
            let of = |held| match held {
                OwnedHeld::Guard(g) => Some(Own::Task(g)),
                OwnedHeld::Permit(p) => Some(Own::Owned(p)),
                _ => None,
            };
            let token = all.as_slice().first().map_or(0, OwnedHeld::token);
            return self.has_both(all.into_vec().into_iter().map(of).collect(), token, died);
        }
        let (all, died) = match self.ns().acquire_all(&list, wait) {
            Ok(all) => (all, None),
            Err(AllError::OwnerDied(r)) => {
                let deaths = told(r.deaths(0));
                (r.into_all(), Some(deaths))
            }
            Err(AllError::Failed(e)) => return refused(e.code()),
        };
        let of = |held| match held {
            Held::Guard(g) => Some(Own::Guard(g)),
            Held::Permit(p) => Some(Own::Permit(p)),
            _ => None,
        };
        let token = all.as_slice().first().map_or(0, Held::token);
        self.has_both(all.into_vec().into_iter().map(of).collect(), token, died)
    }

    /// What there is of the first, and of the second.
    fn has_both(&mut self, mut both: Vec<Option<Own>>, token: u64, died: Option<u64>) -> Answer {
        self.seconds.extend(both.pop().flatten());
        match both.pop().flatten() {
            Some(own) => {
                self.own.push(own);
                granted(token, died)
            }
            // A signal leaves nothing to give back.
            None => done(0),
        }
    }
}
