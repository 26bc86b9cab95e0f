// SPDX-License-Identifier: MIT OR Apache-2.0
//! How to go on after an error, in terms of this command.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use sealroot::activate::ActivateError;
use sealroot::adopt::AdoptError;
use sealroot::boot_manager::BootManagerError;
use sealroot::build::BuildError;
use sealroot::delta::DeltaError;
use sealroot::deploy::DeployError;
use sealroot::entry::{EntryError, InitrdError};
use sealroot::etc::EtcError;
use sealroot::floor::FloorError;
use sealroot::import::{ImportError, RefusedStatement};
use sealroot::initramfs::Error as InitramfsError;
use sealroot::keyring::KeyringError;
use sealroot::keys;
use sealroot::machine::{MachineError, State};
use sealroot::mount::MountError;
use sealroot::release::ReleaseError;
use sealroot::repair::RepairError;
use sealroot::seal::SealError;
use sealroot::source::SourceError;
use sealroot::store::{CONFIG_NAME, StoreDir, StoreError};
use sealroot::uki::UkiError;
use sealroot::unpack::UnpackError;
use sealroot_format::sign::Role;
use sealroot_format::{ErrorClass, sign};
use sealroot_remote::source::{self, Obstacle};
use sealroot_remote::{Fault, RemoteError};
use sealroot_sys::verity::EnableVerityError;

use crate::failure::Failure;

/// How to get back what is missing.
const BUILD_AGAIN: &str = "build or fetch the release again, or `sealroot import` it where OSTree \
                           has it";

/// How a release that was only built gives its number back.
const GIVE_BACK: &str = "`sealroot prune --releases` removes all releases that were never deployed";

/// Most files that a hint names.
const MAX_NAMED: usize = 5;

/// What replaces damaged files where they can be had.
const REPAIR: &str = "`sealroot repair --full` gets it from OSTree, a remote or a copy";

/// How to replace damaged files: without fs-verity one of the right size is not noticed when it is
/// in the way. Those that are missing need no removing.
pub(crate) fn remove_and_build<'p>(paths: impl IntoIterator<Item = &'p Path>) -> String {
    let there = paths
        .into_iter()
        .filter(|path| path.symlink_metadata().is_ok());
    let mut names: Vec<String> = there.map(|path| path.display().to_string()).collect();
    names.sort_unstable();
    names.dedup();
    match names.len() {
        0 => format!("{REPAIR}; or {BUILD_AGAIN}"),
        1..=MAX_NAMED => format!(
            "{REPAIR}; or remove {}, then {BUILD_AGAIN}",
            names.join(" and ")
        ),
        count => {
            format!("{REPAIR}; or remove the {count} damaged files named above, then {BUILD_AGAIN}")
        }
    }
}

/// A way out of the first cause that has one.
pub(crate) fn of(error: &anyhow::Error) -> Option<String> {
    let mut causes = error.chain();
    let hint = causes.find_map(of_cause);
    hint.or_else(|| error.chain().find_map(of_missing_rights))
}

fn of_cause(cause: &(dyn Error + 'static)) -> Option<String> {
    macro_rules! first_hint {
        ($($of:ident),+ $(,)?) => {
            $(if let Some(hint) = cause.downcast_ref().and_then($of) {
                return Some(hint);
            })+
        };
    }
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return failure.own_hint().map(str::to_owned);
    }
    first_hint!(
        of_activate,
        of_adopt,
        of_build,
        of_deploy,
        of_etc,
        of_floor,
        of_import,
        of_keyring,
        of_keys,
        of_machine,
        of_mount,
        of_release,
        of_remote,
        of_repair,
        of_seal,
        of_sign,
        of_source,
        of_store,
        of_uki,
        of_unpack
    );
    None
}

