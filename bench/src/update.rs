// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an update costs: bytes, requests, and the time of those who make and apply it, beside OSTree's
//! static deltas.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sealroot_testkit::need;
use serde_json::Value;

use crate::measure::{Contestant, Run, hardlinked, measure, output, run_once};
use crate::report::{Limit, Report, ms};
use crate::setting::Setting;

/// An update, and what is demanded of it.
struct Update {
    name: &'static str,
    directory: &'static str,
    /// What is demanded beside OSTree, which makes no delta of a whole system in sensible time.
    beside_ostree: Option<Demands>,
}

struct Demands {
    /// Of the bytes of OSTree's delta.
    bytes: f64,
    /// What of it may be for the pack, bytes.
    pack_bytes: u64,
    /// Of the CPU time that making and applying OSTree's takes.
    make: Option<f64>,
    apply: Option<f64>,
}

const UPDATES: [Update; 3] = [
    Update {
        name: "a month of updates and a kernel",
        directory: "update-batch",
        beside_ostree: Some(Demands {
            bytes: 0.78,
            pack_bytes: 500_000,
            make: Some(0.3),
            apply: Some(0.8),
        }),
    },
    Update {
        name: "the next kernel, modules decompressed",
        directory: "update-kernel",
        beside_ostree: Some(Demands {
            bytes: 0.55,
            pack_bytes: 20_000,
            make: None,
            apply: None,
        }),
    },
    Update {
        name: "the next Debian",
        directory: "update-major",
        beside_ostree: None,
    },
];

/// Requests of an update with a delta: channel, statement, and the delta's head and rest.
const MOST_REQUESTS: u64 = 4;

/// What is fetched whole is not what is measured.
const QUICKLY: [&str; 2] = ["--level", "1"];

const ROUNDS: usize = 3;

const OSTREE: &str = "ostree static-delta apply-offline";

/// Measures and reports.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let version = output(Command::new("ostree").arg("--version"))?;
    let version = version.lines().find(|line| line.contains("Version"));
    report.section("Updates");
    report.line(format_args!(
        "Ours are fetched by `pull` from a directory with everything that a client asks for. OSTree's is one inline \
         delta with bsdiff; {}. Making is measured once, applying in the median of {} rounds.\n",
        version.unwrap_or_default().trim(),
        setting.rounds(ROUNDS)
    ));
    let mut rows = Vec::new();
    for update in &UPDATES {
        let trees = need::cache().join(update.directory);
        if trees.is_dir() {
            rows.push(one(setting, update, &trees, report)?);
        }
    }
    let head = [
        "update",
        "bytes",
        "for the pack",
        "requests",
        "OSTree's bytes",
        "ours",
        "making, CPU ms",
        "OSTree's",
    ];
    report.table(head, rows);
    Ok(())
}

fn one(
    setting: &Setting,
    update: &Update,
    trees: &Path,
    report: &mut Report,
) -> Result<[String; 8]> {
    let scratch = setting.scratch()?;
    let ours = Ours::new(setting, trees, scratch.path())?;
    let theirs = update.beside_ostree.as_ref().map(|demands| {
        let theirs = Theirs::new(trees, scratch.path())?;
        anyhow::Ok((demands, theirs))
    });
    let theirs = theirs.transpose()?;

    let runs = scratch.path().join("runs");
    fs::create_dir(&runs)?;
    let mut contestants = vec![Contestant::new("sealroot pull", |place| {
        let store = hardlinked(&ours.device, place)?;
        Ok(vec![ours.pull(setting, &store)])
    })];
    let mut limits = Vec::new();
    if let Some((demands, theirs)) = &theirs {
        contestants.push(Contestant::new(OSTREE, |place| {
            let repository = hardlinked(&theirs.client, place)?;
            let mut apply = ostree(&repository);
            apply.args(["static-delta", "apply-offline"]);
            apply.arg(&theirs.delta);
            Ok(vec![apply])
        }));
        limits.push(Limit {
            other: OSTREE,
            cpu: demands.apply,
            wall: None,
        });
    }
    measure(&mut contestants, setting.rounds(ROUNDS), &runs)?;
    let name = update.name;
    report.times(name, &contestants, &limits);

    let pulled = output(ours.pull(setting, &ours.device).arg("--json"))?;
    let pulled: Value = serde_json::from_str(&pulled)?;
    let fetched = number(&pulled, "fetched_bytes")?;
    let requests = number(&pulled, "requests")?;
    let is_met = requests <= MOST_REQUESTS;
    report.bar(format!("{name}: requests"), requests, MOST_REQUESTS, is_met);
    let cpu = |run: &Run| run.user + run.system;
    let making = cpu(&ours.making);
    let mut row = [
        name.into(),
        fetched.to_string(),
        ours.pack_bytes.to_string(),
        requests.to_string(),
        "-".into(),
        "-".into(),
        ms(making),
        "-".into(),
    ];
    if let Some((demands, theirs)) = &theirs {
        let their_bytes = fs::metadata(&theirs.delta)?.len();
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let ratio = fetched as f64 / their_bytes as f64;
        report.ratio_bar(format!("{name}: bytes of OSTree's"), ratio, demands.bytes);
        let (pack, most) = (ours.pack_bytes, demands.pack_bytes);
        report.bar(
            format!("{name}: bytes for the pack"),
            pack,
            most,
            pack <= most,
        );
        let their_making = cpu(&theirs.making);
        if let Some(most) = demands.make {
            let measured = making.as_secs_f64() / their_making.as_secs_f64();
            report.ratio_bar(format!("{name}: CPU to make, of OSTree's"), measured, most);
        }
        row[4] = their_bytes.to_string();
        row[5] = format!("{ratio:.2}x");
        row[7] = ms(their_making);
    }
    Ok(row)
}

