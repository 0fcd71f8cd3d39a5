//! Asking for one semaphore or several at once, with the death of a previous owner as a fact and not as an error.

use crate::wanted::Sem;
use xsem::{AcquireError, AllError, Code, Deaths, Error, Held, Namespace, Result, Wait};

/// What was acquired: a claim for each semaphore, in their order.
#[derive(Debug)]
pub struct Acquired<'a> {
    /// The claims. A single event has none.
    pub held: Vec<Held<'a>>,
    /// Those that carry the mark, with who died where that could be kept.
    pub died: Vec<(usize, Option<Deaths>)>,
}

/// All of them, or none.
///
/// # Errors
/// As the library has them, without 105.
pub fn acquire<'a>(ns: &Namespace, sems: &'a [Sem], wait: Wait<'_>) -> Result<Acquired<'a>> {
    let plain = |held| Acquired { held, died: Vec::new() };
    match sems {
        [] => Ok(plain(Vec::new())),
        // By itself: a request that does not wait gets 101 with the owner.
        [Sem::Exclusive(sem)] => match sem.acquire_with(wait) {
            Ok(guard) => Ok(plain(vec![Held::Guard(guard)])),
            Err(AcquireError::OwnerDied(r)) => {
                let died = vec![(0, r.deaths().cloned())];
                Ok(Acquired { held: vec![Held::Guard(r.into_guard())], died })
            }
            Err(AcquireError::Failed(e)) => Err(e),
        },
        // By itself, too, for the sake of the error.
        [Sem::Event(event)] => event.wait_with(wait).map(|()| plain(Vec::new())),
        [Sem::Counting(sem, n)] => Ok(plain(vec![Held::Permit(sem.acquire_with(*n, wait)?)])),
        several => {
            let list: Vec<_> = several.iter().map(Sem::pick).collect();
            match ns.acquire_all(&list, wait) {
                Ok(all) => Ok(plain(all.into_vec())),
                Err(AllError::OwnerDied(r)) => {
                    let died = r.indices().into_iter().map(|i| (i, r.deaths(i).cloned())).collect();
                    Ok(Acquired { held: r.into_all().into_vec(), died })
                }
                Err(AllError::Failed(e)) => Err(e),
            }
        }
    }
}

/// 105 about these semaphores, as an error to be shown.
pub fn owner_died(sems: &[Sem], died: &[(usize, Option<Deaths>)]) -> Error {
    let names: Vec<&str> = died.iter().filter_map(|(i, _)| sems.get(*i)).map(Sem::name).collect();
    let texts = died.iter().zip(&names).map(|((_, deaths), name)| match deaths {
        Some(d) => format!("the previous owner of `{name}` died: {d}"),
        None => format!("the previous owner of `{name}` died; its details could not be kept"),
    });
    let text = texts.collect::<Vec<_>>().join(", and ");
    let names: Vec<String> = names.iter().map(|n| super::command_line::quoted(n)).collect();
    Error::new(Code::SemOwnerDied, text)
        .advice(format!("check what it protects, then say that it is in order: xsem ok {}", names.join("; xsem ok ")))
}
