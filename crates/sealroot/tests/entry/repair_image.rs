// SPDX-License-Identifier: MIT OR Apache-2.0
//! The image for repairs, where boot loaders find it by themselves.

use sealroot::entry::{Boot, EntryError, Loader, RepairImage};
use sealroot_testkit::memory_io::{MemoryDisk, Trouble};

use crate::support::{Wanted, all, look};

const PATH: &str = "EFI/Linux/sealroot-repair.efi";

// Rules: R1
#[test]
fn there_is_one_and_it_is_written_once() {
    let disk = MemoryDisk::new(false);
    Wanted::of(1).add(&look(&disk), &all).expect("added");
    let before = disk.files();
    let put = |image: &[u8]| look(&disk).put_repair_image(image).expect("there is room");
    let expected = |is_changed| RepairImage {
        path: PATH.to_owned(),
        is_changed,
    };
    assert_eq!(put(b"MZ, one"), expected(true));
    assert_eq!(put(b"MZ, one"), expected(false));
    assert_eq!(put(b"MZ, another"), expected(true));
    let mut after = before;
    after.insert(format!("/{PATH}"), b"MZ, another".to_vec());
    assert_eq!(disk.files(), after);
    let found = look(&disk).images_without_entry().expect("images");
    assert_eq!(found, [PATH]);
}

// Rules: R2
#[test]
fn it_is_refused_with_nothing_changed() {
    let disk = MemoryDisk::with_capacity(16 * 4096);
    look(&disk)
        .put_repair_image(b"MZ, one")
        .expect("there is room");
    let before = disk.files();
    let refused = look(&disk).put_repair_image(&vec![b'M'; 17 * 4096]);
    assert!(
        matches!(refused, Err(EntryError::NoSpace { .. })),
        "{refused:?}"
    );
    for loader in [Loader::Grub, Loader::GrubFedora] {
        let boot = Boot::new(disk.process(Trouble::None), loader, "");
        let refused = boot.put_repair_image(b"MZ, another");
        assert!(
            matches!(refused, Err(EntryError::NoImages { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(disk.files(), before);
}
