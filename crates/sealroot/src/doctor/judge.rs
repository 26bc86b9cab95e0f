// SPDX-License-Identifier: MIT OR Apache-2.0
//! Would an entry boot the deployment that it names? As the loader and the boot program will go
//! about it: its files, its policy and keyset, the statement, the kernel.

use std::io::Read as _;

use sealroot_format::policy::{DeploymentName, EtcMode, Mode, Policy, RootDevice};
use sealroot_format::sign::{Keyset, Statement, Unverified, Verified};

use super::Seen;
use crate::check::explain;
use crate::deploy;
use crate::entry::{Boot, BootIo, Entry, EntryError, OurEntry, Starts};
use crate::initramfs::{self, Carried, CertificateName};
use crate::store::{SignatureKeyring, StoreIo, VeritySupport};
use crate::{etc, keyring, release, uki};

/// How much of a kernel says which one it is, bytes.
const KERNEL_HEAD_BYTES: u64 = 128 * 1024;

/// What decides in an entry that takes its release.
#[derive(Debug)]
pub(super) struct Orders {
    pub(super) statement: Verified<Statement>,
    pub(super) policy: Policy,
    pub(super) keyset: Verified<Keyset>,
    pub(super) verity_certificates: Vec<CertificateName>,
}

/// Why an entry is not known to boot.
#[derive(Debug)]
pub(super) enum Doubt {
    /// It will not.
    Refused { expected: String, found: String },
    /// It cannot be found out.
    Unknown { expected: String, found: String },
}

fn refused(expected: impl Into<String>, found: impl Into<String>) -> Doubt {
    Doubt::Refused {
        expected: expected.into(),
        found: found.into(),
    }
}

fn unreadable(error: &EntryError) -> Doubt {
    refused("files that can be read", explain(error))
}

impl<I: StoreIo, B: BootIo> Seen<'_, I, B> {
    /// What decides in an entry; or why it would not boot.
    pub(super) fn judge(
        &self,
        boot: &Boot<B>,
        entry: &Entry,
        ours: &OurEntry,
    ) -> Result<Orders, Doubt> {
        let store = self.subject.store;
        let name = ours.text.deployment;
        let record = deploy::read_record(store, name);
        let record =
            record.map_err(|error| refused("a deployment in the store", explain(&error)))?;
        if let Some(found) = boot.damage(ours).map_err(|error| unreadable(&error))? {
            let digest = ours.text.files;
            return Err(refused(format!("files with the digest {digest}"), found));
        }
        let document = release::read_statement(store, record.commit, Some(&record.stream));
        let document = document.map(|(_, document)| document);
        let document =
            document.map_err(|error| refused("its release statement", explain(&error)))?;
        let orders = match &ours.text.starts {
            Starts::Image => self.judge_image(boot, ours, &document)?,
            Starts::Kernel(_) => judge_kernel(boot, entry, ours, &document)?,
        };
        let pack = orders.statement.pack_digest;
        if pack != record.pack {
            let expected = format!("the pack that was deployed, {}", record.pack);
            let found = format!("a statement of the pack {pack}");
            return Err(refused(expected, found));
        }
        self.judge_place(&orders.policy, name)?;
        self.judge_certificates(&orders)?;
        Ok(orders)
    }

    /// That the objects open which were signed for the kernel's keyring.
    fn judge_certificates(&self, orders: &Orders) -> Result<(), Doubt> {
        let store = self.subject.store;
        if store.signature_keyring() != SignatureKeyring::Filled {
            return Ok(());
        }
        let doubt = |found| refused("certificates by which the release's objects open", found);
        let tree = release::tree_of_pack(store, &orders.statement.pack_digest);
        // A pack that cannot be read is said with the content.
        let Some(tree) = tree.map_err(|error| doubt(explain(&error)))? else {
            return Ok(());
        };
        match keyring::unopened(store, &tree, &orders.verity_certificates) {
            Ok(None) => Ok(()),
            Ok(Some(unopened)) => Err(doubt(unopened.to_string())),
            Err(error) => Err(doubt(explain(&error))),
        }
    }

    /// What decides in an image.
    fn judge_image(
        &self,
        boot: &Boot<B>,
        ours: &OurEntry,
        document: &Unverified<Statement>,
    ) -> Result<Orders, Doubt> {
        let image = boot.image(ours).map_err(|error| unreadable(&error))?;
        let image = image.ok_or_else(|| refused("an image that can be read", "none"))?;
        let contents = uki::read(&image);
        let contents = contents.map_err(|error| refused("an image of ours", explain(&error)))?;
        // An image that names its pack asks for no signatures: then those that are asked for here do.
        let statement = match (document.verify(&contents.keyset), self.subject.keyset) {
            (Err(error), Some(keyset)) if contents.policy.pinned.pack().is_some() => {
                document.verify(keyset).map_err(|_| error)
            }
            (verified, _) => verified,
        };
        let statement = statement.map_err(|error| {
            refused(
                "a release that the keys in the image have signed",
                explain(&error),
            )
        })?;
        let named = contents.check_release(&statement, document);
        let named =
            named.map_err(|error| refused("an image that takes the release", explain(&error)))?;
        check_named(named, ours.text.deployment)?;
        Ok(Orders {
            statement,
            policy: contents.policy,
            keyset: contents.keyset,
            verity_certificates: contents.verity_certificates,
        })
    }

    /// That what the policy asks of this machine is so.
    fn judge_place(&self, policy: &Policy, name: DeploymentName) -> Result<(), Doubt> {
        let store = self.subject.store;
        if policy.mode != Mode::Integrity && store.verity() == VeritySupport::None {
            let expected = "the mode integrity, since the store has no fs-verity";
            let found = if policy.mode == Mode::Sealed {
                "sealed"
            } else {
                "verity"
            };
            return Err(refused(expected, format!("a policy with mode {found}")));
        }
        if policy.etc == EtcMode::Merge {
            let has_own = etc::has_own(store, name);
            match has_own {
                Ok(true) => {}
                Ok(false) => return Err(refused("an /etc in the deployment", "none")),
                Err(error) => return Err(refused("an /etc in the deployment", explain(&error))),
            }
        }
        match (&policy.root, self.subject.root) {
            (RootDevice::Uuid(wanted), Some(RootDevice::Uuid(found))) if wanted != found => {
                Err(refused(
                    format!("the filesystem of the store, UUID={found}"),
                    format!("a policy that looks for UUID={wanted}"),
                ))
            }
            _ => Ok(()),
        }
    }
}

