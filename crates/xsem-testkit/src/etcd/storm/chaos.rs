//! What is done to processes, connections and servers.

use super::{Options, Scene, TTL};
use crate::random::Random;
use std::io;
use std::time::{Duration, Instant};

/// Something that is to be taken back.
enum Until {
    Thaw(usize),
    Restart(usize),
    Continue(usize),
    Release(usize),
    Accept(usize),
    Hear(usize),
}

/// Until the time is over; then everything is well again.
pub fn blow(scene: &mut Scene, options: &Options) -> io::Result<()> {
    let (mut random, end) = (Random::new(options.seed), Instant::now() + options.time);
    let mut hurt: Vec<(Instant, Until)> = Vec::new();
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100 + random.below(400)));
        let (over, rest): (Vec<_>, Vec<_>) = hurt.into_iter().partition(|(at, _)| *at <= Instant::now());
        hurt = rest;
        over.into_iter().try_for_each(|(_, what)| scene.heal(&what))?;
        // One thing at a time at each place: one server is away at most, so that there is a majority.
        let server_is_hurt = hurt.iter().any(|(_, u)| matches!(u, Until::Thaw(_) | Until::Restart(_)));
        // Mostly one that holds something, where one does: that is who matters.
        let mut seat = random.below(scene.seats.len() as u64) as usize;
        let holders: Vec<usize> = (0..scene.seats.len()).filter(|s| scene.holds(*s)).collect();
        if !holders.is_empty() && !random.one_in(3) {
            seat = holders[random.below(holders.len() as u64) as usize];
        }
        let seat_is_hurt = hurt.iter().any(|(_, u)| match u {
            Until::Continue(s) | Until::Release(s) | Until::Accept(s) | Until::Hear(s) => *s == seat,
            _ => false,
        });
        // Sometimes it is over before the lease is, sometimes not.
        let time = Duration::from_millis(100 + random.below(TTL.as_millis() as u64 * 3 / 2));
        let short = Duration::from_millis(50 + random.below(700));
        match random.below(12) {
            0 | 1 if !server_is_hurt && scene.cluster.len() > 1 => {
                let i = if random.one_in(2) { scene.cluster.leader() } else { random.below(scene.cluster.len() as u64) as usize };
                match random.one_in(2) {
                    true => {
                        scene.cluster.freeze(i);
                        scene.count("servers frozen");
                        hurt.push((Instant::now() + time, Until::Thaw(i)));
                    }
                    false => {
                        scene.cluster.kill(i);
                        scene.count("servers killed");
                        hurt.push((Instant::now() + time, Until::Restart(i)));
                    }
                }
            }
            2..=4 if !seat_is_hurt => scene.kill(seat)?,
            5 if !seat_is_hurt => {
                scene.signal(seat, libc::SIGSTOP);
                scene.count("stopped");
                hurt.push((Instant::now() + time, Until::Continue(seat)));
            }
            6 if !seat_is_hurt => {
                scene.seats[seat].proxies.iter().for_each(|p| p.hold(true));
                scene.count("held");
                hurt.push((Instant::now() + time, Until::Release(seat)));
            }
            7 if !seat_is_hurt => {
                scene.seats[seat].proxies.iter().for_each(|p| p.refuse(true));
                scene.count("cut off");
                hurt.push((Instant::now() + time, Until::Accept(seat)));
            }
            8 | 9 if !seat_is_hurt => {
                scene.seats[seat].proxies.iter().for_each(|p| p.lose_answers(true));
                scene.count("answers lost");
                hurt.push((Instant::now() + short, Until::Hear(seat)));
            }
            10 => {
                scene.seats[seat].proxies.iter().for_each(super::Proxy::cut);
                scene.count("connections cut");
            }
            _ => {}
        }
    }
    hurt.into_iter().try_for_each(|(_, what)| scene.heal(&what))
}

impl Scene {
    fn count(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    /// As the last line of its record has it.
    fn holds(&self, seat: usize) -> bool {
        let record = self.seats[seat].lives.last().and_then(|l| std::fs::read_to_string(&l.0).ok()).unwrap_or_default();
        record.lines().last().is_some_and(|l| l.starts_with(['G', 'H', 'M']))
    }

    fn heal(&mut self, what: &Until) -> io::Result<()> {
        let proxies = |s: usize| self.seats[s].proxies.iter();
        match *what {
            Until::Thaw(i) => self.cluster.thaw(i),
            Until::Restart(i) => self.cluster.restart(i),
            Until::Continue(s) => self.signal(s, libc::SIGCONT),
            Until::Release(s) => proxies(s).for_each(|p| p.hold(false)),
            Until::Accept(s) => proxies(s).for_each(|p| p.refuse(false)),
            Until::Hear(s) => proxies(s).for_each(|p| p.lose_answers(false)),
        }
        Ok(())
    }

    fn signal(&self, seat: usize, signal: i32) {
        // SAFETY: no pointer is passed; the process is a child that was not waited for.
        unsafe { libc::kill(self.seats[seat].child.id() as libc::pid_t, signal) };
    }

    /// Kills a worker, and another one sits down.
    fn kill(&mut self, seat: usize) -> io::Result<()> {
        let s = &mut self.seats[seat];
        s.child.kill()?;
        s.child.wait()?;
        let (n, url) = (s.lives.len(), s.url.clone());
        let (child, life) = self.start(&url, seat, n)?;
        self.seats[seat].child = child;
        self.seats[seat].lives.push(life);
        self.count("killed");
        Ok(())
    }
}
