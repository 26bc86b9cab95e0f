// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot uki`

mod build;
mod install;
mod show;
mod sign;

use std::path::Path;

use clap::Subcommand;
use sealroot::uki::{self, ImageSigner, MaySign};
use sealroot_format::ErrorClass;
use sealroot_format::limits::MAX_BOOT_FILE_BYTES;

use crate::args::Common;
use crate::failure::Failure;
use crate::files;
use crate::output::Output;
use crate::signers::ImageSignerOptions;

/// Make, sign and show unified kernel images: what firmware verifies and starts.
#[derive(Debug, Subcommand)]
pub(crate) enum Uki {
    /// Make the image that boots a release, and sign it if a key is named.
    ///
    /// Stub, kernel, initramfs, os-release and the whole command line become one file. Kernel,
    /// modules and os-release come from the release itself, which is verified. The policy in the
    /// initramfs names the release's pack, so nothing else boots with the image. The same release
    /// and options give the same bytes.
    ///
    /// What would undo all that is no part of an image: shells and other programs to start, other
    /// roots, suspended systems. To the command line is added `lockdown=integrity`,
    /// `module.sig_enforce=1`, `noresume`, `systemd.import_credentials=no`, and `--`, behind which
    /// nothing is a parameter that somebody appends.
    #[command(after_long_help = build::EXAMPLES)]
    Build(Box<build::Build>),
    /// Sign an image that was made before, on another machine or another day.
    ///
    /// Nothing is signed but complete images of sealroot, which seal a machine: no kernels, no
    /// stubs, no add-ons.
    #[command(after_long_help = sign::EXAMPLES)]
    Sign(sign::Sign),
    /// Put an image for repairs on the boot partition.
    ///
    /// systemd-boot shows it behind all that boots a release, and starts it by itself only when nothing else is left.
    /// There is one at most: another takes its place.
    #[command(after_long_help = install::EXAMPLES)]
    Install(install::Install),
    /// Show what is in an image, and who signed it.
    #[command(after_long_help = show::EXAMPLES)]
    Show(show::Show),
}

impl Uki {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        match self {
            Self::Build(build) => build.run(common, output),
            Self::Sign(sign) => sign.run(output),
            Self::Install(install) => install.run(common, output),
            Self::Show(show) => show.run(output),
        }
    }
}

/// Reads a file that becomes part of an image, or is one.
fn read(path: &Path, max_bytes: usize) -> anyhow::Result<Vec<u8>> {
    let bytes = files::read(path, max_bytes)?;
    if bytes.len() <= max_bytes {
        return Ok(bytes);
    }
    let message = format!("{} has more than {max_bytes} bytes", path.display());
    Err(Failure::new(ErrorClass::Unsupported, message).into())
}

pub(crate) fn read_image(path: &Path) -> anyhow::Result<Vec<u8>> {
    read(
        path,
        usize::try_from(MAX_BOOT_FILE_BYTES).unwrap_or(usize::MAX),
    )
}

fn sign(
    image: &[u8],
    signer: &ImageSigner,
    options: &ImageSignerOptions,
) -> anyhow::Result<Vec<u8>> {
    let which = if options.sign_unsealed {
        MaySign::UnsealedToo
    } else {
        MaySign::SealedOnly
    };
    Ok(uki::sign(image, signer, which)?)
}
