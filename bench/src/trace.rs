// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a program reads and writes, counted by strace.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::measure::output;

/// Calls that read from a descriptor.
const READS: [&str; 6] = ["read", "pread64", "readv", "preadv", "preadv2", "mmap"];
/// Calls that write to a descriptor.
const WRITES: [&str; 9] = [
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "ftruncate",
    "fallocate",
    "copy_file_range",
    "sendfile",
];
/// Calls that change names or attributes.
const CHANGES: [&str; 16] = [
    "linkat",
    "link",
    "symlinkat",
    "renameat",
    "renameat2",
    "rename",
    "mkdirat",
    "mkdir",
    "mknodat",
    "unlinkat",
    "unlink",
    "fchmod",
    "fchown",
    "fsetxattr",
    "utimensat",
    "truncate",
];
/// Calls that wait for the disk.
const SYNCS: [&str; 4] = ["fsync", "fdatasync", "syncfs", "sync"];
/// Calls that open.
const OPENS: [&str; 3] = ["open", "openat", "openat2"];

/// What was done to one file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Use {
    /// How often it was opened.
    pub(crate) opens: u64,
    /// How many calls read from it.
    pub(crate) reads: u64,
    /// Bytes that were read from it, or mapped.
    pub(crate) read_bytes: u64,
}

/// What a program did.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// All files that were opened, by what the kernel calls them.
    pub(crate) files: BTreeMap<PathBuf, Use>,
    /// Calls that wrote, made, named, removed or synced something below the store, by name.
    pub(crate) changes: BTreeMap<String, u64>,
}

impl Trace {
    /// Runs a command under strace; changes are those below `store`.
    pub(crate) fn run(command: &Command, store: &Path, scratch: &Path) -> Result<Self> {
        let store = store.canonicalize()?;
        let list = output(Command::new("find").arg(&store))?;
        let before: BTreeSet<PathBuf> = list.lines().map(PathBuf::from).collect();
        let directory = tempfile::tempdir_in(scratch)?;
        let calls = [&READS[..], &WRITES, &CHANGES, &SYNCS, &OPENS].concat();
        let mut strace = Command::new("strace");
        // One file for each thread, where every call is one line.
        strace.args(["-ff", "-y", "-s", "0", "--quiet=all", "-e"]);
        strace.arg(format!("trace={}", calls.join(",")));
        strace.arg("-o").arg(directory.path().join("thread"));
        strace.arg(command.get_program()).args(command.get_args());
        output(&mut strace)?;
        let mut trace = Self::default();
        for entry in fs::read_dir(directory.path())? {
            let text = fs::read(entry?.path()).context("what strace wrote")?;
            for line in String::from_utf8_lossy(&text).lines() {
                trace.add(line, &store, &before);
            }
        }
        Ok(trace)
    }

    fn add(&mut self, line: &str, store: &Path, before: &BTreeSet<PathBuf>) {
        let Some((name, rest)) = line.split_once('(') else {
            return;
        };
        let Some((arguments, result)) = rest.rsplit_once(" = ") else {
            return;
        };
        if result.starts_with('-') {
            return;
        }
        let path = descriptor_path(arguments);
        let is_in_store = path.as_ref().is_some_and(|path| path.starts_with(store));
        if OPENS.contains(&name) {
            let Some(opened) = descriptor_path(result) else {
                return;
            };
            let creates = ["O_CREAT", "O_TMPFILE"];
            if creates.iter().any(|flag| arguments.contains(flag))
                && is_in_store
                && !before.contains(&opened)
            {
                self.change(name);
            }
            self.files.entry(opened).or_default().opens += 1;
        } else if READS.contains(&name) {
            let Some(path) = path else {
                return;
            };
            let bytes = if name == "mmap" {
                arguments
                    .split(", ")
                    .nth(1)
                    .and_then(|len| len.parse().ok())
            } else {
                result.parse().ok()
            };
            let file = self.files.entry(path).or_default();
            file.reads += 1;
            file.read_bytes += bytes.unwrap_or(0);
        } else if is_in_store || SYNCS.contains(&name) {
            self.change(name);
        }
    }

    fn change(&mut self, name: &str) {
        *self.changes.entry(name.to_owned()).or_default() += 1;
    }

    /// The uses of the files of which `is_meant` holds.
    pub(crate) fn uses(&self, is_meant: impl Fn(&Path) -> bool) -> Vec<(&Path, Use)> {
        let files = self.files.iter();
        let files = files.map(|(path, file)| (path.as_path(), *file));
        files.filter(|(path, _)| is_meant(path)).collect()
    }
}

/// What strace writes behind the first descriptor: `3</path>`.
fn descriptor_path(text: &str) -> Option<PathBuf> {
    let (_, rest) = text.split_once('<')?;
    let (path, _) = rest.split_once('>')?;
    path.starts_with('/').then(|| unescaped(path))
}

/// strace writes a backslash as two, and bytes that are not printable in octal.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let is_octal = |byte: &&u8| (b'0'..=b'7').contains(*byte);
        let digits = rest.iter().take(3).take_while(is_octal).count();
        let (escape, after) = rest.split_at(digits.max(1).min(rest.len()));
        rest = after;
        let octal = std::str::from_utf8(escape).ok();
        let octal = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.extend(octal.map_or_else(|| escape.to_vec(), |byte| vec![byte]));
    }
    OsString::from_vec(bytes).into()
}
