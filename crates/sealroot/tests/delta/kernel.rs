// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels are made of old ones that are adjusted.

use sealroot::delta::DeltaError;
use sealroot_delta::kernel::Kernel;
use sealroot_delta::opened::{self, Opened, Side};

use crate::program::{Program, image};
use crate::support::{Files, Part, Update};

/// Of an image, the opened form.
fn form(image: &[u8]) -> Vec<u8> {
    let opened = opened::open(&image.to_vec(), Side::Old, &mut || Ok(Vec::<u8>::new()));
    match opened.expect("memory") {
        Some(Opened::Framed { form, .. }) => form,
        other => panic!("{other:?}"),
    }
}

/// The straightened form of the new kernel.
fn straightened(image: &[u8]) -> Vec<u8> {
    let mut form = form(image);
    let content = opened::framed_content(&form).expect("memory");
    let kernel = Kernel::find(&form, content.expect("an image"));
    let kernel = kernel.expect("memory").expect("a kernel");
    kernel.straighten(&mut form).expect("memory");
    form
}

fn image_of(is_new: bool) -> Vec<u8> {
    image(&Program::new(is_new).bytes)
}

fn update() -> Update {
    let files = |is_new| {
        let other = b"no kernel\n".repeat(600);
        Files::from([("boot/vmlinuz", image_of(is_new)), ("usr/other", other)])
    };
    Update::between(&files(false), &files(true))
}

// Rules: D12
#[test]
fn what_moved_in_a_kernel_takes_next_to_nothing() {
    let update = update();
    let delta = &update.delta;
    // 300 functions with seven references each, and 5,000 symbols.
    assert!(delta.len() < 1500, "{} bytes", delta.len());
    let applied = update
        .device
        .apply(&update.old, &update.new.statement, delta);
    assert!(applied.expect("applied") == update.new.tree);
    update.device.assert_has(&update.new.statement);
}

/// The old objects in the order of their names.
const KERNEL: u32 = 2;
const NO_KERNEL: u32 = 3;

// Rules: D12
#[test]
fn what_moved_comes_first_and_all_is_patched_from_one_kernel() {
    let update = update();
    let new = straightened(&image_of(true));
    let plain = form(&image_of(true));
    let opened_bytes = u32::try_from(new.len()).expect("short");
    let part = |base, stage| Part {
        base,
        opened_bytes,
        stage,
    };
    let unopened = |base, stage| Part {
        opened_bytes: 0,
        ..part(base, stage)
    };
    let none = &[0][..];
    let (first, rest) = new.split_at(50_000);
    for (what, parts) in [
        ("no moves", vec![(part(KERNEL, 5), &new[..])]),
        ("no part of the form", vec![(part(KERNEL, 4), none)]),
        (
            "parts that are not adjusted",
            vec![(part(KERNEL, 4), none), (part(KERNEL, 0), &new)],
        ),
        (
            "moves in between",
            vec![
                (part(KERNEL, 4), none),
                (part(KERNEL, 5), first),
                (part(KERNEL, 4), none),
                (part(KERNEL, 5), rest),
            ],
        ),
        (
            "another old object",
            vec![(part(KERNEL, 4), none), (part(NO_KERNEL, 5), &new)],
        ),
        (
            "no kernel",
            vec![(part(NO_KERNEL, 4), none), (part(NO_KERNEL, 5), &new)],
        ),
        (
            "no old object",
            vec![(part(1, 4), none), (part(1, 5), &new)],
        ),
        (
            "nothing that is opened",
            vec![(unopened(KERNEL, 4), none), (unopened(KERNEL, 5), &new)],
        ),
        (
            "other moves",
            vec![(part(KERNEL, 4), &[2, 9, 0, 0, 0]), (part(KERNEL, 5), &new)],
        ),
        (
            "a form that is no kernel's",
            vec![
                (part(KERNEL, 4), none),
                (part(KERNEL, 5), &vec![0; new.len()]),
            ],
        ),
    ] {
        let error = update.apply_parts(&parts).expect_err(what);
        let is_told = matches!(error, DeltaError::Invalid { .. });
        assert!(is_told, "{what}: {error}");
    }
    let long = vec![0; (1 << 20) + 1];
    let parts = [(part(KERNEL, 4), &long[..]), (part(KERNEL, 5), &new)];
    let error = update.apply_parts(&parts).expect_err("long moves");
    assert!(error.to_string().contains("at most 1048576"), "{error}");
    // A form that was not straightened comes back as another object.
    let parts = [(part(KERNEL, 4), none), (part(KERNEL, 5), &plain[..])];
    update.apply_parts(&parts).expect_err("another object");
    assert!(!update.device.has_pack(&update.new.statement.pack_digest));
    let parts = [(part(KERNEL, 4), none), (part(KERNEL, 5), &new[..])];
    update.apply_parts(&parts).expect("the new kernel");
    update.device.assert_has(&update.new.statement);
}
