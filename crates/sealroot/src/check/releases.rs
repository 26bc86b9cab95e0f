// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packs, their images and statements: are they whole, and is all there that they name?

use std::collections::{BTreeMap, HashMap, HashSet};

use sealroot_format::digest::VerityDigest;
use sealroot_format::limits::MAX_SIGN_FILE_BYTES;
use sealroot_format::pack::Pack;
use sealroot_format::sign::{Statement, Unverified};

use super::{Checker, Depth, FindingCode, explain};
use crate::release;
use crate::store::{
    StoreDir, StoreIo, StorePath, VeritySupport, object_path, pack_path, parse_image_name,
    parse_pack_name, parse_statement_name,
};

/// What the statements of a store say must be there.
#[derive(Debug, Default)]
pub(super) struct Releases {
    /// The packs that are there, good and bad.
    pub(super) packs: HashSet<VerityDigest>,
    /// The objects that the good packs name.
    pub(super) objects: Named,
    /// The statements that are there, good and bad.
    pub(super) statements: HashSet<StorePath>,
}

/// Objects by digest: what is known of each.
pub(super) type Named = BTreeMap<VerityDigest, Expected>;

/// What a pack says of an object.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) size_bytes: u64,
    /// The pack, or one of them.
    pub(super) pack: VerityDigest,
}

impl<I: StoreIo> Checker<'_, I> {
    /// Checks packs and statements, and reads which objects they name.
    pub(super) fn check_releases(&self) -> Releases {
        let mut packs = Vec::new();
        let mut images = Vec::new();
        let mut statements = Vec::new();
        for (path, entry) in self.list(&StoreDir::Pack.path()) {
            if let Some(digest) = parse_pack_name(&entry.name) {
                packs.push((path, digest));
            } else if let Some(image) = parse_image_name(&entry.name) {
                images.push((path, image));
            } else if parse_statement_name(&entry.name).is_some() {
                statements.push((path, entry));
            } else {
                self.stray(&path, &entry);
            }
        }
        let depth = match self.store.verity() {
            VeritySupport::Kernel => self.depth,
            VeritySupport::None => Depth::Full,
        };
        let good = self.check_contents(&packs, depth, &Named::new(), &HashSet::new());
        let good: HashSet<_> = good.into_iter().map(|(digest, _)| digest).collect();
        let mut releases = Releases {
            packs: packs.iter().map(|(_, digest)| *digest).collect(),
            objects: Named::new(),
            statements: statements.iter().map(|(path, _)| path.clone()).collect(),
        };
        for (path, image) in &images {
            self.require_pack(path, &image.pack, &releases.packs);
        }
        let images = images.into_iter().map(|(path, name)| (path, name.image));
        let images: Vec<_> = images.collect();
        self.check_contents(&images, self.depth, &Named::new(), &HashSet::new());
        let mut sizes = HashMap::new();
        for (path, entry) in &statements {
            if !self.is_regular(path, entry) {
                continue;
            }
            let checked = self
                .check_statement(path, &entry.name, &releases.packs)
                .and_then(|statement| match good.get(&statement.pack_digest) {
                    Some(pack) => {
                        self.check_named_pack(&statement, *pack, &mut sizes, &mut releases)
                    }
                    None => Ok(()),
                });
            if let Err(detail) = checked {
                self.find(FindingCode::BadStatement, path, detail);
            }
        }
        self.note(|report| {
            report.packs = packs.len() as u64;
            report.images = images.len() as u64;
            report.statements = statements.len() as u64;
        });
        releases
    }

    /// A statement; what is wrong with its form, if anything is.
    fn check_statement(
        &self,
        path: &StorePath,
        name: &[u8],
        packs: &HashSet<VerityDigest>,
    ) -> Result<Statement, String> {
        let file = self.store.read_small(path, MAX_SIGN_FILE_BYTES as u64);
        let file = file.map_err(|error| explain(&error))?.unwrap_or_default();
        let document = Unverified::<Statement>::parse(&file).map_err(|error| explain(&error))?;
        let statement = Statement::parse(document.body()).map_err(|error| explain(&error))?;
        let Statement { commit, stream, .. } = &statement;
        if parse_statement_name(name).as_ref() != Some(&(*commit, stream.clone())) {
            return Err(format!("it is of commit {commit} in stream {stream}"));
        }
        self.require_pack(path, &statement.pack_digest, packs);
        Ok(statement)
    }

    /// Compares a good pack with its statement, and notes the objects it names when it is seen for
    /// the first time. What is wrong with the statement, if anything is.
    fn check_named_pack(
        &self,
        statement: &Statement,
        digest: VerityDigest,
        sizes: &mut HashMap<VerityDigest, u64>,
        releases: &mut Releases,
    ) -> Result<(), String> {
        let size_bytes = match sizes.get(&digest) {
            Some(size_bytes) => *size_bytes,
            None => match self.read_pack(digest, &mut releases.objects) {
                Ok(size_bytes) => *sizes.entry(digest).or_insert(size_bytes),
                Err(detail) => {
                    self.find(FindingCode::BadPack, &pack_path(&digest), detail);
                    return Ok(());
                }
            },
        };
        let expected = statement.pack_size_bytes;
        if size_bytes == expected {
            return Ok(());
        }
        Err(format!(
            "it says that its pack has {expected} bytes, found {size_bytes}"
        ))
    }

    /// Reads a pack; its size.
    fn read_pack(&self, digest: VerityDigest, objects: &mut Named) -> Result<u64, String> {
        let file = self
            .store
            .open_pack(&digest)
            .map_err(|error| explain(&error))?;
        let size_bytes = file.size_bytes();
        let tree = Pack::open(&file).and_then(|pack| pack.tree());
        let tree = tree.map_err(|error| explain(&error))?;
        for (object, size_bytes) in release::objects(&tree) {
            objects.entry(object).or_insert(Expected {
                size_bytes,
                pack: digest,
            });
        }
        Ok(size_bytes)
    }

    pub(super) fn require_pack(
        &self,
        path: &StorePath,
        pack: &VerityDigest,
        packs: &HashSet<VerityDigest>,
    ) {
        if !packs.contains(pack) {
            let detail = format!("it names the pack {pack}, which is not there");
            self.find(FindingCode::MissingPack, path, detail);
        }
    }

    /// Finds the objects that are named and not there.
    pub(super) fn find_missing(&self, named: &Named, there: &HashSet<VerityDigest>) {
        for (digest, Expected { pack, .. }) in named {
            if !there.contains(digest) {
                let detail = format!("the pack {pack} names it, and it is not there");
                self.find(FindingCode::MissingObject, &object_path(digest), detail);
            }
        }
    }
}
