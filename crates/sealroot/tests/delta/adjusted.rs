// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel modules are made of old ones that are adjusted, in stages.

use sealroot::delta::DeltaError;

use crate::module::{Module, Relocation, Symbol, btf};
use crate::support::{Files, Part, Place, Update, bytes};

/// A module whose text, symbols and relocations have a function that was inserted into it, or not; the
/// types that it refers to have the numbers of the old kernel or of the new one.
fn module(seed: u64, is_new: bool) -> Vec<u8> {
    const INSERTED_AT: u64 = 7000;
    const INSERTED_BYTES: u64 = 80;
    let moved = |place: u64| {
        let is_behind = is_new && place >= INSERTED_AT;
        place + u64::from(is_behind) * INSERTED_BYTES
    };
    let mut text = bytes(seed, 20_000);
    if is_new {
        let at = usize::try_from(INSERTED_AT).expect("small");
        text.splice(at..at, bytes(seed + 1000, 80));
    }
    let random = bytes(seed + 2000, 8000);
    let random = |index: usize| u64::from(u16::from_le_bytes([random[index], random[index + 1]]));
    let symbols = (0..400).map(|index| Symbol {
        kind: if index == 1 { 3 } else { 2 },
        section: u16::from(index > 0),
        value: if index > 1 { moved(index * 49) } else { 0 },
        size: if index > 1 { 20 } else { 0 },
    });
    let relocations = (0..2000).map(|index| Relocation {
        offset: moved(u64::try_from(index).expect("small") * 9),
        kind: 2,
        symbol: 1,
        added: i64::try_from(moved(random(index) % 19_000 + 4)).expect("small") - 4,
    });
    let types = (0..600_u32).map(|index| {
        let number = u32::try_from(random(index as usize * 4)).expect("small") + 1;
        let number = number + u32::from(is_new && number > 5000) * 3;
        [0, 2 << 24, number]
    });
    let module = Module {
        btf: btf(&types.collect::<Vec<_>>(), b"\0"),
        text,
        symbols: symbols.collect(),
        relocations: relocations.collect(),
        tail: bytes(seed + 3000 + u64::from(is_new), 200),
    };
    module.bytes()
}

fn modules(is_new: bool) -> Files {
    let names = [
        [
            "usr/lib/modules/6.1.0-50/a.ko",
            "usr/lib/modules/6.1.0-50/b.ko",
            "usr/lib/modules/6.1.0-50/c.ko",
        ],
        [
            "usr/lib/modules/6.1.0-56/a.ko",
            "usr/lib/modules/6.1.0-56/b.ko",
            "usr/lib/modules/6.1.0-56/c.ko",
        ],
    ];
    let names = names[usize::from(is_new)];
    let modules = (10..).map(|seed| module(seed, is_new));
    names.into_iter().zip(modules).collect()
}

// Rules: D11
#[test]
fn what_moved_in_a_module_takes_next_to_nothing() {
    let (vendor, device) = (Place::new(), Place::new());
    let (old, new) = (vendor.build(&modules(false)), vendor.build(&modules(true)));
    let (delta, made) = vendor.delta(&old, &new);
    assert_eq!(made.objects, 3);
    // Of each 80 bytes of text and 200 at its end are new; 4,000 numbers have changed.
    let new_bytes = 3 * 280;
    let expected = new_bytes..new_bytes + 1400;
    assert!(expected.contains(&delta.len()), "{} bytes", delta.len());
    let installed = device.build(&modules(false));
    let tree = device
        .apply(&installed, &new.statement, &delta)
        .expect("applied");
    assert!(tree == new.tree);
    device.assert_has(&new.statement);
}

const fn part(base: u32, stage: u32) -> Part {
    Part {
        base,
        opened_bytes: 0,
        stage,
    }
}

/// An update of one module.
struct OfModule {
    update: Update,
    object: Vec<u8>,
}

impl OfModule {
    fn new() -> Self {
        let files = |is_new| {
            let other = b"no object file\n".repeat(400);
            Files::from([("usr/b.ko", module(1, is_new)), ("usr/a", other)])
        };
        Self {
            update: Update::between(&files(false), &files(true)),
            object: module(1, true),
        }
    }

    /// With these parts of the new object, all literals.
    fn with(&self, parts: [Part; 3]) -> Result<(), DeltaError> {
        let (first, rest) = self.object.split_at(10_000);
        let (second, third) = rest.split_at(10_000);
        let parts: Vec<_> = parts.into_iter().zip([first, second, third]).collect();
        self.update.apply_parts(&parts)
    }
}

// Rules: D11
#[test]
fn stages_come_in_their_order_and_of_one_object_file() {
    const SMALL: u32 = 1;
    const NO_MODULE: u32 = 2;
    const MODULE: u32 = 3;
    const NOTHING: u32 = u32::MAX;
    let of_module = OfModule::new();
    let Update { device, new, .. } = &of_module.update;
    let opened = Part {
        opened_bytes: 10_000,
        ..part(MODULE, 1)
    };
    for parts in [
        [part(MODULE, 1), part(MODULE, 3), part(MODULE, 2)],
        [part(MODULE, 2), part(MODULE, 2), part(MODULE, 1)],
        [part(MODULE, 1), part(MODULE, 2), part(NO_MODULE, 3)],
        [part(MODULE, 1), part(MODULE, 2), part(MODULE, 4)],
        [part(MODULE, 0), part(MODULE, 2), part(MODULE, 3)],
        [part(MODULE, 1), part(MODULE, 0), part(MODULE, 3)],
        [part(NO_MODULE, 1), part(NO_MODULE, 2), part(NO_MODULE, 3)],
        [part(SMALL, 1), part(SMALL, 2), part(SMALL, 3)],
        [part(NOTHING, 1), part(NOTHING, 2), part(NOTHING, 3)],
        [opened, part(MODULE, 2), part(MODULE, 3)],
    ] {
        let numbers: Vec<_> = parts.iter().map(|part| (part.base, part.stage)).collect();
        let error = of_module.with(parts).expect_err("another order");
        let is_told = matches!(error, DeltaError::Invalid { .. });
        assert!(is_told, "{numbers:?}: {error}");
    }
    assert!(!device.has_pack(&new.statement.pack_digest));
    for stages in [[1, 2, 3], [1, 1, 1], [3, 3, 3], [0, 0, 0]] {
        let made = of_module.with(stages.map(|stage| part(MODULE, stage)));
        made.unwrap_or_else(|error| panic!("{stages:?}: {error}"));
    }
    device.assert_has(&new.statement);
}
