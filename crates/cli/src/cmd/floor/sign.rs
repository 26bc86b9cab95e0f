// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot floor sign`

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use sealroot::floor;
use sealroot_format::ErrorClass;
use sealroot_format::floor::Floor;
use sealroot_format::limits::{MAX_FLOOR_EPOCH, MAX_FLOOR_INDEX};
use serde::Serialize;

use super::FloorReport;
use crate::failure::Failure;
use crate::files;
use crate::name::AnyName;
use crate::output::{Output, Report};

pub(super) const EXAMPLE: &str = "\
Example:
  openssl req -new -x509 -newkey rsa:2048 -sha256 -nodes -days 36500 \\
      -subj /CN=floor -keyout floor.key -out floor.pem
  sealroot floor sign --epoch 3 --key floor.key --certificate floor.pem -o floor.auth";

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The lowest epoch that is to boot, at most 1023.
    #[arg(long, value_name = "N")]
    epoch: u64,

    /// The lowest index that is to boot where a policy has the floor on the index, at most
    /// 134217727. An update without it takes a floor on the index away.
    #[arg(long, value_name = "N", default_value_t = 0)]
    index: u64,

    /// The owner's secret key, in PEM.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// The certificate of that key, in PEM.
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,

    /// Where to write the update.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Serialize)]
struct SignedReport {
    file: AnyName,
    #[serde(flatten)]
    floor: FloorReport,
}

impl Report for SignedReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let FloorReport { epoch, index } = self.floor;
        writeln!(
            out,
            "{}: the update to epoch {epoch}, index {index}",
            self.file
        )
    }
}

impl Sign {
    pub(super) fn run(&self, output: Output) -> anyhow::Result<()> {
        let floor = Floor::new(self.epoch, self.index).ok_or_else(|| {
            let message = format!(
                "epoch {} and index {}: expected at most {MAX_FLOOR_EPOCH} and {MAX_FLOOR_INDEX}",
                self.epoch, self.index
            );
            Failure::new(ErrorClass::Usage, message)
        })?;
        files::open(&self.key)?;
        files::open(&self.certificate)?;
        let update = floor::sign(floor, &self.key, &self.certificate)?;
        files::replace(&self.output, |out| Ok(out.write_all(update.as_bytes())?))?;
        output.emit(&SignedReport {
            file: self.output.as_path().into(),
            floor: floor.into(),
        })
    }
}
