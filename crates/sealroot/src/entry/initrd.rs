// SPDX-License-Identifier: MIT OR Apache-2.0
//! The initramfs that an entry starts: the release's own where it carries the boot program, else
//! one that is made on this machine (docs/format/entries.md 7).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sealroot_format::ErrorClass;
use sealroot_format::erofs::ReadAt;
use sealroot_format::policy::{
    self, CertificatesError, EtcMode, FloorOn, FloorStore, Layer, Mode, Pinned, Policy, RootDevice,
    SecureBoot, Var,
};
use sealroot_format::sign::{Name, Statement, Verified};

use crate::initramfs::{self, CertificateName, ModuleRequest, ScanError};
use crate::mountinfo::mount_of;
use crate::release::{ReleaseFile, ReleaseKernel};

/// An initramfs that boots a release.
#[derive(Debug)]
pub struct Initrd<'r> {
    /// What its policy says.
    pub policy: Policy,
    /// Where it comes from.
    pub origin: Origin,
    /// The certificates that it puts into the kernel's keyring for fs-verity.
    pub verity_certificates: Vec<CertificateName>,
    content: Content<'r>,
}

/// Where an initramfs comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The release brought it.
    Release,
    /// It was made on this machine, with these kernel modules: nobody else vouches for it.
    Made {
        /// The module files in the order they load.
        modules: Vec<String>,
    },
}

#[derive(Debug)]
enum Content<'r> {
    Release(ReleaseFile<'r>),
    Made(Vec<u8>),
}

impl ReadAt for Initrd<'_> {
    fn read_exact_at(&self, buf: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        match &self.content {
            Content::Release(file) => file.read_exact_at(buf, offset_bytes),
            Content::Made(bytes) => bytes.read_exact_at(buf, offset_bytes),
        }
    }

    fn size_bytes(&self) -> io::Result<u64> {
        match &self.content {
            Content::Release(file) => file.size_bytes(),
            Content::Made(bytes) => bytes.size_bytes(),
        }
    }
}

/// What a machine puts into the policy of an initramfs it makes. All else is the release's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachinePolicy {
    /// What is enforced.
    pub mode: Mode,
    /// The filesystem with the store.
    pub root: RootDevice,
    /// Whose `/var`; `None`: it is in memory.
    pub stateroot: Option<Name>,
    /// How `/etc` is made.
    pub etc: EtcMode,
    /// Releases below this security epoch do not boot.
    pub epoch_floor: u64,
}

impl MachinePolicy {
    /// The policy for releases like this one: any that the keyset's keys signed for the same OS,
    /// variant, stream and architecture. It demands no Secure Boot, which cannot vouch for what a
    /// machine makes itself: such a system is never reported as sealed.
    pub fn policy_for(&self, statement: &Statement) -> Policy {
        Policy {
            mode: self.mode,
            layer: Layer::Erofs,
            root: self.root.clone(),
            etc: self.etc,
            var: self.stateroot.clone().map_or(Var::Volatile, Var::Stateroot),
            pinned: Pinned::Nothing,
            os: statement.os.clone(),
            variant: statement.variant.clone(),
            stream: statement.stream.clone(),
            arch: statement.arch.clone(),
            epoch_floor: self.epoch_floor,
            floor_on: FloorOn::Epoch,
            floor_store: FloorStore::default(),
            secure_boot: SecureBoot::NotRequired(None),
        }
    }
}

/// What an initramfs is made of where the release brings none that will do.
#[derive(Clone, Copy, Debug)]
pub struct Making<'m> {
    /// The static boot program; see [`initramfs::installed_boot_program`].
    pub boot_program: Option<&'m Path>,
    /// The keyset file.
    pub keyset: &'m [u8],
    /// The policy.
    pub policy: &'m MachinePolicy,
    /// Modules besides [`initramfs::default_modules`].
    pub extra_modules: &'m [ModuleRequest],
}

