// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a new boot entry is made of, put together before anything is written.

use std::path::Path;

use sealroot_format::erofs::ReadAt;
use sealroot_format::limits::MAX_BOOT_TITLE_BYTES;
use sealroot_format::pack::Pack;
use sealroot_format::policy::{DeploymentName, EtcMode, Policy, RootDevice};
use sealroot_format::sign::{Statement, Verified};
use sealroot_format::tree::Tree;

use super::{ActivateError, Aim, Machine, arguments, etc_source};
use crate::entry::{
    Content, Initrd, KernelArguments, MachinePolicy, Making, NewEntry, Origin, carried_initrd,
    make_initrd, root_device,
};
use crate::etc;
use crate::initramfs::{CertificateName, ModuleRequest};
use crate::keyring;
use crate::machine;
use crate::monitor::Monitor;
use crate::release::{self, ReleaseFile, ReleaseFiles, ReleaseKernel};
use crate::store::Store;
use crate::uki;

/// Filesystems whose modules an initramfs made here carries only where the root needs them.
const FURTHER_FILESYSTEMS: [&str; 2] = ["btrfs", "f2fs"];

/// What is wished for of a new boot entry.
#[derive(Clone, Copy)]
pub struct Wishes<'w> {
    /// Kernel arguments to add to those of the default so far, unless they are there.
    pub kernel_arguments: &'w [String],
    /// How often the loader tries the entry before it goes back; `None`: it does not count.
    pub tries: Option<u32>,
    /// What it boots with.
    pub start: Start<'w>,
}

/// What a deployment boots with.
#[derive(Clone, Copy)]
pub enum Start<'w> {
    /// The release's kernel, and this initramfs.
    Initramfs {
        /// The file.
        file: &'w dyn ReadAt,
        /// The policy in it, where it could be found.
        policy: Option<&'w Policy>,
        /// The certificates that it puts into the kernel's keyring for fs-verity, where that could be
        /// found out.
        verity_certificates: Option<&'w [CertificateName]>,
    },
    /// The release's kernel, and the release's own initramfs where it carries the boot program, else one made
    /// here.
    OfRelease(Parts<'w>),
    /// A unified kernel image.
    Image {
        /// The file.
        file: &'w dyn ReadAt,
        /// What is in it.
        contents: &'w uki::Contents<'w>,
    },
}

/// What an initramfs is made of, besides the release and the deployment's record.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'w> {
    /// The static boot program, if it is installed.
    pub boot_program: Option<&'w Path>,
    /// The keyset file.
    pub keyset: &'w [u8],
    /// The filesystem with the store; `None`: the one that the sysroot is on.
    pub root: Option<&'w RootDevice>,
}

impl std::fmt::Debug for Wishes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wishes")
            .field("kernel_arguments", &self.kernel_arguments)
            .field("tries", &self.tries)
            .field("start", &self.start)
            .finish()
    }
}

impl std::fmt::Debug for Start<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Initramfs { policy, .. } => f.debug_tuple("Initramfs").field(policy).finish(),
            Self::OfRelease(parts) => f.debug_tuple("OfRelease").field(parts).finish(),
            Self::Image { contents, .. } => f.debug_tuple("Image").field(contents).finish(),
        }
    }
}

/// A boot entry, complete but for its place.
pub struct Prepared<'p> {
    /// Where the initramfs comes from; `None` if it was given, by itself or in an image.
    pub origin: Option<Origin>,
    /// What the policy in the initramfs says; as was wished where that is not known.
    pub aim: Aim,
    statement: &'p Verified<Statement>,
    starts: Starts<'p>,
    /// What the kernel's keyring for fs-verity will have, if that is known.
    verity_certificates: Option<Vec<CertificateName>>,
    /// The only deployment that an image boots, if it names one.
    named: Option<DeploymentName>,
    tries: Option<u32>,
}

enum Starts<'p> {
    Kernel {
        linux: ReleaseFile<'p>,
        initrd: Source<'p>,
        arguments: KernelArguments,
    },
    Image(&'p dyn ReadAt),
}

