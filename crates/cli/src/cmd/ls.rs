// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot ls`

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;

use clap::Args;
use sealroot_format::ErrorClass;
use sealroot_format::pack::{Entry, EntryKind};
use serde::Serialize;

use crate::args::Common;
use crate::failure::Failure;
use crate::name::AnyName;
use crate::output::{Output, Report};
use crate::target::{self, AnyPack, TargetArgs};

/// List the files of a pack.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Ls {
    #[command(flatten)]
    target: TargetArgs,

    /// The directory or file to list.
    #[arg(value_name = "PATH", default_value = "/")]
    path: OsString,
}

const EXAMPLES: &str = "\
Examples:
  sealroot --keyset vendor.keyset ls COMMIT /usr/bin
  sealroot ls COMMIT.0                            # a deployment
  sealroot ls tree.pack /etc";

#[derive(Serialize)]
struct Listing {
    entries: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    name: AnyName,
    mode: String,
    uid: u32,
    gid: u32,
    size_bytes: u64,
    mtime_seconds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<AnyName>,
}

impl Report for Listing {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for Listed {
            name,
            mode,
            uid,
            gid,
            size_bytes,
            target,
            ..
        } in &self.entries
        {
            write!(out, "{mode} {uid:5} {gid:5} {size_bytes:10} {name}")?;
            match target {
                Some(target) => writeln!(out, " -> {target}")?,
                None => writeln!(out)?,
            }
        }
        Ok(())
    }
}

impl Ls {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let entries = self
            .target
            .find(common)?
            .with_pack(common, |pack| self.list(pack))?;
        output.emit(&Listing { entries })
    }

    fn list(&self, pack: &AnyPack<'_>) -> anyhow::Result<Vec<Listed>> {
        let Some(entry) = pack.lookup(target::components(&self.path))? else {
            let message = format!("there is no {} in the pack", self.path.display());
            return Err(Failure::new(ErrorClass::NotFound, message).into());
        };
        if !matches!(entry.kind, EntryKind::Directory { .. }) {
            return Ok(vec![listed(self.path.as_bytes(), &entry)]);
        }
        let mut entries = Vec::new();
        for name in pack.names(&entry) {
            let name = name?;
            let entry = pack.entry(name.nid)?;
            entries.push(listed(&name.name, &entry));
        }
        Ok(entries)
    }
}

fn listed(name: &[u8], entry: &Entry) -> Listed {
    let (letter, size_bytes) = match &entry.kind {
        EntryKind::Directory { .. } => ('d', 0),
        EntryKind::Inline { size_bytes } | EntryKind::External { size_bytes, .. } => {
            ('-', *size_bytes)
        }
        EntryKind::Symlink(target) => ('l', target.len() as u64),
        EntryKind::CharDevice(_) => ('c', 0),
        EntryKind::BlockDevice(_) => ('b', 0),
        EntryKind::Fifo => ('p', 0),
        EntryKind::Socket => ('s', 0),
    };
    let object = match &entry.kind {
        EntryKind::External { digest, .. } => Some(digest.to_string()),
        _ => None,
    };
    let target = match &entry.kind {
        EntryKind::Symlink(target) => Some(target.as_ref().into()),
        _ => None,
    };
    let metadata = &entry.metadata;
    Listed {
        name: name.into(),
        mode: format!("{letter}{}", permissions(metadata.permissions)),
        uid: metadata.uid,
        gid: metadata.gid,
        size_bytes,
        mtime_seconds: metadata.mtime.seconds,
        object,
        target,
    }
}

/// `rwxr-xr-x`, as ls(1) writes it.
fn permissions(bits: u16) -> String {
    let triple = |shift: u16, special: bool, letter: char| {
        let has = |bit: u16| bits >> shift & bit != 0;
        let execute = match (has(1), special) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        };
        let read = if has(4) { 'r' } else { '-' };
        let write = if has(2) { 'w' } else { '-' };
        [read, write, execute]
    };
    let special = |bit: u16| bits & bit != 0;
    [
        triple(6, special(0o4000), 's'),
        triple(3, special(0o2000), 's'),
        triple(0, special(0o1000), 't'),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn permissions_are_written_as_ls_does() {
        for (bits, text) in [
            (0o755, "rwxr-xr-x"),
            (0o4755, "rwsr-xr-x"),
            (0o4644, "rwSr--r--"),
            (0o1777, "rwxrwxrwt"),
            (0o2070, "---rws---"),
            (0, "---------"),
        ] {
            assert_eq!(super::permissions(bits), text, "{bits:o}");
        }
    }
}
