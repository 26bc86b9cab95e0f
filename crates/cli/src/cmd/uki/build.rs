// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot uki build`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use sealroot::initramfs::{self, ModuleFiles};
use sealroot::keyring::read_certificates;
use sealroot::release::{self, ReleaseFiles};
use sealroot::uki::{self, Parts};
use sealroot_format::ErrorClass;
use sealroot_format::erofs::ReadAt;
use sealroot_format::limits::{MAX_BOOT_FILE_BYTES, MAX_EFI_STUB_BYTES, MAX_OS_RELEASE_BYTES};
use sealroot_format::pack::Pack;
use sealroot_format::policy::{
    CommandLine, DeploymentName, MemoryPercent, Pinned, PinnedPack, Policy, RootDevice, SecureBoot,
    Var,
};
use sealroot_format::sign::{Name, Statement};
use serde::Serialize;

use super::show::Shown;
use crate::args::Common;
use crate::boot_entry::EtcChoice;
use crate::cmd::deploy::ModeChoice;
use crate::cmd::initramfs::{FloorChoices, LayerChoice, find_boot_program, requested_modules};
use crate::commit::CommitPrefix;
use crate::failure::Failure;
use crate::files;
use crate::output::{Output, Report, counted};
use crate::signers::ImageSignerOptions;

/// Where a release has its description, the first that is there.
const OS_RELEASE: [&str; 2] = ["usr/lib/os-release", "etc/os-release"];

pub(super) const EXAMPLES: &str = "\
Examples:
  sealroot --store ./store --keyset vendor.keyset uki build COMMIT -o os.efi \\
      --root PARTUUID=4f68bce3-e8cd-4db1-96e7-fbcaf984b709 --stateroot exampleos \\
      --cmdline 'console=ttyS0' --key db.key --certificate db.pem
  sealroot --store ./store --keyset vendor.keyset uki build COMMIT -o unsigned.efi \\
      --root LABEL=root --by-keyset
  sealroot --store ./store --keyset vendor.keyset uki build COMMIT -o repair.efi --repair \\
      --root LABEL=root --key db.key --certificate db.pem";

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The release; its first digits do.
    #[arg(value_name = "COMMIT")]
    commit: CommitPrefix,

    /// The stream it was released in; needed where there are several.
    #[arg(long, value_name = "NAME")]
    stream: Option<Name>,

    /// Where to write the image.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    /// Kernel parameters besides those that every image has.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    cmdline: String,

    #[command(flatten)]
    choices: PolicyChoices,

    #[command(flatten)]
    parts: PartChoices,

    #[command(flatten)]
    repair: RepairChoices,

    #[command(flatten)]
    signer: ImageSignerOptions,
}

#[derive(Debug, Args)]
struct RepairChoices {
    /// Make an image that repairs the store instead of booting the release.
    ///
    /// It has kernel, policy and keyset of the release, and the command `sealroot` in its initramfs, which looks
    /// through the whole store, replaces what is damaged from what else the disk has, and starts the machine
    /// again. `uki install` puts it on the boot partition.
    #[arg(long)]
    repair: bool,

    /// The static command sealroot for it [default: this program].
    #[arg(long, value_name = "FILE", requires = "repair")]
    repair_tool: Option<PathBuf>,
}

impl RepairChoices {
    fn tool(&self) -> anyhow::Result<Option<PathBuf>> {
        match &self.repair_tool {
            None if self.repair => {
                let this = std::env::current_exe().context("where is this program?")?;
                Ok(Some(this))
            }
            named => Ok(named.clone()),
        }
    }
}

#[derive(Debug, Args)]
struct PolicyChoices {
    /// The device of the physical root: PARTUUID=, UUID= or LABEL=.
    #[arg(long, value_name = "DEVICE")]
    root: RootDevice,

    /// What is enforced.
    #[arg(long, value_enum, default_value_t = ModeChoice::Sealed)]
    mode: ModeChoice,

    /// How the pack becomes the top layer.
    #[arg(long, value_enum, default_value_t = LayerChoice::Erofs)]
    layer: LayerChoice,

    /// Most memory the layer `tmpfs` may take, percent of all (1 to 25).
    #[arg(long, value_name = "PERCENT", default_value_t = MemoryPercent::MAX.get())]
    tmpfs_percent: u8,

    /// What of /etc is kept: nothing, some files, or all of it in the deployment.
    #[arg(long, value_enum, default_value_t = EtcChoice::Transient)]
    etc: EtcChoice,

    /// The stateroot whose /var is mounted; without it /var is in memory and lost at shutdown.
    #[arg(long, value_name = "NAME")]
    stateroot: Option<Name>,

