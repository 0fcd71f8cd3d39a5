//! A device with an interrupt line, its interrupt service routine and its driver, in a user-space emulation.
//!
//! ```text
//! cargo run --example device -- shm: signal
//! cargo run --example device -- shm: scope
//! ```
//!
//! The device is a thread that receives characters, puts them into its registers, and raises its line. With `signal` the line
//! is a POSIX signal to the driver's thread, so the routine runs as a signal handler, in the middle of whatever the driver
//! does. With `scope` the routine is called by an emulated processor between two instructions: an ordinary call, declared as
//! interrupt time.
//!
//! The routine empties the registers and signals an event, which is allowed. It also does what it must not: it requests the
//! semaphore that protects the driver's configuration. The driver may just be holding it, on the very thread that the
//! routine interrupts, and so it gets 104, always.

use std::error::Error;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::*};
use std::thread;
use std::time::Duration;
use xsem::{Code, Event, Exclusive, Namespace, interrupt};

/// What comes in over the line.
pub const TEXT: &str = "The routine may signal; it may not wait. ";

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let by = match (args.next(), args.next().as_deref()) {
        (Some(url), Some("signal")) => (url, Line::Signal),
        (Some(url), Some("scope")) => (url, Line::Scope),
        _ => return Err("device URL signal|scope, such as: shm: signal".into()),
    };
    let report = run(&by.0, by.1)?;
    println!("received {:?}", report.text);
    println!("{} interrupts, {} requests in the routine refused with 104", report.interrupts, report.refused);
    Ok(())
}

/// How the device interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// By a POSIX signal to the driver's thread.
    Signal,
    /// By a line that the emulated processor looks at between two instructions.
    Scope,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// What the driver received.
    pub text: String,
    /// How often the routine ran.
    pub interrupts: u32,
    /// How often it asked for the driver's semaphore and got 104.
    pub refused: u32,
}

/// The device's registers.
#[derive(Default)]
struct Registers {
    /// 1: `data` has a character that nobody has fetched.
    status: AtomicU8,
    data: AtomicU8,
    /// The interrupt line.
    line: AtomicBool,
}

/// What the routine leaves for the driver: a ring with one writer and one reader.
#[derive(Default)]
struct Ring {
    bytes: [AtomicU8; 32],
    written: AtomicU32,
    read: AtomicU32,
}

impl Ring {
    /// False: it is full.
    fn put(&self, byte: u8) -> bool {
        let n = self.written.load(Relaxed);
        if n.wrapping_sub(self.read.load(Acquire)) as usize == self.bytes.len() {
            return false;
        }
        self.bytes[n as usize % self.bytes.len()].store(byte, Relaxed);
        self.written.store(n.wrapping_add(1), Release);
        true
    }

    fn take(&self) -> Option<u8> {
        let n = self.read.load(Relaxed);
        if n == self.written.load(Acquire) {
            return None;
        }
        let byte = self.bytes[n as usize % self.bytes.len()].load(Relaxed);
        self.read.store(n.wrapping_add(1), Release);
        Some(byte)
    }
}

/// All that the routine can reach. A signal handler has no arguments of its own.
struct Machine {
    registers: Registers,
    ring: Ring,
    received: Event,
    configuration: Exclusive,
    interrupts: AtomicU32,
    refused: AtomicU32,
}

static MACHINE: OnceLock<Machine> = OnceLock::new();

impl Machine {
    /// The interrupt service routine. Everything in it is async-signal-safe: atomics, and `Event::signal`.
    fn routine(&self) {
        self.interrupts.fetch_add(1, Relaxed);
        // Wrong, and refused: the interrupted code may hold it.
        match self.configuration.try_acquire() {
            Err(e) if e.code() == Code::InvalidAtInterruptTime => self.refused.fetch_add(1, Relaxed),
            _ => 0,
        };
        if self.registers.status.load(Acquire) == 1 && self.ring.put(self.registers.data.load(Relaxed)) {
            self.registers.status.store(0, Release);
        }
        // Nothing can fail here that the routine could do something about: the driver has the event open.
        let _ = self.received.signal();
    }

    /// The device: one character after the other, as fast as they are fetched.
    fn receive(&self, text: &str, interrupt: impl Fn()) {
        for &byte in text.as_bytes() {
            self.registers.data.store(byte, Relaxed);
            self.registers.status.store(1, Release);
            // Until somebody has fetched it: the ring may be full for a while.
            while self.registers.status.load(Acquire) == 1 {
                interrupt();
                thread::sleep(Duration::from_micros(200));
            }
        }
    }

    /// The driver: waits for the routine's signal, and fetches what it left.
    fn drive(&self, bytes: usize, mut instruction: impl FnMut()) -> xsem::Result<String> {
        let mut text = Vec::new();
        while text.len() < bytes {
            instruction();
            match self.received.wait_timeout(Duration::from_millis(1)) {
                Err(e) if e.code() != Code::SemTimeout => return Err(e),
                _ => {}
            }
            // The driver's own use of what the routine is refused: interrupts come here, too.
            let _guard = self.configuration.acquire().map_err(xsem::Error::from)?;
            instruction();
            while let Some(byte) = self.ring.take() {
                text.push(byte);
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

extern "C" fn on_signal(_: libc::c_int) {
    if let Some(machine) = MACHINE.get() {
        machine.routine();
    }
}

/// Plugs the device in, and receives the text. Once per process.
pub fn run(url: &str, line: Line) -> Result<Report, Box<dyn Error>> {
    let ns = Namespace::open(url)?;
    let machine = MACHINE.get_or_init(|| Machine {
        registers: Registers::default(),
        ring: Ring::default(),
        received: Event::open_or_create_auto(&ns, "serial/0/received").expect("a new event"),
        configuration: Exclusive::open_or_create(&ns, "serial/0/configuration").expect("a new semaphore"),
        interrupts: AtomicU32::new(0),
        refused: AtomicU32::new(0),
    });
    let text = thread::scope(|s| {
        // A number or a pointer, with different C libraries.
        // SAFETY: no arguments.
        let driver = unsafe { libc::pthread_self() } as usize;
        match line {
            Line::Signal => {
                install(libc::SIGUSR1, on_signal)?;
                s.spawn(move || {
                    machine.receive(TEXT, || {
                        // SAFETY: the driver's thread is this scope's, which waits for us; the signal has a handler.
                        unsafe { libc::pthread_kill(driver as libc::pthread_t, libc::SIGUSR1) };
                    });
                });
                machine.drive(TEXT.len(), || {})
            }
            Line::Scope => {
                s.spawn(move || machine.receive(TEXT, || machine.registers.line.store(true, Release)));
                // The processor: between two instructions it looks at the line.
                machine.drive(TEXT.len(), || {
                    if machine.registers.line.swap(false, AcqRel) {
                        let _interrupt_time = interrupt::scope();
                        machine.routine();
                    }
                })
            }
        }
    })?;
    Ok(Report { text, interrupts: machine.interrupts.load(Relaxed), refused: machine.refused.load(Relaxed) })
}

fn install(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) -> xsem::Result<()> {
    // SAFETY: an all-zero sigaction is a valid value; the handler is async-signal-safe. SA_RESTART: calls of the
    // program that are not prepared for signals go on.
    let done = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &action, std::ptr::null_mut())
    };
    match done {
        0 => Ok(()),
        _ => Err(xsem::Error::new(Code::InvalidParameter, "no handler").because(std::io::Error::last_os_error())),
    }
}
