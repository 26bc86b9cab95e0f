// SPDX-License-Identifier: MIT OR Apache-2.0
//! What docs/format/adjusted.md says.

mod module;

use std::collections::BTreeSet;

use module::{ENTRY_BYTES, HEADER_BYTES, Module, Relocation, Symbol, btf};
use proptest::prelude::*;
use sealroot_delta::adjusted::{
    Adjusted, Learner, Lesson, MAX_ADJUSTED_BYTES, Renumbering, Stage, pieces,
};
use sealroot_delta::{Cover, number};

#[test]
fn each_rule_has_a_test() {
    let page = include_str!("../../../docs/format/adjusted.md");
    let rules = page.lines().filter_map(|line| {
        let (rule, _) = line.strip_prefix("- **")?.split_once("**")?;
        rule.starts_with('J').then_some(rule)
    });
    let tests = [
        include_str!("adjusted.rs"),
        include_str!("../src/adjusted/moves.rs"),
        include_str!("../src/adjusted/renumbering.rs"),
    ];
    let lines = tests.iter().flat_map(|test| test.lines());
    let named = lines.filter_map(|line| line.trim_start().strip_prefix("// Rules: "));
    let named: BTreeSet<_> = named.flat_map(|rules| rules.split(", ")).collect();
    assert_eq!(rules.collect::<BTreeSet<_>>(), named);
}

fn function(value: u64, size: u64) -> Symbol {
    Symbol {
        kind: 2,
        section: 1,
        value,
        size,
    }
}

fn relocation(offset: u64, kind: u32, symbol: u32, added: i64) -> Relocation {
    Relocation {
        offset,
        kind,
        symbol,
        added,
    }
}

/// Symbols: nothing, `.text`, functions before, around and behind 150, and something in `.bss`.
fn module() -> Module {
    let in_section = |kind, section| Symbol {
        kind,
        section,
        ..function(0, 0)
    };
    Module {
        text: (0..=255).cycle().take(300).collect(),
        symbols: vec![
            in_section(0, 0),
            in_section(3, 1),
            function(100, 40),
            function(140, 30),
            function(200, 100),
            function(301, 1),
            Symbol {
                value: 200,
                size: 10,
                ..in_section(2, 7)
            },
        ],
        relocations: vec![
            relocation(110, 1, 4, 7),
            relocation(210, 2, 1, 146),
            relocation(220, 1, 1, 146),
            relocation(300, 4, 1, -5),
            relocation(301, 2, 1, 297),
            relocation(120, 2, 99, 200),
        ],
        ..Module::default()
    }
}

fn cover(old: usize, new: usize, len_bytes: usize) -> Cover {
    Cover {
        old,
        new,
        len_bytes,
    }
}

fn adjusted(module: &Module) -> Adjusted {
    let renumbering = Renumbering::default();
    Adjusted::new(module.bytes(), &renumbering).expect("an object file")
}

/// 20 bytes were inserted at 150 of the text, and a symbol before the one with number 4.
fn moved(module: &Module) -> Adjusted {
    let mut old = adjusted(module);
    let at = HEADER_BYTES + 150;
    let symbol = module.symbols_at() + 4 * ENTRY_BYTES;
    old.note(cover(0, 0, at));
    old.note(cover(at, at + 20, symbol - at));
    old.note(cover(symbol, symbol + 20 + ENTRY_BYTES, 3 * ENTRY_BYTES));
    old
}

// Rules: J1
#[test]
fn only_object_files_are_adjusted() {
    let module = module();
    let object = module.bytes();
    assert!(pieces(&object).is_some());
    let is_one = |object: Vec<u8>| Adjusted::new(object, &Renumbering::default()).is_ok();
    let changed = |at: usize, byte: u8| {
        let mut object = object.clone();
        object[at] = byte;
        object
    };
    // Class, byte order, kind, length and number of section headers, which of them has the names.
    for (at, byte) in [(4, 1), (5, 2), (16, 2), (58, 40), (60, 200), (62, 9)] {
        assert!(!is_one(changed(at, byte)), "{at}");
    }
    let text_header = object.len() - 7 * 64;
    assert!(!is_one(changed(text_header + 32 + 2, 1)), "beyond the end");
    let mut overlapping = object.clone();
    let symbols_header = object.len() - 5 * 64;
    let all = (object.len() as u64).to_le_bytes();
    overlapping[symbols_header + 24..][..8].copy_from_slice(&[0; 8]);
    overlapping[symbols_header + 32..][..8].copy_from_slice(&all);
    assert!(!is_one(overlapping), "longer than the object together");
    for len in 0..object.len() {
        assert!(!is_one(object[..len].to_vec()), "{len}");
    }
    let with_tail = |len: usize| {
        let tail = vec![0; len];
        Module {
            tail,
            ..module.clone()
        }
        .bytes()
    };
    let fits = usize::try_from(MAX_ADJUSTED_BYTES).expect("32 MiB") - object.len();
    assert!(is_one(with_tail(fits)));
    assert!(!is_one(with_tail(fits + 1)));
}

