// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the firmware says of Secure Boot: whether it verifies, and whom it trusts.

use std::fs::File;
use std::path::Path;

use rustix::io::Errno;
use sealroot_format::limits::{MAX_EFI_KEYS_BYTES, MAX_MOK_PARTS};
use sealroot_sys::efivar;

use super::certificate::Trusted;
use super::lists;

/// Whose the variables are: the specification's, those of images, shim's, and boot loaders'.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
const IMAGES: &str = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";
const SHIM: &str = "605dab50-e046-4300-abb6-3dd810dd8b23";
const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Before the content of each variable.
const ATTRIBUTES_BYTES: usize = 4;

/// Longest path of an image that is read, bytes of UTF-16.
const MAX_PATH_BYTES: usize = 2048;

/// What firmware does with an image before it starts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verifies {
    /// It verifies it.
    Images,
    /// Nothing: Secure Boot is off.
    Nothing,
    /// Anybody may enrol keys.
    InSetup,
    /// What it does not trust, it starts and writes down.
    InAudit,
    /// It is not known: there is no UEFI, or it cannot be asked.
    Unknown,
}

/// Whom one list trusts; the reason where it cannot be read.
pub type Keys = Result<Vec<Trusted>, String>;

/// What the firmware and shim say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareKeys {
    /// What is verified.
    pub verifies: Verifies,
    /// Who may change the other lists (`PK`).
    pub platform: Keys,
    /// Who may change which images start (`KEK`).
    pub exchange: Keys,
    /// Which images start (`db`).
    pub images: Keys,
    /// Which images shim starts besides (`MokListRT`).
    pub shim: Keys,
    /// Whether shim was told not to verify (`MokSBStateRT`).
    pub is_shim_off: bool,
    /// The image that has booted, as its stub says: a path on the partition that it lies on.
    pub started: Option<String>,
}

impl FirmwareKeys {
    /// Reads the variables in a mounted efivarfs, usually [`efivar::EFIVARFS`].
    pub fn read(efivarfs: &Path) -> Self {
        let Ok(variables) = File::open(efivarfs) else {
            let nothing = || Ok(Vec::new());
            return Self {
                verifies: Verifies::Unknown,
                platform: nothing(),
                exchange: nothing(),
                images: nothing(),
                shim: nothing(),
                is_shim_off: false,
                started: None,
            };
        };
        let flag = |name: &str, vendor: &str| flag(&variables, &format!("{name}-{vendor}"));
        let keys = |name: &str, vendor: &str| keys(&variables, &format!("{name}-{vendor}"));
        Self {
            verifies: verifies(
                flag("SecureBoot", GLOBAL),
                flag("SetupMode", GLOBAL),
                flag("AuditMode", GLOBAL),
            ),
            platform: keys("PK", GLOBAL),
            exchange: keys("KEK", GLOBAL),
            images: keys("db", IMAGES),
            shim: shim(&variables),
            is_shim_off: flag("MokSBStateRT", SHIM) == Some(true),
            started: started(&variables),
        }
    }
}

fn verifies(secure_boot: Option<bool>, setup: Option<bool>, audit: Option<bool>) -> Verifies {
    match (secure_boot, setup, audit) {
        (_, _, Some(true)) => Verifies::InAudit,
        (Some(true), Some(false), _) => Verifies::Images,
        (Some(_), Some(true), _) => Verifies::InSetup,
        (Some(false), ..) => Verifies::Nothing,
        _ => Verifies::Unknown,
    }
}

