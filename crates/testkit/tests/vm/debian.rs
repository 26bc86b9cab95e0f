// SPDX-License-Identifier: MIT OR Apache-2.0
//! A real Debian boots to its services on the verified root, in both layers.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use sealroot_testkit::release::{Layer, usual_kernel};

const TIME_OUT: Duration = Duration::from_secs(300);

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn debian_boots_to_its_services() -> Result<()> {
    let (Some(kernel), Some(release)) = (usual_kernel(), super::shared::debian()?) else {
        return Ok(());
    };
    for layer in Layer::ALL {
        let outcome = release
            .machine(&kernel, layer, release.disk(), &release.deployment())?
            .memory_mib(1024)
            .run(TIME_OUT)?;
        let answers: BTreeMap<String, String> = outcome.json()?;
        println!("{layer}, {:?}: {answers:#?}", outcome.wall);
        assert_eq!(answers["system"], "active\n");
        assert_eq!(answers["failed"], "");
        assert!(answers["release"].contains("Debian GNU/Linux 12"));
        assert!(answers["root"].contains("overlay"));
        assert!(answers["root"].contains("verity=require"));
        assert_eq!(answers["digest"].trim_end(), release.tree_digest);
        assert!(answers["write"].contains("Read-only file system"));
        assert_eq!(answers["etc"], "written\n");
    }
    Ok(())
}
