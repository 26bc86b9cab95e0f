// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot uki sign`

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use sealroot_format::ErrorClass;

use super::show::Shown;
use crate::failure::Failure;
use crate::files;
use crate::output::Output;
use crate::signers::ImageSignerOptions;

pub(super) const EXAMPLES: &str = "\
Examples:
  sealroot uki sign os.efi -o os.signed.efi --key db.key --certificate db.pem
  sealroot uki sign os.efi -o os.signed.efi --signer 'hsm-sign --slot 3' --certificate db.pem";

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The image.
    #[arg(value_name = "IMAGE")]
    image: PathBuf,

    /// Where to write the signed image.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    #[command(flatten)]
    signer: ImageSignerOptions,
}

impl Sign {
    pub(super) fn run(&self, output: Output) -> anyhow::Result<()> {
        let image = super::read_image(&self.image)?;
        let Some(signer) = self.signer.signer(output)? else {
            let message = "name a private key with --key, or --signer, and its --certificate";
            return Err(Failure::new(ErrorClass::Usage, message).into());
        };
        let signed = super::sign(&image, &signer, &self.signer)?;
        files::replace(&self.output, |out| Ok(out.write_all(&signed)?))?;
        output.emit(&Shown::of(&self.output, &signed)?)
    }
}
