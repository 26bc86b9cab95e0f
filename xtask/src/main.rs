// SPDX-License-Identifier: MIT OR Apache-2.0
//! Development tasks: `cargo xtask setup|test|attack|interrupt|machines|fuzz|demo|bench|dist|vm`.

#![forbid(unsafe_code)]

mod attacks;
mod bench;
mod check;
mod demo;
mod dist;
mod fuzz;
mod interrupt;
mod machines;
mod run;
mod setup;

use anyhow::{Result, bail};

use crate::setup::Needs;

const USAGE: &str = "usage: cargo xtask TASK

  setup           install and fetch what tests and demo need (Debian 12; safe to repeat)
  test            set up, then run every check and test there is
  attack [WORD]...
                  set up, then play all attacks on a release, of which `test` plays a part, or
                  those with a WORD in id or name
  interrupt [SEED]
                  set up, then kill `pull` at 200 moments, of which `test` plays 24, and have it meet
                  full disks; each SEED is other moments, and none is chance
  machines        set up, then play whole lives of machines that run OSTree, and power cuts at many
                  moments, of which `test` plays short forms, and boot what other makers of
                  initramfs make; it says first how long that takes
  fuzz [TARGET]... [--runs N] [--seconds S] [--keep]
                  feed every parser of outside bytes, or those named, N inputs (10 million) or for S
                  seconds each; --keep adds to the corpus in the repository what reached more
  demo            set up, then make, boot, break and refuse a verified Debian in QEMU
  bench [ARG]...  set up, then measure; all benches, or what sealroot-bench is told by ARG
  dist            build the static programs to install, into target/dist
  vm [FILTER]...  only the tests in virtual machines, or those whose names match
";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["setup"] => setup::setup(Needs::Tests),
        ["test"] => check::all(),
        ["dist"] => dist::dist(),
        ["vm", filters @ ..] => {
            setup::setup_for_machines()?;
            check::virtual_machines(filters, &[])
        }
        ["attack", words @ ..] => {
            setup::setup_for_machines()?;
            attacks::play(words)
        }
        ["interrupt", seed @ ..] if seed.len() <= 1 => {
            setup::setup(Needs::Tests)?;
            interrupt::interrupt(seed.first().copied())
        }
        ["machines"] => machines::play(),
        ["fuzz", arguments @ ..] => fuzz::fuzz(arguments),
        ["demo"] => {
            setup::setup(Needs::Demo)?;
            demo::run_demo()
        }
        ["bench", arguments @ ..] => {
            setup::setup_for_bench()?;
            bench::run_benches(arguments)
        }
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        other => bail!("unknown task {:?}\n\n{USAGE}", other.join(" ")),
    }
}
