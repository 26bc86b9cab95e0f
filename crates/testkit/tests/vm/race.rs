// SPDX-License-Identifier: MIT OR Apache-2.0
//! A14, A16: what is mounted is what was checked, whatever happens to the names, or the file,
//! meanwhile.

use anyhow::Result;
use sealroot_format::policy::Mode;
use sealroot_testkit::attack::race;
use sealroot_testkit::attack::tally::Tally;

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn an_exchanged_pack_is_never_mounted() -> Result<()> {
    race(Mode::Sealed, "A14", 10_000)
}

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn in_the_mode_integrity_a_pack_that_is_written_to_is_never_mounted() -> Result<()> {
    race(Mode::Integrity, "A16", 1_000)
}

fn race(mode: Mode, id: &str, attempts: u32) -> Result<()> {
    let Some(release) = super::shared::release(mode)? else {
        return Ok(());
    };
    let race = race::run(&release, attempts)?;
    println!("{id} {race:?}");
    Tally::write_one(&format!("race-{mode}"), id, "erofs", race.as_boot.evil > 0)?;
    assert!(race.exchanges >= 1000, "it was hardly a race");
    assert!(
        race.by_path.evil > 0,
        "checking by path was never fooled: no race at all"
    );
    assert!(
        race.as_boot.good > 0 && race.as_boot.refused > 0,
        "one side always won"
    );
    assert_eq!(race.as_boot.evil, 0, "the exchanged pack was mounted");
    Ok(())
}
