// SPDX-License-Identifier: MIT OR Apache-2.0
//! The initramfs: the boot program as `/init`, its policy and keyset, and the kernel modules it
//! loads, in an archive that is a pure function of these (`docs/design/boot.md`).

mod certificates;
mod cpio;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod modules;
mod scan;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sealroot_format::ErrorClass;
use sealroot_format::codec::Cursor;
use sealroot_format::policy::{
    self, BOOT_PROGRAM_NOTICE, CertificatesError, KEYSET_PATH, POLICY_PATH, Policy,
    REPAIR_TOOL_PATH, VERITY_CERTIFICATES_PATH, split_certificates,
};
use sealroot_format::sign::{self, Keyset, Unverified};

use crate::input;
use cpio::{Archive, Entry};
use modules::KernelModules;

/// More than any program of ours takes.
const MAX_PROGRAM_BYTES: usize = 64 << 20;

/// The name of the boot program's file.
pub const BOOT_PROGRAM: &str = "sealroot-boot";

pub use certificates::CertificateName;
pub(crate) use certificates::certificate_names;

/// What the `sealroot` command is known by: what it says where it is asked for help.
pub const REPAIR_TOOL_MARK: &str = "sealroot repair --dry-run --full";

pub(crate) use cpio::files;
pub use modules::{ModuleFiles, ModuleRequest, default_modules};
pub(crate) use scan::INIT_PATH;
pub use scan::{Carried, PROGRAM_PATH, ScanError, scan};

/// What goes into an initramfs.
#[derive(Clone)]
pub struct Options<'a> {
    /// The kernel's modules: `lib/modules/<release>` of a tree, with `modules.dep` in it.
    pub kernel_modules: &'a dyn ModuleFiles,
    /// The static boot program.
    pub boot_program: &'a Path,
    /// The keyset file.
    pub keyset: &'a [u8],
    /// The policy file.
    pub policy: &'a [u8],
    /// The modules to carry; see [`default_modules`].
    pub modules: &'a [ModuleRequest],
    /// The certificates for the kernel's keyring of fs-verity, in DER, one after another; see
    /// [`crate::keyring::read_certificates`]. No file is made where there are none.
    pub verity_certificates: &'a [u8],
    /// The static command `sealroot`, in an initramfs that repairs the store and boots nothing.
    pub repair_tool: Option<&'a Path>,
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("kernel_modules", &self.kernel_modules.location())
            .field("boot_program", &self.boot_program)
            .field("modules", &self.modules)
            .field("repair_tool", &self.repair_tool)
            .finish_non_exhaustive()
    }
}

/// What an initramfs holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The length of the archive.
    pub size_bytes: u64,
    /// The module files in the order they load.
    pub modules: Vec<String>,
}

/// Why no initramfs could be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The archive could not be written.
    #[error("cannot write the initramfs")]
    Write {
        /// What the system said.
        source: io::Error,
    },
    /// The module directory has no list of modules.
    #[error("no {}: expected the lib/modules/<release> of a kernel, after depmod", path.display())]
    NoModuleList {
        /// The list.
        path: PathBuf,
    },
    /// A line of a list of modules is not what `depmod` writes.
    #[error("{}: expected `module.ko: dependencies`, found {line:?}", path.display())]
    BadList {
        /// The list.
        path: PathBuf,
        /// The line.
        line: String,
    },
    /// The kernel has a module neither built in nor as a file.
    #[error("module {name}: expected it built in or below {}, found neither", directory.display())]
    MissingModule {
        /// The module.
        name: String,
        /// The module directory.
        directory: PathBuf,
    },
    /// The policy is not one that the boot program would take.
    #[error("policy for the initramfs")]
    Policy {
        /// What is wrong.
        source: policy::Error,
    },
    /// The keyset is not one that the boot program would take.
    #[error("keyset for the initramfs")]
    Keyset {
        /// What is wrong.
        source: sign::Error,
    },
    /// What is to be certificates is none.
    #[error("certificates for the initramfs: {source}")]
    Certificates {
        /// What is wrong.
        source: CertificatesError,
    },
    /// It is not the boot program, or could not run where there is nothing but itself.
    #[error("boot program {}: expected sealroot's own, a static 64-bit ELF program, found {found}", path.display())]
    BootProgram {
        /// The program.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// It is not the command for repairs, or could not run where there is nothing but itself.
    #[error("command for repairs {}: expected sealroot's own, a static 64-bit ELF program, found {found}", path.display())]
    RepairTool {
        /// The program.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
}

impl Error {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorClass::NotFound
            }
            Self::Read { source, .. } if source.kind() == io::ErrorKind::InvalidInput => {
                ErrorClass::Usage
            }
            Self::Read { .. } | Self::Write { .. } => ErrorClass::Io,
            Self::NoModuleList { .. } | Self::MissingModule { .. } => ErrorClass::NotFound,
            Self::BadList { .. } => ErrorClass::Corrupt,
            Self::Policy { source } => source.class(),
            Self::Keyset { source } => source.class(),
            Self::Certificates { .. } | Self::BootProgram { .. } | Self::RepairTool { .. } => {
                ErrorClass::Usage
            }
        }
    }
}

