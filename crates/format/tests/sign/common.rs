// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys from fixed seeds and the documents of the golden files.

use proptest::{collection::vec, prelude::*};
use sealroot_format::{
    digest::{CommitId, Sha256Digest, TreeDigest, VerityDigest},
    policy::{
        EtcMode, FloorOn, FloorStore, Layer, Mode, Pinned, PinnedPack, Policy, SecureBoot, Var,
    },
    sign::{
        Channel, ChannelDelta, ChannelImage, ChannelImageDelta, ChannelRelease, Document, Keyset,
        RemoteFile, RoleKeys, Statement, Unverified, Verified, secret::SecretKey,
    },
};

/// The test key `number`: its seed is 32 times that byte.
pub(crate) fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32]).unwrap()
}

/// A keyset with the given thresholds and keys of root, release and channel.
pub(crate) fn keyset(version: u64, roles: [(usize, &[u8]); 3]) -> Keyset {
    let numbers = roles.iter().flat_map(|(_, numbers)| numbers.iter());
    let keys: Vec<_> = numbers.map(|&number| *key(number).public()).collect();
    let roles = roles.map(|(threshold, numbers)| {
        RoleKeys::new(threshold, numbers.iter().map(|&n| key(n).public().id()))
    });
    Keyset::new(version, roles, keys).unwrap()
}

/// The keyset of the golden files: root 2 of {1, 2, 3}, release 2 of {11, 12, 13}, channel {21}.
pub(crate) fn golden_keyset() -> Keyset {
    keyset(1, [(2, &[1, 2, 3]), (2, &[11, 12, 13]), (1, &[21])])
}

/// The statement of the golden files.
pub(crate) fn golden_statement() -> Statement {
    Statement {
        os: "debian".parse().unwrap(),
        variant: None,
        stream: "stable".parse().unwrap(),
        arch: "x86_64".parse().unwrap(),
        version: Some("12.8+1".parse().unwrap()),
        index: 42,
        epoch: 3,
        commit: CommitId::from_bytes([0xc0; 32]),
        tree_digest: TreeDigest::from_bytes([0x7d; 32]),
        pack_format: 1,
        pack_digest: VerityDigest::from_bytes([0xfa; 32]),
        pack_size_bytes: 9_457_664,
        entries: 18_231,
        objects: 3_120,
        object_bytes: 301_989_888,
        threshold_bytes: 4096,
        kernel: Some("6.12.57+deb12-amd64".parse().unwrap()),
        created: 1_764_547_200,
    }
}

/// The policy of the golden files: boots the golden statement's pack and nothing else.
pub(crate) fn golden_policy() -> Policy {
    let statement = golden_statement();
    Policy {
        mode: Mode::Sealed,
        layer: Layer::Erofs,
        root: "PARTUUID=4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
            .parse()
            .unwrap(),
        etc: EtcMode::Transient,
        var: Var::Stateroot("debian".parse().unwrap()),
        pinned: Pinned::Pack(PinnedPack::of(&statement)),
        os: statement.os,
        variant: statement.variant,
        stream: statement.stream,
        arch: statement.arch,
        epoch_floor: 3,
        floor_on: FloorOn::Index,
        floor_store: FloorStore {
            efi: true,
            tpm: Some(4096),
        },
        secure_boot: SecureBoot::Required("console=ttyS0 lockdown=integrity".parse().unwrap()),
    }
}

/// The channel of the golden files: three releases, the last the golden statement's, three deltas, two images and
/// what makes one of the other.
pub(crate) fn golden_channel() -> Channel {
    let file = |number: u8, head_bytes, size_bytes| RemoteFile {
        head: Sha256Digest::from_bytes([number; 32]),
        head_bytes,
        size_bytes,
    };
    let release = |index, epoch, number: u8| ChannelRelease {
        index,
        epoch,
        pack: VerityDigest::from_bytes([0xf8 + number; 32]),
        statement: file(0x50 + number, 701, 701),
        bundle: file(0xb0 + number, 18_432, 16_777_216),
    };
    let delta = |from, to, number: u8| ChannelDelta {
        from,
        to,
        file: file(0xd0 + number, 524, 4_718_592),
    };
    let image = |index, number: u8| ChannelImage {
        index,
        name: "default".parse().unwrap(),
        digest: VerityDigest::from_bytes([0xe0 + number; 32]),
        size_bytes: 20_971_520,
        file: file(0xe8 + number, 1_024, 700_000),
    };
    let image_delta = ChannelImageDelta {
        from: 41,
        to: 42,
        name: "default".parse().unwrap(),
        file: file(0xee, 1_024, 24_000),
    };
    let statement = golden_statement();
    Channel {
        os: statement.os,
        variant: None,
        stream: statement.stream,
        arch: statement.arch,
        version: 17,
        created: 1_764_547_200,
        expires: 1_767_139_200,
        keyset: 1,
        releases: vec![release(40, 2, 0), release(41, 3, 1), release(42, 3, 2)],
        deltas: vec![delta(40, 41, 1), delta(40, 42, 2), delta(41, 42, 3)],
        images: vec![image(41, 1), image(42, 2)],
        image_deltas: vec![image_delta],
        signatures: Vec::new(),
    }
}

/// `document` signed by the test keys `numbers`.
pub(crate) fn signed<T: Document>(document: &T, numbers: &[u8]) -> Unverified<T> {
    let mut unverified = Unverified::unsigned(document).unwrap();
    for &number in numbers {
        let key = key(number);
        let signature = key.sign(unverified.message());
        unverified.add(key.public(), signature).unwrap();
    }
    unverified
}

/// `keyset`, trusted.
pub(crate) fn trusted(keyset: &Keyset) -> Verified<Keyset> {
    Keyset::parse_trusted(keyset.to_string().as_bytes()).unwrap()
}

/// Panics if `parses` takes `text` with any line left out, repeated, moved, or a line added.
pub(crate) fn assert_each_line_matters(text: &str, parses: impl Fn(&[u8]) -> bool) {
    let lines: Vec<&str> = text.lines().collect();
    let parses = |lines: &[&str]| parses((lines.join("\n") + "\n").as_bytes());
    assert!(parses(&lines));
    for index in 0..lines.len() {
        let mut missing = lines.clone();
        missing.remove(index);
        assert!(!parses(&missing), "without line {index}");
        let mut moved = lines.clone();
        moved.swap(index, (index + 1) % lines.len());
        assert!(!parses(&moved), "line {index} moved");
        for added in [lines[index], "colour blue", "", " "] {
            let mut longer = lines.clone();
            longer.insert(index, added);
            assert!(!parses(&longer), "{added:?} before line {index}");
        }
    }
}

/// One to three random edits of single bytes of `text`.
pub(crate) fn edited(text: String) -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), any::<u8>(), 0..3_u8);
    vec(edit, 1..4).prop_map(move |edits| {
        let mut bytes = text.clone().into_bytes();
        for (index, byte, kind) in edits {
            let index = index.index(bytes.len());
            match kind {
                0 => bytes[index] = byte,
                1 => bytes.insert(index, byte),
                _ => drop(bytes.remove(index)),
            }
        }
        bytes
    })
}
