// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot initramfs`

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use sealroot::initramfs::{self, ModuleRequest};
use sealroot::keyring::read_certificates;
use sealroot_format::digest::VerityDigest;
use sealroot_format::policy::{
    CommandLine, FloorOn, FloorStore, Layer, MemoryPercent, Pinned, PinnedPack, Policy, RootDevice,
    SecureBoot, Var,
};
use sealroot_format::sign::{Name, ReleaseNumbers};
use sealroot_format::{ErrorClass, limits};
use serde::Serialize;

use crate::args::Common;
use crate::boot_entry::EtcChoice;
use crate::cmd::deploy::ModeChoice;
use crate::failure::Failure;
use crate::files;
use crate::name::AnyName;
use crate::output::{Output, Report, counted};

/// Make the initramfs that verifies and mounts the root.
///
/// It holds the static boot program, the kernel modules it needs, the keyset and the policy:
/// everything that decides at boot. The same inputs give the same bytes.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Initramfs {
    /// Where to write the archive.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    /// The kernel's modules, a directory with `modules.dep` in it.
    #[arg(long, value_name = "DIR")]
    modules: PathBuf,

    /// The static program sealroot-boot [default: beside this program, then /usr/lib/sealroot].
    #[arg(long, value_name = "FILE")]
    boot_program: Option<PathBuf>,

    /// One more kernel module to carry, with all it depends on. May be given again.
    ///
    /// Carried anyway are ext4, erofs, overlay and loop, and where the kernel has them the drivers
    /// of disks on virtio, nvme, ahci, mmc and Xen. A root on btrfs takes `--module btrfs`.
    #[arg(long = "module", value_name = "NAME")]
    extra_modules: Vec<String>,

    /// A certificate for the kernel's keyring of fs-verity, in PEM. May be given again.
    ///
    /// The boot program puts it there and closes the keyring (see `sign-objects`). Objects with a
    /// signature open only where its certificate is in the keyring: every image that is to boot
    /// them needs it.
    #[arg(long = "verity-certificate", value_name = "FILE")]
    verity_certificates: Vec<PathBuf>,

    /// A policy file as it is, instead of the options below.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["root", "os", "stream", "arch"])]
    policy: Option<PathBuf>,

    #[command(flatten)]
    choices: PolicyChoices,
}

const EXAMPLES: &str = "\
Examples:
  sealroot --keyset vendor.keyset initramfs -o initramfs.img \\
      --modules ./tree/usr/lib/modules/6.12.95+deb12-cloud-amd64 \\
      --root LABEL=root --os exampleos --stream stable --arch x86_64 --allow-insecure-boot

The kernel is then started with the deployment to boot on its command line:
  sealroot=<commit>.<serial>";

/// Where a floor is kept that images must not be below, besides in the image itself.
#[derive(Debug, Args)]
pub(crate) struct FloorChoices {
    /// A floor is kept in the firmware too, and must be there (`floor enrol`).
    #[arg(long = "floor-efi")]
    efi: bool,

    /// A floor is kept in the TPM too, and must be there: a counter that shows BASE at epoch 0.
    #[arg(long = "floor-tpm", value_name = "BASE")]
    tpm: Option<u64>,

    /// The floor in the firmware is on the index too: no release below it boots.
    #[arg(long = "floor-on-index", requires = "efi")]
    on_index: bool,
}

impl FloorChoices {
    pub(crate) fn on(&self) -> FloorOn {
        if self.on_index {
            FloorOn::Index
        } else {
            FloorOn::Epoch
        }
    }

    pub(crate) fn store(&self) -> FloorStore {
        FloorStore {
            efi: self.efi,
            tpm: self.tpm,
        }
    }
}

#[derive(Debug, Args)]
struct PolicyChoices {
    /// What is enforced.
    #[arg(long, value_enum, default_value_t = ModeChoice::Verity)]
    mode: ModeChoice,

    /// How the pack becomes the top layer.
    #[arg(long, value_enum, default_value_t = LayerChoice::Erofs)]
    layer: LayerChoice,

    /// Most memory the layer `tmpfs` may take, percent of all (1 to 25).
    #[arg(long, value_name = "PERCENT", default_value_t = MemoryPercent::MAX.get())]
    tmpfs_percent: u8,

