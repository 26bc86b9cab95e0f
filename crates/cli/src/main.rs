// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `sealroot` command.

#![forbid(unsafe_code)]
#![allow(
    rustdoc::invalid_html_tags,
    reason = "the comments on arguments are the help that people read"
)]

mod args;
mod boot_entry;
mod certificate;
mod cmd;
mod commit;
mod failure;
mod files;
mod hint;
mod machine;
mod name;
mod output;
mod progress;
#[cfg(test)]
mod reference;
mod release;
mod repository;
mod sealing;
mod signers;
mod target;
mod time;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::output::Output;

fn main() -> ExitCode {
    sealroot_sys::memory::use_one_arena();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Parsing has failed, so it can only be seen whether the option is somewhere.
            let json = std::env::args_os().any(|argument| argument == "--json");
            return failure::report_usage(&error, Output::new(json));
        }
    };
    let output = Output::new(cli.common.json);
    match cmd::run(&cli, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error, output),
    }
}