enum Source<'p> {
    Given(&'p dyn ReadAt),
    Found(Box<Initrd<'p>>),
}

impl std::fmt::Debug for Prepared<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared")
            .field("origin", &self.origin)
            .field("aim", &self.aim)
            .finish_non_exhaustive()
    }
}

impl Prepared<'_> {
    /// That it boots this deployment.
    pub(super) fn check_name(&self, found: DeploymentName) -> Result<(), ActivateError> {
        match self.named {
            Some(named) if named != found => Err(ActivateError::OtherDeployment { named, found }),
            _ => Ok(()),
        }
    }

    /// The entry that boots a deployment of the release.
    pub(super) fn entry(&self, deployment: DeploymentName) -> NewEntry<'_> {
        let content = match &self.starts {
            Starts::Kernel {
                linux,
                initrd,
                arguments,
            } => Content::Kernel {
                arguments: arguments.clone(),
                linux,
                initrd: match initrd {
                    Source::Given(file) => *file,
                    Source::Found(initrd) => &**initrd,
                },
            },
            Starts::Image(file) => Content::Image(*file),
        };
        NewEntry {
            deployment,
            title: title(self.statement, &deployment),
            content,
            tries: self.tries,
        }
    }
}

/// Puts together what boots a deployment with this record: nothing is written.
pub fn prepare<'p>(
    store: &'p Store,
    pack: &'p Pack<&'p dyn ReadAt>,
    machine: &Machine<'_>,
    statement: &'p Verified<Statement>,
    aim: &Aim,
    wishes: &Wishes<'p>,
    monitor: &dyn Monitor,
) -> Result<Prepared<'p>, ActivateError> {
    let mut named = None;
    let (starts, origin, policy, verity_certificates) = match wishes.start {
        Start::Image { file, contents } => {
            if let Some(argument) = wishes.kernel_arguments.first() {
                let argument = argument.clone();
                return Err(ActivateError::ArgumentOfImage { argument });
            }
            let (commit, stream) = (statement.commit, Some(&statement.stream));
            let (_, document) = release::read_statement(store, commit, stream)?;
            named = contents.check_release(statement, &document)?;
            let policy = Some(contents.policy.clone());
            let certificates = Some(contents.verity_certificates.clone());
            (Starts::Image(file), None, policy, certificates)
        }
        Start::Initramfs {
            file,
            policy,
            verity_certificates,
        } => {
            let kernel = kernel_of(store, pack, statement)?;
            let arguments = arguments_of(machine, wishes, monitor)?;
            let starts = Starts::Kernel {
                linux: kernel.linux,
                initrd: Source::Given(file),
                arguments,
            };
            let certificates = verity_certificates.map(<[_]>::to_vec);
            (starts, None, policy.cloned(), certificates)
        }
        Start::OfRelease(parts) => {
            let mut kernel = kernel_of(store, pack, statement)?;
            let initrd = match carried_initrd(&mut kernel, statement)? {
                Some(carried) => carried,
                None => make(&kernel, machine, statement, aim, parts)?,
            };
            let (origin, policy) = (initrd.origin.clone(), initrd.policy.clone());
            let certificates = initrd.verity_certificates.clone();
            let starts = Starts::Kernel {
                linux: kernel.linux,
                initrd: Source::Found(initrd.into()),
                arguments: arguments_of(machine, wishes, monitor)?,
            };
            (starts, Some(origin), Some(policy), Some(certificates))
        }
    };
    Ok(Prepared {
        origin,
        aim: policy.as_ref().map_or_else(|| aim.clone(), Aim::of_policy),
        statement,
        starts,
        verity_certificates,
        named,
        tries: wishes.tries.or(machine.boot.loader().usual_tries()),
    })
}

fn kernel_of<'p>(
    store: &'p Store,
    pack: &'p Pack<&'p dyn ReadAt>,
    statement: &Statement,
) -> Result<ReleaseKernel<'p>, ActivateError> {
    let version = statement.kernel.as_ref().map(ToString::to_string);
    Ok(ReleaseFiles::new(store, pack).kernel(version.as_deref())?)
}

