// SPDX-License-Identifier: MIT OR Apache-2.0
//! What docs/format/kernel.md says.

mod program;

use std::collections::BTreeSet;

use program::{
    BUGS, CODE, CONSTANTS, DATA, FUNCTION_BYTES, FUNCTIONS, HEADERS, MOVED_BYTES, MOVED_FROM,
    NAMES, OF_EACH_CPU, PLACES, Program, TYPES, address_of, image,
};
use proptest::prelude::*;
use sealroot_delta::adjusted::Renumbering;
use sealroot_delta::kernel::{Edit, Kernel, ToldMoves};
use sealroot_delta::opened::{self, Opened, Side};
use sealroot_delta::{Cover, number};
use sealroot_format::erofs::ReadAt;

/// What lies before the kernel in a form; no multiple of four.
const BEFORE: usize = 101;

#[test]
fn each_rule_has_a_test() {
    let page = include_str!("../../../docs/format/kernel.md");
    let rules = page.lines().filter_map(|line| {
        let (rule, _) = line.strip_prefix("- **")?.split_once("**")?;
        rule.starts_with('K').then_some(rule)
    });
    let lines = include_str!("kernel.rs").lines();
    let named = lines.filter_map(|line| line.strip_prefix("// Rules: "));
    let named: BTreeSet<_> = named.flat_map(|rules| rules.split(", ")).collect();
    assert_eq!(rules.collect::<BTreeSet<_>>(), named);
}

/// A form with this kernel, and the kernel in it.
fn form(program: &[u8]) -> (Vec<u8>, Option<Kernel>) {
    let form = [&[0xe8; BEFORE][..], program, &[0xe8; 50]].concat();
    let content = BEFORE as u64..(BEFORE + program.len()) as u64;
    let kernel = Kernel::find(&form, content).expect("memory");
    (form, kernel)
}

fn straightened(program: &[u8]) -> (Vec<u8>, Kernel) {
    let (mut form, kernel) = form(program);
    let kernel = kernel.expect("a kernel");
    kernel.straighten(&mut form).expect("memory");
    (form, kernel)
}

fn told(points: &[(u64, i64)]) -> ToldMoves {
    let mut bytes = Vec::new();
    number::push(&mut bytes, points.len() as u64);
    for (further, more) in points {
        number::push(&mut bytes, *further);
        number::push(&mut bytes, number::fold(*more));
    }
    let told = ToldMoves::parse(&bytes).expect("moves");
    assert_eq!(told.encode(), bytes);
    told
}

fn moves() -> ToldMoves {
    let from = (CODE + MOVED_FROM * FUNCTION_BYTES) as u64;
    let all_code = (CODE + FUNCTIONS * FUNCTION_BYTES) as u64;
    let moved = i64::try_from(MOVED_BYTES).expect("small");
    told(&[(from, moved), (all_code - from, -moved)])
}

/// From the fifth type on, numbers are 3 higher.
fn renumbering() -> Renumbering {
    Renumbering::parse(&[1, 5, 6, 0]).expect("a renumbering")
}

// Rules: K3, K5, K6, K7, K8, K9
#[test]
fn an_old_kernel_becomes_the_new_one_but_for_what_came_in() {
    let [old, new] = [false, true].map(Program::new);
    let (mut adjusted, kernel) = straightened(&old.bytes);
    kernel
        .adjust(&mut adjusted, &moves(), &renumbering())
        .expect("memory");
    let (expected, _) = straightened(&new.bytes);
    assert_ne!(expected[BEFORE..], new.bytes[..]);
    for number in 0..FUNCTIONS {
        let [is, should] = [(&adjusted, &old), (&expected, &new)].map(|(form, program)| {
            let at = BEFORE + program.function(number);
            &form[at..at + FUNCTION_BYTES]
        });
        assert_eq!(is, should, "function {number}");
    }
    for (name, range) in [
        ("symbols", CONSTANTS..DATA),
        ("data", DATA..PLACES),
        ("places", PLACES..BUGS),
        ("bugs", BUGS..TYPES),
        ("types", TYPES..OF_EACH_CPU),
        (
            "the rest, and relocations",
            OF_EACH_CPU..new.bytes.len() + 50,
        ),
    ] {
        let range = BEFORE + range.start..BEFORE + range.end;
        assert!(adjusted[range.clone()] == expected[range], "{name}");
    }
    assert!(adjusted[..BEFORE] == expected[..BEFORE]);
}