/// A variable of one byte that is 0 or 1; `None` for whatever else.
fn flag(variables: &File, name: &str) -> Option<bool> {
    let bytes = efivar::read(variables, name, ATTRIBUTES_BYTES + 1).ok()??;
    match bytes.get(ATTRIBUTES_BYTES..)? {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}

fn content(variables: &File, name: &str) -> Result<Option<Vec<u8>>, String> {
    let found = efivar::read(variables, name, MAX_EFI_KEYS_BYTES + ATTRIBUTES_BYTES);
    match found {
        Ok(None) => Ok(None),
        Ok(Some(bytes)) => match bytes.get(ATTRIBUTES_BYTES..) {
            Some(content) => Ok(Some(content.to_vec())),
            None => Err(format!("{name} has no attributes")),
        },
        Err(Errno::FBIG) => Err(format!("{name} has more than {MAX_EFI_KEYS_BYTES} bytes")),
        Err(errno) => Err(format!("{name}: {}", std::io::Error::from(errno))),
    }
}

fn keys(variables: &File, name: &str) -> Keys {
    let bytes = content(variables, name)?.unwrap_or_default();
    let lists = lists::parse(&bytes).map_err(|error| format!("{name}: {error}"))?;
    Ok(Trusted::of_lists(&lists))
}

/// Shim's list, in as many variables as it needed: `MokListRT`, `MokListRT1` and so on.
fn shim(variables: &File) -> Keys {
    let mut found = Vec::new();
    for part in 0..MAX_MOK_PARTS {
        let number = if part == 0 {
            String::new()
        } else {
            part.to_string()
        };
        let name = format!("MokListRT{number}-{SHIM}");
        let Some(bytes) = content(variables, &name)? else {
            break;
        };
        let lists = lists::parse(&bytes).map_err(|error| format!("{name}: {error}"))?;
        found.extend(Trusted::of_lists(&lists));
    }
    Ok(found)
}

/// What systemd's stub says of itself, with the slashes of a path.
fn started(variables: &File) -> Option<String> {
    let name = format!("StubImageIdentifier-{LOADER}");
    let bytes = efivar::read(variables, &name, ATTRIBUTES_BYTES + MAX_PATH_BYTES).ok()??;
    let (units, _) = bytes.get(ATTRIBUTES_BYTES..)?.as_chunks::<2>();
    let units: Vec<u16> = (units.iter())
        .map(|unit| u16::from_le_bytes(*unit))
        .take_while(|unit| *unit != 0)
        .collect();
    let path = String::from_utf16(&units).ok()?;
    Some(path.replace('\\', "/").trim_start_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_state_of_the_variables_verifies() {
        let (on, off) = (Some(true), Some(false));
        assert_eq!(verifies(on, off, None), Verifies::Images);
        assert_eq!(verifies(on, off, off), Verifies::Images);
        assert_eq!(verifies(on, off, on), Verifies::InAudit);
        assert_eq!(verifies(off, on, off), Verifies::InSetup);
        assert_eq!(verifies(on, on, off), Verifies::InSetup);
        assert_eq!(verifies(off, off, off), Verifies::Nothing);
        assert_eq!(verifies(off, None, None), Verifies::Nothing);
        assert_eq!(verifies(on, None, None), Verifies::Unknown);
        assert_eq!(verifies(None, off, off), Verifies::Unknown);
    }

    #[test]
    fn what_is_not_there_is_nothing_and_what_is_damaged_is_said() {
        let directory = tempfile::tempdir().expect("a directory");
        let read = || FirmwareKeys::read(directory.path());
        let found = read();
        assert_eq!(found.verifies, Verifies::Unknown);
        assert_eq!(found.images, Ok(Vec::new()));
        assert_eq!(found.started, None);
        let write = |name: &str, content: &[u8]| {
            let bytes = [&[6, 0, 0, 0], content].concat();
            std::fs::write(directory.path().join(name), bytes).expect("written");
        };
        write(&format!("db-{IMAGES}"), b"short");
        let units: Vec<u8> = ("\\EFI\\Linux\\os.efi\0".encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        write(&format!("StubImageIdentifier-{LOADER}"), &units);
        write(&format!("MokSBStateRT-{SHIM}"), &[1]);
        let found = read();
        let error = found.images.expect_err("malformed");
        assert!(
            error.contains("byte 0: expected 28 bytes, found 5"),
            "{error}"
        );
        assert_eq!(found.started.as_deref(), Some("EFI/Linux/os.efi"));
        assert!(found.is_shim_off);
        assert!(!FirmwareKeys::read(&directory.path().join("none")).is_shim_off);
    }
}