#[test]
fn a_file_has_a_piece_for_each_stage() {
    let module = module();
    let object = module.bytes();
    let (symbols, relocations) = (module.symbols_at(), module.relocations_at());
    let expected = [0..symbols, symbols..relocations, relocations..object.len()];
    assert_eq!(pieces(&object), Some(expected.clone()));
    assert_eq!(adjusted(&module).pieces(), expected);
    let bare = Module {
        text: b"code".to_vec(),
        ..Module::default()
    };
    let object = bare.bytes();
    let end = object.len();
    assert_eq!(pieces(&object), Some([0..end, end..end, end..end]));
}

// Rules: J6
#[test]
fn symbols_go_where_their_places_went() {
    let module = module();
    let mut old = moved(&module);
    old.go_on_to(Stage::Symbols);
    let (symbols, relocations) = module.tables(old.bytes());
    let mut expected = module.symbols.clone();
    expected[3] = function(140, 50);
    expected[4] = function(220, 100);
    assert_eq!(symbols, expected);
    assert_eq!(relocations, module.relocations);
}

// Rules: J7, J8
#[test]
fn relocations_go_where_their_places_and_symbols_went() {
    let module = module();
    let mut old = moved(&module);
    old.go_on_to(Stage::Relocations);
    assert_eq!(old.stage(), Stage::Relocations);
    let (_, relocations) = module.tables(old.bytes());
    let expected = [
        relocation(110, 1, 5, 7),
        relocation(230, 2, 1, 166),
        relocation(240, 1, 1, 146),
        relocation(320, 4, 1, -5),
        relocation(301, 2, 1, 297),
        relocation(120, 2, 99, 200),
    ];
    assert_eq!(relocations, expected);
    let mut again = old.clone();
    again.go_on_to(Stage::Symbols);
    again.go_on_to(Stage::Relocations);
    assert!(again.bytes() == old.bytes(), "nothing is adjusted twice");
}

// Rules: J3
#[test]
fn short_covers_and_those_beyond_the_first_do_not_count() {
    let module = module();
    let with = |tiny: usize, len_bytes: usize| {
        let mut old = adjusted(&module);
        for _ in 0..tiny {
            old.note(cover(0, 0, 1));
        }
        old.note(cover(HEADER_BYTES, HEADER_BYTES, 100));
        old.note(cover(HEADER_BYTES + 200, HEADER_BYTES + 203, len_bytes));
        old.go_on_to(Stage::Symbols);
        module.tables(old.bytes()).0[4].value
    };
    assert_eq!(with(0, 16), 203);
    assert_eq!(with(0, 15), 200);
    assert_eq!(with((1 << 16) - 2, 16), 203);
    assert_eq!(with((1 << 16) - 1, 16), 200);
}

/// From these numbers on these are added: to types, to names.
fn renumbering(types: &[(u64, i64)], names: &[(u64, i64)]) -> Renumbering {
    let mut bytes = Vec::new();
    for points in [types, names] {
        number::push(&mut bytes, points.len() as u64);
        let mut before = (0, 0);
        for (from, added) in points {
            number::push(&mut bytes, from - before.0);
            number::push(&mut bytes, number::fold(added - before.1));
            before = (*from, *added);
        }
    }
    Renumbering::parse(&bytes).expect("a renumbering")
}

/// Each kind of type, made of the number of a type and the place of a name.
fn all_kinds(number: u32, name: u32) -> Vec<[u32; 3]> {
    let header = |kind: u32, members: u32, last: u32| [name, (kind << 24) | members, last];
    let mut words: Vec<u32> = Vec::new();
    let mut add = |header: [u32; 3], items: &[u32]| {
        words.extend(header);
        words.extend(items);
    };
    // Whatever refers to nothing is 1000.
    let plain = 1000;
    add(header(1, 0, plain), &[plain]);
    add(header(2, 0, number), &[]);
    add(header(3, 0, plain), &[number, number, plain]);
    add(
        header(4, 2, plain),
        &[name, number, plain, name, number, plain],
    );
    add(header(5, 1, plain), &[name, number, plain]);
    add(header(6, 1, plain), &[name, plain]);
    add(header(7, 0, plain), &[]);
    for kind in 8..=12 {
        add(header(kind, 0, number), &[]);
    }
    add(header(13, 1, number), &[name, number]);
    add(header(14, 0, number), &[plain]);
    add(header(15, 1, plain), &[number, plain, plain]);
    add(header(16, 0, plain), &[]);
    add(header(17, 0, number), &[plain]);
    add(header(18, 0, number), &[]);
    add(header(19, 1, plain), &[name, plain, plain]);
    // The end of what is understood.
    add(header(20, 0, number), &[]);
    words.resize(words.len().next_multiple_of(3), 0);
    words
        .chunks(3)
        .map(|three| [three[0], three[1], three[2]])
        .collect()
}

