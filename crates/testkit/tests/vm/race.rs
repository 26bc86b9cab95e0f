// SPDX-License-Identifier: MIT OR Apache-2.0
//! A14, A16: what is mounted is what was checked, whatever happens to the names, or the file,
//! meanwhile.

use anyhow::Result;
use sealroot_format::policy::Mode;
use sealroot_testkit::attack::race;
use sealroot_testkit::attack::tally::Tally;
use sealroot_testkit::release::Layer;

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn an_exchanged_pack_is_never_mounted() -> Result<()> {
    race(Mode::Sealed, Layer::Erofs, "A14", 10_000)
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn an_exchanged_pack_is_never_unpacked() -> Result<()> {
    race(Mode::Sealed, Layer::Tmpfs, "A14", 2_500)
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn in_the_mode_integrity_a_pack_that_is_written_to_is_never_mounted() -> Result<()> {
    race(Mode::Integrity, Layer::Erofs, "A16", 1_000)
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn in_the_mode_integrity_a_pack_that_is_written_to_is_never_unpacked() -> Result<()> {
    race(Mode::Integrity, Layer::Tmpfs, "A16", 200)
}

fn race(mode: Mode, layer: Layer, id: &str, attempts: u32) -> Result<()> {
    let Some(release) = super::shared::release(mode)? else {
        return Ok(());
    };
    let race = race::run(&release, layer, attempts)?;
    println!("{id} {layer} {race:?}");
    let test = format!("race-{mode}-{layer}");
    Tally::write_one(&test, id, &layer.to_string(), race.as_boot.evil > 0)?;
    assert!(race.exchanges >= 1000, "it was hardly a race");
    // Unpacking takes long, and leaves few attempts to be fooled: with the other layer it is shown.
    assert!(
        layer == Layer::Tmpfs || race.by_path.evil > 0,
        "checking by path was never fooled: no race at all"
    );
    assert!(
        race.as_boot.good > 0 && race.as_boot.refused > 0,
        "one side always won"
    );
    assert_eq!(race.as_boot.evil, 0, "the exchanged pack was mounted");
    Ok(())
}
