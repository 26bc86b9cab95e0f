// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the demo talks.

/// A new part begins.
pub(crate) fn step(number: &str, title: &str) {
    println!("\n=== {number}. {title} ===\n");
}

/// A remark.
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// A command, as one would type it.
pub(crate) fn shell(program: &str, arguments: &[&str]) {
    println!("$ {program} {}", arguments.join(" "));
}