fn of_activate(error: &ActivateError) -> Option<String> {
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

fn of_entry(error: &EntryError) -> Option<String> {
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

const fn of_boot_manager(error: &BootManagerError) -> Option<&'static str> {
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

fn of_initrd(error: &InitrdError) -> String {
    let hint = match error {
        InitrdError::NoBootProgram => {
            "install sealroot-boot there; or name an initramfs with --initramfs FILE, or make no \
             entry with --no-entry"
        }
        _ => "name another initramfs with --initramfs FILE",
    };
    hint.into()
}

fn of_adopt(error: &AdoptError) -> Option<String> {
    match error {
        AdoptError::Store(error) => of_store(error),
        AdoptError::Deploy(error) => of_deploy(error),
        AdoptError::Compressed { .. } => {
            Some("`sealroot build --ostree` writes the objects anew".into())
        }
        AdoptError::OtherPack { .. } => Some(
            "another version of sealroot built it; get the pack itself from the vendor. What was \
             taken over is in the store"
                .into(),
        ),
        AdoptError::NothingToReturnTo { .. } => {
            Some("deploy with OSTree first: `ostree admin deploy`; nothing was changed".into())
        }
        AdoptError::StillBooted { entries } => Some(format!(
            "nothing was changed; remove {} if nobody needs it, then run this again",
            named(entries)
        )),
        AdoptError::BadRef { .. } => Some("see what it is, and move it away".into()),
        _ => None,
    }
}

fn named(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    names.join(" and ")
}

fn of_build(error: &BuildError) -> Option<String> {
    match error {
        BuildError::Source(error) => of_source(error),
        BuildError::Store(error) => of_store(error),
        BuildError::Signed { commit, stream, .. } => Some(format!(
            "give it another --stream; or, if nothing deployed needs those signatures, remove \
             pack/{commit}.{stream}.sign in the store first"
        )),
        BuildError::Index {
            highest,
            commit,
            stream,
            ..
        } => Some(match highest.checked_add(1) {
            Some(next) => format!(
                "--index {next}; or another --stream, which has its own numbers. If that release was built for nothing, \
                 {GIVE_BACK}; for that one alone, remove pack/{commit}.{stream}.sign in the store first"
            ),
            None => "another --stream, which has its own numbers".into(),
        }),
        _ => None,
    }
}

fn of_deploy(error: &DeployError) -> Option<String> {
    match error {
        DeployError::Store(error) => of_store(error),
        DeployError::NeedsVerity { .. } => Some(
            "--mode integrity does without fs-verity: every object is then hashed at each boot. \
             Or make a new store where fs-verity is: `sealroot --store NEW build`, and sign again; \
             a store never changes from one to the other"
                .into(),
        ),
        DeployError::NoDeployment { .. } => {
            Some("`sealroot status` lists the deployments of a store".into())
        }
        DeployError::Record { .. } => Some(
            "deploy the release again: it gets a new number; then remove this deployment".into(),
        ),
        _ => None,
    }
}

fn of_etc(error: &EtcError) -> Option<String> {
    match error {
        EtcError::Store(error) => of_store(error),
        EtcError::Deploy(error) => of_deploy(error),
        EtcError::Release(error) => of_release(error),
        EtcError::Source(error) => of_source(error),
        _ => None,
    }
}

fn of_floor(error: &FloorError) -> Option<String> {
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

fn of_import(error: &ImportError) -> Option<String> {
    match error {
        ImportError::Store(error) => of_store(error),
        ImportError::Refused { why, .. } => match &**why {
            RefusedStatement::Statement(error) => of_sign(error),
            _ => None,
        },
        _ => None,
    }
}

fn of_keys(error: &keys::Error) -> Option<String> {
    match error {
        keys::Error::Exists { .. } => Some(
            "choose another name: what was signed with a lost key cannot be signed again".into(),
        ),
        keys::Error::OtherKind { expected, .. } => Some(of_kind(*expected).into()),
        keys::Error::Sign(error) => of_sign(error),
        _ => None,
    }
}

const fn of_kind(wanted: keys::Kind) -> &'static str {
    match wanted {
        keys::Kind::SecretKey => {
            "name the file with the secret key, which `sealroot keys new NAME` calls NAME.secret; or sign \
             with --signer COMMAND"
        }
        keys::Kind::PublicKeys => {
            "name the file with the public key, which `sealroot keys new NAME` calls NAME.public"
        }
        keys::Kind::Keyset => {
            "name the keyset, which `sealroot keys new NAME` calls NAME.keyset; `sealroot keys keyset` makes \
             one of public keys"
        }
        keys::Kind::Statement => {
            "name the file with the statement: pack/COMMIT.STREAM.sign in the store, or what `sealroot image` \
             has written"
        }
    }
}

fn of_machine(error: &MachineError) -> Option<String> {
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

fn of_mount(error: &MountError) -> Option<String> {
    match error {
        MountError::Io { path, source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Some(format!("make it first: mkdir {}", path.display()))
        }
        _ => None,
    }
}

fn of_release(error: &ReleaseError) -> Option<String> {
    match error {
        ReleaseError::Store(error) => of_store(error),
        ReleaseError::NoStatement { .. } => {
            Some("`sealroot status` lists the releases of a store".into())
        }
        ReleaseError::SeveralStreams { .. } => Some("choose one with --stream NAME".into()),
        ReleaseError::Statement { path, source, .. }
            if source.class() == ErrorClass::Corrupt
                || matches!(source, sign::Error::BadSignature { .. }) =>
        {
            Some(remove_and_build([&**path]))
        }
        ReleaseError::OtherPack { .. } => Some("build the release again and sign it".into()),
        _ => None,
    }
}

fn of_remote(error: &RemoteError) -> Option<String> {
    let hint = match error {
        RemoteError::NoSpace { .. } => MAKE_ROOM,
        RemoteError::Source {
            source: source::SourceError::Unreachable { obstacle, .. },
            ..
        } => of_obstacle(*obstacle),
        RemoteError::Document { .. } => {
            "what is there is not what the keyset's keys have signed: see that the address and the \
             keyset are the right ones, or take another mirror with --from"
        }
        RemoteError::Store(error)
        | RemoteError::Delta(DeltaError::Store(error))
        | RemoteError::Import(ImportError::Store(error)) => return of_store(error),
        RemoteError::Release(error) => return of_release(error),
        RemoteError::Bucket { fault, .. } => match fault {
            Fault::NotThere => "make the bucket first, with the tools of whoever runs the store",
            Fault::Denied | Fault::Settings => {
                "set what the store knows you by: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; \
                 GOOGLE_SERVICE_ACCOUNT; AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"
            }
            Fault::Unsupported => {
                "if it cannot replace an object on a condition, set AWS_CONDITIONAL_PUT=disabled, and \
                 let only one publish at a time"
            }
            Fault::Other => return None,
        },
        RemoteError::Image { source, .. } => return of_uki(source),
        RemoteError::ImageWithoutCertificate { .. } => {
            "build it with `sealroot uki build --verity-certificate`, once for each certificate by which machines may have \
             signed files"
        }
        RemoteError::NoImage { .. } => {
            "`publish --uki` offers one; --image takes another; `upgrade --initramfs` boots without one"
        }
        RemoteError::NoRemote { .. } => {
            "`sealroot remote list` shows those there are, `sealroot remote add` makes one"
        }
        RemoteError::NotAChannelKey { .. } => {
            "sign with a key that `sealroot keys show` lists for the role channel; a keyset in which this one \
             has it follows the old one: `sealroot keys keyset NEW --after OLD`"
        }
        RemoteError::Index { newest, .. } => {
            return Some(format!(
                "build it with a higher number: `sealroot build --index {}`. A release keeps the number that it was \
                 built with; where that is in the way, {GIVE_BACK}",
                newest.saturating_add(1)
            ));
        }
        RemoteError::NothingPublished { .. } => {
            "see that it is the right place; `sealroot publish COMMIT --to PLACE` makes a repository there with \
             the first release"
        }
        RemoteError::NoChannel { .. } => {
            "`publish COMMIT` begins a channel; its name is OS/VARIANT/STREAM/ARCH, with - for no \
             variant"
        }
        RemoteError::Conflict { .. } => {
            "do the same again when they are done: what was put is there, and is not put twice"
        }
        _ => return None,
    };
    Some(hint.into())
}

const fn of_obstacle(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Name => {
            "see that the name in the address is right, and that this machine has a network and finds \
             names (`getent hosts NAME`); --from takes another address"
        }
        Obstacle::Nobody => {
            "see that the server runs, and that address and port are right; --from takes another address"
        }
        Obstacle::Tls => {
            "see that the address begins as it should: https:// is for servers that speak TLS on that port"
        }
        Obstacle::Certificate => {
            "see that the clock is right (`date`), and that this machine trusts who has signed the server's \
             certificate; --from takes another address"
        }
        Obstacle::Redirection => {
            "see where the server leads (`curl -IL ADDRESS`), and name where the files are; from https:// it \
             may lead to https:// only"
        }
    }
}

fn of_repair(error: &RepairError) -> Option<String> {
    match error {
        RepairError::Store(error) => of_store(error),
        RepairError::Deploy(error) => of_deploy(error),
        RepairError::NoRelease { .. } => {
            Some("`sealroot status` lists the releases of a store".into())
        }
        _ => None,
    }
}

fn of_seal(error: &SealError) -> Option<String> {
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

fn of_sign(error: &sign::Error) -> Option<String> {
    match error {
        sign::Error::TooFewSignatures {
            role: Role::Root, ..
        } => Some(
            "`sealroot keys sign` adds a root key's signature; `sealroot keys show` says whose are \
             wanted"
                .into(),
        ),
        sign::Error::TooFewSignatures { .. } => Some(
            "`sealroot sign` adds a signature; `sealroot keys show` says whose the keyset wants"
                .into(),
        ),
        _ => None,
    }
}

fn of_source(error: &SourceError) -> Option<String> {
    match error {
        SourceError::Changed { .. } => {
            Some("let nothing write to the tree while it is read, and try again".into())
        }
        SourceError::Device { .. } => Some(
            "leave it out of the tree: /dev is made at boot; or take it over with --devices keep"
                .into(),
        ),
        SourceError::Spool(source) if source.kind() == io::ErrorKind::StorageFull => {
            Some(MAKE_ROOM.into())
        }
        SourceError::Sink { source, .. } => {
            let inner = source.get_ref()?.downcast_ref::<StoreError>()?;
            of_store(inner)
        }
        _ => None,
    }
}

fn of_store(error: &StoreError) -> Option<String> {
    let hint = match error {
        StoreError::Io { path, source, .. }
            if source.kind() == io::ErrorKind::NotFound && is_part_of_a_store(path) =>
        {
            return Some(format!(
                "`mkdir {}`: a store has it though it may be empty, and some ways to copy one leave \
                 it out",
                path.display()
            ));
        }
        StoreError::Io {
            operation: "open",
            source,
            ..
        } if source.kind() == io::ErrorKind::NotFound => NO_STORE,
        StoreError::NotAStore { .. } => NO_STORE,
        StoreError::Config { .. } => {
            "if it was damaged, remove it: `sealroot build` makes a new one and keeps the rest; \
             then look at that with `sealroot check --full`"
        }
        StoreError::NoSpace { .. } => MAKE_ROOM,
        StoreError::EnableVerity {
            source: EnableVerityError::NotPermitted,
            ..
        } => {
            "this kernel was told to take no file without a built-in signature: `sysctl \
             fs.verity.require_signatures=0`, and take it out of /etc/sysctl.d"
        }
        StoreError::Damaged { path, .. } => return Some(remove_and_build([&**path])),
        StoreError::NotFound { .. } => return Some(remove_and_build([])),
        _ => return None,
    };
    Some(hint.into())
}

/// Whether it is a directory that every store has.
fn is_part_of_a_store(path: &Path) -> bool {
    let is_part = |name| StoreDir::ALL.iter().any(|part| part.name() == name);
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(is_part)
        && path
            .parent()
            .is_some_and(|store| store.join(CONFIG_NAME).is_file())
}

const OF_ANOTHER_STORE: &str = "If it is another store that runs or is mounted here, say so with \
                                --run and an empty directory";

const MAKE_ROOM: &str = "make room and do the same again: what is in the store already stays. `sealroot prune` \
                         deletes what an earlier run had put aside; on a disk full to the last \
                         block, first remove some other file of 2 MiB or more on it";

const NO_STORE: &str = "name the store with --store DIR, or its sysroot with --sysroot DIR; \
                        `sealroot adopt` makes one where OSTree is, `sealroot build` anywhere";

fn of_keyring(error: &KeyringError) -> Option<String> {
    match error {
        KeyringError::Signer(error) => of_uki(error),
        KeyringError::Store(error) => of_store(error),
        _ => None,
    }
}

fn of_uki(error: &UkiError) -> Option<String> {
    Some(match error {
        UkiError::NotSealed { .. } => "all that a key has signed boots wherever that key is \
            trusted; --sign-unsealed signs it all the same"
            .into(),
        UkiError::Repairs => "`sealroot uki install` puts it on the boot partition".into(),
        UkiError::Initramfs(InitramfsError::RepairTool { .. }) => {
            "`cargo xtask dist` in sealroot's sources makes a static one; name it with --repair-tool FILE"
                .into()
        }
        UkiError::Signed => "sign the image as `sealroot uki build` made it".into(),
        UkiError::Credential { .. } => {
            "`openssl pkey` and `openssl x509` make PEM of other forms; \
            a key that may not be in a file signs with --signer COMMAND"
                .into()
        }
        UkiError::ForeignSignature { .. } => {
            "name the certificate of the very key that signs with --certificate".into()
        }
        UkiError::Secret { .. } => "find out how it got there: what has been in an image is no \
            secret any more"
            .into(),
        _ => return None,
    })
}

fn of_unpack(error: &UnpackError) -> Option<String> {
    match error {
        UnpackError::NoStore { .. } => Some(NO_STORE.into()),
        UnpackError::Object { source, .. } => of_store(source),
        UnpackError::NoSpace { .. } => Some("unpack where there is more room".into()),
        _ => None,
    }
}

fn of_missing_rights(cause: &(dyn Error + 'static)) -> Option<String> {
    let refused = cause
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    (refused && !rustix::process::geteuid().is_root()).then(|| "try it as root".into())
}
