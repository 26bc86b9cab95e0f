// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a machine runs first: a kernel that the emulator gives it, or its firmware.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::Firmware;
use crate::kernel::GuestKernel;

/// What a machine runs first.
#[derive(Clone, Debug)]
pub(super) enum Start {
    Kernel {
        kernel: GuestKernel,
        initramfs: Option<PathBuf>,
        cmdline: String,
        firmware: Option<Firmware>,
    },
    /// Which looks for a boot loader on the disks, in their order.
    Firmware(Firmware),
}

impl Start {
    /// The kind of machine that it needs.
    pub(super) const fn machine(&self) -> &'static str {
        match self {
            Self::Kernel {
                firmware: Some(firmware),
                ..
            }
            | Self::Firmware(firmware) => firmware.machine(),
            Self::Kernel { firmware: None, .. } => "q35,accel=tcg",
        }
    }

    pub(super) fn add_to(&self, command: &mut Command) -> Result<()> {
        match self {
            Self::Kernel {
                kernel,
                initramfs,
                cmdline,
                firmware,
            } => {
                if let Some(firmware) = firmware {
                    firmware.add_to(command)?;
                    // It starts none but what the package has.
                    command.arg("-kernel").arg(kernel.packed());
                } else {
                    command.arg("-kernel").arg(kernel.image()?);
                }
                command.args(["-append", cmdline]);
                if let Some(initramfs) = initramfs {
                    command.arg("-initrd").arg(initramfs);
                }
                Ok(())
            }
            Self::Firmware(firmware) => firmware.add_to(command),
        }
    }
}
