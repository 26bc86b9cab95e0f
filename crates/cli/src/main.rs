// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `sealroot` command.

#![forbid(unsafe_code)]

mod args;
mod cmd;
mod failure;
mod files;
mod output;
mod progress;
mod signers;
mod target;
mod time;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = output::Output::new(cli.common.json);
    match cmd::run(&cli, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error, output),
    }
}