    /// The device of the physical root: PARTUUID=, UUID= or LABEL=.
    #[arg(long, value_name = "DEVICE", required_unless_present = "policy")]
    root: Option<RootDevice>,

    /// What of /etc is kept: nothing, some files, or all of it in the deployment.
    #[arg(long, value_enum, default_value_t = EtcChoice::Transient)]
    etc: EtcChoice,

    /// The stateroot whose /var is mounted; without it /var is in memory and lost at shutdown.
    #[arg(long, value_name = "NAME")]
    stateroot: Option<Name>,

    /// The only pack that may boot; without it, any release that the keyset's keys signed.
    #[arg(long, value_name = "DIGEST", value_parser = parse_digest,
          requires_all = ["release_index", "release_epoch"])]
    pack: Option<VerityDigest>,

    /// The index of the release that this pack is of.
    #[arg(long, value_name = "N", requires = "pack")]
    release_index: Option<u64>,

    /// The security epoch of the release that this pack is of.
    #[arg(long, value_name = "N", requires = "pack")]
    release_epoch: Option<u64>,

    /// The OS a release must be of.
    #[arg(long, value_name = "NAME", required_unless_present = "policy")]
    os: Option<Name>,

    /// The variant a release must be of.
    #[arg(long, value_name = "NAME")]
    variant: Option<Name>,

    /// The stream a release must be of.
    #[arg(long, value_name = "NAME", required_unless_present = "policy")]
    stream: Option<Name>,

    /// The architecture a release must be for.
    #[arg(long, value_name = "NAME", required_unless_present = "policy")]
    arch: Option<Name>,

    /// Releases below this security epoch do not boot.
    #[arg(long, value_name = "N", default_value_t = 0)]
    epoch_floor: u64,

    #[command(flatten)]
    floor: FloorChoices,

    /// Boot without Secure Boot too. The system is then NOT SEALED and says so.
    #[arg(long)]
    allow_insecure_boot: bool,

    /// The whole kernel command line; any other is refused.
    #[arg(long, value_name = "TEXT")]
    cmdline: Option<CommandLine>,
}

/// How the pack becomes the top layer.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LayerChoice {
    /// The pack is mounted as it is.
    Erofs,
    /// The pack is unpacked into memory.
    Tmpfs,
}

impl LayerChoice {
    /// The layer, which takes at most so much of the memory if it is one in memory.
    pub(crate) fn layer(self, tmpfs_percent: u8) -> anyhow::Result<Layer> {
        match self {
            Self::Erofs => Ok(Layer::Erofs),
            Self::Tmpfs => {
                let percent = MemoryPercent::new(tmpfs_percent).ok_or_else(|| {
                    Failure::new(ErrorClass::Usage, "--tmpfs-percent is not from 1 to 25")
                })?;
                Ok(Layer::Tmpfs(percent))
            }
        }
    }
}

fn parse_digest(text: &str) -> Result<VerityDigest, String> {
    VerityDigest::from_hex(text)
        .ok_or_else(|| "expected the 64 lowercase hex digits of a pack's name".to_owned())
}

impl PolicyChoices {
    fn policy(&self) -> anyhow::Result<Policy> {
        let missing =
            |option: &str| Failure::new(ErrorClass::Usage, format!("{option} is missing"));
        let layer = self.layer.layer(self.tmpfs_percent)?;
        let secure_boot = match (self.allow_insecure_boot, &self.cmdline) {
            (true, line) => SecureBoot::NotRequired(line.clone()),
            (false, Some(line)) => SecureBoot::Required(line.clone()),
            (false, None) => {
                return Err(Failure::new(
                    ErrorClass::Usage,
                    "Secure Boot is demanded, but no command line is named",
                )
                .hint("give --cmdline TEXT, or --allow-insecure-boot for a system NOT SEALED")
                .into());
            }
        };
        Ok(Policy {
            mode: self.mode.into(),
            layer,
            root: self.root.clone().ok_or_else(|| missing("--root"))?,
            etc: self.etc.into(),
            var: self.stateroot.clone().map_or(Var::Volatile, Var::Stateroot),
            pinned: self.pinned(),
            os: self.os.clone().ok_or_else(|| missing("--os"))?,
            variant: self.variant.clone(),
            stream: self.stream.clone().ok_or_else(|| missing("--stream"))?,
            arch: self.arch.clone().ok_or_else(|| missing("--arch"))?,
            epoch_floor: self.epoch_floor,
            floor_on: self.floor.on(),
            floor_store: self.floor.store(),
            secure_boot,
        })
    }

