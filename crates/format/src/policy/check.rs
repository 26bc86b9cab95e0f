// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a verified release is one that the policy may boot.

use std::fmt::Display;

use super::{DeploymentName, Error, Policy};
use crate::{
    sign::{Statement, Verified},
    text::{OrNone, Tagged},
};

impl Policy {
    /// Checks that a verified release is for this machine and not too old.
    ///
    /// A signature says that the vendor made a release, not that it belongs here: os, variant,
    /// stream and arch must be the policy's, the epoch not below the floor, the pack with its
    /// release's numbers and the deployment's commit the named ones where one is named, and the
    /// kernel that the tree has modules for must be the running one (`uname -r`).
    pub fn check_release(
        &self,
        statement: &Verified<Statement>,
        deployment: Option<&DeploymentName>,
        running_kernel: &str,
    ) -> Result<(), Error> {
        let variant = |of: Option<&_>| OrNone(of).to_string();
        same("os", &self.os, &statement.os)?;
        same(
            "variant",
            &variant(self.variant.as_ref()),
            &variant(statement.variant.as_ref()),
        )?;
        same("stream", &self.stream, &statement.stream)?;
        same("arch", &self.arch, &statement.arch)?;
        if let Some(pack) = self.pinned.pack() {
            let (expected, found) = (Tagged(&pack.digest), Tagged(&statement.pack_digest));
            same("pack-digest", &expected.to_string(), &found.to_string())?;
        }
        if let Some(numbers) = self.pinned.numbers() {
            same("index", &numbers.index, &statement.index)?;
            same("epoch", &numbers.epoch, &statement.epoch)?;
        }
        if let Some(deployment) = deployment {
            same("commit", &deployment.commit, &statement.commit)?;
        }
        if let Some(kernel) = &statement.kernel {
            same("kernel", running_kernel, kernel.as_str())?;
        }
        if statement.epoch < self.epoch_floor {
            return Err(Error::OtherRelease {
                field: "epoch",
                expected: format!("{} or above", self.epoch_floor),
                found: statement.epoch.to_string(),
            });
        }
        Ok(())
    }
}

fn same<T: PartialEq + Display + ?Sized>(
    field: &'static str,
    expected: &T,
    found: &T,
) -> Result<(), Error> {
    if expected == found {
        return Ok(());
    }
    Err(Error::OtherRelease {
        field,
        expected: expected.to_string(),
        found: found.to_string(),
    })
}
