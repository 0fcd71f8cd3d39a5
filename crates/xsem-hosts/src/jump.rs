//! What Rust cannot say: leaving a handler without returning from it (as `siglongjmp`), and a handler without unwind tables.

use std::cell::Cell;
use std::sync::atomic::{AtomicPtr, Ordering::*};

/// Something for a handler to find. What was put there before is leaked: a handler may be looking at it.
pub(super) struct Slot<T>(AtomicPtr<T>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Slot::new()
    }
}

impl<T> Slot<T> {
    pub const fn new() -> Self {
        Slot(AtomicPtr::new(std::ptr::null_mut()))
    }

    pub fn put(&self, value: T) -> &T {
        let p = Box::into_raw(Box::new(value));
        self.0.store(p, Release);
        // SAFETY: from a box that is never freed.
        unsafe { &*p }
    }

    pub fn get(&self) -> Option<&T> {
        // SAFETY: null, or from a box that is never freed.
        unsafe { self.0.load(Acquire).as_ref() }
    }
}

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    // catch(f, buffer): calls f, and returns 0 when f returns, or 1 when somebody jumps to the buffer. To Rust it is a
    // function that returns once.
    ".pushsection .text.xsem_probe,\"ax\",@progbits",
    ".global xsem_probe_catch",
    ".type xsem_probe_catch,@function",
    "xsem_probe_catch:",
    ".cfi_startproc",
    "mov [rsi], rbx",
    "mov [rsi + 8], rbp",
    "mov [rsi + 16], r12",
    "mov [rsi + 24], r13",
    "mov [rsi + 32], r14",
    "mov [rsi + 40], r15",
    "mov [rsi + 48], rsp",
    "sub rsp, 8",
    ".cfi_adjust_cfa_offset 8",
    "call rdi",
    "add rsp, 8",
    ".cfi_adjust_cfa_offset -8",
    "xor eax, eax",
    "ret",
    ".cfi_endproc",
    ".size xsem_probe_catch, . - xsem_probe_catch",
    ".global xsem_probe_jump",
    ".type xsem_probe_jump,@function",
    "xsem_probe_jump:",
    "mov rbx, [rdi]",
    "mov rbp, [rdi + 8]",
    "mov r12, [rdi + 16]",
    "mov r13, [rdi + 24]",
    "mov r14, [rdi + 32]",
    "mov r15, [rdi + 40]",
    "mov rsp, [rdi + 48]",
    "mov eax, 1",
    "ret",
    ".size xsem_probe_jump, . - xsem_probe_jump",
    // No tables say how to go on from here to the kernel's frame.
    ".global xsem_probe_bare",
    ".type xsem_probe_bare,@function",
    "xsem_probe_bare:",
    "sub rsp, 8",
    "call {on_short}",
    "add rsp, 8",
    "ret",
    ".size xsem_probe_bare, . - xsem_probe_bare",
    ".popsection",
    on_short = sym super::handlers::on_short,
);

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    fn xsem_probe_catch(f: extern "C" fn(), buffer: *mut [u64; 7]) -> i32;
    fn xsem_probe_jump(buffer: *const [u64; 7]) -> !;
    fn xsem_probe_bare(signal: i32);
}

thread_local! {
    static BUFFER: Cell<*mut [u64; 7]> = const { Cell::new(std::ptr::null_mut()) };
}

/// Calls `f`, in which a handler jumps out. False where that cannot be done here.
#[cfg(target_arch = "x86_64")]
pub(super) fn catch(f: extern "C" fn()) -> bool {
    let mut buffer = [0u64; 7];
    BUFFER.set(&raw mut buffer);
    // SAFETY: an all-zero mask is a valid value to be overwritten; the buffer outlives the call; nothing with a destructor is
    // on the stack between here and the handler.
    unsafe {
        let mut mask: libc::sigset_t = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &mut mask);
        let jumped = xsem_probe_catch(f, &raw mut buffer);
        // As siglongjmp does: the handler's mask ends with it.
        libc::pthread_sigmask(libc::SIG_SETMASK, &mask, std::ptr::null_mut());
        jumped == 1
    }
}

/// Out of the handler.
#[cfg(target_arch = "x86_64")]
pub(super) fn out() {
    let buffer = BUFFER.replace(std::ptr::null_mut());
    if !buffer.is_null() {
        // SAFETY: set by `catch`, which has not returned yet.
        unsafe { xsem_probe_jump(buffer) }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) fn bare() -> extern "C" fn(i32) {
    // SAFETY: the same type but for `unsafe`, and it may be called at any time.
    unsafe { std::mem::transmute::<unsafe extern "C" fn(i32), extern "C" fn(i32)>(xsem_probe_bare) }
}

/// Calls through a null pointer. False where that cannot be done here.
#[cfg(target_arch = "x86_64")]
pub(super) fn nowhere() -> bool {
    // SAFETY: the handler of SIGSEGV goes on behind the call, see below.
    unsafe { std::arch::asm!("xor eax, eax", "call rax", clobber_abi("C")) };
    true
}

/// In the handler: what a function would do that returns at once.
#[cfg(target_arch = "x86_64")]
pub(super) fn back_from_nowhere(context: *mut libc::c_void) {
    // SAFETY: what the kernel has passed to a handler with SA_SIGINFO; nobody else uses it.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    if registers[libc::REG_RIP as usize] != 0 {
        // Not that, but a fault of this program.
        std::process::abort();
    }
    let sp = registers[libc::REG_RSP as usize];
    // SAFETY: the call has put the address behind it there.
    registers[libc::REG_RIP as usize] = unsafe { *(sp as *const i64) };
    registers[libc::REG_RSP as usize] = sp + 8;
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn nowhere() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn back_from_nowhere(_: *mut libc::c_void) {
    std::process::abort();
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn catch(f: extern "C" fn()) -> bool {
    BUFFER.set(std::ptr::null_mut());
    f();
    true
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn out() {}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn bare() -> extern "C" fn(i32) {
    super::handlers::on_short
}
