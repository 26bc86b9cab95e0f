// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vendor who publishes releases into a directory, and devices that fetch them from there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::measure::output;
use crate::setting::Setting;

/// For `publish`, where what comes whole is not what is measured.
pub(crate) const QUICKLY: [&str; 2] = ["--level", "1"];

/// Both follow one stream.
const NAMES: [&str; 4] = ["--os", "bench", "--stream", "bench"];

/// What came over the line.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    pub(crate) bytes: u64,
    pub(crate) requests: u64,
}

/// The vendor: a store, keys, and what a server would serve.
#[derive(Debug)]
pub(crate) struct Vendor<'s> {
    setting: &'s Setting,
    pub(crate) store: PathBuf,
    keyset: PathBuf,
    secret: PathBuf,
    www: PathBuf,
}

impl<'s> Vendor<'s> {
    /// With new keys, and nothing released.
    pub(crate) fn new(setting: &'s Setting, scratch: &Path) -> Result<Self> {
        let key = scratch.join("key");
        output(setting.sealroot().args(["keys", "new"]).arg(&key))?;
        Ok(Self {
            setting,
            store: scratch.join("vendor"),
            keyset: key.with_extension("keyset"),
            secret: key.with_extension("secret"),
            www: scratch.join("www"),
        })
    }

    fn command(&self, store: &Path, words: &[&str]) -> Command {
        let mut command = self.setting.sealroot();
        command.arg("--store").arg(store);
        command.arg("--keyset").arg(&self.keyset).args(words);
        command
    }

    /// Builds and signs a release of a tree; its commit.
    pub(crate) fn release(&self, tree: &Path, index: u64) -> Result<String> {
        self.release_with(tree, index, &[])
    }

    /// The same with further words.
    pub(crate) fn release_with(&self, tree: &Path, index: u64, words: &[&str]) -> Result<String> {
        let first = ["--json", "build", "--devices", "keep"];
        let mut build = self.command(&self.store, &first);
        build.args(NAMES).args(["--index", &index.to_string()]);
        let built = json(build.args(words).arg("--dir").arg(tree))?;
        let commit = built["commit"].as_str().context("no commit")?.to_owned();
        let mut sign = self.command(&self.store, &["sign", &commit, "--key"]);
        output(sign.arg(&self.secret))?;
        Ok(commit)
    }

    /// The command that makes the tree of a release again.
    pub(crate) fn unpack(&self, commit: &str, to: &Path) -> Command {
        let mut command = self.command(&self.store, &["unpack", commit]);
        command.arg(to);
        command
    }

    /// Publishes a release, with further words.
    pub(crate) fn publish(&self, commit: &str, words: &[&str]) -> Result<()> {
        let mut publish = self.command(&self.store, &["publish", commit, "--to"]);
        publish.arg(&self.www).arg("--key").arg(&self.secret);
        output(publish.args(words)).map(drop)
    }

    /// The command that makes a delta between two releases.
    pub(crate) fn delta(&self, from: &str, to: &str, delta: &Path) -> Command {
        let words = ["--json", "delta", from, to, "--output"];
        let mut command = self.command(&self.store, &words);
        command.arg(delta);
        command
    }

    /// The channel, as devices fetch it.
    pub(crate) fn channel(&self) -> Result<String> {
        let directory = self.www.join("channel/bench/-/bench");
        let mut files = fs::read_dir(&directory)?;
        let file = files.next().context("there is no channel")??;
        Ok(fs::read_to_string(file.path())?)
    }

    /// The deltas that the channel offers: their bytes, by the indices of the two releases.
    pub(crate) fn deltas(&self) -> Result<BTreeMap<(u64, u64), u64>> {
        let text = self.channel()?;
        let deltas = text.lines().filter_map(|line| line.strip_prefix("delta "));
        let delta = |line: &str| {
            let words: Vec<_> = line.split(' ').collect();
            let [from, to, _, _, bytes] = words[..] else {
                return None;
            };
            Some(((from.parse().ok()?, to.parse().ok()?), bytes.parse().ok()?))
        };
        let deltas = deltas.map(|line| delta(line).with_context(|| format!("a delta: {line}")));
        deltas.collect()
    }

    /// Makes a device that follows the vendor and has nothing.
    pub(crate) fn device(&self, store: PathBuf) -> Result<PathBuf> {
        let mut add = self.command(&store, &["remote", "add", "vendor"]);
        output(add.arg(&self.www).args(NAMES))?;
        Ok(store)
    }

    /// The command by which a device fetches the newest release.
    pub(crate) fn pull(&self, device: &Path) -> Command {
        self.command(device, &["--json", "pull"])
    }
}

/// What a command reports.
pub(crate) fn json(command: &mut Command) -> Result<Value> {
    Ok(serde_json::from_str(&output(command)?)?)
}

/// A number of a report.
pub(crate) fn number(report: &Value, key: &str) -> Result<u64> {
    let number = report[key].as_u64();
    number.with_context(|| format!("no number {key} in {report}"))
}

/// What a pull reports that came.
pub(crate) fn traffic(report: &Value) -> Result<Traffic> {
    Ok(Traffic {
        bytes: number(report, "fetched_bytes")?,
        requests: number(report, "requests")?,
    })
}
