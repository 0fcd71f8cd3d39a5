//! A stopped, traced child's registers, and the debug registers of its processor: where it is, where it shall stop.

use super::Pid;

/// Where a stopped, traced child is: the program counter. `None` when it is gone, or where this is not known how to find out.
pub fn program_counter(pid: Pid) -> Option<u64> {
    machine::program_counter(pid)
}

/// Its stack pointer. `None` as above.
pub fn stack_pointer(pid: Pid) -> Option<u64> {
    machine::stack_pointer(pid)
}

/// Where it returns to, if it stands at the first instruction of a function. `memory` is its `/proc/PID/mem`.
pub fn return_address(pid: Pid, memory: &std::fs::File) -> Option<u64> {
    machine::return_address(pid, memory)
}

/// Sets a breakpoint at an address of a stopped, traced child, in a debug register of the processor, or takes it away.
/// False where that does not work (another processor, or a machine without debug registers).
pub fn breakpoint(pid: Pid, at: Option<u64>) -> bool {
    machine::breakpoint(pid, at)
}

/// The same for a word: the child stops at each write to its eight bytes; before or after it, see [`STOPS_BEFORE`].
pub fn watchpoint(pid: Pid, at: Option<u64>) -> bool {
    machine::watchpoint(pid, at)
}

/// Whether one that goes on from a breakpoint meets it again at once, and a watchpoint stops before the write: then
/// it has to be taken past by a step, with the breakpoint away.
pub const STOPS_BEFORE: bool = machine::STOPS_BEFORE;

/// At the beginning of a system call: its number and its first three arguments. `None` where this is not known.
pub fn call_of(tid: Pid) -> Option<(i64, [u64; 3])> {
    machine::call_of(tid)
}

/// At the beginning of a system call: the kernel shall not make it. False where that does not work.
pub fn skip_call(tid: Pid) -> bool {
    machine::skip_call(tid)
}

/// At the end of a system call: its answer is this one. False where that does not work.
pub fn answer_call(tid: Pid, answer: i64) -> bool {
    machine::answer_call(tid, answer)
}

/// Why this machine cannot step through atomic operations; `None` where it can.
pub fn cannot_step() -> Option<&'static str> {
    machine::cannot_step()
}

#[cfg(target_arch = "x86_64")]
mod machine {
    use super::Pid;
    use std::mem::offset_of;
    use std::os::unix::fs::FileExt;

    // The processor sets its resume flag when the debugger's stop is over, and writes before it stops.
    pub const STOPS_BEFORE: bool = false;

