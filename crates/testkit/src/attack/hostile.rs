// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hostile releases, signed with the genuine key: what a stolen key or a defective builder would
//! make. A04, A05, A07, A23.
//!
//! Each is the genuine pack with some bytes changed, under a statement of its own. They share one
//! disk, on which each has its own commit; the command line picks one.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sealroot_format::digest::{CommitId, compute_verity_digest};
use sealroot_format::limits::MAX_THRESHOLD_BYTES;
use sealroot_format::pack::{EntryKind, Pack, Visit};
use sealroot_format::sign::{Statement, Unverified};

use super::{Accept, Attack, Kind};
use crate::disk::{Disk, Filesystem};
use crate::guest::Worker;
use crate::os_tree::TARGETS;
use crate::release::{Layer, Release, usual_kernel};

/// How long putting the releases on the disk may take.
const TIME_OUT: Duration = Duration::from_secs(200);

/// The namespace of `trusted.` and of `user.` in EROFS.
const TRUSTED: u8 = 4;
const USER: u8 = 1;

/// The name index of `trusted.overlay.metacopy`, which a pack stores once (pack.md, P5).
const METACOPY: u8 = 0x80;

/// One hostile release.
#[derive(Clone, Copy, Debug)]
pub struct Hostile {
    /// Tells it from the others.
    number: u8,
    /// Changes the pack.
    patch: fn(&mut [u8], &Release) -> Result<()>,
    /// Changes the statement, after the digest and size of the pack were set.
    claim: fn(&mut Statement),
}

impl Hostile {
    fn commit(self) -> CommitId {
        CommitId::from_bytes([self.number; 32])
    }

    /// The name of its deployment.
    pub fn deployment(self) -> String {
        format!("{}.0", self.commit())
    }

    /// Writes pack, statement and deployment below `store`.
    fn write(self, release: &Release, genuine: &[u8], store: &Path) -> Result<()> {
        let mut pack = genuine.to_vec();
        (self.patch)(&mut pack, release)?;
        let digest = compute_verity_digest(&pack);
        let mut statement = release.statement.clone();
        statement.commit = self.commit();
        statement.pack_digest = digest;
        statement.pack_size_bytes = pack.len() as u64;
        (self.claim)(&mut statement);
        let key = release.secret_key()?;
        let mut document = Unverified::unsigned(&statement)?;
        let signature = key.sign(document.message());
        document.add(key.public(), signature)?;
        let name = format!("pack/{}.{}.sign", statement.commit, statement.stream);
        fs::write(store.join(name), document.to_string())?;
        fs::write(store.join(format!("pack/{digest}.pack")), pack)?;
        Ok(fs::create_dir_all(
            store.join(format!("deploy/{}/objects", self.deployment())),
        )?)
    }
}

/// Makes the disk with all of them.
pub fn make_disk(release: &Release, attacks: &[&Hostile], directory: &Path) -> Result<Disk> {
    let kernel = usual_kernel().context("no kernel")?;
    let disk = release.disk().copy_to(&directory.join("hostile.ext4"))?;
    let store = directory.join("source").join(Release::STORE);
    fs::create_dir_all(store.join("pack"))?;
    let genuine = release.read_pack()?;
    for hostile in attacks {
        hostile.write(release, &genuine, &store)?;
    }
    // What redirects may try to reach, outside of the objects.
    let source = directory.join("source");
    fs::write(source.join("evil"), crate::content::bytes(666, 300_000))?;
    let from = Disk::create(
        &directory.join("source.ext4"),
        Filesystem::Ext4Verity,
        128,
        Some(&source),
    )?;
    let mut worker = Worker::new(&kernel, &[])?;
    worker.mount("source", from.path(), "ext4");
    worker.mount(Release::DISK_SERIAL, disk.path(), "ext4");
    worker.command(release.install_command());
    worker.command(["/init", "umount", "/mnt/root"]);
    worker.run(TIME_OUT)?;
    from.remove()?;
    Ok(disk)
}

/// A hostile release and what must come of it in each layer.
struct Case {
    id: &'static str,
    mutator: &'static str,
    name: &'static str,
    /// `None` if it is not played there: it does no harm, but is another tree.
    erofs: Option<Accept>,
    tmpfs: Accept,
    patch: fn(&mut [u8], &Release) -> Result<()>,
    claim: fn(&mut Statement),
}

