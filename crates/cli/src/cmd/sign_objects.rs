// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot sign-objects`

use std::io::{self, Write};

use clap::Args;
use sealroot::keyring;
use sealroot::release;
use sealroot_format::ErrorClass;
use sealroot_format::sign::{Name, Statement};
use serde::Serialize;

use crate::args::Common;
use crate::commit::CommitPrefix;
use crate::failure::Failure;
use crate::output::{Output, Report, counted};
use crate::progress::Progress;
use crate::signers::CertifiedSignerOptions;

/// Sign the large files of a release for the kernel's keyring.
///
/// Nothing of sealroot needs this: the release's statement is what vouches for it. It is for machines
/// with a security module that asks for built-in signatures of fs-verity, such as IPE.
///
/// `publish` offers the signatures with the release. A machine hands them to the kernel when the files
/// come, if its keyring has the certificate: that of the image it was booted from
/// (--verity-certificate of `uki build` and `initramfs`). From then on these files open only
/// where the keyring has it.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct SignObjects {
    /// The commit, as `build` printed it; its first digits do.
    #[arg(value_name = "COMMIT")]
    commit: CommitPrefix,

    /// The stream it was released in; needed where there are several.
    #[arg(long, value_name = "NAME")]
    stream: Option<Name>,

    #[command(flatten)]
    signer: CertifiedSignerOptions,
}

const EXAMPLES: &str = "\
Examples:
  sealroot --store ./store sign-objects COMMIT --key objects.key --certificate objects.pem
  sealroot --store ./store sign-objects COMMIT --signer 'hsm-sign --slot 4' --certificate objects.pem

A command is asked once for each file that has no signature yet.";

#[derive(Serialize)]
struct SignedObjects {
    commit: String,
    objects: u64,
    new: u64,
}

impl Report for SignedObjects {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let objects = counted(self.objects, "object");
        writeln!(out, "{objects} signed, {} of them now", self.new)
    }
}

impl SignObjects {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let Some(signer) = self.signer.signer(output)? else {
            let message = "name a private key with --key, or --signer, and its --certificate";
            return Err(Failure::new(ErrorClass::Usage, message).into());
        };
        let store = common.open_store_for_change()?;
        let commit = self.commit.find(&store)?;
        let (_, document) = release::read_statement(&store, commit, self.stream.as_ref())?;
        let statement = Statement::parse(document.body())?;
        // A signature vouches for what a whole and well-formed pack names.
        let tree = release::check_pack(&store, &statement)?;
        let objects: Vec<_> = release::objects(&tree).into_keys().collect();
        let progress = Progress::new(output);
        let signed = keyring::sign_objects(&store, &objects, &signer, &progress)?;
        drop(progress);
        output.emit(&SignedObjects {
            commit: commit.to_string(),
            objects: signed.objects,
            new: signed.new,
        })
    }
}