/// Those of the default so far, and those that were wished for.
fn arguments_of(
    machine: &Machine<'_>,
    wishes: &Wishes<'_>,
    monitor: &dyn Monitor,
) -> Result<KernelArguments, ActivateError> {
    let entries = machine.boot.entries()?;
    let mut arguments = arguments::inherited(&entries, machine.boot.loader(), monitor);
    for argument in wishes.kernel_arguments {
        if !arguments.contains(argument) {
            arguments.append(argument)?;
        }
    }
    Ok(arguments)
}

fn make<'p>(
    kernel: &ReleaseKernel<'p>,
    machine: &Machine<'_>,
    statement: &Statement,
    aim: &Aim,
    parts: Parts<'_>,
) -> Result<Initrd<'p>, ActivateError> {
    let root = match parts.root {
        Some(root) => Some(root.clone()),
        None => root_device(machine.sysroot),
    };
    let wished = MachinePolicy {
        mode: aim.mode,
        root: root.ok_or_else(|| ActivateError::NoRootDevice {
            sysroot: machine.sysroot.to_owned(),
        })?,
        stateroot: aim.stateroot.clone(),
        etc: aim.etc,
        epoch_floor: 0,
    };
    let filesystem = machine::filesystem_of(machine.sysroot)?;
    let further = FURTHER_FILESYSTEMS
        .iter()
        .filter(|name| **name == filesystem);
    let extra_modules: Vec<_> = further.map(|name| ModuleRequest::required(name)).collect();
    let making = Making {
        boot_program: parts.boot_program,
        keyset: parts.keyset,
        policy: &wished,
        extra_modules: &extra_modules,
    };
    Ok(make_initrd(kernel, statement, &making)?)
}

/// Finds out what would stand against a deployment's becoming what boots next: objects that would not
/// open, clashes in `/etc`, no space for its kernel. `name` is the deployment's, if it is there already. Nothing is written.
pub fn check(
    store: &Store,
    machine: &Machine<'_>,
    name: Option<DeploymentName>,
    tree: &Tree,
    prepared: &Prepared<'_>,
    monitor: &dyn Monitor,
) -> Result<(), ActivateError> {
    if let Some(certificates) = &prepared.verity_certificates
        && let Some(unopened) = keyring::unopened(store, tree, certificates)?
    {
        return Err(ActivateError::Unopened { unopened });
    }
    if prepared.aim.etc == EtcMode::Merge {
        check_etc(Some(store), machine, name, tree, monitor)?;
    }
    let name = name.unwrap_or(DeploymentName {
        commit: prepared.statement.commit,
        serial: 0,
    });
    let keep = machine::kept_entries(store, machine.runtime, machine.boot, &name)?;
    let new = prepared.entry(name);
    let is_kept = |ours: &crate::entry::OurEntry| keep.contains(&ours.text.deployment);
    Ok(machine.boot.check_room(&new, &is_kept)?)
}

/// Finds out whether the `/etc` that is merged clashes with the default in `tree`. `store` is `None`
/// where there is none yet.
pub fn check_etc(
    store: Option<&Store>,
    machine: &Machine<'_>,
    name: Option<DeploymentName>,
    tree: &Tree,
    monitor: &dyn Monitor,
) -> Result<(), ActivateError> {
    let new = etc::default_of(tree)?;
    if let Some(found) = etc_source::find(store, machine, name, monitor)? {
        etc::check(found.sides(&new))?;
    }
    Ok(())
}

/// What people see in the menu.
fn title(statement: &Statement, deployment: &DeploymentName) -> String {
    let version = match &statement.version {
        Some(version) => version.to_string(),
        None => statement.index.to_string(),
    };
    let commit = deployment.commit.to_hex();
    let commit = commit.get(..8).unwrap_or_default();
    let mut title = format!(
        "{} {version} ({}, {commit}.{})",
        statement.os, statement.stream, deployment.serial
    );
    if title.len() > MAX_BOOT_TITLE_BYTES {
        title = format!("{} ({commit}.{})", statement.os, deployment.serial);
    }
    title
}