    fn pinned(&self) -> Pinned {
        match (self.pack, self.release_index, self.release_epoch) {
            (Some(digest), Some(index), Some(epoch)) => Pinned::Pack(PinnedPack {
                digest,
                release: ReleaseNumbers { index, epoch },
            }),
            _ => Pinned::Nothing,
        }
    }
}

#[derive(Serialize)]
struct Made {
    file: AnyName,
    size_bytes: u64,
    policy: String,
    modules: Vec<String>,
}

impl Report for Made {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{}: {}, {}, policy:",
            self.file,
            counted(self.size_bytes, "byte"),
            counted(self.modules.len() as u64, "module")
        )?;
        self.policy
            .lines()
            .try_for_each(|line| writeln!(out, "  {line}"))
    }
}

impl Initramfs {
    /// The policy, refused here rather than on the machine that has to boot.
    fn policy(&self) -> anyhow::Result<Vec<u8>> {
        if let Some(file) = &self.policy {
            let bytes = files::read(file, limits::MAX_POLICY_BYTES)?;
            Policy::parse(&bytes).with_context(|| format!("policy {}", file.display()))?;
            return Ok(bytes);
        }
        let bytes = self.choices.policy()?.to_string().into_bytes();
        match Policy::parse(&bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => {
                let message = format!("these options make no policy: {error}");
                Err(Failure::new(ErrorClass::Usage, message).into())
            }
        }
    }

    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let expected = "the directory of a kernel's modules";
        files::expect_directory(&self.modules, "--modules", expected)?;
        let policy = self.policy()?;
        common.trusted_keyset()?;
        let keyset = common.keyset_file()?.bytes();

        if let Some(release) = old_kernel(&self.modules) {
            output.warn(&format!(
                "{release} is too old: the boot program refuses kernels before Linux 6.6"
            ));
        }

        let modules = requested_modules(&self.extra_modules);
        let certificates = read_certificates(&self.verity_certificates)?;
        let boot_program = find_boot_program(self.boot_program.as_deref())?;
        let options = initramfs::Options {
            kernel_modules: &self.modules,
            boot_program: &boot_program,
            keyset,
            policy: &policy,
            modules: &modules,
            verity_certificates: &certificates,
            repair_tool: None,
        };
        let mut summary = None;
        files::replace(&self.output, |out| {
            summary = Some(initramfs::build(&options, out)?);
            Ok(())
        })?;
        let summary = summary.context("nothing was written")?;
        output.emit(&Made {
            file: self.output.as_path().into(),
            size_bytes: summary.size_bytes,
            policy: String::from_utf8(policy)?,
            modules: summary.modules,
        })
    }
}

/// The kernel release that a directory of modules is named after, if it is one before 6.6.
fn old_kernel(modules: &Path) -> Option<String> {
    let modules = fs::canonicalize(modules).ok()?;
    let release = modules.file_name()?.to_str()?;
    let mut numbers = release.split('.').map(str::parse::<u32>);
    let version = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (version < (6, 6)).then(|| release.to_owned())
}

/// The modules that are carried anyway, and those that were named.
pub(crate) fn requested_modules(named: &[String]) -> Vec<ModuleRequest> {
    let named = named.iter().map(|name| ModuleRequest::required(name));
    initramfs::default_modules()
        .into_iter()
        .chain(named)
        .collect()
}

/// The boot program that was named, else the one that is installed.
pub(crate) fn find_boot_program(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let found = named.map(Path::to_owned);
    found
        .or_else(initramfs::installed_boot_program)
        .ok_or_else(|| {
            let program = initramfs::BOOT_PROGRAM;
            let message = format!("the boot program {program} was not found");
            Failure::new(ErrorClass::NotFound, message)
                .hint(
                    "`cargo xtask dist` in sealroot's sources makes it; name it with \
                 --boot-program FILE",
                )
                .into()
        })
}
