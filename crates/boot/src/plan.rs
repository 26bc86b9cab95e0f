// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a boot will do, decided from the policy and the facts alone: no effects, no rights needed.

use sealroot_format::policy::{
    DeploymentName, EtcMode, Layer, Mode, PinnedPack, Policy, RootDevice, SecureBoot, Var,
};

use crate::facts::{Facts, FirmwareState};
use crate::overlay::Enforcement;
use crate::refusal::{Code, Refusal};

/// Which release is booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The pack the policy names, and nothing else is asked.
    Pinned(PinnedPack),
    /// A deployment named on the command line; its statement must verify, and name the policy's
    /// pack where the policy names one.
    Deployment(DeploymentName),
}

/// What becomes `/etc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtcPlan {
    /// The release's, under a tmpfs.
    Transient,
    /// The same, and in it the files that the machine keeps under `/var`.
    Allowlist,
    /// The one that this deployment keeps.
    OfDeployment(DeploymentName),
}

/// A boot, decided but for what only the disk can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootPlan {
    /// The mode, which is the policy's.
    pub mode: Mode,
    /// The form of the metadata layer.
    pub layer: Layer,
    /// Who checks the objects.
    pub enforcement: Enforcement,
    /// The device to mount.
    pub root: RootDevice,
    /// Which release.
    pub choice: Choice,
    /// How `/etc` is made.
    pub etc: EtcPlan,
    /// How `/var` is made.
    pub var: Var,
    /// Whether programs on `/var` may be started directly.
    pub var_may_execute: bool,
    /// The most memory a metadata layer may take.
    pub memory_limit_bytes: u64,
    /// Why this boot must not be called sealed; empty if it may.
    pub insecure: Vec<String>,
}

/// Decides what to do, or refuses.
pub fn plan(policy: &Policy, facts: &Facts) -> Result<BootPlan, Refusal> {
    let deployment = policy
        .check_cmdline(&facts.cmdline)
        .map_err(|error| Refusal::of(Code::CommandLine, &error))?;
    let choice = match (deployment, policy.pinned.pack()) {
        (Some(name), _) => Choice::Deployment(name),
        (None, Some(pack)) => Choice::Pinned(pack),
        (None, None) => {
            let expected = "a pack in the policy or sealroot= on the command line";
            return Err(Refusal::new(Code::CommandLine, "release", expected, "none"));
        }
    };
    Ok(BootPlan {
        mode: policy.mode,
        layer: policy.layer,
        enforcement: match policy.mode {
            Mode::Sealed | Mode::Verity => Enforcement::Kernel,
            Mode::Integrity => Enforcement::AtBoot,
        },
        root: policy.root.clone(),
        choice,
        etc: plan_etc(policy, choice)?,
        var: policy.var.clone(),
        var_may_execute: policy.mode != Mode::Sealed,
        memory_limit_bytes: memory_limit_bytes(policy, facts),
        insecure: insecure(policy, facts)?,
    })
}

/// A kept `/etc` is a deployment's, so one must be named.
fn plan_etc(policy: &Policy, choice: Choice) -> Result<EtcPlan, Refusal> {
    match (policy.etc, choice) {
        (EtcMode::Transient, _) => Ok(EtcPlan::Transient),
        (EtcMode::Allowlist, _) => Ok(EtcPlan::Allowlist),
        (EtcMode::Merge, Choice::Deployment(name)) => Ok(EtcPlan::OfDeployment(name)),
        (EtcMode::Merge, Choice::Pinned(_)) => {
            let expected = "the deployment whose /etc it is: sealroot= on the command line";
            Err(Refusal::new(Code::CommandLine, "/etc", expected, "none"))
        }
    }
}

/// What a pack may take of the memory: the policy's share for a tmpfs; a mounted pack is copied
/// only in the mode `integrity`, and then may take the most that any policy allows.
fn memory_limit_bytes(policy: &Policy, facts: &Facts) -> u64 {
    let percent = match policy.layer {
        Layer::Tmpfs(percent) => percent,
        Layer::Erofs => sealroot_format::policy::MemoryPercent::MAX,
    };
    (facts.memory_bytes / 100).saturating_mul(percent.get().into())
}

/// The reasons why this boot is not sealed. Refuses where the policy does not let them pass.
fn insecure(policy: &Policy, facts: &Facts) -> Result<Vec<String>, Refusal> {
    let mut reasons = Vec::new();
    if policy.mode != Mode::Sealed {
        reasons.push(format!("the mode is {}", policy.mode));
    }
    if policy.etc == EtcMode::Merge {
        reasons.push("/etc is kept and verified by nobody".to_owned());
    }
    if facts.firmware != FirmwareState::Enforcing {
        reasons.push(format!("Secure Boot is {}", facts.firmware.as_str()));
    }
    if !facts.locked_down {
        reasons.push("the kernel is not locked down".to_owned());
    }
    if policy.secure_boot.command_line().is_none() {
        reasons.push("any command line is accepted".to_owned());
    }
    match policy.secure_boot {
        SecureBoot::NotRequired(_) => {
            reasons.push("the policy allows an insecure boot".to_owned());
            Ok(reasons)
        }
        SecureBoot::Required(_) if facts.firmware != FirmwareState::Enforcing => Err(Refusal::new(
            Code::SecureBoot,
            "Secure Boot",
            "on, with its keys enrolled",
            facts.firmware.as_str(),
        )),
        SecureBoot::Required(_) if !facts.locked_down => Err(Refusal::new(
            Code::SecureBoot,
            "kernel lockdown",
            "integrity or confidentiality",
            "none",
        )),
        SecureBoot::Required(_) => Ok(reasons),
    }
}