    pub fn cannot_step() -> Option<&'static str> {
        None
    }

    pub fn program_counter(pid: Pid) -> Option<u64> {
        register(pid, offset_of!(libc::user_regs_struct, rip))
    }

    pub fn stack_pointer(pid: Pid) -> Option<u64> {
        register(pid, offset_of!(libc::user_regs_struct, rsp))
    }

    pub fn return_address(pid: Pid, memory: &std::fs::File) -> Option<u64> {
        let mut back = [0u8; 8];
        memory.read_exact_at(&mut back, stack_pointer(pid)?).ok()?;
        Some(u64::from_le_bytes(back))
    }

    pub fn call_of(tid: Pid) -> Option<(i64, [u64; 3])> {
        let number = register(tid, offset_of!(libc::user_regs_struct, orig_rax))? as i64;
        let argument = |at| register(tid, at).unwrap_or(u64::MAX);
        let a = offset_of!(libc::user_regs_struct, rdi);
        let b = offset_of!(libc::user_regs_struct, rsi);
        let c = offset_of!(libc::user_regs_struct, rdx);
        Some((number, [argument(a), argument(b), argument(c)]))
    }

    pub fn skip_call(tid: Pid) -> bool {
        set_register(tid, offset_of!(libc::user_regs_struct, orig_rax), -1)
    }

    pub fn answer_call(tid: Pid, answer: i64) -> bool {
        set_register(tid, offset_of!(libc::user_regs_struct, rax), answer)
    }

    fn set_register(tid: Pid, at: usize, value: i64) -> bool {
        // `struct user` begins with the registers.
        // SAFETY: PTRACE_POKEUSER writes one register of the tracee, at a valid offset; nothing is written here.
        unsafe { libc::ptrace(libc::PTRACE_POKEUSER, tid, at, value) == 0 }
    }

    fn register(pid: Pid, at: usize) -> Option<u64> {
        // `struct user` begins with the registers.
        // SAFETY: PTRACE_PEEKUSER reads a word of the tracee's registers at a valid offset; it writes nothing here.
        match unsafe { libc::ptrace(libc::PTRACE_PEEKUSER, pid, at, 0) } {
            -1 => None,
            value => Some(value as u64),
        }
    }

    pub fn breakpoint(pid: Pid, at: Option<u64>) -> bool {
        debug_register(pid, at, 0)
    }

    pub fn watchpoint(pid: Pid, at: Option<u64>) -> bool {
        const WRITES: u64 = 0b01 << 16;
        const EIGHT_BYTES: u64 = 0b10 << 18;
        debug_register(pid, at, WRITES | EIGHT_BYTES)
    }

    fn debug_register(pid: Pid, at: Option<u64>, kind: u64) -> bool {
        let register = |n: usize| offset_of!(libc::user, u_debugreg) + n * size_of::<u64>();
        // SAFETY: PTRACE_POKEUSER writes the tracee's debug registers, which the kernel checks; nothing is written here.
        let set = |n: usize, v: u64| unsafe { libc::ptrace(libc::PTRACE_POKEUSER, pid, register(n), v) == 0 };
        // Register 7: bit 0 switches the address in register 0 on; `kind` says what is watched there.
        match at {
            Some(place) => set(7, 0) && set(0, place) && set(7, 1 | kind),
            None => set(7, 0),
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod machine {
    use super::Pid;

    pub const STOPS_BEFORE: bool = true;

    const BREAKPOINTS: i32 = 0x402;
    const WATCHPOINTS: i32 = 0x403;
    const SYSTEM_CALL: i32 = 0x404;

    /// A loop of load-exclusive and store-exclusive never ends when it is stepped: every return from the kernel clears the
    /// processor's monitor. Processors from ARMv8.1 on have single instructions instead, and programs for any processor
    /// choose them at run time.
    pub fn cannot_step() -> Option<&'static str> {
        const ATOMICS: u64 = 1 << 8;
        // SAFETY: a plain number.
        let has = unsafe { libc::getauxval(libc::AT_HWCAP) } & ATOMICS != 0;
        (!has).then_some("this processor has no atomic instructions (LSE): loops of load- and store-exclusive cannot be stepped")
    }

    /// The kernel's `struct user_pt_regs`.
    #[repr(C)]
    #[derive(Default)]
    struct Registers {
        x: [u64; 31],
        sp: u64,
        pc: u64,
        pstate: u64,
    }

    fn registers(pid: Pid) -> Option<Registers> {
        let mut r = Registers::default();
        let mut place = libc::iovec { iov_base: (&raw mut r).cast(), iov_len: size_of::<Registers>() };
        // SAFETY: the kernel writes no more than the length that it is told into `r`, which is plain numbers.
        let got = unsafe { libc::ptrace(libc::PTRACE_GETREGSET, pid, libc::NT_PRSTATUS, &raw mut place) };
        (got == 0 && place.iov_len == size_of::<Registers>()).then_some(r)
    }

    pub fn program_counter(pid: Pid) -> Option<u64> {
        registers(pid).map(|r| r.pc)
    }

    pub fn stack_pointer(pid: Pid) -> Option<u64> {
        registers(pid).map(|r| r.sp)
    }

    pub fn return_address(pid: Pid, _memory: &std::fs::File) -> Option<u64> {
        registers(pid).map(|r| r.x[30])
    }

    pub fn call_of(tid: Pid) -> Option<(i64, [u64; 3])> {
        registers(tid).map(|r| (r.x[8] as i64, [r.x[0], r.x[1], r.x[2]]))
    }

    pub fn skip_call(tid: Pid) -> bool {
        // The kernel has read the number already: it is changed in a place of its own.
        let mut none: i32 = -1;
        set_part(tid, SYSTEM_CALL, &mut none)
    }

    pub fn answer_call(tid: Pid, answer: i64) -> bool {
        let Some(mut r) = registers(tid) else { return false };
        r.x[0] = answer as u64;
        set_part(tid, libc::NT_PRSTATUS, &mut r)
    }

    /// Writes a part of what the kernel keeps of a thread.
    fn set_part<T>(tid: Pid, which: i32, part: &mut T) -> bool {
        let mut place = libc::iovec { iov_base: std::ptr::from_mut(part).cast(), iov_len: size_of::<T>() };
        // SAFETY: the kernel reads the length that it is told of `part`, checks it, and changes the tracee only.
        unsafe { libc::ptrace(libc::PTRACE_SETREGSET, tid, which, &raw mut place) == 0 }
    }

    /// The first register of the kernel's `struct user_hwdebug_state`, with what comes before it.
    #[repr(C)]
    #[derive(Default)]
    struct Debug {
        info: u32,
        pad: u32,
        address: u64,
        control: u32,
        pad_control: u32,
    }

    const ON: u32 = 1;
    /// In programs, not in the kernel.
    const USER: u32 = 0b10 << 1;

    pub fn breakpoint(pid: Pid, at: Option<u64>) -> bool {
        const FOUR_BYTES: u32 = 0b1111 << 5;
        set(pid, BREAKPOINTS, at, FOUR_BYTES)
    }

    pub fn watchpoint(pid: Pid, at: Option<u64>) -> bool {
        const STORES: u32 = 0b10 << 3;
        const EIGHT_BYTES: u32 = 0xff << 5;
        set(pid, WATCHPOINTS, at, STORES | EIGHT_BYTES)
    }

    fn set(pid: Pid, which: i32, at: Option<u64>, kind: u32) -> bool {
        let control = |on: u32| USER | kind | on;
        let mut debug = match at {
            Some(address) => Debug { address, control: control(ON), ..Debug::default() },
            None => Debug { control: control(0), ..Debug::default() },
        };
        set_part(pid, which, &mut debug)
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod machine {
    use super::Pid;

    pub const STOPS_BEFORE: bool = false;

    pub fn cannot_step() -> Option<&'static str> {
        None
    }

    pub fn program_counter(_: Pid) -> Option<u64> {
        None
    }

    pub fn stack_pointer(_: Pid) -> Option<u64> {
        None
    }

    pub fn return_address(_: Pid, _: &std::fs::File) -> Option<u64> {
        None
    }

    pub fn call_of(_: Pid) -> Option<(i64, [u64; 3])> {
        None
    }

    pub fn skip_call(_: Pid) -> bool {
        false
    }

    pub fn answer_call(_: Pid, _: i64) -> bool {
        false
    }

    pub fn breakpoint(_: Pid, _: Option<u64>) -> bool {
        false
    }

    pub fn watchpoint(_: Pid, _: Option<u64>) -> bool {
        false
    }
}
