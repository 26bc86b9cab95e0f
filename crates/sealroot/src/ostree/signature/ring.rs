// SPDX-License-Identifier: MIT OR Apache-2.0
//! Key files, and where OSTree looks for them.
//!
//! Files are plain lists: of Ed25519 one key in base64 a line, of SPKI blocks of PEM. A key that is
//! revoked counts nowhere, be it the one that a remote names itself.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sealroot_format::limits;

use super::SignatureError;
use super::key::{Engine, Key};
use crate::input;

/// The directories in which a system keeps OSTree's keys and additional remotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDirectories {
    /// The administrator's.
    pub etc: PathBuf,
    /// The vendor's.
    pub data: PathBuf,
}

impl KeyDirectories {
    /// Those of a system whose root directory is `root`.
    pub fn of_system(root: &Path) -> Self {
        Self {
            etc: root.join("etc/ostree"),
            data: root.join("usr/share/ostree"),
        }
    }

    /// All keys of an engine that `word` lists: those `trusted`, or those `revoked`.
    fn keys(&self, word: &str, engine: Engine) -> Result<Vec<Key>, SignatureError> {
        let name = format!("{word}.{engine}");
        let mut keys = Vec::new();
        for directory in [&self.etc, &self.data] {
            let mut files = vec![directory.join(&name)];
            files.extend(list(&directory.join(format!("{name}.d")))?);
            for file in files {
                match read(&file) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => return Err(SignatureError::ReadKeys { path: file, source }),
                    Ok(text) => keys.extend(parse(engine, &file, &text)?),
                }
            }
        }
        Ok(keys)
    }

    /// The keys that the system trusts for commits of any remote that names none itself.
    pub(super) fn trusted(&self, engine: Engine) -> Result<Vec<Key>, SignatureError> {
        self.keys("trusted", engine)
    }

    /// Takes out the keys that are revoked.
    pub(super) fn without_revoked(
        &self,
        engine: Engine,
        mut keys: Vec<Key>,
    ) -> Result<Vec<Key>, SignatureError> {
        let revoked = self.keys("revoked", engine)?;
        keys.retain(|key| !(revoked.iter()).any(|revoked| revoked.as_bytes() == key.as_bytes()));
        keys.truncate(limits::MAX_OSTREE_KEYS);
        Ok(keys)
    }
}

/// The files in a directory of key files, sorted.
fn list(directory: &Path) -> Result<Vec<PathBuf>, SignatureError> {
    let read_error = |source| SignatureError::ReadKeys {
        path: directory.into(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(read_error)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(read_error)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// The keys of a file that a remote names; it must be there.
pub(super) fn read_keys(engine: Engine, path: &Path) -> Result<Vec<Key>, SignatureError> {
    let text = read(path).map_err(|source| SignatureError::ReadKeys {
        path: path.into(),
        source,
    })?;
    parse(engine, path, &text)
}

fn read(path: &Path) -> io::Result<String> {
    let max = limits::MAX_OSTREE_CONFIG_BYTES;
    let mut text = String::new();
    let read = input::open_regular(path)?
        .take(max.saturating_add(1))
        .read_to_string(&mut text)?;
    if read as u64 > max {
        let message = format!("it has more than {max} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(text)
}

pub(super) fn parse(engine: Engine, path: &Path, text: &str) -> Result<Vec<Key>, SignatureError> {
    let key = |(number, base64): (usize, String)| {
        Key::parse(engine, &base64).map_err(|source| SignatureError::Key {
            place: format!("{}, line {number}", path.display()),
            source,
        })
    };
    match engine {
        Engine::Ed25519 => lines(text)
            .filter(|(_, line)| !line.is_empty())
            .map(|(number, line)| key((number, line.into())))
            .collect(),
        Engine::Spki => pem_blocks(text)
            .map_err(|number| SignatureError::Pem {
                place: format!("{}, line {number}", path.display()),
            })?
            .into_iter()
            .map(key)
            .collect(),
    }
}

/// The lines without white space around, counted from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines().map(str::trim))
}

/// The base64 of each block with the number of its first line; the line that is wrong. What stands
/// between blocks is comment.
fn pem_blocks(text: &str) -> Result<Vec<(usize, String)>, usize> {
    const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
    const END: &str = "-----END PUBLIC KEY-----";
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in lines(text) {
        match (&mut open, line) {
            (None, BEGIN) => open = Some((number, String::new())),
            (Some(_), END) => blocks.extend(open.take()),
            (Some((_, base64)), line) if !line.starts_with('-') => base64.push_str(line),
            (None, line) if !line.starts_with("-----") => {}
            _ => return Err(number),
        }
    }
    match open {
        Some((number, _)) => Err(number),
        None => Ok(blocks),
    }
}
