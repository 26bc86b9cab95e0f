// SPDX-License-Identifier: MIT OR Apache-2.0
//! Parameters of the kernel beside a command line that the policy fixes: A13.
//!
//! `rdinit=` is not among them: whoever can say it has the kernel start something else than the boot
//! program. Only the signature of a unified kernel image keeps it out.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::{Accept, Attack};
use crate::cpio::Archive;
use crate::kernel::GuestKernel;
use crate::release::{Layer, Release};
use crate::vm::Vm;

/// What would weaken a boot, or a system that looks at the command line.
const HOSTILE: [&str; 20] = [
    "init=/bin/sh",
    "rd.break",
    "single",
    "root=/dev/vda",
    "rw",
    "systemd.unit=emergency.target",
    "systemd.debug-shell",
    "systemd.setenv=LD_PRELOAD=/var/x.so",
    "systemd.set_credential=passwd.hashed-password.root:",
    "selinux=0 enforcing=0",
    "lockdown=none",
    "module.sig_enforce=0",
    "sysctl.kernel.kexec_load_disabled=0",
    "ostree.prepare-root.composefs=0",
    "composefs=?00",
    "sealroot=off",
    "sealroot.mode=integrity",
    "resume=/dev/vdb",
    "panic=0",
    "-- quiet",
];

/// What a machine has for the command line that its policy fixes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Line {
    /// Nothing else: what boots.
    Alone,
    /// This stands before it.
    Before(&'static str),
    /// This stands behind it.
    Behind(&'static str),
    /// Its last parameter is not there.
    Cut,
}

pub(super) fn attacks() -> Vec<Attack> {
    let refused = || Accept::refused(&["command-line"]);
    let alone = attack(Line::Alone, "alone", Accept::same_tree());
    let mut attacks = vec![
        alone.only(&Layer::ALL),
        attack(Line::Cut, "without its last parameter", refused()),
    ];
    for (index, parameters) in HOSTILE.into_iter().enumerate() {
        let line = match index % 2 {
            0 => Line::Before(parameters),
            _ => Line::Behind(parameters),
        };
        attacks.push(attack(line, &format!("and {parameters}"), refused()));
    }
    attacks
}

fn attack(line: Line, what: &str, accept: Accept) -> Attack {
    let name = format!("the fixed command line {what}");
    Attack {
        line: Some(line),
        ..Attack::new("A13", "parameters", name, accept, |_| Ok(()))
    }
    .only(&[Layer::Erofs])
}

impl Line {
    /// Has the initramfs fix the command line that the machine has, and the machine another.
    pub(super) fn put(
        self,
        vm: Vm,
        release: &Release,
        (kernel, layer): (&GuestKernel, Layer),
        directory: &Path,
    ) -> Result<Vm> {
        let fixed = vm.command_line().to_owned();
        let mut orders = Archive::new();
        let policy = release.policy_with(layer, &[("cmdline", &fixed)]);
        orders.file("etc/sealroot/policy", 0o644, policy.as_bytes());
        let mut initramfs = fs::read(release.initramfs(kernel, layer)?)?;
        // Of two archives, the later one's file counts.
        initramfs.extend(orders.finish());
        let path = directory.join("initramfs");
        fs::write(&path, initramfs)?;
        let line = match self {
            Self::Alone => fixed,
            Self::Before(parameters) => format!("{parameters} {fixed}"),
            Self::Behind(parameters) => format!("{fixed} {parameters}"),
            Self::Cut => fixed.rsplit_once(' ').unwrap_or_default().0.to_owned(),
        };
        Ok(vm.initramfs(&path).cmdline(&line))
    }
}
