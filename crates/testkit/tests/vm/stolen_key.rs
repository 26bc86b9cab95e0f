// SPDX-License-Identifier: MIT OR Apache-2.0
//! THREATS A53: whoever has stolen the release key, and can write to the disk, until the next keyset
//! and the next epoch are there (docs/keys.md). The images leave the release to the keyset.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use sealroot_format::sign::secret::SecretKey;
use sealroot_format::sign::{Statement, Unverified};
use sealroot_testkit::guest::ProbeReport;
use sealroot_testkit::release::keyset_of;

use super::floor::{RAISE, Scene, with_floor};

struct Theft {
    scene: Scene,
    stolen: SecretKey,
    next: SecretKey,
}

/// What becomes of a boot.
enum Expected {
    Boots,
    Refused(&'static str),
}

impl Theft {
    /// An image of the release of this number, in which this key counts.
    fn image(&self, number: u64, key: &SecretKey) -> Result<PathBuf> {
        let name = format!("keys-{number}");
        self.scene.release.initramfs_with_orders(
            &self.scene.kernel,
            &name,
            keyset_of(key)?.as_bytes(),
            |policy| with_floor(policy, "-", number),
        )
    }

    /// Puts a statement of this index and epoch, and signed by this key, in the place of the one
    /// on the disk.
    fn state(&self, number: u64, key: &SecretKey) -> Result<()> {
        let release = &self.scene.release;
        let statement = Statement {
            index: number,
            epoch: number,
            ..release.statement.clone()
        };
        let mut document = Unverified::unsigned(&statement)?;
        let signature = key.sign(document.message());
        document.add(key.public(), signature)?;
        let file = self.scene.path("statement");
        fs::write(&file, document.to_string())?;
        let path = release.statement_path();
        self.scene
            .disk
            .debugfs_script(&format!("rm {path}\nwrite {} {path}\n", file.display()))
    }

    fn expect(&self, image: &Path, expected: &Expected) -> Result<()> {
        let argument = format!("sealroot={}", self.scene.release.deployment());
        let outcome = self.scene.boot_image(image, &argument, &self.scene.tpm)?;
        match expected {
            Expected::Boots => {
                let report: ProbeReport = outcome.json()?;
                ensure!(report.booted.is_some(), "no record of the boot");
            }
            Expected::Refused(code) => {
                let refusal = format!("REFUSED {code}: ");
                ensure!(outcome.console.contains(&refusal), "{}", outcome.console);
            }
        }
        Ok(())
    }
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_a_stolen_key_is_answered_by_the_next_keyset_and_epoch() -> Result<()> {
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    let theft = Theft {
        stolen: scene.release.secret_key()?,
        next: SecretKey::from_seed(&[43; 32])?,
        scene,
    };
    let (old, next) = (theft.image(1, &theft.stolen)?, theft.image(2, &theft.next)?);
    theft.scene.enrol()?;

    // One key of one: what the thief signs boots, but no other epoch than the image was made for.
    theft.state(1, &theft.stolen)?;
    theft.expect(&old, &Expected::Boots)?;
    theft.state(1000, &theft.stolen)?;
    theft.expect(&old, &Expected::Refused("release"))?;

    theft.state(2, &theft.next)?;
    theft.expect(&next, &Expected::Boots)?;
    theft
        .scene
        .as_root(Some(&theft.scene.records()?), &[RAISE])?;

    theft.state(1, &theft.stolen)?;
    theft.expect(&old, &Expected::Refused("epoch"))?;
    theft.state(2, &theft.stolen)?;
    theft.expect(&next, &Expected::Refused("statement"))
}
