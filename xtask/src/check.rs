// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: everything that must hold before a change lands, one step after another.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::attacks;
use crate::dist;
use crate::run::{cargo, command, output, root_cargo, run, shown};
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

/// What became of a step.
struct Outcome {
    name: &'static str,
    wall: Duration,
    /// Of all processors, by what the step started.
    processor: Duration,
    is_ok: bool,
}

/// Runs every step, also after one has failed, and sums up.
pub(crate) fn all() -> Result<()> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for Step { name, run } in STEPS {
        println!("\n=== {name} ===");
        let (started, before) = (Instant::now(), processor_time_of_children()?);
        let result = run();
        if let Err(error) = &result {
            println!("{name}: {error:#}");
        }
        outcomes.push(Outcome {
            name,
            wall: started.elapsed(),
            processor: processor_time_of_children()?.saturating_sub(before),
            is_ok: result.is_ok(),
        });
        if name == "setup" && result.is_err() {
            break;
        }
    }
    println!(
        "\n=== summary ===\n{:29}{:>8}{:>18}",
        "", "s", "s of processors"
    );
    for outcome in &outcomes {
        let state = if outcome.is_ok { "ok" } else { "FAILED" };
        print_times(outcome.name, state, outcome.wall, outcome.processor);
    }
    let wall = outcomes.iter().map(|outcome| outcome.wall).sum();
    let processor = outcomes.iter().map(|outcome| outcome.processor).sum();
    print_times("all", "", wall, processor);
    let failed = outcomes.iter().filter(|outcome| !outcome.is_ok).count();
    println!("{} passed, {failed} failed", outcomes.len() - failed);
    if failed > 0 {
        bail!("{failed} steps failed");
    }
    Ok(())
}

fn print_times(name: &str, state: &str, wall: Duration, processor: Duration) {
    let (wall, processor) = (wall.as_secs(), processor.as_secs());
    println!("{name:20} {state:8}{wall:8}{processor:18}");
}

/// What all processes took of the processors that were started from here and have ended: it says
/// more than the clock where others use the machine too.
fn processor_time_of_children() -> Result<Duration> {
    /// The unit of these figures on all machines of today (`USER_HZ`).
    const TICKS_PER_SECOND: u64 = 100;
    let text = std::fs::read_to_string("/proc/self/stat")?;
    // proc_pid_stat(5): fields are counted from 1, and the second, a name, ends with the last `)`.
    let (_, fields) = text.rsplit_once(") ").context("a process's state")?;
    let ticks = fields.split(' ').skip(16 - 3).take(2);
    let ticks: Vec<u64> = ticks.map(str::parse).collect::<Result<_, _>>()?;
    Ok(Duration::from_millis(
        ticks.iter().sum::<u64>() * 1000 / TICKS_PER_SECOND,
    ))
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

/// What the names of tests begin with that take too long for every change.
const NIGHTLY: &str = "::nightly_";

/// The tests that boot machines but those of the night, or all those whose names contain one of
/// `filters`.
pub(crate) fn virtual_machines(filters: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let but_nightly = ["--skip", NIGHTLY];
    let filters = if filters.is_empty() {
        &but_nightly
    } else {
        filters
    };
    let tests = || -> Result<Command> {
        let mut tests = root_cargo()?;
        // Of the workspace: what was built for all tests is what these need.
        tests.args(["test", "--workspace", "--quiet", "--test", "vm", "--"]);
        tests.arg("--ignored").args(filters);
        Ok(tests)
    };
    println!(
        "looking for tests in virtual machines; the first time they are built, which takes minutes"
    );
    let listed = output(tests()?.arg("--list"))?;
    if !listed.lines().any(|line| line.ends_with(": test")) {
        bail!(
            "no test in virtual machines matches {}",
            filters.join(" or ")
        );
    }
    told(
        tests()?
            .args(["--nocapture", "--test-threads=2"])
            .env("SEALROOT_REQUIRE", "all")
            .envs(environment.iter().copied()),
    )
}

/// What the tests build for guests, beforehand, so that it is seen what takes how long.
fn guest_programs() -> Result<()> {
    let guest = ("sealroot-testkit", "sealroot-guest");
    // As tests build them: guests are devices, and need nothing of vendors.
    let devices = "--no-default-features";
    dist::build_static(&[guest, dist::COMMAND], "guest", &[devices])?;
    let tests_of_store = [devices, "--package", "sealroot", "--test", "store"];
    dist::build_static(&[guest, dist::COMMAND], "guest", &tests_of_store).map(drop)
}

fn boot_program_size() -> Result<()> {
    let path = dist::build_static(&[dist::BOOT], "boot", &[])?.join(dist::BOOT.1);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_took_of_the_processors_is_counted() {
        let before = processor_time_of_children().expect("a time");
        let busy = "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done";
        run(command("sh").args(["-c", busy])).expect("it succeeds");
        let after = processor_time_of_children().expect("a time");
        assert!(after > before, "{after:?}");
    }
}