// Rules: J2
#[test]
fn all_that_refers_is_renumbered_and_nothing_else() {
    let with = |number: u32, name: u32| Module {
        btf: btf(&all_kinds(number, name), b"name\0"),
        ..module()
    };
    let renumbering = renumbering(&[(500, 7), (2000, -1)], &[(1, 0), (900, 30)]);
    let old = Adjusted::new(with(600, 950).bytes(), &renumbering).expect("an object file");
    let mut expected = with(607, 980).bytes();
    let original = with(600, 950).bytes();
    // The type that is not understood stays.
    let last = old.bytes().len() - expected.len();
    assert_eq!(last, 0);
    let types = all_kinds(0, 0).len() * 12;
    let unknown = with(0, 0).btf_at() + 24 + types - 12;
    let unknown = original[..unknown + 12]
        .windows(4)
        .rposition(|word| word == (20_u32 << 24).to_le_bytes())
        .expect("there")
        - 4;
    expected[unknown..unknown + 12].copy_from_slice(&original[unknown..unknown + 12]);
    assert!(*old.bytes() == expected);
    let untouched = Adjusted::new(with(400, 800).bytes(), &renumbering).expect("an object file");
    assert!(*untouched.bytes() == with(400, 800).bytes());
}

/// A module with these functions of types below 1000, and a type and a name of its own for each.
fn with_functions(base: u32, numbers: &[u32]) -> Vec<u8> {
    let mut types = Vec::new();
    for (index, number) in (0_u32..).zip(numbers) {
        let own = 2 * index;
        types.push([number * 3, 2 << 24, *number]);
        types.push([5000 + base + own, (12 << 24) | (index % 3), base + own]);
    }
    let names: Vec<u8> = numbers.iter().flat_map(|_| *b"f\0").collect();
    let module = Module {
        btf: btf(&types, &names),
        ..Module::default()
    };
    module.bytes()
}

#[test]
fn what_most_modules_say_is_learned() {
    // A type came before number 40, with a name of 6 bytes; another before 90, with none.
    let now = |number: u32| number + u32::from(number >= 40) + u32::from(number >= 90);
    let modules = [
        [3, 41, 7, 88, 99],
        [39, 40, 90, 91, 89],
        [12, 45, 60, 95, 10],
    ];
    let mut learner = Learner::default();
    for numbers in modules {
        let old = with_functions(1000, &numbers);
        let new = with_functions(1002, &numbers.map(now));
        learner.add(&Lesson::of(&old, &new).expect("type information"));
    }
    let renumbering = learner.finish();
    let old = with_functions(1000, &[2, 44, 97]);
    let adjusted = Adjusted::new(old, &renumbering).expect("an object file");
    assert!(*adjusted.bytes() == with_functions(1002, &[2, 45, 99]));
    assert!(Lesson::of(b"no object file", &[]).is_none());
    assert_eq!(Learner::default().finish(), Renumbering::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    // Whatever is wrong with an object file, adjusting ends, and leaves its length.
    #[test]
    fn any_object_can_be_adjusted(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
        covers in prop::collection::vec((any::<usize>(), any::<usize>(), any::<usize>()), 0..20),
        numbers in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let module = Module {
            btf: btf(&all_kinds(600, 950), b"name\0"),
            ..module()
        };
        let mut object = module.bytes();
        let len = object.len();
        for (at, byte) in flips {
            // Where it is told how the file is laid out, more often than elsewhere.
            let at = at.index(2 * len);
            let at = if at < len { at } else { len - 1 - (at - len) % (8 * 64) };
            object[at] = byte;
        }
        let renumbering = Renumbering::parse(&numbers).unwrap_or_default();
        let _ = Lesson::of(&object, &module.bytes());
        if let Ok(mut old) = Adjusted::new(object, &renumbering) {
            for (old_at, new, len_bytes) in covers {
                old.note(cover(old_at % (2 * len), new, len_bytes));
            }
            old.go_on_to(Stage::Relocations);
            prop_assert_eq!(old.bytes().len(), len);
        }
    }
}
