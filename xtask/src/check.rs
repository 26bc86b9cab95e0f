// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: everything that must hold before a change lands, one step after another.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::attacks;
use crate::dist;
use crate::run::{TARGET, cargo, command, output, repository, root_cargo, run, shown};
use crate::setup::{Needs, setup};

/// The boot program is loaded, measured and trusted at each boot: it stays small.
const BOOT_PROGRAM_MAX_BYTES: u64 = 1_500_000;

struct Step {
    name: &'static str,
    run: fn() -> Result<()>,
}

const STEPS: [Step; 9] = [
    Step {
        name: "setup",
        run: || setup(Needs::Tests),
    },
    Step {
        name: "format",
        run: format,
    },
    Step {
        name: "lints",
        run: lints,
    },
    Step {
        name: "documentation",
        run: documentation,
    },
    Step {
        name: "boot program size",
        run: boot_program_size,
    },
    Step {
        name: "programs of guests",
        run: guest_programs,
    },
    Step {
        name: "building tests",
        run: || tests(&["--no-run"]),
    },
    Step {
        name: "tests",
        run: || tests(&[]),
    },
    Step {
        name: "virtual machines",
        run: all_virtual_machines,
    },
];

/// Runs every step, also after one has failed, and sums up.
pub(crate) fn all() -> Result<()> {
    let mut results: Vec<(&str, Duration, bool)> = Vec::new();
    for Step { name, run } in STEPS {
        println!("\n=== {name} ===");
        let started = Instant::now();
        let result = run();
        if let Err(error) = &result {
            println!("{name}: {error:#}");
        }
        results.push((name, started.elapsed(), result.is_ok()));
        if name == "setup" && result.is_err() {
            break;
        }
    }
    println!("\n=== summary ===");
    for (name, took, ok) in &results {
        let state = if *ok { "ok" } else { "FAILED" };
        println!("{name:20} {state:6} {:5} s", took.as_secs());
    }
    let total: Duration = results.iter().map(|(_, took, _)| *took).sum();
    println!("{:20} {:6} {:5} s", "all", "", total.as_secs());
    let failed = results.iter().filter(|(_, _, ok)| !ok).count();
    println!("{} passed, {failed} failed", results.len() - failed);
    if failed > 0 {
        bail!("{failed} steps failed");
    }
    Ok(())
}

fn told(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    run(command)
}

fn format() -> Result<()> {
    told(cargo().args(["fmt", "--all", "--check"]))
}

fn lints() -> Result<()> {
    told(cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))
}

fn documentation() -> Result<()> {
    told(
        cargo()
            .args([
                "doc",
                "--workspace",
                "--no-deps",
                "--document-private-items",
                "--quiet",
            ])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

fn tests(options: &[&str]) -> Result<()> {
    told(
        root_cargo()?
            .args(["test", "--workspace", "--quiet", "--no-fail-fast"])
            .args(options)
            .env("SEALROOT_REQUIRE", "all")
            // The same cases in every run: who changes nothing breaks nothing.
            .env("PROPTEST_RNG_SEED", "1"),
    )
}

fn all_virtual_machines() -> Result<()> {
    attacks::forget()?;
    let result = virtual_machines(&[], &[]);
    println!();
    attacks::report().and(result)
}

/// The tests that boot machines, or those whose names contain one of `filters`.
pub(crate) fn virtual_machines(filters: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    told(
        root_cargo()?
            // Of the workspace: what was built for all tests is what these need.
            .args(["test", "--workspace", "--quiet", "--test", "vm", "--"])
            .args(["--ignored", "--nocapture", "--test-threads=2"])
            .args(filters)
            .env("SEALROOT_REQUIRE", "all")
            .envs(environment.iter().copied()),
    )
}

/// What the tests build for guests, beforehand, so that it is seen what takes how long.
fn guest_programs() -> Result<()> {
    told(
        cargo()
            .args(["build", "--quiet", "--profile", "guest"])
            .args(["--package", "sealroot-testkit", "--bin", "sealroot-guest"])
            .args(["--package", "sealroot-cli", "--bin", "sealroot"])
            .args(["--target", TARGET, "--target-dir"])
            .arg(repository().join("target/static"))
            .env("RUSTFLAGS", "-C target-feature=+crt-static"),
    )
}

fn boot_program_size() -> Result<()> {
    let path = dist::build(dist::BOOT)?;
    let size_bytes = std::fs::metadata(&path)?.len();
    println!("boot program: {size_bytes} bytes, at most {BOOT_PROGRAM_MAX_BYTES}");
    if size_bytes > BOOT_PROGRAM_MAX_BYTES {
        bail!("the boot program has grown beyond {BOOT_PROGRAM_MAX_BYTES} bytes");
    }
    let needed = output(command("readelf").arg("--dynamic").arg(&path))?;
    if needed.contains("(NEEDED)") {
        bail!("the boot program is not static:\n{needed}");
    }
    Ok(())
}
