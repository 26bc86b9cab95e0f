// SPDX-License-Identifier: MIT OR Apache-2.0
//! The short form of the catalogues, which every change must pass: each id in each layer and each
//! mutator at least once, and some of each kind in the mode `integrity`. `cargo xtask attack` plays
//! all.

use super::run::Play;
use crate::release::Layer;

const EROFS: &[Layer] = &[Layer::Erofs];
const TMPFS: &[Layer] = &[Layer::Tmpfs];
const BOTH: &[Layer] = &Layer::ALL;

/// Attacks by name, and the layers they are played in. Where an id has several, the layers share
/// them out.
const PLAYED: &[(&str, &[Layer])] = &[
    ("entries injected everywhere", BOTH),
    ("mode, owner, xattrs, time, links of every object", BOTH),
    ("objects of same size swapped", EROFS),
    ("all objects rotated", TMPFS),
    ("signed pack: an entry without a digest", EROFS),
    (
        "signed pack: an entry with an unknown hash algorithm",
        EROFS,
    ),
    ("signed pack: the digest of another object", TMPFS),
    ("object without fs-verity", TMPFS),
    ("signed pack: an unescaped redirect of a directory", BOTH),
    ("a kernel that would merge", BOTH),
    ("signed pack: a redirect with ..", EROFS),
    ("signed pack: a redirect to a pack", TMPFS),
    ("overlay xattrs on every object", BOTH),
    ("policies planted on the disk", BOTH),
    ("every record of the store deleted", EROFS),
    ("every record of the store emptied", TMPFS),
    ("every record of the store random", EROFS),
    ("every record of the store hostile", TMPFS),
    ("alone: etc/sealroot/policy planted", EROFS),
    ("alone: etc/sealroot/keyset planted", TMPFS),
    ("alone: ostree/verity/policy planted", EROFS),
    ("alone: ostree/verity/.verity-off planted", TMPFS),
    ("alone: ostree/repo/config planted", EROFS),
    ("alone: usr/lib/ostree/prepare-root.conf planted", TMPFS),
    ("alone: boot/loader/cmdline planted", EROFS),
    ("alone: etc/fstab planted", TMPFS),
    ("alone: etc/sysctl.d/90-evil.conf planted", EROFS),
    ("signatures required of every file", BOTH),
    ("alone: statement deleted", TMPFS),
    ("alone: store.toml hostile", EROFS),
    ("alone: deployment.toml deleted", TMPFS),
    ("ostree replaced: Symlink", EROFS),
    ("ostree/verity replaced: RelativeLink", TMPFS),
    ("pack directory replaced: OtherKind", EROFS),
    ("statement replaced: Nothing", TMPFS),
    ("pack replaced: Fifo", EROFS),
    ("shared objects replaced: Device", TMPFS),
    ("an object's blocks change while it runs", TMPFS),
    ("every block of the pack changes while it runs", EROFS),
    (
        "every block of the unpacked pack changes while it runs",
        TMPFS,
    ),
    ("object damaged: first block", EROFS),
    ("object damaged: tree", TMPFS),
    ("pack damaged: first block", EROFS),
    ("pack damaged: tree", TMPFS),
    ("fs-verity cleared from an object, content changed", EROFS),
    ("fs-verity cleared from the pack", TMPFS),
    ("statement truncated", EROFS),
    ("statement with one bit of its signature flipped", TMPFS),
    ("pack that claims to be an image", EROFS),
    ("pack with other bytes", TMPFS),
    ("pack of a terabyte", EROFS),
    ("statement of a terabyte", TMPFS),
    ("signed pack: a claim of a terabyte", TMPFS),
    ("signed pack: a claim of 16 million entries", EROFS),
    (
        "signed pack: hundreds of files that share the same blocks",
        TMPFS,
    ),
    ("another answer at the second read: an object", EROFS),
    ("the fixed command line alone", TMPFS),
    ("the fixed command line and init=/bin/sh", EROFS),
    ("another OS with the image of the release", EROFS),
    ("another stream with the image of the release", EROFS),
    ("the release with the image of another index", EROFS),
    ("another edition with its own image", EROFS),
    ("mended: pack with other bytes", EROFS),
    ("mended: pack and large files without fs-verity", EROFS),
    ("integrity: A01 entries injected everywhere", EROFS),
    ("integrity: A08 overlay xattrs on every object", TMPFS),
    ("integrity: A12 policies planted on the disk", TMPFS),
    ("integrity: A03 all objects rotated", EROFS),
    ("integrity: A04 object with other bytes", TMPFS),
    ("integrity: A22 pack with other bytes", EROFS),
    (
        "integrity: A04 signed pack: the digest of another object",
        EROFS,
    ),
    ("integrity: A07 signed pack: a redirect to a pack", TMPFS),
    ("integrity: A16 pack changed: Middle byte", TMPFS),
    (
        "integrity: A16 usr/lib/target-c.so changed: Last byte",
        EROFS,
    ),
    (
        "integrity: A16 other bytes among the deployment's objects alone",
        TMPFS,
    ),
    (
        "integrity: A16 other bytes among the shared objects alone",
        EROFS,
    ),
    ("integrity: A16 object replaced by a symlink", TMPFS),
    ("integrity: A16 object longer", EROFS),
    (
        "integrity: A16 every block of the pack changes while it runs",
        BOTH,
    ),
    (
        "integrity: A16 an object's blocks change while it runs",
        BOTH,
    ),
];

/// Whether a play is part of the short form.
pub fn is_short(play: &Play<'_>) -> bool {
    PLAYED
        .iter()
        .any(|(name, layers)| *name == play.attack.name && layers.contains(&play.layer))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{catalogue, integrity_catalogue};
    use super::*;

    #[test]
    fn the_short_form_has_every_id_in_every_layer_and_every_mutator() {
        let attacks = catalogue();
        let all = Play::all(&attacks);
        let short: Vec<Play<'_>> = all.iter().copied().filter(is_short).collect();
        let ids = |plays: &[Play<'_>]| -> BTreeSet<String> {
            let key = |play: &Play<'_>| format!("{} {}", play.attack.id, play.layer);
            plays.iter().map(key).collect()
        };
        let mutators = |plays: &[Play<'_>]| -> BTreeSet<&str> {
            plays.iter().map(|play| play.attack.mutator).collect()
        };
        assert_eq!(ids(&short), ids(&all));
        assert_eq!(mutators(&short), mutators(&all));
    }

    #[test]
    fn whatever_the_short_form_names_is_in_the_catalogue() {
        let mut attacks = catalogue();
        attacks.extend(integrity_catalogue());
        let all = Play::all(&attacks);
        for (name, layers) in PLAYED {
            let found = all.iter().filter(|play| play.attack.name == *name);
            let found: Vec<Layer> = found.map(|play| play.layer).collect();
            let missing: Vec<_> = layers.iter().filter(|one| !found.contains(one)).collect();
            assert!(missing.is_empty(), "{name:?} is not played in {missing:?}");
        }
    }

    #[test]
    fn names_are_unique_in_a_layer() {
        let mut attacks = catalogue();
        attacks.extend(integrity_catalogue());
        let all = Play::all(&attacks);
        let names = all
            .iter()
            .map(|play| (&play.attack.name, play.layer.to_string()));
        assert_eq!(names.collect::<BTreeSet<_>>().len(), all.len());
    }
}
