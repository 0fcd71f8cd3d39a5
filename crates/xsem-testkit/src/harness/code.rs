//! What the next instruction of a victim can do to others, told from its bytes.
//!
//! The measuring run looks after each instruction whether the namespace file is another one. That takes longer than the
//! instruction, so it is left out where the instruction certainly cannot have changed it.

/// What an instruction may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// It is a system call, so it may sleep, and others may see what it does.
    pub(crate) system_call: bool,
    /// It may write to memory other than its own stack.
    pub(crate) writes: bool,
}

impl Kind {
    /// Where nothing is known.
    pub(crate) const ANY: Kind = Kind { system_call: true, writes: true };
}

/// So many bytes are enough to tell.
pub(crate) const BYTES: usize = 15;

/// Reads an instruction of this processor. What is not certainly harmless counts as writing.
pub(crate) fn kind(code: &[u8; BYTES]) -> Kind {
    match () {
        () if cfg!(target_arch = "x86_64") => x86(code),
        () if cfg!(target_arch = "aarch64") => aarch64(u32::from_le_bytes([code[0], code[1], code[2], code[3]])),
        () => Kind::ANY,
    }
}

/// The groups of instructions are told by bits 25 to 28 (Arm ARM, C4.1).
fn aarch64(code: u32) -> Kind {
    const SVC_0: u32 = 0xd400_0001;
    let loads_or_stores = code >> 25 & 0b0101 == 0b0100;
    // The address is in the register of bits 5 to 9; number 31 is the stack pointer.
    let on_stack = code >> 5 & 31 == 31;
    // Copies and fills of the extension MOPS have another register for the address.
    let fills = code & 0x3b20_0c00 == 0x1900_0400;
    // Maintenance of caches: one of them writes zeros.
    let maintains = code & 0xfff8_0000 == 0xd508_0000;
    let system_call = code == SVC_0;
    Kind { system_call, writes: system_call || maintains || loads_or_stores && (fills || !on_stack) }
}

fn x86(code: &[u8; BYTES]) -> Kind {
    let system_call = code[..2] == [0x0f, 0x05];
    Kind { system_call, writes: system_call || writes(code).unwrap_or(true) }
}

/// None: not known here.
fn writes(code: &[u8; BYTES]) -> Option<bool> {
    // A lock prefix is not among them: that instruction writes.
    let prefixes = code.iter().take_while(|b| [0x66, 0xf2, 0xf3, 0x2e, 0x3e, 0x64, 0x65].contains(b)).count();
    let rex = *code.get(prefixes).filter(|&&b| b & 0xf0 == 0x40).unwrap_or(&0);
    let rest = &code[prefixes + usize::from(rex != 0)..];
    let (&op, rest) = rest.split_first()?;
    let (&modrm, _) = rest.split_first()?;
    let field = modrm >> 3 & 7;
    // To memory, unless the operand is a register or lies on the stack.
    let stores = |operand: &[u8]| {
        let (modrm, sib) = (operand[0], operand[1]);
        let on_stack = modrm & 7 == 4 && sib & 7 == 4 && rex & 1 == 0;
        modrm >> 6 != 3 && !on_stack
    };
    let to_operand = || (rest.len() > 1).then(|| stores(rest));
    match op {
        0x00..=0x3f => match op & 7 {
            0 | 1 if op & 0x38 == 0x38 => Some(false),
            0 | 1 => to_operand(),
            2..=5 if op != 0x0f => Some(false),
            _ if op == 0x0f => long(rest.first().copied()?, rest.get(1..)?, stores),
            _ => None,
        },
        // Onto the own stack, from it, and jumps.
        0x50..=0x5f | 0x68 | 0x6a | 0x70..=0x7f | 0xc2 | 0xc3 | 0xc9 | 0xe8 | 0xe9 | 0xeb => Some(false),
        // To registers, or nowhere.
        0x63 | 0x69 | 0x6b | 0x84 | 0x85 | 0x8a | 0x8b | 0x8d | 0x90 | 0x98 | 0x99 | 0xa8 | 0xa9 | 0xb0..=0xbf => Some(false),
        0x80 | 0x81 | 0x83 if field == 7 => Some(false),
        0x80 | 0x81 | 0x83 | 0x88 | 0x89 | 0xc0 | 0xc1 | 0xc6 | 0xc7 | 0xd0..=0xd3 => to_operand(),
        0xf6 | 0xf7 if ![2, 3].contains(&field) => Some(false),
        0xff if [2, 4, 6].contains(&field) => Some(false),
        0xf6 | 0xf7 | 0xfe | 0xff => to_operand(),
        _ => None,
    }
}

