// SPDX-License-Identifier: MIT OR Apache-2.0
//! `docs/design/boot.md` lists the codes of refusals that there are, in their order.

use sealroot_boot::Code;

#[test]
fn the_table_of_refusals_is_that_of_the_program() {
    let document = include_str!("../../../docs/design/boot.md");
    let (_, table) = document
        .split_once("| Code | What was refused |\n| --- | --- |\n")
        .expect("the table");
    let codes = table
        .lines()
        .map_while(|row| row.strip_prefix("| `")?.split_once('`'))
        .map(|(code, _)| code);
    let expected = Code::ALL.iter().map(|code| code.as_str());
    assert!(codes.eq(expected), "docs/design/boot.md has other codes");
}
