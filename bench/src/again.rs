// SPDX-License-Identifier: MIT OR Apache-2.0
//! A second `build` and `deploy` of a tree that has not changed: what is read and written.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::measure::output;
use crate::report::Report;
use crate::setting::Setting;
use crate::trace::{Trace, Use};

/// Counts and reports.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let scratch = setting.scratch()?;
    let store = scratch.path().join("store");
    let directory = setting.directory.canonicalize()?;
    let built = output(&mut setting.build(&directory, &store))?;
    let commit = built
        .strip_prefix("commit ")
        .and_then(|rest| rest.lines().next());
    let commit = commit.context("build named no commit")?;
    let deploy = deploy_command(setting, scratch.path(), &store, commit)?;
    let mut first = Command::new(deploy.get_program());
    output(first.args(deploy.get_args()))?;

    report.section("Build and deploy once more");
    report.line(
        "Counted by strace. A source file is read more than once if more bytes than it has were \
         read from it.\n",
    );
    let mut rows = Vec::new();
    for (name, command) in [
        ("build", setting.build(&directory, &store)),
        ("deploy", deploy),
    ] {
        let trace = Trace::run(&command, &store, scratch.path())?;
        let counts = Counts::of(&trace, &directory, &store);
        counts.add_bars(name, report);
        rows.push(counts.row(name));
    }
    let files = count_files(&directory)?;
    report.table(
        [
            "command",
            "source files read",
            "opened, at most",
            "read more than once",
            "bytes of them read",
            "stored objects read",
            "bytes of packs and statements read",
            "calls that write",
        ],
        rows,
    );
    report.line(format_args!(
        "The tree has {} files, without further names of the same, of {} bytes.",
        files.0, files.1
    ));
    Ok(())
}

/// Signs the release; the command that deploys it.
fn deploy_command(
    setting: &Setting,
    scratch: &Path,
    store: &Path,
    commit: &str,
) -> Result<Command> {
    let key = scratch.join("bench");
    output(setting.sealroot().args(["keys", "new"]).arg(&key))?;
    let mut sign = setting.sealroot();
    sign.arg("--store").arg(store).args(["sign", commit]);
    output(sign.arg("--key").arg(key.with_extension("secret")))?;
    let mut deploy = setting.sealroot();
    deploy.arg("--store").arg(store).arg("--keyset");
    deploy.arg(key.with_extension("keyset"));
    deploy.args(["deploy", "--mode", "integrity", commit]);
    Ok(deploy)
}

/// What matters of a trace.
#[derive(Debug)]
struct Counts {
    sources: u64,
    most_opens: u64,
    read_twice: u64,
    source_bytes: u64,
    objects: u64,
    pack_bytes: u64,
    changes: Vec<String>,
}

impl Counts {
    fn of(trace: &Trace, directory: &Path, store: &Path) -> Self {
        let sources = trace.uses(|path| path.starts_with(directory) && path.is_file());
        let is_read = |(_, file): &&(&Path, Use)| file.read_bytes > 0;
        let objects = trace.uses(|path| path.starts_with(store) && is_object(path));
        let packs = trace.uses(|path| path.starts_with(store.join("pack")));
        let is_read_twice = |(path, file): &&(&Path, Use)| {
            fs::metadata(path).is_ok_and(|found| file.read_bytes > found.len())
        };
        let sum = |files: &[(&Path, Use)]| files.iter().map(|(_, file)| file.read_bytes).sum();
        Self {
            sources: sources.iter().filter(is_read).count() as u64,
            most_opens: sources
                .iter()
                .map(|(_, file)| file.opens)
                .max()
                .unwrap_or(0),
            read_twice: sources.iter().filter(is_read_twice).count() as u64,
            source_bytes: sum(&sources),
            objects: objects.iter().filter(is_read).count() as u64,
            pack_bytes: sum(&packs),
            changes: trace
                .changes
                .iter()
                .map(|(name, count)| format!("{count} {name}"))
                .collect(),
        }
    }

    fn add_bars(&self, name: &str, report: &mut Report) {
        let Self {
            read_twice,
            objects,
            changes,
            ..
        } = self;
        let what = |what: &str| format!("second {name}: {what}");
        report.bar(
            what("source files read more than once"),
            read_twice,
            0,
            *read_twice == 0,
        );
        report.bar(what("stored objects read"), objects, 0, *objects == 0);
        let calls = self.changes_text();
        report.bar(what("calls that write"), calls, 0, changes.is_empty());
    }

    fn changes_text(&self) -> String {
        if self.changes.is_empty() {
            return "0".into();
        }
        self.changes.join(", ")
    }

    fn row(&self, name: &str) -> [String; 8] {
        [
            format!("second {name}"),
            self.sources.to_string(),
            self.most_opens.to_string(),
            self.read_twice.to_string(),
            self.source_bytes.to_string(),
            self.objects.to_string(),
            self.pack_bytes.to_string(),
            self.changes_text(),
        ]
    }
}

/// Whether a path is one of an object, in the store or in a deployment.
fn is_object(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "file")
}

/// Files of a tree and their bytes, each inode once.
fn count_files(directory: &Path) -> Result<(u64, u64)> {
    let list = output(
        Command::new("find")
            .arg(directory)
            .args(["-type", "f", "-printf", "%i %s\\n"]),
    )?;
    let files: std::collections::BTreeSet<&str> = list.lines().collect();
    let size = |line: &&str| line.split(' ').nth(1)?.parse::<u64>().ok();
    Ok((files.len() as u64, files.iter().filter_map(size).sum()))
}