/// What decides in the initramfs beside a kernel.
fn judge_kernel<B: BootIo>(
    boot: &Boot<B>,
    entry: &Entry,
    ours: &OurEntry,
    document: &Unverified<Statement>,
) -> Result<Orders, Doubt> {
    let mut initrd = boot.open_initrd(ours).map_err(|error| unreadable(&error))?;
    let unknown = |found: String| Doubt::Unknown {
        expected: "an initramfs in which the policy and the keyset can be found".into(),
        found,
    };
    let carried = initramfs::scan(&mut initrd).map_err(|error| unknown(explain(&error)))?;
    let certificates = carried.certificate_names();
    let Carried {
        policy: Some(policy),
        keyset: Some(keyset),
        program: Some(_),
        repairs: false,
        ..
    } = carried
    else {
        let found = "no policy, no keyset, no boot program of sealroot's, or one that repairs";
        return Err(unknown(found.into()));
    };
    let policy = Policy::parse(&policy);
    let policy = policy.map_err(|error| refused("a policy in the initramfs", explain(&error)))?;
    let keyset = Keyset::parse_trusted(&keyset);
    let keyset = keyset.map_err(|error| refused("a keyset in the initramfs", explain(&error)))?;
    let verity_certificates = certificates.map_err(|error| {
        refused(
            "certificates for fs-verity in the initramfs",
            explain(&error),
        )
    })?;
    let line = entry.options.as_deref().unwrap_or_default();
    let named = policy.check_cmdline(line.as_bytes());
    let named = named
        .map_err(|error| refused("kernel arguments that the policy takes", explain(&error)))?;
    check_named(named, ours.text.deployment)?;
    let statement = document.verify(&keyset);
    let statement = statement.map_err(|error| {
        refused(
            "a release that the keys in the initramfs have signed",
            explain(&error),
        )
    })?;
    let kernel = kernel(boot, ours)?;
    let stated = statement.kernel.as_ref().map(ToString::to_string);
    // Only some kernels say which they are.
    let running = kernel.or(stated).unwrap_or_default();
    let checked = policy.check_release(&statement, named.as_ref(), &running);
    checked.map_err(|error| refused("an initramfs that takes the release", explain(&error)))?;
    Ok(Orders {
        statement,
        policy,
        keyset,
        verity_certificates,
    })
}

/// The release of the kernel, if it says.
fn kernel<B: BootIo>(boot: &Boot<B>, ours: &OurEntry) -> Result<Option<String>, Doubt> {
    let file = boot.open_kernel(ours).map_err(|error| unreadable(&error))?;
    let mut head = Vec::new();
    let read = file.take(KERNEL_HEAD_BYTES).read_to_end(&mut head);
    read.map_err(|error| refused("a kernel that can be read", error.to_string()))?;
    Ok(uki::release_of_kernel(&head).map(str::to_owned))
}

/// That no other deployment is booted than the entry says.
fn check_named(named: Option<DeploymentName>, expected: DeploymentName) -> Result<(), Doubt> {
    match named {
        Some(named) if named != expected => Err(refused(
            format!("the deployment {expected}"),
            format!("it boots {named}"),
        )),
        _ => Ok(()),
    }
}