fn number(value: &Value, key: &str) -> Result<u64> {
    let number = value[key].as_u64();
    number.with_context(|| format!("no number {key} in {value}"))
}

/// A vendor who has published both releases, and a device that has the old one.
struct Ours {
    keyset: PathBuf,
    device: PathBuf,
    pack_bytes: u64,
    making: Run,
}

impl Ours {
    fn new(setting: &Setting, trees: &Path, scratch: &Path) -> Result<Self> {
        let (store, device) = (scratch.join("vendor"), scratch.join("device"));
        let (key, www) = (scratch.join("key"), scratch.join("www"));
        output(setting.sealroot().args(["keys", "new"]).arg(&key))?;
        let (keyset, secret) = (key.with_extension("keyset"), key.with_extension("secret"));
        let command = |store: &Path, words: &[&str]| {
            let mut command = setting.sealroot();
            command.arg("--store").arg(store).arg("--keyset");
            command.arg(&keyset).args(words);
            command
        };
        let release = |name: &str, index: &str| {
            let words = ["--json", "build", "--devices", "keep", "--os", "bench"];
            let mut build = command(&store, &words);
            build.args(["--stream", "bench", "--index", index, "--dir"]);
            let built = output(build.arg(trees.join(name)))?;
            let built: Value = serde_json::from_str(&built)?;
            let commit = built["commit"].as_str().context("no commit")?.to_owned();
            output(command(&store, &["sign", &commit, "--key"]).arg(&secret))?;
            anyhow::Ok(commit)
        };
        let publish = |commit: &str| {
            let mut publish = command(&store, &["publish", commit, "--to"]);
            publish.arg(&www).arg("--key").arg(&secret).args(QUICKLY);
            output(&mut publish)
        };
        let old = release("old", "1")?;
        publish(&old)?;
        let mut add = command(&device, &["remote", "add", "vendor"]);
        output(add.arg(&www).args(["--os", "bench", "--stream", "bench"]))?;
        output(&mut command(&device, &["pull"]))?;
        let new = release("new", "2")?;
        let measured = scratch.join("measured.delta");
        let words = ["--json", "delta", &old, &new, "--output"];
        let (making, made) = run_once(command(&store, &words).arg(&measured))?;
        publish(&new)?;
        Ok(Self {
            pack_bytes: number(&serde_json::from_str(&made)?, "pack_bytes")?,
            keyset,
            device,
            making,
        })
    }

    fn pull(&self, setting: &Setting, store: &Path) -> Command {
        let mut pull = setting.sealroot();
        pull.arg("--store").arg(store).arg("--keyset");
        pull.arg(&self.keyset).arg("pull");
        pull
    }
}

/// The same with OSTree.
struct Theirs {
    client: PathBuf,
    delta: PathBuf,
    making: Run,
}

fn ostree(repository: &Path) -> Command {
    let mut command = Command::new("ostree");
    command.arg(format!("--repo={}", repository.display()));
    command
}

impl Theirs {
    fn new(trees: &Path, scratch: &Path) -> Result<Self> {
        let (server, client) = (scratch.join("server"), scratch.join("client"));
        let delta = scratch.join("ostree.delta");
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
        let mut generate = ostree(&server);
        generate.args(["static-delta", "generate", "--inline"]);
        generate.args(["--min-fallback-size=0", "--from=old", "--to=new"]);
        generate.arg(format!("--filename={}", delta.display()));
        let (making, _) = run_once(&mut generate)?;
        Ok(Self {
            client,
            delta,
            making,
        })
    }
}
