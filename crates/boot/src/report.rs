// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/run/sealroot/booted.json`: what was booted, for `sealroot status` (`docs/design/boot.md`).
//!
//! Written by hand: a serialiser would be most of this program.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};

use sealroot_format::floor::Floor;
use sealroot_format::measure;
use sealroot_format::policy::{EtcMode, Layer, Mode, Policy};

use crate::plan::{BootPlan, EtcPlan};
use crate::refusal::{Code, OrRefuse as _, Refusal};
use crate::release::Release;

const DIRECTORY: &str = "/run/sealroot";
const FILE: &str = "/run/sealroot/booted.json";

/// Writes the record of this boot.
///
/// `event` is what the TPM was told of it, if it was.
pub(crate) fn write(
    plan: &BootPlan,
    release: &Release,
    policy: &Policy,
    floor: Floor,
    event: Option<&str>,
) -> Result<(), Refusal> {
    let kept = kept_floor(policy, floor);
    let measured = event.map_or_else(|| "null".to_owned(), measured);
    write_file(&booted(plan, release, &kept, &measured)).or_refuse(
        Code::System,
        FILE,
        "to be written",
    )
}

/// The floor, and where the policy says that it is kept.
fn kept_floor(policy: &Policy, floor: Floor) -> String {
    let store = policy.floor_store;
    let base = store.tpm.map_or("null".to_owned(), |base| base.to_string());
    format!(
        "{{\"epoch\": {}, \"index\": {}, \"on\": \"{}\", \"efi\": {}, \"tpm_base\": {base}}}",
        floor.epoch,
        floor.index,
        policy.floor_on.as_str(),
        store.efi
    )
}

fn measured(event: &str) -> String {
    format!(
        "{{\"pcr\": {}, \"digest\": \"{}\", \"event\": {}}}",
        measure::PCR,
        measure::digest(event),
        string(event)
    )
}

fn write_file(text: &str) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o755).create(DIRECTORY)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(FILE)?;
    file.write_all(text.as_bytes())
}

/// The record: one JSON object with these keys, in this order; what is not known is null.
fn booted(plan: &BootPlan, release: &Release, kept_floor: &str, measured: &str) -> String {
    let stated = release.stated.as_ref();
    let deployment = release.deployment;
    let mut json = String::from("{\n");
    let mut field = |key: &str, value: String, end: &str| {
        let _ = writeln!(json, "  {}: {value}{end}", string(key));
    };
    let or_null = |value: Option<String>| value.unwrap_or_else(|| "null".to_owned());
    field("version", "1".to_owned(), ",");
    field("sealed", plan.insecure.is_empty().to_string(), ",");
    let insecure: Vec<_> = plan.insecure.iter().map(|reason| string(reason)).collect();
    field("insecure", format!("[{}]", insecure.join(", ")), ",");
    field("mode", string(mode(plan.mode)), ",");
    field("layer", string(layer(plan.layer)), ",");
    field("etc", string(etc(plan.etc).as_str()), ",");
    field("pack", string(&release.pack.to_hex()), ",");
    field(
        "commit",
        or_null(stated.map(|stated| string(&stated.commit.to_hex()))),
        ",",
    );
    field(
        "serial",
        or_null(deployment.map(|name| name.serial.to_string())),
        ",",
    );
    field("index", release.numbers.index.to_string(), ",");
    field("epoch", release.numbers.epoch.to_string(), ",");
    field("floor", kept_floor.to_owned(), ",");
    field("measured", measured.to_owned(), ",");
    field(
        "statement",
        or_null(stated.map(|stated| string(&stated.text))),
        "",
    );
    json.push_str("}\n");
    json
}

const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Sealed => "sealed",
        Mode::Verity => "verity",
        Mode::Integrity => "integrity",
    }
}

const fn layer(layer: Layer) -> &'static str {
    match layer {
        Layer::Erofs => "erofs",
        Layer::Tmpfs(_) => "tmpfs",
    }
}

const fn etc(etc: EtcPlan) -> EtcMode {
    match etc {
        EtcPlan::Transient => EtcMode::Transient,
        EtcPlan::Allowlist => EtcMode::Allowlist,
        EtcPlan::OfDeployment(_) => EtcMode::Merge,
    }
}

/// A string of JSON (RFC 8259, 7).
fn string(text: &str) -> String {
    let mut json = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\n' => json.push_str("\\n"),
            control if control < ' ' => {
                let _ = write!(json, "\\u{:04x}", u32::from(control));
            }
            other => json.push(other),
        }
    }
    json.push('"');
    json
}
