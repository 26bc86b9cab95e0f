// SPDX-License-Identifier: MIT OR Apache-2.0
//! The help teaches by example.

use crate::support::Scratch;

/// The subcommands that a help text lists.
fn subcommands(help: &str) -> Vec<String> {
    let list = help
        .split_once("\nCommands:\n")
        .map_or("", |(_, rest)| rest);
    let list = list.split("\n\n").next().unwrap_or_default();
    let names = list.lines().filter_map(|line| line.strip_prefix("  "));
    let names = names.filter(|line| !line.starts_with(' '));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// All commands, with those of commands.
fn commands(scratch: &Scratch) -> Vec<String> {
    let mut commands = Vec::new();
    for command in subcommands(&scratch.ok("-h").text()) {
        let nested = subcommands(&scratch.ok(&format!("{command} -h")).text());
        if nested.is_empty() {
            commands.push(command.clone());
        }
        commands.extend(nested.into_iter().map(|name| format!("{command} {name}")));
    }
    commands
}

#[test]
fn every_command_has_an_example() {
    let scratch = Scratch::new();
    let commands = commands(&scratch);
    assert!(commands.len() >= 17, "{commands:?}");
    for command in &commands {
        let help = scratch.ok(&format!("{command} --help")).text();
        let examples = help.split_once("\nExample").map(|(_, examples)| examples);
        let examples = examples.unwrap_or_else(|| panic!("{command}: no example in {help}"));
        let last = command.split(' ').next_back().expect("a word");
        let shown = examples
            .lines()
            .any(|line| line.starts_with("  ") && line.contains("sealroot") && line.contains(last));
        assert!(shown, "{command}: {examples}");
    }
}

#[test]
fn the_first_help_shows_the_whole_way_and_the_exit_codes() {
    let help = Scratch::new().ok("--help").text();
    for word in [
        "keys new",
        "build --dir",
        "sign COMMIT",
        "verify COMMIT",
        "deploy COMMIT",
        "initramfs",
        "uki build",
    ] {
        assert!(help.contains(word), "{word}");
    }
    for code in 0..8 {
        assert!(help.contains(&format!("{code} ")), "{code}");
    }
}

#[test]
fn no_command_is_answered_with_help() {
    let scratch = Scratch::new();
    let ran = scratch.run("");
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("Usage: sealroot"), "{}", ran.err);
    let version = scratch.ok("--version").text();
    assert!(version.starts_with("sealroot 0."), "{version}");
}

#[test]
fn what_is_misspelt_is_understood() {
    let scratch = Scratch::new();
    let ran = scratch.run("verfy");
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("'verify'"), "{}", ran.err);
    let ran = scratch.run("status --jsn");
    assert!(ran.err.contains("'--json'"), "{}", ran.err);
}