/// The boot program that is installed on this machine: beside the running program, or in
/// `/usr/lib/sealroot`.
pub fn installed_boot_program() -> Option<PathBuf> {
    let running = std::env::current_exe().ok();
    let beside = running.as_deref().and_then(Path::parent);
    let candidates = beside.into_iter().chain([Path::new("/usr/lib/sealroot")]);
    (candidates.map(|directory| directory.join(BOOT_PROGRAM))).find(|path| path.is_file())
}

/// Writes an initramfs to `out`. The same inputs give the same bytes.
///
/// A boot program, policy or keyset that would only be refused at boot is refused here, and a
/// keyset that its own root keys have not signed, which at boot nobody would notice. Modules are
/// carried as they are, compressed or not, so that their signatures hold.
pub fn build(options: &Options<'_>, out: &mut dyn Write) -> Result<Summary, Error> {
    Policy::parse(options.policy).map_err(|source| Error::Policy { source })?;
    Unverified::<Keyset>::parse(options.keyset)
        .and_then(|document| document.verify_first())
        .map_err(|source| Error::Keyset { source })?;
    if !options.verity_certificates.is_empty() {
        split_certificates(options.verity_certificates)
            .map_err(|source| Error::Certificates { source })?;
    }
    let program = read_program(options.boot_program)?;
    check_program(&program, BOOT_PROGRAM_NOTICE).map_err(|found| Error::BootProgram {
        path: options.boot_program.to_owned(),
        found,
    })?;
    let kernel = KernelModules::open(options.kernel_modules)?;
    let load_order = kernel.load_order(options.modules)?;

    let mut archive = Archive::default();
    for directory in ["dev", "proc", "run", "sys"] {
        archive.insert(directory, Entry::Directory);
    }
    let console = Entry::CharDevice {
        mode: 0o600,
        major: 5,
        minor: 1,
    };
    archive.insert("dev/console", console);
    archive.insert("init", file(0o755, program));
    archive.insert(POLICY_PATH, file(0o444, options.policy.to_vec()));
    archive.insert(KEYSET_PATH, file(0o444, options.keyset.to_vec()));
    if !options.verity_certificates.is_empty() {
        let certificates = options.verity_certificates.to_vec();
        archive.insert(VERITY_CERTIFICATES_PATH, file(0o444, certificates));
    }
    if let Some(path) = options.repair_tool {
        let tool = read_program(path)?;
        check_program(&tool, REPAIR_TOOL_MARK).map_err(|found| Error::RepairTool {
            path: path.to_owned(),
            found,
        })?;
        archive.insert(REPAIR_TOOL_PATH, file(0o755, tool));
    }
    let mut modules = Vec::new();
    for (position, path) in load_order.into_iter().enumerate() {
        let (name, content) = kernel.read(position, path)?;
        archive.insert(
            format!("usr/lib/sealroot/modules/{name}"),
            file(0o444, content),
        );
        modules.push(name);
    }
    let size_bytes = archive
        .write(out)
        .map_err(|source| Error::Write { source })?;
    Ok(Summary {
        size_bytes,
        modules,
    })
}

fn file(mode: u16, content: Vec<u8>) -> Entry {
    Entry::File { mode, content }
}

fn read_program(path: &Path) -> Result<Vec<u8>, Error> {
    input::read(path, MAX_PROGRAM_BYTES).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

/// That it is the program that has this text in it.
fn check_program(program: &[u8], mark: &str) -> Result<(), &'static str> {
    check_static(program)?;
    let mark = mark.as_bytes();
    let mut windows = program.windows(mark.len());
    match windows.any(|window| window == mark) {
        _ if program.len() > MAX_PROGRAM_BYTES => Err("one that is too large"),
        true => Ok(()),
        false => Err("another program"),
    }
}

/// That an ELF program asks for no dynamic loader (`elf(5)`: no program header `PT_INTERP`).
fn check_static(program: &[u8]) -> Result<(), &'static str> {
    const PT_INTERP: u32 = 3;
    const TRUNCATED: &str = "an ELF header that ends too early";
    const CLASS_64_LITTLE_ENDIAN: &[u8] = &[2, 1];
    let mut header = Cursor::new(program);
    if header.take(4) != Some(b"\x7fELF") || header.take(2) != Some(CLASS_64_LITTLE_ENDIAN) {
        return Err("something else");
    }
    header.take(0x20 - 6).ok_or(TRUNCATED)?;
    let table_offset = header.u64().ok_or(TRUNCATED)?;
    header.take(0x36 - 0x28).ok_or(TRUNCATED)?;
    let entry_bytes = usize::from(header.u16().ok_or(TRUNCATED)?);
    let entries = header.u16().ok_or(TRUNCATED)?;
    let mut table = Cursor::new(program);
    usize::try_from(table_offset)
        .ok()
        .and_then(|offset| table.take(offset))
        .ok_or(TRUNCATED)?;
    for _ in 0..entries {
        let mut entry = Cursor::new(table.take(entry_bytes).ok_or(TRUNCATED)?);
        if entry.u32().ok_or(TRUNCATED)? == PT_INTERP {
            return Err("one that needs a dynamic loader (build it with +crt-static)");
        }
    }
    Ok(())
}
