//! Checking while others work: whatever processes do and wherever they are killed, nothing of that is called damage.

mod processes;

use processes::{Child, namespace};
use std::time::{Duration, Instant};
use xsem::{Counting, Event, Exclusive, Namespace, Options, Pick, Wait};

/// A sequence that depends on the seed alone.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// One operation, whatever comes of it.
fn operate(ns: &Namespace, dice: &mut Dice) -> xsem::Result<()> {
    let short = Wait::timeout(Duration::from_micros(500)).label("a label that is longer than one block of text can be");
    let name = format!("name-{}-{}", dice.roll(6), "long".repeat(dice.roll(12) as usize));
    match dice.roll(11) {
        0..=2 => {
            let sem = Exclusive::open_or_create(ns, &name)?;
            match sem.acquire_with(short) {
                Ok(guard) if dice.roll(8) == 0 => guard.abandon()?,
                Ok(guard) => drop(guard),
                Err(e) => drop(e),
            };
        }
        3 | 4 => {
            let pool = Counting::open_or_create_pool(ns, &format!("pool-{}", dice.roll(3)), 5)?;
            let permit = pool.acquire_with(1 + dice.roll(5) as u32, short)?;
            if dice.roll(3) == 0 {
                permit.slots()?;
            }
        }
        5 => {
            let credit = Counting::open_or_create_credit(ns, "credit", 9, 4)?;
            match dice.roll(3) {
                0 => credit.add_permits(1)?,
                1 => credit.acquire_with(1, short)?.forget()?,
                _ => drop(credit.acquire_with(2, short)?),
            }
        }
        6 => {
            let event = match dice.roll(2) {
                0 => Event::open_or_create_auto(ns, "auto")?,
                _ => Event::open_or_create_manual(ns, "manual")?,
            };
            match dice.roll(3) {
                0 => drop(event.signal()?),
                1 => drop(event.reset()?),
                _ => event.wait_with(short)?,
            }
        }
        7 => ns.remove(&name)?,
        8 => {
            let (x, pool) = (Exclusive::open_or_create(ns, &name)?, Counting::open_or_create_pool(ns, "pool-0", 5)?);
            let list = [Pick::from(&x), Pick::permits(&pool, 2)];
            match dice.roll(2) {
                0 => drop(ns.acquire_all(&list, short)),
                _ => drop(ns.wait_any(&list, short)),
            }
        }
        9 => {
            let x = Exclusive::create_with(ns, &format!("gone-{}", dice.roll(4)), Options::new().ephemeral())?;
            drop(x.acquire_with(short));
        }
        _ => match dice.roll(4) {
            0 => ns.drain(&name, short)?,
            1 => ns.reopen(&name)?,
            2 => Counting::open_or_create_pool(ns, "pool-1", 5)?.resize(3 + dice.roll(4) as u32)?,
            _ => {
                let holders = ns.inspect(&name)?.holders;
                if let (Some(h), 0) = (holders.first(), dice.roll(8)) {
                    ns.evict(&name, h.token)?;
                }
            }
        },
    }
    Ok(())
}

fn worker(ns: &Namespace, seed: u64) -> Child {
    Child::new(|| {
        let mut dice = Dice(seed | 1);
        loop {
            // What is refused is refused.
            let _ = operate(ns, &mut dice);
        }
    })
}

fn signal(child: &Child, signal: i32) {
    // SAFETY: a child of this process, which has not been waited for.
    assert_eq!(unsafe { libc::kill(child.0, signal) }, 0);
}

#[test]
fn whatever_processes_do_and_wherever_they_are_killed_is_no_damage() {
    let (_dir, ns) = namespace();
    let seed = std::env::var("XSEM_SEED").map_or(0x5eed, |s| s.parse().expect("a number"));
    let looks: u32 = std::env::var("XSEM_CHECKS").map_or(20, |s| s.parse().expect("a number"));
    println!("XSEM_SEED={seed} XSEM_CHECKS={looks}");
    let mut dice = Dice(seed);
    let mut crew: Vec<Child> = (0..4).map(|_| worker(&ns, dice.roll(u64::MAX))).collect();
    let (mut semaphores, mut killed) = (0, 0);
    let begun = Instant::now();
    for look in 0..looks {
        let found = ns.check().unwrap();
        assert!(found.is_sound(), "look {look}, seed {seed}: {:#?}", found.damage().collect::<Vec<_>>());
        semaphores += found.semaphores;
        let victim = dice.roll(crew.len() as u64) as usize;
        match dice.roll(3) {
            // Dropping it kills it.
            0 => {
                crew[victim] = worker(&ns, dice.roll(u64::MAX));
                killed += 1;
            }
            // Stopped in the middle of something during the next look.
            1 => signal(&crew[victim], libc::SIGSTOP),
            _ => crew.iter().for_each(|c| signal(c, libc::SIGCONT)),
        }
    }
    assert!(semaphores > 0 && killed > 0, "nothing was going on");
    println!("{looks} looks at {semaphores} semaphores in {:?}, {killed} processes killed", begun.elapsed());
    drop(crew);
    let found = ns.check().unwrap();
    assert!(found.is_sound(), "at rest: {:#?}", found.damage().collect::<Vec<_>>());
}
