// SPDX-License-Identifier: MIT OR Apache-2.0
//! docs/commands.md is the help of all commands.

use std::fmt::Write as _;
use std::path::Path;

use clap::{ArgAction, Command, CommandFactory as _};

use crate::args::Cli;

/// Set to write the document instead of comparing it.
const UPDATE: &str = "SEALROOT_UPDATE_DOCS";

const HEAD: &str = "\
# Commands

The help of every command, as `sealroot COMMAND --help` prints it, without the options that all
have in common. Made by `SEALROOT_UPDATE_DOCS=1 cargo test --package sealroot-cli reference`; a test
compares it with the program.
";

/// Appends the help of a command and of those below it.
fn describe(command: &mut Command, name: &str, text: &mut String) {
    let own = command.clone().bin_name(name);
    let mut own = own.mut_args(|arg| {
        let is_common = arg.is_global_set() && name != "sealroot";
        let is_help = matches!(
            arg.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        );
        if is_common || is_help {
            arg.hide(true)
        } else {
            arg
        }
    });
    let help = own.render_long_help().to_string();
    let lines = help.lines().map(str::trim_end).collect::<Vec<_>>();
    write!(
        text,
        "\n## {name}\n\n```text\n{}\n```\n",
        lines.join("\n").trim_end()
    )
    .expect("writing to memory");
    for below in command.get_subcommands_mut() {
        if below.get_name() != "help" {
            let name = format!("{name} {}", below.get_name());
            describe(below, &name, text);
        }
    }
}

#[test]
fn the_document_is_the_help() {
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut text = HEAD.to_owned();
    describe(&mut command, "sealroot", &mut text);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands.md");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &text).expect("the document is written");
    }
    let found = std::fs::read_to_string(&path).expect("the document");
    let differs = found
        .lines()
        .zip(text.lines())
        .find(|(found, expected)| found != expected);
    assert!(
        found == text,
        "{UPDATE}=1 brings docs/commands.md up to date: {differs:?}"
    );
}

#[test]
fn every_argument_is_explained() {
    fn check(command: &Command) {
        let name = command.get_name();
        assert!(command.get_about().is_some(), "{name}");
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{name}: {}", arg.get_id());
        }
        command.get_subcommands().for_each(check);
    }
    let mut command = Cli::command();
    command.build();
    check(&command);
    command.debug_assert();
}
