// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `config` of a repository.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use sealroot_format::limits;

use super::error::OstreeError;
use super::keyfile::KeyFile;
use super::repository::Mode;

/// How long OSTree waits for a repository's lock unless its configuration says otherwise.
const DEFAULT_LOCK_WAIT: Duration = Duration::from_secs(300);

/// What a repository says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) mode: Mode,
    /// Whether the xattrs of a bare repository's files are not part of its objects.
    pub(super) ignore_xattrs: bool,
    /// How long to wait for the lock; `None` where writers do without it.
    pub(super) lock_wait: Option<Duration>,
}

impl Config {
    /// Reads and checks the `config` of the repository at `repository`.
    pub(super) fn read(repository: &Path, file: File) -> Result<Self, OstreeError> {
        let path = &repository.join("config");
        Self::of_text(path, &read_text(path, file)?)
    }

    /// Checks the text of the `config` at `path`.
    pub(super) fn of_text(path: &Path, text: &str) -> Result<Self, OstreeError> {
        let config = parse(path, text)?;
        let error = |field: &str, expected, found: &str| OstreeError::Config {
            path: path.into(),
            field: field.into(),
            expected,
            found: found.into(),
        };
        match config.get("core", "repo_version") {
            Some("1") => {}
            found => return Err(error("core.repo_version", "1", found.unwrap_or("nothing"))),
        }
        if config.get("core", "parent").is_some() {
            return Err(OstreeError::UnsupportedRepository {
                path: path.parent().unwrap_or(path).into(),
                what: "a parent repository".into(),
            });
        }
        let boolean = |key: &str, default| match config.get("core", key) {
            None => Ok(default),
            Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(found) => Err(error(&format!("core.{key}"), "true or false", found)),
        };
        // -1 waits for ever; less than that is no lock.
        let lock_wait = match config.get("core", "lock-timeout-secs") {
            None => Some(DEFAULT_LOCK_WAIT),
            Some(found) => match found.parse::<i64>() {
                Ok(-1) => Some(Duration::MAX),
                Ok(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
                Err(_) => return Err(error("core.lock-timeout-secs", "a number", found)),
            },
        };
        Ok(Self {
            mode: match config.get("core", "mode") {
                None | Some("bare") => Mode::Bare,
                Some("bare-user") => Mode::BareUser,
                Some("bare-user-only") => Mode::BareUserOnly,
                Some("bare-split-xattrs") => Mode::BareSplitXattrs,
                Some("archive" | "archive-z2") => Mode::Archive,
                Some(mode) => return Err(error("core.mode", "a mode of OSTree", mode)),
            },
            ignore_xattrs: boolean("disable-xattrs", false)?,
            lock_wait: if boolean("locking", true)? {
                lock_wait
            } else {
                None
            },
        })
    }
}

/// The text of a key file, which must be of sensible size and UTF-8.
pub(super) fn read_text(path: &Path, file: File) -> Result<String, OstreeError> {
    let max = limits::MAX_OSTREE_CONFIG_BYTES;
    let error = |field: &str, expected, found: &str| OstreeError::Config {
        path: path.into(),
        field: field.into(),
        expected,
        found: found.into(),
    };
    let read_error = |source| OstreeError::Read {
        path: path.into(),
        source,
    };
    if !file.metadata().map_err(read_error)?.is_file() {
        return Err(error("file", "a regular file", "something else"));
    }
    let mut text = Vec::new();
    (file.take(max.saturating_add(1)).read_to_end(&mut text)).map_err(read_error)?;
    if text.len() as u64 > max {
        return Err(error("size", "at most 1 MiB", "more"));
    }
    String::from_utf8(text).map_err(|_| error("text", "UTF-8", "other bytes"))
}

/// The groups and keys of a key file.
pub(super) fn parse<'a>(path: &Path, text: &'a str) -> Result<KeyFile<'a>, OstreeError> {
    KeyFile::parse(text).map_err(|bad| OstreeError::Config {
        path: path.into(),
        field: format!("line {}", bad.number),
        expected: "a group or a key with its value",
        found: "neither".into(),
    })
}
