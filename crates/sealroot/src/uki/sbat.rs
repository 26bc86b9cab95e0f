// SPDX-License-Identifier: MIT OR Apache-2.0
//! `.sbat`: the parts of an image and their generations, by which shim revokes (SBAT.md of shim).

use std::fmt::Write as _;

use sealroot_format::sign::Statement;

use super::Fault;

/// The line that such a table begins with.
const HEAD: &str = "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md";

/// Raised when a defect of the boot program makes images that carry it worth revoking.
const GENERATION: u32 = 1;

const PAGE: &str = env!("CARGO_PKG_REPOSITORY");

/// The lines for an image of a release: of the boot program, and of the vendor's OS, whose
/// generation is the release's epoch and 1.
pub fn lines_of(statement: &Statement) -> String {
    let Statement { os, epoch, .. } = statement;
    let version = env!("CARGO_PKG_VERSION");
    let release = statement.index;
    let generation = epoch.saturating_add(1);
    format!(
        "sealroot,{GENERATION},sealroot,sealroot,{version},{PAGE}\n\
         sealroot.{os},{generation},{os},{os},{release},{PAGE}\n"
    )
}

/// The table of an image made of parts with these tables: each line once, in their order.
pub(super) fn merged(parts: &[&str]) -> String {
    let mut lines: Vec<&str> = vec![HEAD];
    for line in parts.iter().flat_map(|part| part.lines()) {
        let is_head = line.split(',').next() == Some("sbat");
        if !is_head && !line.is_empty() && !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.iter().fold(String::new(), |mut text, line| {
        // Into memory: nothing fails.
        let _ = writeln!(text, "{line}");
        text
    })
}

/// The text of a table, which may end with zeros. Each line has a part and its generation.
pub(super) fn parse(bytes: &[u8]) -> Result<&str, Fault> {
    const EXPECTED: &str = "lines that begin with a name and a number, sbat first";
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at(end);
    let text = str::from_utf8(text).unwrap_or_default();
    let is_line = |line: &str| {
        let mut fields = line.split(',');
        let name = fields.next().is_some_and(|name| !name.is_empty());
        name && fields
            .next()
            .is_some_and(|number| number.parse::<u64>().is_ok_and(|n| n > 0))
    };
    let is_table = text.starts_with("sbat,") && text.lines().all(is_line);
    if !is_table || rest.iter().any(|byte| *byte != 0) {
        let start = bytes.get(..bytes.len().min(40)).unwrap_or_default();
        return Err(Fault::new(".sbat", EXPECTED, start.escape_ascii()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Rules: U8
    #[test]
    fn each_part_is_there_once_behind_one_head() {
        let stub = "sbat,1,x,y\nsystemd,1,a\nsystemd.debian,1,b\n";
        let own = "sealroot,1,c\nsystemd,1,a\n";
        let table = merged(&[stub, "", own]);
        let rest = "systemd,1,a\nsystemd.debian,1,b\nsealroot,1,c\n";
        assert_eq!(table, format!("{HEAD}\n{rest}"));
        assert_eq!(parse(table.as_bytes()), Ok(table.as_str()));
        assert_eq!(merged(&[&table]), table);
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for good in ["sbat,1,x\n", "sbat,1,x\nsystemd,12,y", "sbat,1\n\0\0"] {
            parse(good.as_bytes()).unwrap();
        }
        for bad in [
            "",
            "systemd,1,x\n",
            "sbat,1\nx\n",
            "sbat,0,x",
            "sbat,1\n\0x",
            "sbat,1\n\n",
        ] {
            parse(bad.as_bytes()).unwrap_err();
        }
        parse(b"sbat,1,\xff\n").unwrap_err();
    }
}