impl Case {
    /// One whose pack the layer `tmpfs` refuses, and the layer `erofs` boots but for some files.
    fn patched(
        id: &'static str,
        name: &'static str,
        erofs: Accept,
        patch: fn(&mut [u8], &Release) -> Result<()>,
    ) -> Self {
        Self {
            id,
            mutator: name,
            name,
            erofs: Some(erofs),
            tmpfs: Accept::refused(&["metadata"]),
            patch,
            claim: |_| {},
        }
    }
}

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = Vec::new();
    for (index, case) in entries()
        .into_iter()
        .chain(redirects())
        .chain(claims())
        .enumerate()
    {
        let hostile = Hostile {
            number: u8::try_from(index + 1).expect("there are few"),
            patch: case.patch,
            claim: case.claim,
        };
        let name = format!("signed pack: {}", case.name);
        for (layers, accept) in [
            (&[Layer::Erofs][..], case.erofs),
            (&[Layer::Tmpfs][..], Some(case.tmpfs)),
        ] {
            let Some(accept) = accept else { continue };
            attacks.push(Attack {
                kind: Kind::Hostile(hostile),
                ..Attack::new(case.id, case.mutator, name.as_str(), accept, |_| Ok(())).only(layers)
            });
        }
    }
    attacks
}

fn entries() -> Vec<Case> {
    let unreadable = || Accept::unreadable(&[TARGETS[2]]);
    vec![
        Case::patched("A04", "an entry without a digest", unreadable(), no_digest),
        Case::patched(
            "A04",
            "an entry with an unknown hash algorithm",
            unreadable(),
            algorithm,
        ),
        Case::patched(
            "A04",
            "the digest of another object",
            unreadable(),
            other_digest,
        ),
        Case::patched(
            "A05",
            "an unescaped redirect of a directory",
            Accept::other_attributes(&[REDIRECTED]),
            unescaped,
        ),
    ]
}

fn redirects() -> Vec<Case> {
    let case = |name, patch| {
        let paths = [TARGETS[0], "usr/share/copy-of-target-a"];
        Case {
            mutator: "redirect",
            ..Case::patched("A07", name, Accept::unreadable(&paths), patch)
        }
    };
    vec![
        case("a redirect with ..", |pack, release| {
            redirect(pack, release, "/../../../../../../evil")
        }),
        case("a redirect to a pack", |pack, release| {
            redirect(pack, release, "/../../../pack/x.pack")
        }),
        case("a relative redirect", |pack, release| {
            redirect(pack, release, "target-b.so")
        }),
        case("a redirect without a name", |pack, release| {
            redirect(pack, release, "/")
        }),
    ]
}

fn claims() -> Vec<Case> {
    let too_large = || Accept::refused(&["pack", "memory"]);
    vec![
        Case {
            id: "A23",
            mutator: "claim of size",
            name: "a claim of a terabyte",
            erofs: Some(too_large()),
            tmpfs: too_large(),
            patch: |_, _| Ok(()),
            claim: |statement| statement.pack_size_bytes = 1 << 40,
        },
        Case {
            id: "A23",
            mutator: "claim of entries",
            name: "a claim of 16 million entries",
            erofs: Some(Accept::same_tree()),
            tmpfs: Accept::refused(&["memory", "metadata"]),
            patch: |pack, _| {
                // `inos` of `struct erofs_super_block`.
                pack[1024 + 16..1024 + 24].copy_from_slice(&16_000_000_u64.to_le_bytes());
                Ok(())
            },
            claim: |statement| statement.entries = 16_000_000,
        },
        Case {
            id: "A23",
            mutator: "shared blocks",
            name: "hundreds of files that share the same blocks",
            erofs: None,
            tmpfs: Accept::refused(&["metadata"]),
            patch: |pack, _| share_blocks(pack),
            claim: |_| {},
        },
    ]
}

/// Gives many small files the first blocks of the image as content, as many as a file inside a pack
/// may have: together more than the image is long.
fn share_blocks(pack: &mut [u8]) -> Result<()> {
    let opened = Pack::open(&*pack)?;
    let mut inodes = Vec::new();
    let mut walk = opened.walk();
    while let Some(step) = walk.next()? {
        if let Visit::Entry(entry) = step.visit
            && matches!(entry.kind, EntryKind::Inline { .. })
            && step.path.starts_with(b"/usr/share/many/")
        {
            inodes.push(usize::try_from(entry.nid.offset_bytes())?);
        }
    }
    let size_bytes = MAX_THRESHOLD_BYTES;
    ensure!(pack.len() >= size_bytes as usize, "the pack is too small");
    ensure!(inodes.len() * size_bytes as usize > 10 * pack.len());
    for at in inodes {
        // `i_format`: the form stays, the content is in blocks. `i_size`, and `raw_blkaddr` 0.
        pack[at] &= 1;
        pack[at + 8..at + 12].copy_from_slice(&size_bytes.to_le_bytes());
        pack[at + 16..at + 20].fill(0);
    }
    Ok(())
}

