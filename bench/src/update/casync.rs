// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same update with casync: chunks of an EROFS image, or of the directory, that the old one does not
//! have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sealroot_testkit::need;

use crate::measure::output;
use crate::vendor::Traffic;

/// What a chunk has on average, before it is compressed.
const CHUNK_BYTES: u64 = 64 * 1024;

/// Of what chunks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Image,
    Directory,
}

/// Its programs.
#[derive(Debug)]
pub(super) struct Casync {
    casync: PathBuf,
    mkfs: PathBuf,
}

impl Casync {
    /// `None` after it was said that they are not there.
    pub(super) fn find() -> Option<Self> {
        Some(Self {
            casync: need::tool("casync")?,
            mkfs: need::tool("mkfs.erofs")?,
        })
    }

    /// Its version, as it says it.
    pub(super) fn version(&self) -> Result<String> {
        let text = output(Command::new(&self.casync).arg("--version"))?;
        Ok(text.lines().next().context("casync has no version")?.into())
    }

    /// What a device with the old release fetches: the new index, and chunks that the old one does
    /// not name.
    pub(super) fn fetched(&self, trees: &Path, of: Of, place: &Path) -> Result<Traffic> {
        let store = place.join("store.castr");
        let old = self.make(&trees.join("old"), of, &store, &place.join("old"))?;
        let known = stored(&store)?;
        fs::remove_file(old)?;
        let index = self.make(&trees.join("new"), of, &store, &place.join("new"))?;
        let all = stored(&store)?;
        Ok(Traffic {
            bytes: fs::metadata(index)?.len() + all.bytes - known.bytes,
            requests: 1 + all.requests - known.requests,
        })
    }

    /// Adds the chunks of a release to the store; its index.
    fn make(&self, tree: &Path, of: Of, store: &Path, name: &Path) -> Result<PathBuf> {
        let mut casync = Command::new(&self.casync);
        casync
            .arg("make")
            .arg(format!("--store={}", store.display()));
        casync.arg(format!("--chunk-size={CHUNK_BYTES}"));
        casync.arg("--compression=zstd");
        let index = match of {
            Of::Image => {
                let image = name.with_extension("erofs");
                let mut mkfs = Command::new(&self.mkfs);
                mkfs.args(["--quiet", "-T0", "-U00000000-0000-4000-8000-000000000000"]);
                output(mkfs.arg(&image).arg(tree))?;
                let index = name.with_extension("caibx");
                output(casync.arg(&index).arg(&image))?;
                fs::remove_file(image)?;
                index
            }
            Of::Directory => {
                let index = name.with_extension("caidx");
                output(casync.arg(&index).arg(tree))?;
                index
            }
        };
        Ok(index)
    }
}

/// All chunks: their bytes and number.
fn stored(store: &Path) -> Result<Traffic> {
    let mut all = Traffic {
        bytes: 0,
        requests: 0,
    };
    for directory in fs::read_dir(store)? {
        for chunk in fs::read_dir(directory?.path())? {
            all.bytes += chunk?.metadata()?.len();
            all.requests += 1;
        }
    }
    Ok(all)
}
