// SPDX-License-Identifier: MIT OR Apache-2.0
//! How large a pack is, against what its entries need at least.

use std::path::Path;

use sealroot_testkit::least_size::least_bytes;
use sealroot_testkit::on_disk;
use sealroot_testkit::trees::split;

use crate::written;

#[test]
fn a_pack_is_hardly_larger_than_its_entries() {
    let all = &[0, 64, 512, 2048, 4096, 16_384, 65_536][..];
    for (directory, thresholds) in [("/etc", all), ("/usr/share", &[4096])] {
        let tree = on_disk::read(Path::new(directory)).expect("the directory can be read");
        for threshold in thresholds.iter().copied() {
            let image = written(&split(&tree, threshold), threshold);
            let (found, least) = (
                image.len() as u64,
                least_bytes(&image).expect("a valid pack"),
            );
            // Where the metadata and the image end is room, too.
            let most = least * 105 / 100 + 2 * 4096;
            assert!(
                found <= most,
                "{directory}, threshold {threshold}: {found}, at least {least}"
            );
        }
    }
}
