// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boot loaders, and the order in which each of them has its entries (docs/format/entries.md 4).

use std::cmp::Ordering;

use super::read::Entry;
use super::version;

/// A boot loader that reads boot entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loader {
    /// systemd-boot.
    SystemdBoot,
    /// GRUB with Fedora's `blscfg`.
    GrubFedora,
    /// GRUB 2.14 or later.
    Grub,
    /// None: the firmware's own boot manager starts images.
    Firmware,
}

impl Loader {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::SystemdBoot,
        Self::GrubFedora,
        Self::Grub,
        Self::Firmware,
    ];

    /// Its name, for people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SystemdBoot => "systemd-boot",
            Self::GrubFedora => "grub-fedora",
            Self::Grub => "grub",
            Self::Firmware => "firmware",
        }
    }

    /// Whether it counts how often it tries an entry, and gives up on one.
    pub const fn counts_tries(self) -> bool {
        matches!(self, Self::SystemdBoot | Self::Firmware)
    }

    /// How often it tries a new entry where nobody says; `None`: always.
    pub const fn usual_tries(self) -> Option<u32> {
        match self {
            Self::Firmware => Some(1),
            Self::SystemdBoot | Self::GrubFedora | Self::Grub => None,
        }
    }

    /// Whether it runs what an entry says through the script language of GRUB.
    pub(crate) const fn is_grub(self) -> bool {
        matches!(self, Self::GrubFedora | Self::Grub)
    }

    /// Which of two entries comes first; the first of all boots unless somebody chooses.
    pub fn compare(self, left: &Entry, right: &Entry) -> Ordering {
        let (a, b) = (left.file_name.as_bytes(), right.file_name.as_bytes());
        let newest_first = match self {
            Self::SystemdBoot => return systemd_boot(left, right),
            Self::Firmware => return firmware(left, right),
            Self::GrubFedora => version::rpm_name(strip(a), strip(b)),
            Self::Grub => version::file_name(a, b),
        };
        newest_first.reverse()
    }
}

fn strip(file_name: &[u8]) -> &[u8] {
    file_name.strip_suffix(b".conf").unwrap_or(file_name)
}

/// `boot_entry_compare` of systemd-boot: out of tries last; with a sort key before without; then
/// by sort key, machine id, version and name.
fn systemd_boot(left: &Entry, right: &Entry) -> Ordering {
    let is_bad = |entry: &Entry| entry.tries.is_some_and(|tries| tries.left == 0);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let by_sort_key = || match (&left.sort_key, &right.sort_key) {
        (Some(a), Some(b)) => a
            .cmp(b)
            .then_with(|| left.machine_id.cmp(&right.machine_id))
            .then_with(|| {
                let (a, b) = (text(&left.version), text(&right.version));
                version::uapi(b.as_bytes(), a.as_bytes())
            }),
        (a, b) => a.is_none().cmp(&b.is_none()),
    };
    // systemd-boot does not compare what has tries with what has none. Where three entries have one name, that is
    // no order.
    let tries = |entry: &Entry| {
        let none = (0, 0);
        entry
            .tries
            .map_or(none, |tries| (u32::MAX - tries.left, tries.done))
    };
    let by_tries = || tries(left).cmp(&tries(right));
    is_bad(left)
        .cmp(&is_bad(right))
        .then_with(by_sort_key)
        .then_with(|| version::uapi(right.id().as_bytes(), left.id().as_bytes()))
        .then_with(by_tries)
}

/// What is started once, then `BootOrder`, then what is not started; of one load option the newest entry.
fn firmware(left: &Entry, right: &Entry) -> Ordering {
    let place = |entry: &Entry| match &entry.option {
        Some(option) => (!option.is_next, option.position.unwrap_or(usize::MAX)),
        None => (true, usize::MAX),
    };
    let (a, b) = (left.file_name.as_bytes(), right.file_name.as_bytes());
    (place(left).cmp(&place(right))).then_with(|| version::file_name(b, a))
}

/// Whether a name matches a pattern of shells, with `*` and `?`.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut name_at) = (0, 0);
    // Where the last `*` stood, and how far it reaches in the name.
    let mut star = None;
    while name_at < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, name_at));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[name_at] => {
                at += 1;
                name_at += 1;
            }
            _ => {
                let Some((star_at, reach)) = star else {
                    return false;
                };
                star = Some((star_at, reach + 1));
                (at, name_at) = (star_at + 1, reach + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}
