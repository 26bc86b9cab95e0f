// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same update with OSTree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sealroot_testkit::http_server::{Answer, HttpServer};

use crate::measure::{hardlinked, output};
use crate::vendor::Traffic;

/// The repository of a vendor with both releases, and that of a device with the old one.
#[derive(Debug)]
pub(super) struct OsTree {
    server: PathBuf,
    pub(super) client: PathBuf,
}

/// Its version, as it says it.
pub(super) fn version() -> Result<String> {
    let text = output(Command::new("ostree").arg("--version"))?;
    let line = text.lines().find(|line| line.contains("Version"));
    let version = line.and_then(|line| line.split('\'').nth(1));
    Ok(version.context("ostree has no version")?.to_owned())
}

fn ostree(repository: &Path) -> Command {
    let mut command = Command::new("ostree");
    command.arg(format!("--repo={}", repository.display()));
    command
}

impl OsTree {
    pub(super) fn new(trees: &Path, scratch: &Path) -> Result<Self> {
        let (server, client) = (scratch.join("server"), scratch.join("client"));
        output(ostree(&server).args(["init", "--mode=archive"]))?;
        output(ostree(&client).args(["init", "--mode=bare"]))?;
        for name in ["old", "new"] {
            let tree = format!("--tree=dir={}", trees.join(name).display());
            let words = [
                "commit",
                "--fsync=false",
                "--timestamp=@0",
                "--branch",
                name,
            ];
            output(ostree(&server).args(words).arg(tree))?;
        }
        output(ostree(&client).arg("pull-local").arg(&server).arg("old"))?;
        Ok(Self { server, client })
    }

    /// The command that makes one inline delta with bsdiff.
    pub(super) fn make_delta(&self, delta: &Path) -> Command {
        let mut generate = ostree(&self.server);
        generate.args(["static-delta", "generate", "--inline"]);
        generate.args(["--min-fallback-size=0", "--from=old", "--to=new"]);
        generate.arg(format!("--filename={}", delta.display()));
        generate
    }

    /// What a device fetches over HTTP where there is no delta: objects, each compressed with zlib.
    pub(super) fn pull_objects(&self, place: &Path) -> Result<Traffic> {
        let device = hardlinked(&self.client, place)?;
        let server = HttpServer::serve(&self.server, |_| Answer::Honest)?;
        let mut add = ostree(&device);
        add.args(["remote", "add", "--no-sign-verify", "--no-gpg-verify"]);
        output(add.args(["vendor", &server.url()]))?;
        let pull = ["pull", "--disable-static-deltas", "vendor", "new"];
        output(ostree(&device).args(pull))?;
        let requests = server.requests();
        let size = |path: &str| fs::metadata(self.server.join(path)).map_or(0, |file| file.len());
        Ok(Traffic {
            bytes: requests.iter().map(|request| size(&request.path)).sum(),
            requests: requests.len() as u64,
        })
    }
}

/// The command that applies a delta to the repository of a device.
pub(super) fn apply(repository: &Path, delta: &Path) -> Command {
    let mut apply = ostree(repository);
    apply.args(["static-delta", "apply-offline"]).arg(delta);
    apply
}