// Rules: K3
#[test]
fn straightened_tables_say_addresses_and_come_back() {
    let program = Program::new(false);
    let (mut straight, kernel) = straightened(&program.bytes);
    let word = |at: usize| {
        let bytes = straight[BEFORE + at..][..4].try_into().expect("four");
        i64::from(i32::from_le_bytes(bytes)).cast_unsigned()
    };
    for number in [0, 7, FUNCTIONS - 1] {
        assert_eq!(
            word(PLACES + number * 4),
            address_of(program.function(number))
        );
    }
    assert_eq!(word(BUGS + 12), address_of(program.function(5)));
    assert_eq!(word(BUGS + 16), address_of(CONSTANTS));
    assert_eq!(word(BUGS + 20), 0x1_0007);
    kernel.restore(&mut straight).expect("memory");
    assert!(straight == form(&program.bytes).0);
}

/// Where a section's header begins.
const fn header(section: usize) -> usize {
    HEADERS + section * 64
}

// Rules: K1
#[test]
fn what_is_no_kernel_is_left_alone() {
    let program = Program::new(false).bytes;
    let changed = |at: usize, bytes: &[u8]| {
        let mut changed = program.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        form(&changed).1.is_some()
    };
    assert!(changed(0, &[]));
    assert!(changed(16, &[3]), "a program that lies anywhere");
    for (what, at, bytes) in [
        ("no ELF", 0, &[0][..]),
        ("32 bits", 4, &[1]),
        ("big-endian", 5, &[2]),
        ("an object file", 16, &[1]),
        ("another machine", 18, &[183]),
        ("other headers", 58, &[56]),
        ("no headers", 60, &[0, 0]),
        ("too many headers", 60, &[1, 4]),
        ("no names", 62, &[10]),
        ("headers elsewhere", 40, &[0xff; 8]),
        ("headers over the first", 40, &[32, 0, 0]),
        ("a section elsewhere", header(1) + 24, &[0xff; 8]),
        ("a long section", header(1) + 32, &[0xff; 8]),
        ("a section over another", header(2) + 25, &[0x20]),
        ("a section over headers", header(7) + 24, &[1, 0x60, 1]),
        ("a name elsewhere", header(1), &[0, 1]),
        ("long names", header(9) + 32, &[1, 0, 1]),
    ] {
        assert!(!changed(at, bytes), "{what}");
    }
    assert!(form(&program[..63]).1.is_none());
    let with_relocations = |len: usize| {
        let mut program = program[..Program::relocations()].to_vec();
        program.resize(program.len() + len, 0);
        form(&program).1.is_some()
    };
    assert!(with_relocations(0) && with_relocations(8 << 20));
    assert!(!with_relocations((8 << 20) + 1));
}

// Rules: K2
#[test]
fn addresses_are_those_of_mapped_sections() {
    let program = Program::new(false).bytes;
    let is_adjusted = |address: u64| {
        let mut program = program.clone();
        let low = u32::try_from(address & 0xffff_ffff).expect("masked");
        program[DATA..DATA + 4].copy_from_slice(&low.to_le_bytes());
        let (mut form, kernel) = straightened(&program);
        let everything = told(&[(0, 8)]);
        let adjusted = kernel.adjust(&mut form, &everything, &Renumbering::default());
        adjusted.expect("memory");
        let at = BEFORE + DATA;
        match u32::from_le_bytes(form[at..at + 4].try_into().expect("four")).wrapping_sub(low) {
            0 => false,
            8 => true,
            other => panic!("{other} more"),
        }
    };
    for (place, expected) in [
        (CODE, true),
        (CONSTANTS - 1, true),
        // The end of a section counts, what lies between two does not.
        (TYPES + 24 + 37, true),
        (TYPES + 24 + 38, false),
        (OF_EACH_CPU, false),
        (NAMES, false),
    ] {
        assert_eq!(is_adjusted(address_of(place)), expected, "{place:#x}");
    }
    assert!(!is_adjusted(address_of(CODE) - 1));
    assert!(!is_adjusted(0x14_0000));
}

// Rules: K4
#[test]
fn moves_come_back_and_nothing_else_does() {
    for wrong in [&[][..], &[1], &[1, 4], &[1, 4, 2, 0], &[2, 4, 2, 0, 2]] {
        assert_eq!(ToldMoves::parse(wrong), None, "{wrong:?}");
    }
    let cover = |old, new, len_bytes| Cover {
        old,
        new,
        len_bytes,
    };
    let covers = [
        // Before the kernel; within; behind; over its end; too short; out of order.
        cover(0, 0, 100),
        cover(110, 115, 100),
        cover(210, 215, 40),
        cover(260, 300, 100),
        cover(400, 450, 31),
        cover(500, 120, 40),
        cover(1090, 1140, 40),
    ];
    let found = ToldMoves::of(&covers, &(100..1100), &(105..2000));
    assert_eq!(found, told(&[(160, 35)]));
}