    /// Let the keyset decide at boot: the release's statement is verified there, on the disk,
    /// instead of the image naming the pack. The command line then names the deployment.
    #[arg(long)]
    by_keyset: bool,

    /// Name this deployment of the release on the command line [default with --by-keyset: 0].
    #[arg(long, value_name = "N")]
    serial: Option<u32>,

    /// Releases below this security epoch do not boot [default: that of the release].
    #[arg(long, value_name = "N")]
    epoch_floor: Option<u64>,

    #[command(flatten)]
    floor: FloorChoices,

    /// Boot without Secure Boot too. The system is then NOT SEALED and says so.
    #[arg(long)]
    allow_insecure_boot: bool,
}

#[derive(Debug, Args)]
struct PartChoices {
    /// A certificate for the kernel's keyring of fs-verity, in PEM. May be given again.
    ///
    /// The boot program puts it there and closes the keyring (see `sign-objects`). Objects with a
    /// signature open only where its certificate is in the keyring: every image that is to boot
    /// them needs it.
    #[arg(long = "verity-certificate", value_name = "FILE")]
    verity_certificates: Vec<PathBuf>,

    /// The EFI stub, as a systemd from 250 to 259 has it: newer ones take an initramfs from boot loaders.
    #[arg(long, value_name = "FILE", default_value = uki::USUAL_STUB)]
    stub: PathBuf,

    /// The kernel, instead of the release's /usr/lib/modules/<version>/vmlinuz.
    #[arg(long, value_name = "FILE", requires = "modules")]
    linux: Option<PathBuf>,

    /// The kernel's modules, instead of the release's: a directory named after the kernel's
    /// version, with `modules.dep` in it.
    #[arg(long, value_name = "DIR", requires = "linux")]
    modules: Option<PathBuf>,

    /// The os-release file, instead of the release's.
    #[arg(long, value_name = "FILE")]
    os_release: Option<PathBuf>,

    /// The static program sealroot-boot [default: beside this program, then /usr/lib/sealroot].
    #[arg(long, value_name = "FILE")]
    boot_program: Option<PathBuf>,

    /// One more kernel module to carry, with all it depends on. May be given again.
    ///
    /// Carried anyway are ext4, erofs, overlay and loop, and where the kernel has them the drivers
    /// of disks on virtio, nvme, ahci, mmc and Xen. A root on btrfs takes `--module btrfs`.
    #[arg(long = "module", value_name = "NAME")]
    extra_modules: Vec<String>,
}

/// A kernel and where its modules are.
struct Kernel<'k> {
    linux: Vec<u8>,
    version: String,
    modules: Box<dyn ModuleFiles + 'k>,
}

impl PolicyChoices {
    fn deployment(&self, statement: &Statement) -> Option<DeploymentName> {
        let serial = self.serial.or_else(|| self.by_keyset.then_some(0))?;
        Some(DeploymentName {
            commit: statement.commit,
            serial,
        })
    }

    fn policy(&self, statement: &Statement, line: CommandLine) -> anyhow::Result<Policy> {
        Ok(Policy {
            mode: self.mode.into(),
            layer: self.layer.layer(self.tmpfs_percent)?,
            root: self.root.clone(),
            etc: self.etc.into(),
            var: self.stateroot.clone().map_or(Var::Volatile, Var::Stateroot),
            pinned: if self.by_keyset {
                Pinned::Numbers(statement.numbers())
            } else {
                Pinned::Pack(PinnedPack::of(statement))
            },
            os: statement.os.clone(),
            variant: statement.variant.clone(),
            stream: statement.stream.clone(),
            arch: statement.arch.clone(),
            epoch_floor: self.epoch_floor.unwrap_or(statement.epoch),
            floor_on: self.floor.on(),
            floor_store: self.floor.store(),
            secure_boot: if self.allow_insecure_boot {
                SecureBoot::NotRequired(Some(line))
            } else {
                SecureBoot::Required(line)
            },
        })
    }
}

