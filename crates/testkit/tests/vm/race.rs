// SPDX-License-Identifier: MIT OR Apache-2.0
//! A14: what is mounted is what was checked, whatever happens to the names meanwhile.

use anyhow::Result;
use sealroot_testkit::attack::race;

const ATTEMPTS: u32 = 10_000;

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn an_exchanged_pack_is_never_mounted() -> Result<()> {
    let Some(release) = super::shared::release()? else {
        return Ok(());
    };
    let race = race::run(&release, ATTEMPTS)?;
    println!("A14 {race:?}");
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
