// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot kargs`

use std::io::{self, Write};

use clap::Args;
use sealroot::entry::{EntryError, KernelArguments};
use sealroot::machine;
use serde::Serialize;

use crate::args::Common;
use crate::boot_entry::EntryReport;
use crate::machine::BootArgs;
use crate::output::{Output, Report};
use crate::progress::Progress;

/// Show or change the kernel arguments of what boots next.
///
/// Without a change they are shown. A change makes a new boot entry in the place of the default:
/// the deployment, kernel and initramfs stay the same. Later deployments take the arguments over.
/// An entry that the boot loader tries only so often is tried anew that often.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Kargs {
    /// Remove an argument: KEY=VALUE that very one, KEY the only one of that key.
    #[arg(long, value_name = "ARG")]
    delete: Vec<String>,

    /// Give the only argument of a key another value, or add it: KEY=VALUE, or KEY=OLD=NEW.
    #[arg(long, value_name = "ARG")]
    replace: Vec<String>,

    /// Add an argument, or several with spaces between them.
    #[arg(long, value_name = "ARG")]
    append: Vec<String>,

    #[command(flatten)]
    boot: BootArgs,
}

const EXAMPLES: &str = "\
Examples:
  sealroot kargs
  sealroot kargs --append quiet --delete debug --replace console=ttyS0";

#[derive(Serialize)]
struct ArgumentsReport {
    kernel_arguments: String,
}

impl Report for ArgumentsReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.kernel_arguments)
    }
}

impl Kargs {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        if self.delete.is_empty() && self.replace.is_empty() && self.append.is_empty() {
            let kernel_arguments = machine::arguments(&self.boot.require(common)?)?.to_string();
            return output.emit(&ArgumentsReport { kernel_arguments });
        }
        let store = common.open_store_for_change()?;
        let boot = self.boot.require_for_change(common)?;
        let change = |arguments: &mut KernelArguments| -> Result<(), EntryError> {
            for argument in &self.delete {
                arguments.delete(argument)?;
            }
            for argument in &self.replace {
                arguments.replace(argument)?;
            }
            for argument in &self.append {
                arguments.append(argument)?;
            }
            Ok(())
        };
        let added = {
            let progress = Progress::new(output);
            machine::change_arguments(&store, &boot, &change, &progress)?
        };
        output.emit(&EntryReport::new(&added, boot.loader()))
    }
}
