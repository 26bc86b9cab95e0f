// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deployments that become what boots next when the machine goes down.

use sealroot_format::digest::VerityDigest;
use sealroot_format::policy::DeploymentName;
use serde::{Deserialize, Serialize};

use super::ActivateError;
use crate::deploy::{self, Flag};
use crate::machine::Booted;
use crate::machine::Runtime;
use crate::store::{Store, StoreIo, Transaction};

/// The version of what the flag says.
const VERSION: u32 = 1;

/// Where the kernel names this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What is still to be done for a deployment (docs/format/store.md 8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Staged {
    version: u32,
    /// The boot it was staged in, as the kernel names it.
    pub boot: String,
    /// Kernel arguments to add.
    #[serde(default)]
    pub kernel_arguments: Vec<String>,
    /// How often the loader tries the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
    /// The digest of the image of the store that boots it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<String>,
}

impl Staged {
    /// Of this boot.
    pub fn now(
        kernel_arguments: Vec<String>,
        tries: Option<u32>,
        image: Option<VerityDigest>,
    ) -> Result<Self, ActivateError> {
        Ok(Self {
            version: VERSION,
            boot: this_boot()?,
            kernel_arguments,
            tries,
            image: image.map(VerityDigest::to_hex),
        })
    }

    /// The image of the store that boots it, if one does.
    pub fn image(&self) -> Option<VerityDigest> {
        self.image.as_deref().and_then(VerityDigest::from_hex)
    }

    /// Whether it was staged before this boot: the power failed before it was done.
    pub fn is_left_over(&self) -> Result<bool, ActivateError> {
        Ok(self.boot != this_boot()?)
    }

    pub(super) fn parse(name: DeploymentName, bytes: &[u8]) -> Result<Self, ActivateError> {
        let invalid = |reason: String| ActivateError::Flag { name, reason };
        let text = std::str::from_utf8(bytes).map_err(|error| invalid(error.to_string()))?;
        let staged: Self = toml::from_str(text).map_err(|error| invalid(error.to_string()))?;
        if staged.version != VERSION {
            return Err(invalid(format!(
                "it has version {}, expected {VERSION}",
                staged.version
            )));
        }
        if staged.image.is_some() && staged.image().is_none() {
            return Err(invalid("its image is named by no digest".into()));
        }
        Ok(staged)
    }
}

/// What the kernel calls this boot.
pub fn this_boot() -> Result<String, ActivateError> {
    let text = std::fs::read_to_string(BOOT_ID);
    let text = text.map_err(|source| ActivateError::BootId { source })?;
    Ok(text.trim_end().to_owned())
}

/// Notes that a deployment is to become what boots next when the machine goes down. One that was
/// noted before is so no more. Durable once the transaction is finished.
pub fn stage(
    transaction: &Transaction<'_>,
    name: DeploymentName,
    what: &Staged,
) -> Result<(), ActivateError> {
    let store = transaction.store();
    let text = toml::to_string(what).expect("words and numbers");
    deploy::raise_flag(transaction, &name, Flag::Staged, text.as_bytes())?;
    for found in deploy::deployments(store)? {
        if found.name != name && deploy::has_flag(store, &found.name, Flag::Staged)? {
            deploy::lower_flag(transaction, &found.name, Flag::Staged)?;
        }
    }
    Ok(())
}

/// The deployment that is staged, the last one deployed if several are, and what is to be done.
pub fn staged<I: StoreIo>(
    store: &Store<I>,
) -> Result<Option<(DeploymentName, Staged)>, ActivateError> {
    let mut newest: Option<(u64, DeploymentName, Vec<u8>)> = None;
    for found in deploy::deployments(store)? {
        let Some(flag) = deploy::read_flag(store, &found.name, Flag::Staged)? else {
            continue;
        };
        let deployed = found.record.map_or(0, |record| record.deployed);
        if newest.as_ref().is_none_or(|(time, ..)| *time <= deployed) {
            newest = Some((deployed, found.name, flag));
        }
    }
    let Some((_, name, flag)) = newest else {
        return Ok(None);
    };
    Ok(Some((name, Staged::parse(name, &flag)?)))
}

/// Takes the note away from a deployment that needs it no more, since it runs.
pub fn forget_if_running(
    transaction: &Transaction<'_>,
    runtime: &Runtime,
    name: DeploymentName,
) -> Result<bool, ActivateError> {
    if Booted::running(runtime)? != Some(name) {
        return Ok(false);
    }
    deploy::lower_flag(transaction, &name, Flag::Staged)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_staged_is_read_as_it_was_written() {
        let name: DeploymentName = format!("{}.0", "ab".repeat(32)).parse().expect("a name");
        let image = VerityDigest::from_bytes([0xab; 32]);
        let staged = Staged::now(vec!["quiet".into()], Some(3), Some(image)).expect("a boot");
        assert_eq!(staged.image(), Some(image));
        let text = toml::to_string(&staged).expect("words");
        assert_eq!(Staged::parse(name, text.as_bytes()).expect("read"), staged);
        assert!(!staged.is_left_over().expect("a boot"));
        for bad in [
            String::new(),
            text.replace("version = 1", "version = 2"),
            text.replace("boot", "shoe"),
            format!("{text}other = 1\n"),
            text.replace("tries = 3", "tries = -3"),
            text.replace("image = \"ab", "image = \"b"),
        ] {
            Staged::parse(name, bad.as_bytes()).expect_err(&bad);
        }
        let earlier = text.replace(&staged.boot, "an earlier one");
        let earlier = Staged::parse(name, earlier.as_bytes()).expect("read");
        assert!(earlier.is_left_over().expect("a boot"));
    }
}
