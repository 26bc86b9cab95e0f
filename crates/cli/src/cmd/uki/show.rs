// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot uki show`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use sealroot::uki;
use sealroot_format::hex;
use serde::Serialize;

use crate::certificate::CertificateReport;
use crate::name::AnyName;
use crate::output::{Output, Report, counted, printable};

pub(super) const EXAMPLES: &str = "\
Example:
  sealroot uki show os.efi";

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The image.
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
}

impl Show {
    pub(super) fn run(&self, output: Output) -> anyhow::Result<()> {
        let image = super::read_image(&self.image)?;
        output.emit(&Shown::of(&self.image, &image)?)
    }
}

/// A complete image.
#[derive(Serialize)]
pub(super) struct Shown {
    file: AnyName,
    size_bytes: u64,
    digest: String,
    uname: String,
    cmdline: String,
    /// Whether it repairs the store and boots nothing.
    repairs: bool,
    pack: Option<String>,
    policy: String,
    unsealed: Option<String>,
    /// Those that the kernel's keyring for fs-verity gets.
    verity_certificates: Vec<CertificateReport>,
    os_release: String,
    sbat: String,
    sections: Vec<SectionReport>,
    signatures: Option<Vec<SignatureReport>>,
}

#[derive(Serialize)]
struct SectionReport {
    name: String,
    size_bytes: u64,
}

#[derive(Serialize)]
struct SignatureReport {
    subject: String,
    fingerprint: String,
    fault: Option<&'static str>,
}

impl Shown {
    pub(super) fn of(file: &Path, image: &[u8]) -> anyhow::Result<Self> {
        let contents = uki::read(image)?;
        let sections = uki::sections(image)?.into_iter();
        let signatures = uki::signatures(image)?;
        Ok(Self {
            file: file.into(),
            size_bytes: image.len() as u64,
            digest: hex::encode(&uki::digest(image)?),
            uname: contents.uname.to_owned(),
            cmdline: contents.cmdline.to_string(),
            repairs: contents.repairs,
            pack: contents
                .policy
                .pinned
                .pack()
                .map(|pack| pack.digest.to_hex()),
            policy: contents.policy.to_string(),
            unsealed: contents.unsealed(),
            verity_certificates: (contents.verity_certificates.iter())
                .map(CertificateReport::new)
                .collect(),
            os_release: contents.os_release.to_owned(),
            sbat: contents.sbat.to_owned(),
            sections: sections
                .map(|(name, size_bytes)| SectionReport {
                    name,
                    size_bytes: size_bytes as u64,
                })
                .collect(),
            signatures: signatures.map(|signatures| {
                let report = |signature: uki::Signature| SignatureReport {
                    subject: signature.subject,
                    fingerprint: hex::encode(&signature.fingerprint),
                    fault: signature.fault,
                };
                signatures.into_iter().map(report).collect()
            }),
        })
    }

    fn write_signatures(&self, out: &mut dyn Write) -> io::Result<()> {
        match self.signatures.as_deref() {
            None => writeln!(out, "SIGNED in a way that is not understood"),
            Some([]) => writeln!(out, "NOT SIGNED"),
            Some(signatures) => signatures.iter().try_for_each(|signature| {
                let subject = printable(&signature.subject);
                let certificate = format!("{subject}, certificate {}", signature.fingerprint);
                match signature.fault {
                    None => writeln!(out, "signed by {certificate}"),
                    Some(fault) => writeln!(out, "BAD SIGNATURE by {certificate}: {fault}"),
                }
            }),
        }
    }
}

impl Report for Shown {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}: {}", self.file, counted(self.size_bytes, "byte"))?;
        self.write_signatures(out)?;
        if let Some(found) = &self.unsealed {
            writeln!(out, "NOT SEALED: the policy has {found}")?;
        }
        if self.repairs {
            writeln!(out, "REPAIRS the store, boots nothing")?;
        }
        writeln!(out, "digest for firmware: sha256 {}", self.digest)?;
        writeln!(out, "kernel {}", printable(&self.uname))?;
        writeln!(out, "command line: {}", self.cmdline)?;
        for certificate in &self.verity_certificates {
            writeln!(out, "certificate for fs-verity: {certificate}")?;
        }
        for (what, text) in [
            ("policy", &self.policy),
            ("os-release", &self.os_release),
            ("parts and generations", &self.sbat),
        ] {
            writeln!(out, "{what}:")?;
            for line in text.lines() {
                writeln!(out, "  {}", printable(line))?;
            }
        }
        writeln!(out, "sections:")?;
        self.sections.iter().try_for_each(|section| {
            let size = counted(section.size_bytes, "byte");
            writeln!(out, "  {:9} {size}", section.name)
        })
    }
}