/// After the byte 0x0f.
fn long(op: u8, rest: &[u8], stores: impl Fn(&[u8]) -> bool) -> Option<bool> {
    match op {
        // Jumps, conditional moves, loads, and arithmetic in registers.
        0x80..=0x8f | 0x40..=0x4f | 0xb6 | 0xb7 | 0xbe | 0xbf | 0xaf | 0xa3 | 0xb8 | 0xbc | 0xbd => Some(false),
        0x10 | 0x28 | 0x6e | 0x6f | 0x54 | 0x57 | 0xef | 0x1e | 0x1f => Some(false),
        0x90..=0x9f | 0x11 | 0x29 | 0x7f if rest.len() > 1 => Some(stores(rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> (bool, bool) {
        let mut code = [0x90; BYTES];
        code[..bytes.len()].copy_from_slice(bytes);
        let k = x86(&code);
        (k.system_call, k.writes)
    }

    #[test]
    fn the_same_on_aarch64() {
        let of = |code: u32| (aarch64(code).system_call, aarch64(code).writes);
        assert_eq!(of(0xd400_0001), (true, true), "svc #0");
        for (code, what) in [
            (0xf900_0020, "str x0, [x1]"),
            (0xa900_0440, "stp x0, x1, [x2]"),
            (0xc8e0_fc41, "casal x0, x1, [x2]"),
            (0xb8e0_0041, "ldaddal w0, w1, [x2]"),
            (0xc800_fc41, "stlxr w0, x1, [x2]"),
            (0xc89f_fc20, "stlr x0, [x1]"),
            (0x3d80_0020, "str q0, [x1]"),
            (0xd50b_7420, "dc zva, x0"),
        ] {
            assert_eq!(of(code), (false, true), "{what}");
        }
        for (code, what) in [
            (0xf900_07e0, "str x0, [sp, #8]"),
            (0xa9bf_7bfd, "stp x29, x30, [sp, #-16]!"),
            (0x8b01_0000, "add x0, x0, x1"),
            (0xd280_0020, "mov x0, #1"),
            (0x9400_0001, "bl"),
            (0xd65f_03c0, "ret"),
            (0xb400_0040, "cbz x0"),
            (0xd503_3bbf, "dmb ish"),
            (0xd53b_d040, "mrs x0, tpidr_el0"),
            (0x1e62_4020, "fcvt"),
        ] {
            assert_eq!(of(code), (false, false), "{what}");
        }
    }

    #[test]
    fn what_may_write_is_never_taken_for_harmless() {
        for (bytes, what) in [
            (&[0xf0, 0x48, 0x0f, 0xb1, 0x0a][..], "lock cmpxchg [rdx], rcx"),
            (&[0x48, 0x87, 0x07], "xchg [rdi], rax"),
            (&[0x89, 0x07], "mov [rdi], eax"),
            (&[0x48, 0x89, 0x44, 0x8f, 0x08], "mov [rdi + rcx*4 + 8], rax"),
            (&[0x49, 0x89, 0x04, 0x24], "mov [r12], rax: encoded as the stack is, but for the prefix"),
            (&[0x83, 0x07, 0x01], "add dword [rdi], 1"),
            (&[0xff, 0x07], "inc dword [rdi]"),
            (&[0xf7, 0x17], "not dword [rdi]"),
            (&[0x0f, 0x11, 0x07], "movups [rdi], xmm0"),
            (&[0x0f, 0x94, 0x07], "sete [rdi]"),
            (&[0xf3, 0xaa], "rep stosb"),
            (&[0xc5, 0xf8, 0x11, 0x07], "vmovups [rdi], xmm0"),
        ] {
            assert_eq!(of(bytes), (false, true), "{what}");
        }
        assert_eq!(of(&[0x0f, 0x05]), (true, true));
    }

    #[test]
    fn what_is_certainly_harmless_is_told() {
        for (bytes, what) in [
            (&[0x48, 0x8b, 0x07][..], "mov rax, [rdi]"),
            (&[0x48, 0x89, 0xc7], "mov rdi, rax"),
            (&[0x48, 0x89, 0x44, 0x24, 0x08], "mov [rsp + 8], rax"),
            (&[0x39, 0x07], "cmp [rdi], eax"),
            (&[0x83, 0x3f, 0x01], "cmp dword [rdi], 1"),
            (&[0x75, 0x02], "jne"),
            (&[0x55], "push rbp"),
            (&[0x0f, 0xb6, 0x07], "movzx eax, byte [rdi]"),
            (&[0xf7, 0xf1], "div ecx"),
        ] {
            assert_eq!(of(bytes), (false, false), "{what}");
        }
    }
}