// Rules: K7
#[test]
fn the_longest_list_that_falls_or_rises_is_of_symbols() {
    let program = Program::new(false).bytes;
    let with = |words: &mut dyn FnMut(usize) -> u32| {
        let mut program = program.clone();
        for index in 0..5000 {
            let at = CONSTANTS + 16 + index * 4;
            program[at..at + 4].copy_from_slice(&words(index).to_le_bytes());
        }
        let (mut form, kernel) = straightened(&program);
        let before = form.clone();
        let everything = told(&[(0, 8)]);
        let adjusted = kernel.adjust(&mut form, &everything, &Renumbering::default());
        adjusted.expect("memory");
        let word = |form: &[u8], index: usize| {
            let at = BEFORE + CONSTANTS + 16 + index * 4;
            u32::from_le_bytes(form[at..at + 4].try_into().expect("four"))
        };
        let changed = (0..5000).filter(|index| word(&form, *index) != word(&before, *index));
        let changed: Vec<_> = changed.collect();
        let by = changed.first().map(|first| {
            let [new, old] = [&form, &before].map(|form| word(form, *first));
            new.wrapping_sub(old).cast_signed()
        });
        (changed.len(), by)
    };
    let small = |index: usize| u32::try_from(index).expect("small");
    // What rises is an offset, what falls the complement of one.
    assert_eq!(with(&mut |index| small(index) + 8), (5000, Some(8)));
    assert_eq!(with(&mut |index| !small(index)), (5000, Some(-8)));
    // Of two lists the longer one counts, and short ones do not.
    let two = |first: usize| {
        with(&mut |index| {
            if index < first {
                !small(index)
            } else {
                small(index)
            }
        })
    };
    assert_eq!(two(4200), (4200, Some(-8)));
    assert_eq!(two(800), (4200, Some(8)));
    assert_eq!(two(2500), (0, None));
}

#[test]
fn the_content_of_an_image_is_where_its_form_says() {
    let program = Program::new(false).bytes;
    let opened = opened::open(&image(&program), Side::Old, &mut || Ok(Vec::<u8>::new()));
    let Some(Opened::Framed { form, .. }) = opened.expect("memory") else {
        panic!("it is an image");
    };
    let content = opened::framed_content(&form)
        .expect("memory")
        .expect("a form");
    let place = usize::try_from(content.start).expect("small")
        ..usize::try_from(content.end).expect("small");
    assert!(form[place] == program);
    assert!(Kernel::find(&form, content).expect("memory").is_some());
    for other in [&b""[..], &[0], &[1], &[1; 25], &[0xff; 100]] {
        let content = opened::framed_content(&other.to_vec()).expect("memory");
        assert_eq!(content, None, "{other:?}");
    }
}

/// A form that cannot be changed.
struct Full(Vec<u8>);

impl ReadAt for Full {
    fn read_exact_at(&self, buf: &mut [u8], offset_bytes: u64) -> std::io::Result<()> {
        self.0.read_exact_at(buf, offset_bytes)
    }

    fn size_bytes(&self) -> std::io::Result<u64> {
        self.0.size_bytes()
    }
}

impl Edit for Full {
    fn write_at(&mut self, _: &[u8], _: u64) -> std::io::Result<()> {
        Err(std::io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn a_form_that_cannot_be_written_is_an_error() {
    let (form, kernel) = straightened(&Program::new(false).bytes);
    let kernel = kernel.adjust(&mut Full(form), &moves(), &renumbering());
    let error = kernel.expect_err("it is full");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever headers say, nothing panics, and what is straightened comes back.
    #[test]
    fn any_headers_do_no_harm(
        changes in prop::collection::vec((0..704_usize, any::<u8>()), 1..6),
        points in prop::collection::vec((1..9_000_u64, any::<i32>()), 0..5),
    ) {
        let mut program = Program::new(false).bytes;
        for (at, byte) in changes {
            let at = if at < 64 { at } else { HEADERS + at - 64 };
            program[at] = byte;
        }
        let (mut form, kernel) = form(&program);
        let before = form.clone();
        if let Some(kernel) = kernel {
            kernel.straighten(&mut form).expect("memory");
            let mut adjusted = form.clone();
            let points: Vec<_> = points.into_iter().map(|(at, by)| (at, by.into())).collect();
            kernel.adjust(&mut adjusted, &told(&points), &renumbering()).expect("memory");
            prop_assert_eq!(adjusted.len(), form.len());
            kernel.restore(&mut form).expect("memory");
            prop_assert!(form == before);
        }
    }
}
