// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the boot loader may start, as far as it concerns deployments.

use std::collections::BTreeMap;

use sealroot_format::policy::DeploymentName;

/// The deployments that boot entries name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootChoices {
    /// What starts unless a person chooses otherwise, if it is a deployment.
    pub default: Option<DeploymentName>,
    /// What was the default before.
    pub rollback: Option<DeploymentName>,
    /// Every deployment that any entry names, with that entry's kernel command line.
    pub named: BTreeMap<DeploymentName, String>,
}
