// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a power cut leaves of a filesystem.

use sealroot_format::tree::Metadata;

use super::disk::{Content, Disk, Inode};

/// What had reached the disk, of all that nobody had waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteBack {
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
    /// All content, no name.
    ContentOnly,
    /// All names; the files are as if never written.
    NamesOverEmpty,
    /// All names; the files have their sizes and are full of zeros.
    NamesOverZeros,
    /// All names; the files end in the middle.
    NamesOverHalf,
    /// An arbitrary part of names and contents, the same for the same number.
    Some(u64),
}

impl WriteBack {
    /// The regular ones and this many arbitrary ones.
    pub fn orders(arbitrary: u64) -> impl Iterator<Item = Self> {
        [
            Self::Nothing,
            Self::Everything,
            Self::ContentOnly,
            Self::NamesOverEmpty,
            Self::NamesOverZeros,
            Self::NamesOverHalf,
        ]
        .into_iter()
        .chain((0..arbitrary).map(Self::Some))
    }
}

/// What became of one file's unsynced content.
#[derive(Clone, Copy)]
enum Fate {
    AsSynced,
    Zeros,
    Half,
    Whole,
}

/// A generator that is good enough to pick subsets (xorshift64*).
struct Random(u64);

impl Random {
    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(bits % bound as u64).expect("below a usize")
    }
}

/// The filesystem as it is found after the power cut.
pub(super) fn crash(disk: &Disk, order: WriteBack) -> Disk {
    let mut disk = disk.clone();
    let seed = match order {
        WriteBack::Some(seed) => seed,
        _ => 0,
    };
    let mut random = Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));

    let names = disk.pending.len();
    let wanted: Vec<bool> = match order {
        WriteBack::Nothing | WriteBack::ContentOnly => vec![false; names],
        WriteBack::Everything
        | WriteBack::NamesOverEmpty
        | WriteBack::NamesOverZeros
        | WriteBack::NamesOverHalf => vec![true; names],
        // A journal writes in order; other filesystems do not.
        WriteBack::Some(seed) if seed.is_multiple_of(2) => {
            let first_lost = random.below(names + 1);
            (0..names).map(|i| i < first_lost).collect()
        }
        WriteBack::Some(_) => (0..names).map(|_| random.below(2) == 0).collect(),
    };
    disk.make_names_durable(&wanted);
    disk.pending.clear();
    disk.names = disk.durable_names.clone();

    for inode in &mut disk.inodes {
        let fate = match order {
            WriteBack::Nothing | WriteBack::NamesOverEmpty => Fate::AsSynced,
            WriteBack::Everything | WriteBack::ContentOnly => Fate::Whole,
            WriteBack::NamesOverZeros => Fate::Zeros,
            WriteBack::NamesOverHalf => Fate::Half,
            WriteBack::Some(_) => match random.below(4) {
                0 => Fate::AsSynced,
                1 => Fate::Zeros,
                2 => Fate::Half,
                _ => Fate::Whole,
            },
        };
        settle(inode, fate);
    }
    // Attributes that nobody waited for are there only where everything is.
    for (now, durable) in disk.attributes.values_mut() {
        match durable {
            _ if order == WriteBack::Everything => *durable = Some(now.clone()),
            Some(durable) => now.clone_from(durable),
            None => *now = Metadata::default(),
        }
    }
    disk.shared_locks = 0;
    disk.is_locked = false;
    disk
}

fn is_one_byte_apart(now: &Content, durable: &Content) -> bool {
    let pairs = now.bytes.iter().zip(&durable.bytes);
    now.bytes.len() == durable.bytes.len() && pairs.filter(|(a, b)| a != b).count() == 1
}

/// Unsynced content meets its fate. fs-verity is there whole or not at all, and only behind
/// content that is; bytes that were durable before it was enabled stay.
fn settle(inode: &mut Inode, fate: Fate) {
    let Inode::File {
        now,
        durable,
        writers,
    } = inode
    else {
        return;
    };
    *writers = 0;
    let is_in_place = is_one_byte_apart(now, durable);
    if now.bytes == durable.bytes {
        if matches!(fate, Fate::Whole) {
            durable.verity = now.verity;
        }
    } else {
        let len = now.bytes.len();
        *durable = match fate {
            Fate::AsSynced => durable.clone(),
            Fate::Whole => now.clone(),
            // One byte changed where it is: nothing else of the file is written.
            Fate::Zeros if is_in_place => durable.clone(),
            Fate::Half if is_in_place => now.clone(),
            Fate::Zeros => Content {
                bytes: vec![0; len],
                verity: None,
                signature: None,
            },
            Fate::Half => Content {
                bytes: now.bytes[..len / 2].to_vec(),
                verity: None,
                signature: None,
            },
        };
    }
    now.clone_from(durable);
}
