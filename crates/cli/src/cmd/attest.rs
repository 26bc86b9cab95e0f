// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot attest`

use std::fs;
use std::io::{self, Write};

use clap::Args;
use sealroot::machine::Booted;
use sealroot_format::{ErrorClass, hex, measure};
use serde::Serialize;

use crate::failure::Failure;
use crate::machine::RunArgs;
use crate::output::{Output, Report, printable};

/// Where the kernel shows the PCR.
const PCR_FILE: &str = "/sys/class/tpm/tpm0/pcr-sha256/15";

/// Print what this boot has told the TPM, for who verifies a quote of it.
///
/// The boot program extends PCR 15 of the bank SHA-256 with the digest of an event: which release, in
/// which mode, above which floor. A quote of PCR 4, 7, 11 and 15 with this record shows what was
/// booted. The record itself is no evidence: root can write it, and not make a quote fit.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  sealroot --json attest > record.json")]
pub(crate) struct Attest {
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Serialize)]
struct AttestReport {
    version: u32,
    pcr: u32,
    bank: &'static str,
    /// The text of the event.
    event: String,
    /// The bytes whose SHA-256 is `digest`, in hex: the event in its frame.
    preimage: String,
    /// What the PCR was extended with.
    digest: String,
    /// The PCR after that, where it was all zeros before, as the firmware leaves it.
    value: String,
    /// The PCR as it is now: systemd extends it too, if it is told to.
    value_now: Option<String>,
    /// The text of the statement, whose SHA-256 is in the event.
    statement: Option<String>,
}

impl Report for AttestReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{}", self.event)?;
        writeln!(out, "\nPCR {}, {}", self.pcr, self.bank)?;
        writeln!(out, "extended with  {}", self.digest)?;
        writeln!(out, "value then     {}", self.value)?;
        let now = self.value_now.as_deref().unwrap_or("not known");
        writeln!(out, "value now      {}", printable(now))
    }
}

impl Attest {
    pub(crate) fn run(&self, output: Output) -> anyhow::Result<()> {
        let booted = Booted::read(&self.run.runtime())?.ok_or_else(|| {
            let message = "this system was not booted by sealroot";
            Failure::new(ErrorClass::NotFound, message)
        })?;
        let Some(event) = booted.event else {
            let message =
                "this boot was not measured: there was no TPM, or its boot program is older";
            return Err(Failure::new(ErrorClass::NotFound, message).into());
        };
        let digest = measure::digest(&event);
        let now = fs::read_to_string(PCR_FILE).ok();
        output.emit(&AttestReport {
            version: 1,
            pcr: measure::PCR,
            bank: "sha256",
            preimage: hex::encode(&measure::preimage(&event)),
            digest: digest.to_hex(),
            value: measure::extended([0; 32], &digest).to_hex(),
            value_now: now.map(|text| text.trim_end().to_ascii_lowercase()),
            statement: booted.statement,
            event,
        })
    }
}
