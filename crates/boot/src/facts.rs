// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the machine says about itself: gathered once, judged by [`crate::plan()`].

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountAttrFlags;
use sealroot_sys::mount::FsContext;

use crate::refusal::{Code, OrRefuse as _, Refusal};

/// The vendor GUID of the variables the UEFI specification defines.
const EFI_GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// What the firmware says about Secure Boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareState {
    /// Images are verified, with keys that are enrolled for good.
    Enforcing,
    /// Secure Boot is off.
    Off,
    /// Anybody may enrol keys.
    SetupMode,
    /// There is no UEFI, or it cannot be asked.
    Unknown,
}

impl FirmwareState {
    /// The state in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforcing => "on",
            Self::Off => "off",
            Self::SetupMode => "in setup mode",
            Self::Unknown => "not there",
        }
    }
}

/// All that a plan depends on besides the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The bytes of `/proc/cmdline`.
    pub cmdline: Vec<u8>,
    /// What the firmware says.
    pub firmware: FirmwareState,
    /// Whether the kernel is locked down against root.
    pub locked_down: bool,
    /// The release of the running kernel.
    pub kernel: String,
    /// The machine's memory.
    pub memory_bytes: u64,
}

impl Facts {
    /// Asks the kernel and the firmware.
    pub(crate) fn gather() -> Result<Self, Refusal> {
        let path = "/proc/cmdline";
        let cmdline = fs::read(path).or_refuse(Code::System, path, "a readable file")?;
        let memory = rustix::system::sysinfo();
        let memory_bytes = memory.totalram.saturating_mul(memory.mem_unit.into());
        let kernel = rustix::system::uname();
        Ok(Self {
            cmdline,
            firmware: firmware_state(),
            locked_down: is_locked_down(),
            kernel: kernel.release().to_string_lossy().into_owned(),
            memory_bytes,
        })
    }
}

/// A kernel filesystem looked at without giving it a place.
pub(crate) fn glance(filesystem: &str) -> Option<OwnedFd> {
    let context = FsContext::open(filesystem).ok()?;
    context.create_mount(MountAttrFlags::MOUNT_ATTR_RDONLY).ok()
}

fn read(directory: &OwnedFd, name: &str) -> Option<Vec<u8>> {
    /// More than any of the values looked at.
    const ENOUGH_BYTES: usize = 256;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory.as_fd(), name, flags, Mode::empty()).ok()?;
    let mut value = vec![0; ENOUGH_BYTES];
    let len_bytes = rustix::io::read(&file, &mut value).ok()?;
    value.truncate(len_bytes);
    Some(value)
}

fn firmware_state() -> FirmwareState {
    let Some(variables) = glance("efivarfs") else {
        return FirmwareState::Unknown;
    };
    let flag = |name: &str| read(&variables, &format!("{name}-{EFI_GLOBAL}"));
    firmware_state_of(flag("SecureBoot").as_deref(), flag("SetupMode").as_deref())
}

/// Judges the two variables as efivarfs shows them: four bytes of attributes, then the value.
fn firmware_state_of(secure_boot: Option<&[u8]>, setup_mode: Option<&[u8]>) -> FirmwareState {
    match (secure_boot, setup_mode) {
        (Some([_, _, _, _, 1]), Some([_, _, _, _, 0])) => FirmwareState::Enforcing,
        (Some([_, _, _, _, 1]), _) => FirmwareState::SetupMode,
        (Some([_, _, _, _, 0]), _) => FirmwareState::Off,
        _ => FirmwareState::Unknown,
    }
}

fn is_locked_down() -> bool {
    glance("securityfs")
        .and_then(|security| read(&security, "lockdown"))
        .is_some_and(|text| is_locked_down_text(&text))
}

/// The chosen level is in brackets: `none [integrity] confidentiality`.
fn is_locked_down_text(text: &[u8]) -> bool {
    text.split(u8::is_ascii_whitespace)
        .any(|word| matches!(word, b"[integrity]" | b"[confidentiality]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_pair_of_variables_means_secure_boot() {
        let on: &[u8] = &[6, 0, 0, 0, 1];
        let off: &[u8] = &[6, 0, 0, 0, 0];
        let state = |secure, setup| firmware_state_of(secure, setup);
        assert_eq!(state(Some(on), Some(off)), FirmwareState::Enforcing);
        assert_eq!(state(Some(on), Some(on)), FirmwareState::SetupMode);
        assert_eq!(state(Some(on), None), FirmwareState::SetupMode);
        assert_eq!(state(Some(off), Some(off)), FirmwareState::Off);
        assert_eq!(state(None, Some(off)), FirmwareState::Unknown);
        for odd in [&[6, 0, 0, 0][..], &[6, 0, 0, 0, 2], &[6, 0, 0, 0, 1, 1]] {
            assert_eq!(state(Some(odd), Some(off)), FirmwareState::Unknown);
        }
    }

    #[test]
    fn the_level_in_brackets_counts() {
        assert!(is_locked_down_text(b"none [integrity] confidentiality\n"));
        assert!(is_locked_down_text(b"none integrity [confidentiality]\n"));
        assert!(!is_locked_down_text(b"[none] integrity confidentiality\n"));
        assert!(!is_locked_down_text(b""));
    }
}
