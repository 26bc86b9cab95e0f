// SPDX-License-Identifier: MIT OR Apache-2.0
//! A real Debian boots to its services on the verified root, in both layers.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use sealroot_format::policy::Mode;
use sealroot_testkit::release::{Layer, Release, TREE, usual_kernel};
use sealroot_testkit::{debian, need};

const TIME_OUT: Duration = Duration::from_secs(300);

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn debian_boots_to_its_services() -> Result<()> {
    let (Some(kernel), true) = (usual_kernel(), need::root()) else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let tree = directory.path().join(TREE);
    std::fs::create_dir_all(tree.parent().unwrap_or(&tree))?;
    if !debian::create(&tree, "/usr/bin/sealroot-guest answer")? {
        return Ok(());
    }
    debian::add_guest(&tree)?;
    let release = Release::of_tree(&kernel, directory, Mode::Sealed, 400, 600)?;
    for layer in Layer::ALL {
        let outcome = release
            .machine(&kernel, layer, release.disk(), &release.deployment())?
            .memory_mib(1024)
            .arguments(&format!("systemd.unit={}", debian::TARGET))
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
