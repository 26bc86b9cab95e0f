// SPDX-License-Identifier: MIT OR Apache-2.0
//! What machine the figures are of.

use std::fs;
use std::thread;

use sealroot_sha::Engine;

/// Features of x86 that hashing may use.
const FEATURES: [&str; 5] = ["sha_ni", "avx2", "avx512f", "avx512bw", "avx512vl"];

/// The machine in a few lines of Markdown.
pub(crate) fn describe() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpu.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(": "));
        value.map_or("unknown", |(_, value)| value)
    };
    let flags: Vec<&str> = field("flags").split(' ').collect();
    let features: Vec<&str> = FEATURES
        .into_iter()
        .filter(|name| flags.contains(name))
        .collect();
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let engines: Vec<String> = Engine::available()
        .map(|engine| engine.to_string())
        .collect();
    format!(
        "- CPU: {} (family {}, model {}), {cores} cores, {}\n\
         - engines: {}; fastest here: {}\n\
         - kernel: {}; load before: {}",
        field("model name"),
        field("cpu family"),
        field("model\t"),
        features.join(" "),
        engines.join(", "),
        Engine::best(),
        kernel.trim(),
        load.split(' ').next().unwrap_or("unknown"),
    )
}