/// The directory whose escaped xattr is unescaped.
const REDIRECTED: &str = "usr/share/containers/redirected";

/// Where `needle` is, which must be there once.
fn find_once(pack: &[u8], needle: &[u8]) -> Result<usize> {
    let mut found = pack
        .windows(needle.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == needle);
    match (found.next(), found.next()) {
        (Some((at, _)), None) => Ok(at),
        (None, _) => bail!("{:?} is not in the pack", needle.escape_ascii().to_string()),
        _ => bail!(
            "{:?} is in the pack twice",
            needle.escape_ascii().to_string()
        ),
    }
}

/// The stored form of an xattr up to its value: lengths, namespace, name.
fn entry(namespace: u8, name: &str, value_bytes: usize) -> Vec<u8> {
    let name_bytes = u8::try_from(name.len()).expect("names are short");
    let value_bytes = u16::try_from(value_bytes)
        .expect("values are short")
        .to_le_bytes();
    [&[name_bytes, namespace], &value_bytes[..], name.as_bytes()].concat()
}

/// Where the entry of the metacopy xattr of a target is.
fn metacopy_of(pack: &[u8], release: &Release, target: &str) -> Result<usize> {
    let digest = release.object_digest(target)?;
    let value = [&[0, 36, 0, 1], &digest.as_bytes()[..]].concat();
    let entry = [entry(METACOPY, "", value.len()), value].concat();
    find_once(pack, &entry)
}

/// Where the value begins, after [`metacopy_of`].
const METACOPY_VALUE: usize = 4;

/// Shortens the value to its header; a xattr of the user fills the gap.
fn no_digest(pack: &mut [u8], release: &Release) -> Result<()> {
    let at = metacopy_of(pack, release, TARGETS[2])?;
    let short = [entry(METACOPY, "", 4), vec![0, 4, 0, 0]].concat();
    let filler = [entry(USER, "x", 27), vec![b'x'; 27]].concat();
    let bytes = [short, filler].concat();
    ensure!(bytes.len() == METACOPY_VALUE + 36, "{} bytes", bytes.len());
    pack[at..at + bytes.len()].copy_from_slice(&bytes);
    Ok(())
}

fn algorithm(pack: &mut [u8], release: &Release) -> Result<()> {
    let at = metacopy_of(pack, release, TARGETS[2])? + METACOPY_VALUE;
    pack[at + 3] = 9;
    Ok(())
}

fn other_digest(pack: &mut [u8], release: &Release) -> Result<()> {
    let at = metacopy_of(pack, release, TARGETS[2])? + METACOPY_VALUE + 4;
    pack[at..at + 32].copy_from_slice(release.object_digest(TARGETS[1])?.as_bytes());
    Ok(())
}

/// Makes the xattr that the tree has, and the pack escapes, one of our own overlay.
fn unescaped(pack: &mut [u8], _: &Release) -> Result<()> {
    const VALUE: &[u8] = crate::os_tree::REDIRECT.as_bytes();
    /// The filter of names and the count of shared xattrs, right before the first entry.
    const HEADER_BYTES: usize = 12;
    let escaped = [
        &entry(TRUSTED, "overlay.overlay.redirect", VALUE.len()),
        VALUE,
    ]
    .concat();
    let at = find_once(pack, &escaped)?;
    // "overlay." is 8 bytes: the value takes them.
    let longer = [b"/usr/lib", VALUE].concat();
    let bytes = [entry(TRUSTED, "overlay.redirect", longer.len()), longer].concat();
    ensure!(bytes.len() == escaped.len(), "{} bytes", bytes.len());
    pack[at..at + bytes.len()].copy_from_slice(&bytes);
    // No name is said to be absent.
    pack[at - HEADER_BYTES..at - HEADER_BYTES + 4].fill(0);
    Ok(())
}

/// Gives the first target, and its copy, another redirect of the same length.
fn redirect(pack: &mut [u8], release: &Release, to: &str) -> Result<()> {
    let object = format!("/{}", release.object_name(TARGETS[0])?);
    let mut value = to.as_bytes().to_vec();
    while value.len() < object.len() {
        value.push(if value.ends_with(b"/") { b'.' } else { b'/' });
    }
    if value.ends_with(b"/") {
        let last = value.len() - 1;
        value[last] = b'.';
    }
    let mut replaced = 0;
    while let Some(at) = pack
        .windows(object.len())
        .position(|bytes| bytes == object.as_bytes())
    {
        pack[at..at + value.len()].copy_from_slice(&value);
        replaced += 1;
    }
    ensure!(replaced > 0, "{object} is not in the pack");
    Ok(())
}
