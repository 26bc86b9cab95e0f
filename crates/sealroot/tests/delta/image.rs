// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unified kernel images, made of files of their release and of older images.

use sealroot::check::{self, Depth};
use sealroot::delta::{DeltaError, ImageApplication, ImageMaking, MadeImage};
use sealroot::monitor::Silent;
use sealroot::store::ImageName;
use sealroot_format::digest::{VerityDigest, compute_verity_digest};
use sealroot_format::erofs::ReadAt;
use sha2::{Digest as _, Sha256};

use crate::support::{ENTRY, Files, Place, Released, bytes};

/// Where the number of groups stands in a head; before it that of objects.
const GROUPS: usize = 16 + 32 + 32 + 8 + 32 + 8 + 4;

/// A device with a release and an older image, and the image of the release.
struct Imaged {
    device: Place,
    released: Released,
    /// Longer than two patches make.
    image: Vec<u8>,
    old: Vec<u8>,
}

impl Imaged {
    fn new() -> Self {
        let (kernel, module, stub) = (bytes(1, 4_300_000), bytes(2, 30_000), bytes(3, 9000));
        let device = Place::new();
        let files = Files::from([
            ("usr/lib/modules/6/vmlinuz", kernel.clone()),
            ("usr/lib/modules/6/ext4.ko", module.clone()),
            ("usr/lib/modules/6/other.ko", bytes(4, 30_000)),
            ("usr/lib/systemd/boot/linuxx64.efi.stub", stub.clone()),
        ]);
        let released = device.build(&files);
        let with_headers = [b"headers".to_vec(), stub[7..].to_vec()].concat();
        let image = |own: &str| {
            let program = bytes(5, 20_000);
            [&with_headers, own.as_bytes(), &program, &module, &kernel].concat()
        };
        Self {
            image: image("the policy of today"),
            old: image("that of yesterday"),
            device,
            released,
        }
    }

    fn name(&self) -> ImageName {
        ImageName {
            pack: self.released.statement.pack_digest,
            image: compute_verity_digest(&self.image),
        }
    }

    fn make(&self, old: Option<&[u8]>) -> (Vec<u8>, MadeImage) {
        let kernel = self.image.len() - 4_300_000;
        let module = kernel - 30_000;
        let making = ImageMaking {
            release: &self.released.as_release(&self.device.store),
            image: &self.image,
            parts: &[
                &self.image[kernel..],
                &self.image[module..kernel],
                b"no file",
            ],
            old,
        };
        let mut out = Vec::new();
        let made = making.make(&mut out).expect("made");
        (out, made)
    }

    fn apply(&self, delta: &[u8], old: Option<&[u8]>) -> Result<(), DeltaError> {
        let old = old.map(|old| (compute_verity_digest(old), old.to_vec()));
        let old = old.as_ref();
        let old = old.map(|(digest, bytes)| (*digest, bytes as &dyn ReadAt));
        self.apply_as(self.name().image, self.image.len() as u64, delta, old)
    }

    fn apply_as(
        &self,
        digest: VerityDigest,
        size_bytes: u64,
        mut delta: &[u8],
        old: Option<(VerityDigest, &dyn ReadAt)>,
    ) -> Result<(), DeltaError> {
        let application = ImageApplication {
            release: &self.released.as_release(&self.device.store),
            digest,
            size_bytes,
            old,
        };
        let transaction = self.device.store.begin(&Silent).expect("begun");
        application.apply(&transaction, &mut delta)?;
        transaction.finish().expect("finished");
        Ok(())
    }

    fn refused(&self, delta: &[u8], old: Option<&[u8]>, about: &str) -> DeltaError {
        let error = self.apply(delta, old).expect_err(about);
        assert_eq!(
            self.device.store.list_images().expect("listed"),
            [],
            "{about}"
        );
        error
    }

    fn assert_there(&self) {
        let store = &self.device.store;
        assert_eq!(store.list_images().expect("listed"), [self.name()]);
        let file = store.open_image(&self.name()).expect("there");
        let mut found = vec![0; self.image.len()];
        file.read_exact_at(&mut found, 0).expect("read");
        assert!(file.size_bytes() == self.image.len() as u64 && found == self.image);
        let report = check::check(store, Depth::Full, &Silent).expect("checked");
        assert_eq!(report.images, 1);
    }
}

