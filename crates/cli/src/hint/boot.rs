// SPDX-License-Identifier: MIT OR Apache-2.0
//! What boots: entries, the machine, floors, sealing.

use sealroot::activate::ActivateError;
use sealroot::boot_manager::BootManagerError;
use sealroot::entry::{EntryError, InitrdError};
use sealroot::etc::EtcError;
use sealroot::floor::FloorError;
use sealroot::machine::{MachineError, State};
use sealroot::seal::SealError;

use super::BUILD_AGAIN;
use super::content::{of_adopt, of_deploy, of_release, of_source, of_store};
use super::keys::of_uki;

const OF_ANOTHER_STORE: &str = "If it is another store that runs or is mounted here, say so with \
                                --run and an empty directory";

pub(super) fn of_activate(error: &ActivateError) -> Option<String> {
    match error {
        ActivateError::Store(error) => of_store(error),
        ActivateError::Deploy(error) => of_deploy(error),
        ActivateError::Release(error) => of_release(error),
        ActivateError::Adopt(error) => of_adopt(error),
        ActivateError::Machine(error) => of_machine(error),
        ActivateError::Entry(error) => of_entry(error),
        ActivateError::Initrd(error) => Some(of_initrd(error)),
        ActivateError::Etc(error) => of_etc(error),
        ActivateError::Image(error) => of_uki(error),
        ActivateError::NoRootDevice { .. } => {
            Some("name it with --root UUID=, PARTUUID= or LABEL=, and without --stage".into())
        }
        ActivateError::Unopened { .. } => Some(
            "boot it with an image that has the certificate: `sealroot uki build --verity-certificate`; one that is made \
             on the machine has none"
                .into(),
        ),
        ActivateError::Flag { name, .. } => {
            let commit = name.commit.to_hex();
            Some(format!("`sealroot deploy {commit}` does all of it now"))
        }
        _ => None,
    }
}

pub(super) fn of_entry(error: &EntryError) -> Option<String> {
    match error {
        EntryError::NoSpace { location, .. } => Some(format!(
            "make room in {}; `sealroot undeploy` frees the kernel of a deployment that is not needed",
            location.display()
        )),
        EntryError::NoGenerationLeft { name } => Some(format!(
            "remove {name} if nothing boots with it: numbers go on after the highest that is left"
        )),
        EntryError::NoKernels => {
            Some("name an image with --uki FILE; `sealroot uki build` makes one".into())
        }
        EntryError::OneTry { .. } => Some("leave --tries out".into()),
        EntryError::BootManager(error) => of_boot_manager(error).map(str::to_owned),
        _ => None,
    }
}

pub(super) const fn of_boot_manager(error: &BootManagerError) -> Option<&'static str> {
    match error {
        BootManagerError::NoVariables { .. } => {
            Some("run it on the machine itself, started by UEFI, with efivarfs mounted")
        }
        BootManagerError::NoPartition { .. } => {
            Some("name the EFI system partition with --boot DIR: FAT, on a disk with a GPT")
        }
        BootManagerError::Malformed { .. } => {
            Some("put the boot order right in the firmware's set-up, or with `efibootmgr`")
        }
        BootManagerError::NotKept { .. } | BootManagerError::TooMany { .. } => Some(
            "remove boot options that nobody needs in the firmware's set-up, or with `efibootmgr`",
        ),
        _ => None,
    }
}

pub(super) fn of_initrd(error: &InitrdError) -> String {
    let hint = match error {
        InitrdError::NoBootProgram => {
            "install sealroot-boot there; or name an initramfs with --initramfs FILE, or make no \
             entry with --no-entry"
        }
        _ => "name another initramfs with --initramfs FILE",
    };
    hint.into()
}

pub(super) fn of_etc(error: &EtcError) -> Option<String> {
    match error {
        EtcError::Store(error) => of_store(error),
        EtcError::Deploy(error) => of_deploy(error),
        EtcError::Release(error) => of_release(error),
        EtcError::Source(error) => of_source(error),
        _ => None,
    }
}

pub(super) fn of_floor(error: &FloorError) -> Option<String> {
    match error {
        FloorError::NoVariable => Some(
            "`sealroot floor enrol --update FILE` makes it, with an update of the owner's".into(),
        ),
        FloorError::Tpm(error) if error.is_missing_counter() => {
            Some("`sealroot floor enrol --tpm-base N` makes it, with the base of the policy".into())
        }
        FloorError::NotSigned { .. } => {
            Some("key and certificate belong together, both in PEM; see what openssl says".into())
        }
        _ => None,
    }
}

pub(super) fn of_machine(error: &MachineError) -> Option<String> {
    match error {
        MachineError::Store(error) => of_store(error),
        MachineError::Deploy(error) => of_deploy(error),
        MachineError::Entry(error) => of_entry(error),
        MachineError::InUse { name, state } => Some(match state {
            State::Booted => "boot another deployment first".into(),
            State::Pinned => format!("`sealroot unpin {name}` lets it go"),
            State::Mounted => "unmount it first".into(),
            State::Staged => "`sealroot deploy COMMIT --stage` of what boots now takes its \
                              place; then it can go"
                .into(),
            State::Default => "let another boot next: `sealroot rollback` or `sealroot deploy \
                               COMMIT`; or leave sealroot with `sealroot revert`"
                .into(),
            State::Rollback | State::Entry => "remove its boot entry first".into(),
        }),
        MachineError::EntriesOfOthers { entries, .. } => Some(format!(
            "nothing was changed; remove {} from the directory of boot entries if nobody needs \
             it, then run this again",
            entries.join(" and ")
        )),
        MachineError::Booted { path, .. } => Some(format!(
            "if this system was not booted by sealroot, remove {}",
            path.display()
        )),
        MachineError::UnreadableEntry { path, .. } => Some(format!(
            "see what {} is; move it away if nothing boots with it",
            path.display()
        )),
        MachineError::NothingRuns => Some("`sealroot deploy COMMIT` makes a boot entry".into()),
        MachineError::NoRollback => Some(
            "`sealroot status` lists the releases that are here, `sealroot deploy COMMIT` of another one makes \
             a boot entry for it; `sealroot pull --index NUMBER` fetches an older one"
                .into(),
        ),
        MachineError::NoDefault { .. } => Some(
            "`sealroot deploy COMMIT` makes a boot entry; where another stays the default, remove or \
             rename that one"
                .into(),
        ),
        MachineError::BadPack { .. } => Some(format!(
            "{BUILD_AGAIN}, or `sealroot undeploy` what needs it; then prune"
        )),
        MachineError::MissingPack { .. } => Some(format!(
            "{BUILD_AGAIN}, or `sealroot undeploy` what needs it; then prune. {OF_ANOTHER_STORE}"
        )),
        MachineError::ForeignMount { place } => Some(format!(
            "unmount {}; if nothing is mounted there, remove its record in /run/sealroot/mounts. \
             {OF_ANOTHER_STORE}",
            place.display()
        )),
        _ => None,
    }
}

pub(super) fn of_seal(error: &SealError) -> Option<String> {
    match error {
        SealError::Store(error) => of_store(error),
        SealError::Deploy(error) => of_deploy(error),
        SealError::Machine(error) => of_machine(error),
        SealError::Entry(error) => of_entry(error),
        SealError::Proof { .. } => {
            Some("`sealroot seal --challenge FILE` writes what is to be signed".into())
        }
        _ => None,
    }
}
