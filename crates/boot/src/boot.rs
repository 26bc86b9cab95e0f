// SPDX-License-Identifier: MIT OR Apache-2.0
//! The boot, step by step. Nothing is parsed before it is authenticated but what picks the device
//! and the signed statement.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::mount::MountAttrFlags;
use sealroot_format::policy::{KEYSET_PATH, Layer, POLICY_PATH, Policy};
use sealroot_format::sign::{Keyset, Verified};
use sealroot_sys::mount::attach;

use crate::console::say;
use crate::facts::Facts;
use crate::layer::Metadata;
use crate::overlay::{Enforcement, Layers};
use crate::pack::Pack;
use crate::plan::{BootPlan, EtcPlan};
use crate::refusal::{Code, OrRefuse as _, Refusal};
use crate::release::Release;
use crate::root::Store;
use crate::{
    device, floor, kept, keyring, layer, measure, modules, objects, overlay, pack, plan, release,
    report, root, state, switch, sysroot, system,
};

/// Where the verified root is until it is `/`.
const PLACE: &str = "/verified";

/// Where an initramfs of another maker wants the root.
const FOREIGN_PLACE: &str = "/sysroot";

/// Boots. Gives back only why not.
pub(crate) fn boot() -> Refusal {
    let verified = system::mount_kernel_filesystems()
        .and_then(|()| verify_and_mount(PLACE))
        .and_then(|verified| {
            switch::move_kernel_filesystems(verified.root.as_fd())?;
            Ok(verified)
        });
    match verified {
        Ok(verified) => switch::switch(&verified.root, PLACE, verified.init),
        Err(refusal) => refusal,
    }
}

/// Verifies and mounts at `/sysroot` for the init of another's initramfs, which switches to it.
pub(crate) fn mount_for_another() -> Result<(), Refusal> {
    system::prepare_anothers_initramfs(FOREIGN_PLACE)?;
    verify_and_mount(FOREIGN_PLACE)?;
    system::restore_mask();
    Ok(())
}

/// A root that has been verified and mounted, with everything in it but the kernel's filesystems.
struct VerifiedRoot {
    root: OwnedFd,
    init: &'static str,
}

/// What is known before anything on a disk is looked at.
pub(crate) struct Prepared {
    policy: Policy,
    keyset: Verified<Keyset>,
    kernel: String,
    pub plan: BootPlan,
}

/// Readies the kernel, and decides what to do by the orders in the initramfs.
pub(crate) fn prepare() -> Result<Prepared, Refusal> {
    let (policy, keyset) = read_orders()?;
    modules::load_all()?;
    system::harden();
    keyring::require_no_signatures()?;
    keyring::prepare(policy.mode)?;
    overlay::probe()?;
    let facts = Facts::gather()?;
    let plan = plan::plan(&policy, &facts)?;
    Ok(Prepared {
        policy,
        keyset,
        kernel: facts.kernel,
        plan,
    })
}

fn verify_and_mount(place: &str) -> Result<VerifiedRoot, Refusal> {
    let Prepared {
        policy,
        keyset,
        kernel,
        plan,
    } = prepare()?;
    let device = device::find(&plan.root)?;
    let physical = root::mount(&device)?;
    let store = Store::open(physical.as_fd())?;
    let release = release::choose(plan.choice, &policy, &keyset, store.as_fd(), &kernel)?;
    let floor = floor::check(&policy, release.numbers)?;
    let root = verified_root(&plan, &release, &store, &physical, place)?;
    let init = switch::find_init(root.as_fd())?;
    let event = measure::extend(&policy, &release, floor)?;
    report::write(&plan, &release, &policy, floor, event.as_deref())?;
    keyring::keep_it_so()?;
    announce(&plan, &release);
    state::move_physical(root.as_fd(), physical.as_fd())?;
    Ok(VerifiedRoot { root, init })
}

/// The policy and the keyset, which are trusted because the initramfs is.
fn read_orders() -> Result<(Policy, Verified<Keyset>), Refusal> {
    let read = |code, path: &str| {
        std::fs::read(format!("/{path}")).or_refuse(code, path, "a readable file")
    };
    let policy = Policy::parse(&read(Code::Policy, POLICY_PATH)?)
        .map_err(|error| Refusal::of(Code::Policy, &error))?;
    let keyset = Keyset::parse_trusted(&read(Code::Keyset, KEYSET_PATH)?)
        .map_err(|error| Refusal::of(Code::Keyset, &error))?;
    Ok((policy, keyset))
}

/// Authenticates the pack, joins it with the objects, and attaches root, `/etc`, `/var` and
/// `/tmp`.
fn verified_root(
    plan: &BootPlan,
    release: &Release,
    store: &Store,
    physical: &OwnedFd,
    place: &str,
) -> Result<OwnedFd, Refusal> {
    let packs = store.directory("pack")?;
    let pack = pack::open(plan, release, packs.as_fd())?;
    let metadata = bring_up(plan, release, &pack)?;
    let data = store.data_layers(release)?;
    let data: Vec<_> = data.iter().map(OwnedFd::as_fd).collect();
    match plan.enforcement {
        Enforcement::Kernel => overlay::self_test(packs.as_fd(), pack.digest())?,
        Enforcement::AtBoot => objects::check(pack.file(), &data)?,
    }
    let layers = Layers {
        metadata: metadata.root(),
        data: &data,
        verity: plan.enforcement.verity(),
        upper: None,
    };
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    let root = overlay::mount(&layers, attributes).or_refuse(
        Code::Overlay,
        "verified root",
        "to be mounted",
    )?;
    sysroot::private_directory(place)
        .and_then(|directory| attach(root.as_fd(), directory.as_fd()))
        .or_refuse(Code::Overlay, place, "a place to mount")?;
    overlay::read_back(root.as_fd(), plan.enforcement)?;
    let etc = match plan.etc {
        EtcPlan::Transient | EtcPlan::Allowlist => Some(state::mount_transient_etc(
            root.as_fd(),
            metadata.root(),
            &layers,
        )?),
        EtcPlan::OfDeployment(name) => {
            state::mount_kept_etc(root.as_fd(), physical.as_fd(), &name)?;
            None
        }
    };
    metadata.detach()?;
    let var = state::mount_var_and_tmp(root.as_fd(), physical.as_fd(), plan)?;
    if let (EtcPlan::Allowlist, Some(etc)) = (plan.etc, etc) {
        kept::put_into(etc.as_fd(), root.as_fd(), var.as_fd())?;
    }
    Ok(root)
}

fn bring_up(plan: &BootPlan, release: &Release, pack: &Pack) -> Result<Metadata, Refusal> {
    match plan.layer {
        Layer::Erofs => layer::mount_erofs(pack),
        Layer::Tmpfs(_) => {
            let stated = release.stated.as_ref().map(|stated| stated.tree_digest);
            layer::unpack_into_tmpfs(pack, plan.memory_limit_bytes, stated)
        }
    }
}

fn announce(plan: &BootPlan, release: &Release) {
    let what = format!("booting pack {} in mode {}", release.pack, plan.mode);
    if plan.insecure.is_empty() {
        say(&what);
    } else {
        say(&format!("{what}; NOT SEALED: {}", plan.insecure.join(", ")));
    }
}
