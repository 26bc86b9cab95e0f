// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a remote's configuration demands of a commit.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::super::config::{parse, read_text};
use super::super::error::OstreeError;
use super::super::keyfile::KeyFile;
use super::super::repository::{Repository, TO_READ, open_beneath};
use super::SignatureError;
use super::key::{Engine, Key};
use super::ring::{KeyDirectories, read_keys};
use crate::input;

/// What a remote demands of the commits that are pulled from it.
#[derive(Clone, Debug)]
pub struct RemoteDemands {
    /// Its name.
    pub remote: String,
    /// A signature by a GPG key: `gpg-verify`, which is the default.
    pub gpg: bool,
    /// One more, by one of these keys, if any: `sign-verify`.
    pub keys: Option<Vec<(Engine, Vec<Key>)>>,
}

impl Repository {
    /// What a remote demands, by the repository's configuration or the system's additional
    /// remotes.
    pub fn remote_demands(
        &self,
        remote: &str,
        directories: &KeyDirectories,
    ) -> Result<RemoteDemands, OstreeError> {
        for (path, text) in self.configurations(directories)? {
            let group = format!("remote {remote:?}");
            let config = parse(&path, &text)?;
            if config.has_group(&group) {
                let settings = Settings {
                    path: &path,
                    config,
                    group,
                };
                return settings.demands(remote, directories);
            }
        }
        Err(SignatureError::NoRemote {
            remote: remote.into(),
            repository: self.path.clone(),
        }
        .into())
    }

    /// The files that may name remotes, and their text. The repository's counts first.
    fn configurations(
        &self,
        directories: &KeyDirectories,
    ) -> Result<Vec<(PathBuf, String)>, OstreeError> {
        let path = self.path.join("config");
        let file = open_beneath(&self.root, "config", TO_READ);
        let file = file.map_err(|errno| OstreeError::Read {
            path: path.clone(),
            source: errno.into(),
        })?;
        let text = read_text(&path, File::from(file))?;
        let mut found = vec![(path, text)];
        let directory = directories.etc.join("remotes.d");
        let read_error = |source| OstreeError::Read {
            path: directory.clone(),
            source,
        };
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            result => result.map_err(read_error)?,
        };
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.map_err(read_error)?.path());
        }
        paths.retain(|path| path.extension().is_some_and(|end| end == "conf") && path.is_file());
        paths.sort_unstable();
        for path in paths {
            let file = input::open_regular(&path).map_err(|source| OstreeError::Read {
                path: path.clone(),
                source,
            })?;
            let text = read_text(&path, file)?;
            found.push((path, text));
        }
        Ok(found)
    }
}

/// One remote's group in one file.
pub(super) struct Settings<'a> {
    pub(super) path: &'a Path,
    pub(super) config: KeyFile<'a>,
    pub(super) group: String,
}

impl Settings<'_> {
    /// The value of a key, if there is one that is not empty.
    fn value(&self, key: &str) -> Result<Option<&str>, OstreeError> {
        match self.config.get(&self.group, key) {
            None | Some("") => Ok(None),
            // `GLib` has escapes, which nothing here needs.
            Some(value) if value.contains('\\') => Err(self.error(key, "no backslash", value)),
            Some(value) => Ok(Some(value)),
        }
    }

    fn error(&self, key: &str, expected: &'static str, found: &str) -> OstreeError {
        OstreeError::Config {
            path: self.path.into(),
            field: format!("[{}] {key}", self.group),
            expected,
            found: found.into(),
        }
    }

    pub(super) fn demands(
        &self,
        remote: &str,
        directories: &KeyDirectories,
    ) -> Result<RemoteDemands, OstreeError> {
        let gpg = match self.value("gpg-verify")? {
            None => true,
            Some(value) => {
                boolean(value).ok_or_else(|| self.error("gpg-verify", "true or false", value))?
            }
        };
        let sign_verify = self.value("sign-verify")?;
        let keys = match sign_verify.map(|value| (value, boolean(value))) {
            None | Some((_, Some(false))) => None,
            Some((_, Some(true))) => Some(
                (Engine::ALL.into_iter())
                    .map(|engine| {
                        let keys = match self.own_keys(engine)? {
                            Some(keys) => keys,
                            None => directories.trusted(engine)?,
                        };
                        Ok((engine, directories.without_revoked(engine, keys)?))
                    })
                    .collect::<Result<_, OstreeError>>()?,
            ),
            Some((list, None)) => Some(
                list.split(';')
                    .map(str::trim)
                    .filter(|name| !name.is_empty())
                    .map(|name| self.required(remote, name, directories))
                    .collect::<Result<_, OstreeError>>()?,
            ),
        };
        Ok(RemoteDemands {
            remote: remote.into(),
            gpg,
            keys,
        })
    }

    /// The keys of an engine that the configuration asks for by name: it must say which.
    fn required(
        &self,
        remote: &str,
        name: &str,
        directories: &KeyDirectories,
    ) -> Result<(Engine, Vec<Key>), OstreeError> {
        let engine = Engine::ALL.into_iter().find(|engine| engine.name() == name);
        let engine = engine.ok_or_else(|| SignatureError::Engine {
            remote: remote.into(),
            name: name.into(),
        })?;
        let keys = self.own_keys(engine)?;
        let keys = keys.ok_or_else(|| SignatureError::NoKeys {
            remote: remote.into(),
            engine,
        })?;
        Ok((engine, directories.without_revoked(engine, keys)?))
    }

    /// The keys of an engine that the remote names itself; `None` if it names none.
    fn own_keys(&self, engine: Engine) -> Result<Option<Vec<Key>>, OstreeError> {
        let file = self.value(&format!("verification-{engine}-file"))?;
        let inline_name = format!("verification-{engine}-key");
        let inline = self.value(&inline_name)?;
        if file.is_none() && inline.is_none() {
            return Ok(None);
        }
        let mut keys = Vec::new();
        if let Some(path) = file {
            keys = read_keys(engine, path.as_ref())?;
        }
        if let Some(base64) = inline {
            let key = Key::parse(engine, base64).map_err(|source| SignatureError::Key {
                place: format!("{}, [{}] {inline_name}", self.path.display(), self.group),
                source,
            })?;
            keys.push(key);
        }
        Ok(Some(keys))
    }
}

/// A boolean as `GLib` reads it.
fn boolean(value: &str) -> Option<bool> {
    match value {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}
