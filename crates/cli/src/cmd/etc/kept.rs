// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot etc keep` and `sealroot etc forget`

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use sealroot::etc;
use sealroot::machine::Booted;
use sealroot::store::KernelIo;
use sealroot_format::ErrorClass;
use sealroot_format::kept::{FILES, KeptFile};
use sealroot_format::policy::EtcMode;
use serde::Serialize;

use super::Place;
use crate::args::Common;
use crate::failure::{Failure, class_of};
use crate::machine::RunArgs;
use crate::output::{Output, Report};

/// Keep files as they are now for the next boots.
///
/// Each is checked first, as it is at every boot: what is kept is data of a known type, and nothing
/// that could start a program. Of shadow it is the passwords of users that can log in. Files are
/// kept in /var/lib/sealroot/etc; the boot program reads them where its policy says `etc allowlist`.
#[derive(Debug, Args)]
#[command(after_long_help = KEEP_EXAMPLES)]
pub(super) struct Keep {
    /// The files: /etc/hostname, or only hostname.
    #[arg(value_name = "FILE", required_unless_present = "list")]
    files: Vec<String>,

    /// Show which files can be kept, and which are.
    #[arg(long, conflicts_with = "files")]
    list: bool,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    run: RunArgs,
}

const KEEP_EXAMPLES: &str = "\
Examples:
  sealroot etc keep --list
  sealroot etc keep machine-id hostname localtime shadow
  sealroot etc keep /etc/ssh/ssh_host_ed25519_key /etc/ssh/ssh_host_ed25519_key.pub";

/// Keep files no more.
///
/// From the next boot on they are what the release has. What is in /etc now stays until then.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  sealroot etc forget hostname")]
pub(super) struct Forget {
    /// The files: /etc/hostname, or only hostname.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,

    #[command(flatten)]
    place: Place,
}

fn open_var(root: &Path) -> anyhow::Result<KernelIo> {
    let path = root.join("var");
    KernelIo::open(&path).with_context(|| format!("cannot open {}", path.display()))
}

/// The file that is meant, which is one of those that can be kept.
fn find(text: &str) -> anyhow::Result<&'static KeptFile> {
    let name = text.strip_prefix("/etc/").unwrap_or(text);
    KeptFile::find(&format!("/etc/{name}")).ok_or_else(|| {
        let message = format!("{text} is no file that can be kept");
        Failure::new(ErrorClass::Usage, message)
            .hint("`sealroot etc keep --list` shows those that can; all else comes with a release")
            .into()
    })
}

fn find_all(texts: &[String]) -> anyhow::Result<Vec<&'static KeptFile>> {
    texts.iter().map(|text| find(text)).collect()
}

#[derive(Serialize)]
struct KeptReport {
    kept: Vec<&'static str>,
}

impl Report for KeptReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        (self.kept.iter()).try_for_each(|path| writeln!(out, "{path} is kept"))
    }
}

#[derive(Serialize)]
struct ForgottenReport {
    forgotten: Vec<&'static str>,
    were_not_kept: Vec<&'static str>,
}

impl Report for ForgottenReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for path in &self.forgotten {
            writeln!(out, "{path} is kept no more")?;
        }
        (self.were_not_kept.iter()).try_for_each(|path| writeln!(out, "{path} was not kept"))
    }
}

#[derive(Serialize)]
struct ListReport {
    files: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    path: &'static str,
    is_kept: bool,
    /// Why what is kept is not used, or why what is in `/etc` cannot be kept.
    problem: Option<String>,
    /// Whether the next boot has what `/etc` has now; null if that is nothing, or not known.
    is_current: Option<bool>,
}

impl Report for ListReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let width = FILES.iter().map(|file| file.path().len()).max();
        let width = width.unwrap_or_default();
        for Listed {
            path,
            is_kept,
            problem,
            is_current,
        } in &self.files
        {
            let state = match (is_kept, problem, is_current) {
                (true, Some(problem), _) => format!("kept, but NOT USED: {problem}"),
                (true, None, Some(false)) => "kept, but /etc has another now".to_owned(),
                (true, None, _) => "kept".to_owned(),
                (false, Some(problem), _) => format!("cannot be kept: {problem}"),
                (false, None, Some(_)) => "not kept".to_owned(),
                (false, None, None) => "not there".to_owned(),
            };
            let line = format!("{path:width$}  {state}");
            writeln!(out, "{}", crate::output::printable(&line))?;
        }
        Ok(())
    }
}

impl Keep {
    pub(super) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let root = self.place.root(common)?;
        let var = open_var(&root)?;
        if self.list {
            let files = FILES.iter().map(|file| list(&var, &root, file));
            return output.emit(&ListReport {
                files: files.collect::<Result<_, _>>()?,
            });
        }
        // All are looked at before any is kept.
        let files = find_all(&self.files)?;
        let present = files.iter().map(|file| etc::read_present(&root, file));
        let present: Vec<_> = present.collect::<Result<_, _>>()?;
        for (file, bytes) in files.iter().zip(&present) {
            etc::keep(&var, file, bytes)?;
        }
        self.warn_of_another_mode(output);
        output.emit(&KeptReport {
            kept: files.iter().map(|file| file.path()).collect(),
        })
    }

    /// Where the system was booted by another policy, what is kept may never be read.
    fn warn_of_another_mode(&self, output: Output) {
        let booted = Booted::read(&self.run.runtime()).ok().flatten();
        let mode = booted.and_then(|booted| booted.etc);
        if mode.as_deref() != Some(EtcMode::Allowlist.as_str()) {
            output.warn(
                "this system was not booted with `etc allowlist`: what is kept is used only by a \
                 boot whose policy says so (`sealroot initramfs --etc allowlist`)",
            );
        }
    }
}

fn list(var: &KernelIo, root: &Path, file: &'static KeptFile) -> anyhow::Result<Listed> {
    // What nobody may read is no reason to list it as unusable.
    let kept = match etc::read_kept(var, file) {
        Err(error) if error.class() == ErrorClass::Io => return Err(error.into()),
        kept => kept,
    };
    let present = etc::read_present(root, file);
    let (is_kept, bytes, problem) = match kept {
        Ok(None) => (false, None, None),
        Ok(Some(bytes)) => {
            let problem = file.parse(&bytes).err().map(|error| error.to_string());
            (true, Some(bytes), problem)
        }
        Err(error) => (true, None, Some(error.to_string())),
    };
    let present = present.map_err(anyhow::Error::from);
    let (present, cannot) = match present {
        Ok(present) => (Some(present), None),
        Err(error) if class_of(&error) == ErrorClass::NotFound => (None, None),
        Err(error) => (None, Some(error.to_string())),
    };
    Ok(Listed {
        path: file.path(),
        is_kept,
        problem: if is_kept { problem } else { cannot },
        is_current: present.map(|present| Some(present) == bytes),
    })
}

impl Forget {
    pub(super) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let files = find_all(&self.files)?;
        let var = open_var(&self.place.root(common)?)?;
        let mut report = ForgottenReport {
            forgotten: Vec::new(),
            were_not_kept: Vec::new(),
        };
        for file in files {
            if etc::forget(&var, file)? {
                report.forgotten.push(file.path());
            } else {
                report.were_not_kept.push(file.path());
            }
        }
        output.emit(&report)
    }
}