/// Why there is no initramfs to boot with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitrdError {
    /// The release's own could not be looked through.
    #[error("cannot look for the boot program in the initramfs of the release")]
    Scan {
        /// Why not.
        source: ScanError,
    },
    /// The release's own carries a policy that would not boot it.
    #[error("the initramfs of the release carries a policy that does not boot this release")]
    CarriedPolicy {
        /// Why not.
        source: policy::Error,
    },
    /// The release's own carries certificates that the boot program would refuse.
    #[error("the initramfs of the release carries certificates for fs-verity that are none")]
    CarriedCertificates {
        /// Why not.
        source: CertificatesError,
    },
    /// There is no boot program to make one with.
    #[error(
        "the initramfs of the release carries no boot program, and none is installed here: \
         expected {} in /usr/lib/sealroot",
        initramfs::BOOT_PROGRAM
    )]
    NoBootProgram,
    /// None could be made.
    #[error("cannot make an initramfs for kernel {version}")]
    Make {
        /// The kernel.
        version: String,
        /// Why not.
        source: initramfs::Error,
    },
}

impl InitrdError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Scan { source } => source.class(),
            Self::CarriedPolicy { source } => source.class(),
            Self::CarriedCertificates { .. } => ErrorClass::Corrupt,
            Self::NoBootProgram => ErrorClass::NotFound,
            Self::Make { source, .. } => source.class(),
        }
    }
}

/// The release's own initramfs, if it carries the boot program, keyset and policy; it is taken out of
/// `kernel` then.
pub fn carried_initrd<'r>(
    kernel: &mut ReleaseKernel<'r>,
    statement: &Verified<Statement>,
) -> Result<Option<Initrd<'r>>, InitrdError> {
    let Some(file) = kernel.initramfs.take() else {
        return Ok(None);
    };
    let carried = initramfs::scan(&mut file.reader());
    let carried = carried.map_err(|source| InitrdError::Scan { source })?;
    let (Some(bytes), true) = (&carried.policy, carried.is_complete()) else {
        kernel.initramfs = Some(file);
        return Ok(None);
    };
    let boots = |policy: &Policy| policy.check_release(statement, None, &kernel.version);
    let policy = Policy::parse(bytes)
        .and_then(|policy| boots(&policy).map(|()| policy))
        .map_err(|source| InitrdError::CarriedPolicy { source })?;
    let certificates = carried.certificate_names();
    let verity_certificates =
        certificates.map_err(|source| InitrdError::CarriedCertificates { source })?;
    Ok(Some(Initrd {
        policy,
        origin: Origin::Release,
        verity_certificates,
        content: Content::Release(file),
    }))
}

/// An initramfs for a kernel of a release that brings none which will do.
pub fn make_initrd<'r>(
    kernel: &ReleaseKernel<'r>,
    statement: &Statement,
    making: &Making<'_>,
) -> Result<Initrd<'r>, InitrdError> {
    let mut modules = initramfs::default_modules();
    modules.extend_from_slice(making.extra_modules);
    let policy = making.policy.policy_for(statement);
    let policy_text = policy.to_string();
    let options = initramfs::Options {
        kernel_modules: kernel,
        boot_program: making.boot_program.ok_or(InitrdError::NoBootProgram)?,
        keyset: making.keyset,
        policy: policy_text.as_bytes(),
        modules: &modules,
        verity_certificates: &[],
        repair_tool: None,
    };
    let mut content = Vec::new();
    let made = initramfs::build(&options, &mut content).map_err(|source| InitrdError::Make {
        version: kernel.version.clone(),
        source,
    })?;
    Ok(Initrd {
        policy,
        origin: Origin::Made {
            modules: made.modules,
        },
        verity_certificates: Vec::new(),
        content: Content::Made(content),
    })
}

/// Where udev names filesystems by their UUIDs.
const BY_UUID: &str = "/dev/disk/by-uuid";

/// What names the filesystem that `directory` is on, for a policy: its UUID. `None` where it is on
/// no block device, or udev does not know it.
pub fn root_device(directory: &Path) -> Option<RootDevice> {
    let source = mount_source(directory)?;
    let device = fs::canonicalize(source).ok()?;
    let names = fs::read_dir(BY_UUID).ok()?;
    let uuid = names.flatten().find_map(|name| {
        let is_it = fs::canonicalize(name.path()).is_ok_and(|target| target == device);
        is_it.then(|| name.file_name())
    })?;
    let uuid = uuid.to_str()?.to_ascii_lowercase();
    uuid.parse().ok().map(RootDevice::Uuid)
}

fn mount_source(directory: &Path) -> Option<PathBuf> {
    mount_of(&fs::File::open(directory).ok()?).ok()?.source
}