// Rules: I3
#[test]
fn what_the_device_has_does_not_travel() {
    let imaged = Imaged::new();
    let (alone, made) = imaged.make(None);
    assert_eq!(made.delta_bytes, alone.len() as u64);
    let head = &alone[..usize::try_from(made.head_bytes).expect("short")];
    assert_eq!(made.head.as_bytes()[..], Sha256::digest(head)[..]);
    assert!((20_000..22_000).contains(&alone.len()), "{}", alone.len());
    let (of_old, _) = imaged.make(Some(&imaged.old));
    assert!(of_old.len() < 1000, "{}", of_old.len());
    imaged.apply(&alone, None).expect("made");
    imaged.assert_there();
    // What is there already is not written again.
    imaged.apply(&of_old, Some(&imaged.old)).expect("there");

    let imaged = Imaged::new();
    imaged.apply(&of_old, Some(&imaged.old)).expect("made");
    imaged.assert_there();
    let (again, _) = imaged.make(Some(&imaged.old));
    assert!(again == of_old, "the same bytes");
}

// Rules: I1
#[test]
fn every_changed_byte_and_every_end_is_refused() {
    let imaged = Imaged::new();
    let (right, made) = imaged.make(None);
    let head = usize::try_from(made.head_bytes).expect("short");
    for at in (0..head).chain((head..right.len()).step_by(97)) {
        let mut delta = right.clone();
        delta[at] ^= 1 << (at % 8);
        imaged.refused(&delta, None, &format!("byte {at}"));
        if at % 7 == 0 {
            imaged.refused(&right[..at], None, &format!("{at} bytes"));
        }
    }
    let mut of_objects = right.clone();
    of_objects[head - ENTRY + 8..head - ENTRY + 16].copy_from_slice(&[0; 8]);
    let error = imaged.refused(&of_objects, None, "a group of objects");
    assert!(
        error.to_string().contains("the objects of a group"),
        "{error}"
    );
    imaged.apply(&right, None).expect("the right one");
    imaged.assert_there();
}

// Rules: I2
#[test]
fn it_must_be_made_of_what_is_there_and_be_what_was_named() {
    let imaged = Imaged::new();
    let (alone, _) = imaged.make(None);
    let (of_old, _) = imaged.make(Some(&imaged.old));
    let mut other = imaged.old.clone();
    other.push(0);
    for (delta, old, words) in [
        (&alone, Some(&imaged.old), "old image: expected"),
        (&of_old, None, "old image: expected none, found"),
        (&of_old, Some(&other), "old image: expected"),
    ] {
        let error = imaged.refused(delta, old.map(Vec::as_slice), words);
        assert!(error.to_string().contains(words), "{error}");
    }
    let digest = imaged.name().image;
    let size_bytes = imaged.image.len() as u64;
    for (digest, size_bytes, words) in [
        (
            VerityDigest::from_bytes([7; 32]),
            size_bytes,
            "digest of an image",
        ),
        (digest, size_bytes + 1, "length of an image"),
    ] {
        let error = imaged.apply_as(digest, size_bytes, &alone, None);
        let error = error.expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    }
    let other = Imaged {
        released: imaged.device.build(&Files::from([("usr/other", vec![1])])),
        ..Imaged::new()
    };
    let error = other.refused(&alone, None, "another release");
    assert!(error.to_string().contains("pack of an image"), "{error}");
}

// Rules: I4
#[test]
fn groups_make_the_whole_image_and_nothing_beyond() {
    let imaged = Imaged::new();
    let (right, made) = imaged.make(None);
    let head = usize::try_from(made.head_bytes).expect("short");
    let entry = &right[head - ENTRY..head];
    let with = |count: u32| {
        let mut delta = right[..GROUPS].to_vec();
        delta.extend(count.to_le_bytes());
        delta.extend(&right[GROUPS + 4..head - ENTRY]);
        (0..count).for_each(|_| delta.extend(entry));
        (0..count).for_each(|_| delta.extend(&right[head..]));
        delta
    };
    assert!(with(1) == right);
    for (count, words) in [
        (0, "expected more, found their end"),
        (2, "expected their end, found more"),
    ] {
        let error = imaged.refused(&with(count), None, words);
        assert!(error.to_string().contains(words), "{error}");
    }
}

// Rules: I5
#[test]
fn only_the_image_that_was_named_is_kept() {
    let imaged = Imaged::new();
    let (right, _) = imaged.make(None);
    // The head says another image, and so does whoever asks.
    let mut lying = right.clone();
    lying[48..80].copy_from_slice(&[7; 32]);
    let digest = VerityDigest::from_bytes([7; 32]);
    let made = imaged.apply_as(digest, imaged.image.len() as u64, &lying, None);
    let error = made.expect_err("another image").to_string();
    assert!(error.contains("the image that it makes"), "{error}");
    assert_eq!(imaged.device.store.list_images().expect("listed"), []);
}