impl PartChoices {
    fn kernel<'k>(
        &self,
        files: &ReleaseFiles<'k>,
        statement: &Statement,
    ) -> anyhow::Result<Kernel<'k>> {
        let stated = statement.kernel.as_ref().map(ToString::to_string);
        if let (Some(linux), Some(modules)) = (&self.linux, &self.modules) {
            return given_kernel(linux, modules, stated.as_deref());
        }
        let kernel = files.kernel(stated.as_deref())?;
        Ok(Kernel {
            linux: kernel
                .linux
                .read(MAX_BOOT_FILE_BYTES)
                .context("cannot read the kernel")?,
            version: kernel.version.clone(),
            modules: Box::new(kernel),
        })
    }

    fn os_release(&self, files: &ReleaseFiles<'_>) -> anyhow::Result<Vec<u8>> {
        if let Some(path) = &self.os_release {
            return super::read(path, MAX_OS_RELEASE_BYTES);
        }
        for path in OS_RELEASE {
            if let Some(file) = files.open(path)? {
                let read = file.read(MAX_OS_RELEASE_BYTES as u64);
                return read.with_context(|| format!("cannot read /{path} of the release"));
            }
        }
        let message = format!("the release has no /{}", OS_RELEASE.join(" and no /"));
        Err(Failure::new(ErrorClass::NotFound, message)
            .hint("name one with --os-release FILE")
            .into())
    }

    fn stub(&self) -> anyhow::Result<Vec<u8>> {
        if !self.stub.exists() {
            let message = format!("there is no EFI stub {}", self.stub.display());
            return Err(Failure::new(ErrorClass::NotFound, message)
                .hint(
                    "it is in Debian's package systemd-boot-efi and Fedora's systemd-boot-unsigned; \
                     name another with --stub FILE",
                )
                .into());
        }
        super::read(&self.stub, MAX_EFI_STUB_BYTES)
    }
}

fn given_kernel<'k>(
    linux: &Path,
    modules: &Path,
    stated: Option<&str>,
) -> anyhow::Result<Kernel<'k>> {
    files::expect_directory(modules, "--modules", "the directory of a kernel's modules")?;
    let whole = modules.canonicalize();
    let whole = whole.map_err(|error| files::cannot("look at", modules, error))?;
    let name = whole.file_name().and_then(|name| name.to_str());
    let version = name.unwrap_or_default().to_owned();
    if let Some(stated) = stated.filter(|stated| *stated != version) {
        let message = format!(
            "--modules {}: expected those of the release's kernel {stated}, found {version}",
            modules.display()
        );
        return Err(Failure::new(ErrorClass::Usage, message)
            .hint("the boot program starts a release with the kernel of its statement alone")
            .into());
    }
    Ok(Kernel {
        linux: super::read_image(linux)?,
        version,
        modules: Box::new(modules.to_owned()),
    })
}

#[derive(Serialize)]
struct Built {
    commit: String,
    modules: Vec<String>,
    #[serde(flatten)]
    image: Shown,
}

impl Report for Built {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let modules = counted(self.modules.len() as u64, "module");
        writeln!(out, "release {}, {modules} in the initramfs", self.commit)?;
        self.image.write_text(out)
    }
}

impl Build {
    pub(super) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        // What can be wrong with them is said before anything takes time.
        let signer = self.signer.signer(output)?;
        let stub = self.parts.stub()?;
        let certificates = read_certificates(&self.parts.verity_certificates)?;
        let boot_program = find_boot_program(self.parts.boot_program.as_deref())?;
        let repair_tool = self.repair.tool()?;
        let store = common.open_store()?;
        let commit = self.commit.find(&store)?;
        let keyset = common.trusted_keyset()?;
        let statement = release::verify_statement(&store, &keyset, commit, self.stream.as_ref())?;
        let line = uki::command_line(&self.cmdline, self.choices.deployment(&statement))?;
        let policy = self
            .choices
            .policy(&statement, line)?
            .to_string()
            .into_bytes();
        if let Err(error) = Policy::parse(&policy) {
            let message = format!("these options make no policy: {error}");
            return Err(Failure::new(ErrorClass::Usage, message).into());
        }

        let bytes = release::open_pack_bytes(&store, &statement.pack_digest)?;
        let pack = Pack::open(&bytes as &dyn ReadAt)?;
        let files = ReleaseFiles::new(&store, &pack);
        let kernel = self.parts.kernel(&files, &statement)?;
        let os_release = match &repair_tool {
            Some(_) => uki::repair_description(&statement).into_bytes(),
            None => self.parts.os_release(&files)?,
        };
        let modules = requested_modules(&self.parts.extra_modules);
        let initramfs = initramfs::Options {
            kernel_modules: &*kernel.modules,
            boot_program: &boot_program,
            keyset: common.keyset_file()?.bytes(),
            policy: &policy,
            modules: &modules,
            verity_certificates: &certificates,
            repair_tool: repair_tool.as_deref(),
        };
        let parts = Parts {
            stub: &stub,
            linux: &kernel.linux,
            uname: &kernel.version,
            os_release: &os_release,
            sbat: &uki::sbat_lines_of(&statement),
        };
        let made = uki::build(&parts, &initramfs)?;
        let image = match &signer {
            Some(signer) => super::sign(&made.bytes, signer, &self.signer)?,
            None => made.bytes,
        };
        files::replace(&self.output, |out| Ok(out.write_all(&image)?))?;
        output.emit(&Built {
            commit: statement.commit.to_hex(),
            modules: made.initramfs.modules,
            image: Shown::of(&self.output, &image)?,
        })
    }
}
