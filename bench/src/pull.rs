// SPDX-License-Identifier: MIT OR Apache-2.0
//! The most memory that `pull` holds, and its time, for a release from nothing and over a delta.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use sealroot_testkit::content::bytes;
use sealroot_testkit::http_server::{Answer, HttpServer};
use serde_json::Value;

use crate::memory::mib;
use crate::report::{Report, ms};
use crate::setting::Setting;

/// What `pull` may hold that is no file.
const MAX_BYTES: u64 = 96 << 20;

const SMALL_FILES: u64 = 2000;
const SMALL_BYTES: usize = 40_000;

const LARGE_FILES: u64 = 60;
const LARGE_BYTES: usize = 3_000_000;

/// Of a large file, every byte at such a distance differs in the second release.
const CHANGE_DISTANCE: usize = 1000;

const HUGE_BYTES: usize = 60_000_000;

/// So much of the huge file is new in the second release: more than two groups of a delta.
const HUGE_NEW_BYTES: usize = 25_000_000;

/// How often the memory of a process is looked at.
const PAUSE: Duration = Duration::from_millis(1);

/// The most memory that was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Peak {
    anonymous_bytes: u64,
    resident_bytes: u64,
}

/// Measures and reports.
pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    report.section("Peak memory of pull");
    report.line(format_args!(
        "Releases of {} files, one of {} MB, from a server on this machine. Anonymous is what the process \
         holds that is no file, looked at every millisecond; resident is all of it, as the kernel \
         counts it. Times are with that.\n",
        SMALL_FILES + LARGE_FILES + 1,
        HUGE_BYTES / 1_000_000
    ));
    let scratch = setting.scratch()?;
    let vendor = Vendor {
        setting,
        directory: scratch.path(),
    };
    vendor.sealroot(&["keys", "new", "vendor"])?;
    vendor.publish(1)?;
    let mut rows = Vec::new();
    vendor.follow("old")?;
    vendor.measure("old", "the first release, from nothing", &mut rows, report)?;
    vendor.publish(2)?;
    vendor.measure("old", "the second, over a delta", &mut rows, report)?;
    vendor.follow("new")?;
    vendor.measure("new", "the second, of two bundles", &mut rows, report)?;
    report.table(
        [
            "release",
            "MB fetched",
            "MB new",
            "anonymous",
            "resident",
            "wall ms",
        ],
        rows,
    );
    Ok(())
}

/// A vendor, and devices that follow, in a directory.
struct Vendor<'v> {
    setting: &'v Setting,
    directory: &'v Path,
}

impl Vendor<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.setting.sealroot();
        command.current_dir(self.directory).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    fn sealroot(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = self.command(&["--json", "--keyset", "vendor.keyset"]);
        parsed(&crate::measure::output(command.args(arguments))?)
    }

    fn publish(&self, index: u64) -> Result<()> {
        write_tree(&self.directory.join("tree"), index)?;
        let index = index.to_string();
        let built = self.sealroot(&[
            "--store", "store", "build", "--dir", "tree", "--os", "bench", "--stream", "bench",
            "--index", &index,
        ])?;
        let commit = built["commit"].as_str().context("no commit")?;
        let key = ["--key", "vendor.secret"];
        self.sealroot(&[&["--store", "store", "sign", commit], &key[..]].concat())?;
        let publish = ["--store", "store", "publish", commit, "--to", "www"];
        self.sealroot(&[&publish, &key[..]].concat())?;
        Ok(())
    }

    fn follow(&self, device: &str) -> Result<()> {
        let add = ["--store", device, "remote", "add", "vendor", "www"];
        self.sealroot(&[&add, &["--os", "bench", "--stream", "bench"][..]].concat())?;
        Ok(())
    }

    fn measure(
        &self,
        device: &str,
        name: &str,
        rows: &mut Vec<[String; 6]>,
        report: &mut Report,
    ) -> Result<()> {
        let server = HttpServer::serve(&self.directory.join("www"), |_| Answer::Honest)?;
        let mut command = self.command(&["--store", device, "--json", "pull", "--from"]);
        let start = Instant::now();
        let (peak, out) = watch(command.arg(server.url()).spawn()?)?;
        let wall = start.elapsed();
        let pulled = parsed(&out)?;
        let megabytes = |field: &str| (pulled[field].as_u64().unwrap_or(0) / 1_000_000).to_string();
        let is_met = peak.anonymous_bytes <= MAX_BYTES;
        let (measured, limit) = (mib(peak.anonymous_bytes), mib(MAX_BYTES));
        report.bar(
            format!("peak memory of pull: {name}"),
            &measured,
            limit,
            is_met,
        );
        rows.push([
            name.to_owned(),
            megabytes("fetched_bytes"),
            megabytes("added_bytes"),
            measured,
            mib(peak.resident_bytes),
            ms(wall),
        ]);
        Ok(())
    }
}

fn parsed(out: &str) -> Result<Value> {
    if out.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(out).context("no JSON")
}

/// Waits for a process; the most memory it held, and what it wrote.
fn watch(mut child: Child) -> Result<(Peak, String)> {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = Peak::default();
    while child.try_wait()?.is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let bytes = |field: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(field));
            let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
            kib.unwrap_or(0) * 1024
        };
        peak.anonymous_bytes = peak.anonymous_bytes.max(bytes("RssAnon:"));
        peak.resident_bytes = peak.resident_bytes.max(bytes("VmHWM:"));
        sleep(PAUSE);
    }
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "pull ended with {}", output.status);
    ensure!(peak.anonymous_bytes > 0, "the process was never looked at");
    Ok((peak, String::from_utf8(output.stdout)?))
}

/// A third of each file does not compress.
fn write_tree(root: &Path, release: u64) -> Result<()> {
    let write = |path: String, content: &[u8]| -> Result<()> {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        Ok(fs::write(path, content)?)
    };
    for number in 0..SMALL_FILES {
        let content = mixed(number, SMALL_BYTES);
        write(format!("usr/lib/{}/{number}", number % 32), &content)?;
    }
    for number in 0..LARGE_FILES {
        let mut content = mixed(SMALL_FILES + number, LARGE_BYTES);
        if release == 2 {
            let changed = content.iter_mut().step_by(CHANGE_DISTANCE);
            changed.for_each(|byte| *byte ^= 7);
        }
        write(format!("usr/bin/{number}"), &content)?;
    }
    let mut content = mixed(1 << 32, HUGE_BYTES);
    if release == 2 {
        content.splice(..HUGE_NEW_BYTES, bytes(1 << 33, HUGE_NEW_BYTES));
    }
    write("usr/bin/huge".into(), &content)
}

fn mixed(seed: u64, len_bytes: usize) -> Vec<u8> {
    let mut content = bytes(seed, len_bytes / 3);
    content.extend_from_within(..);
    content.resize(len_bytes, b'.');
    content
}
