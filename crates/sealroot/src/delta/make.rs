// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a delta between two releases that a store has whole.

use std::fs::File;
use std::io::{self, Write};

use sealroot_delta::GroupWriter;
use sealroot_format::digest::{Sha256Digest, VerityDigest};
use sha2::{Digest as _, Sha256};

use super::Release;
use super::compare::{Compares, Releases};
use super::error::DeltaError;
use super::file::{self, GroupEntry, Header};
use super::groups::Groups;
use crate::monitor::Monitor;
use crate::store::StoreIo;

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The length of the delta, bytes.
    pub delta_bytes: u64,
    /// The length of its head, all before the groups, bytes.
    pub head_bytes: u64,
    /// SHA-256 of its head.
    pub head: Sha256Digest,
    /// What of it makes the pack, bytes.
    pub pack_bytes: u64,
    /// New objects that it makes.
    pub objects: u64,
    /// Their length, bytes.
    pub object_bytes: u64,
}

/// Makes the delta that makes `to` of `from`, and writes it to `out`. `scratch` is an empty file to
/// read and write.
pub fn make<I: StoreIo>(
    from: &Release<'_, I>,
    to: &Release<'_, I>,
    scratch: File,
    out: &mut dyn Write,
    monitor: &dyn Monitor,
) -> Result<Made, DeltaError> {
    let mut groups = Groups::new(scratch);
    let mut groups_of_pack = 0;
    let releases = Releases::new(from, to, monitor);
    let mut next_object = 0_u32;
    let new = releases.compare(&mut |part, compared| {
        let object = matches!(part, Compares::Object(_)).then_some(next_object);
        next_object += u32::from(object.is_some());
        groups.add(object, part.base_number(compared), compared)?;
        if let Compares::Small = part {
            groups.end_group()?;
            groups_of_pack = groups.count();
        }
        Ok(())
    })?;
    let (entries, mut encoded) = groups.finish()?;
    let of_pack = entries[..groups_of_pack].iter();
    let pack_bytes = of_pack.map(GroupEntry::encoded_bytes).sum();
    let header = Header {
        from: from.pack,
        to: to.pack,
        renumbering_bytes: new.renumbering_bytes,
        text_bytes: new.text_bytes,
        groups: entries,
    };
    let header = header.encode();
    let write = DeltaError::io("write the delta");
    out.write_all(&header).map_err(&write)?;
    let encoded_bytes = io::copy(&mut encoded, out).map_err(&write)?;
    Ok(Made {
        delta_bytes: header.len() as u64 + encoded_bytes,
        head_bytes: header.len() as u64,
        head: Sha256Digest::from_bytes(Sha256::digest(&header).into()),
        pack_bytes,
        objects: new.objects,
        object_bytes: new.object_bytes,
    })
}

/// What the pack takes in a delta, and what the new objects of each kind would take in one of their own,
/// bytes: about what they take in the delta of all. `kind_of` says of what kind an object is, below `kinds`.
/// `scratch` is an empty file to read and write.
pub fn costs<I: StoreIo>(
    from: &Release<'_, I>,
    to: &Release<'_, I>,
    kinds: usize,
    kind_of: &dyn Fn(&VerityDigest) -> Option<usize>,
    scratch: File,
    monitor: &dyn Monitor,
) -> Result<Costs, DeltaError> {
    let mut pack = Groups::new(scratch);
    let mut objects = vec![GroupWriter::new(); kinds];
    let mut others = GroupWriter::new();
    Releases::new(from, to, monitor).compare(&mut |part, compared| {
        let Compares::Object(pair) = &part else {
            return pack.add(None, part.base_number(compared), compared);
        };
        let kind = kind_of(&pair.new.0);
        let group = kind.map_or(&mut others, |kind| &mut objects[kind]);
        if let Some(moves) = &compared.moves {
            group.push(&[], moves, &[]);
        }
        for piece in &compared.pieces {
            group.push(
                &compared.old,
                &compared.new[piece.range.clone()],
                &piece.covers,
            );
        }
        Ok(())
    })?;
    let compress = DeltaError::io("compress a group");
    let compressed_bytes = |group: GroupWriter| {
        if group.len_bytes() == 0 {
            return Ok(0);
        }
        let (entry, _) = file::compress(&group.finish()).map_err(&compress)?;
        Ok::<_, DeltaError>(entry.encoded_bytes())
    };
    let (pack, _) = pack.finish()?;
    Ok(Costs {
        pack_bytes: pack.iter().map(GroupEntry::encoded_bytes).sum(),
        object_bytes: objects
            .into_iter()
            .map(compressed_bytes)
            .collect::<Result<_, _>>()?,
        other_bytes: compressed_bytes(others)?,
    })
}

/// What an update costs, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Names, metadata and the files in the pack, bytes: [`Made::pack_bytes`].
    pub pack_bytes: u64,
    /// The new objects of each kind, bytes.
    pub object_bytes: Vec<u64>,
    /// The new objects of no kind, bytes.
    pub other_bytes: u64,
}
