// SPDX-License-Identifier: MIT OR Apache-2.0
//! A release boots as signed, and whatever is done to its disk, nothing else does.

use std::time::Duration;

use anyhow::{Context, Result};
use sealroot_testkit::attack::{self, Verdict, judge};
use sealroot_testkit::release::{Layer, usual_kernel};

/// Set to `erofs` or `tmpfs` to boot that layer only.
const LAYER: &str = "SEALROOT_LAYER";

/// Set to attack only with what has one of these words in its id or name, comma between them.
const FILTER: &str = "SEALROOT_ATTACKS";

#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn only_the_signed_tree_ever_boots() -> Result<()> {
    let (Some(kernel), Some(release)) = (usual_kernel(), super::shared::release()?) else {
        return Ok(());
    };
    let mut layers = Layer::ALL.to_vec();
    if let Ok(only) = std::env::var(LAYER) {
        layers.retain(|layer| layer.to_string() == only);
    }
    for layer in &layers {
        let vm = release.machine(&kernel, *layer, release.disk(), &release.deployment())?;
        let outcome = vm.run(Duration::from_secs(180))?;
        let verdict = judge(&outcome, &release);
        let console = outcome.console_tail(30);
        assert_eq!(
            verdict,
            Verdict::SameTree,
            "{layer:?}, unharmed:\n{console}"
        );
    }
    let filter = std::env::var(FILTER).unwrap_or_default();
    let mut attacks = attack::catalogue();
    attacks.retain(|attack| {
        let mut words = filter.split(',');
        words.any(|word| attack.id.contains(word) || attack.name.contains(word))
    });
    let report = attack::run(&attacks, &layers, &release).context("running the attacks")?;
    println!("\n{report}");
    assert!(
        report.failures.is_empty(),
        "{} wrong boots",
        report.failures.len()
    );
    Ok(())
}
