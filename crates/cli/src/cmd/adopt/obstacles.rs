// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stands against an adoption besides what the survey of the library finds.

use sealroot::adopt::{Finding, FindingCode, Survey};
use sealroot::monitor::Silent;
use sealroot::ostree::{self, Repository};
use sealroot::store::VeritySupport;
use sealroot_format::ErrorClass;
use sealroot_format::policy::{EtcMode, Mode};

use super::{Adopt, Target, as_with_ostree};
use crate::args::Common;
use crate::cmd::deploy::ModeChoice;
use crate::failure::Failure;

/// What the want of a usable statement comes from.
pub(super) fn code_of_refusal(common: &Common) -> FindingCode {
    match common.trusted_keyset() {
        Ok(_) => FindingCode::Statement,
        Err(_) => FindingCode::Keyset,
    }
}

impl Adopt {
    /// What stands against the deployment.
    pub(super) fn obstacles(
        &self,
        common: &Common,
        repository: &Repository,
        target: &Target,
        survey: &Survey,
    ) -> Vec<(FindingCode, anyhow::Error)> {
        let mut found = Vec::new();
        if self.unsigned {
            return found;
        }
        let mut look = |code, result: anyhow::Result<()>| {
            found.extend(result.err().map(|error| (code, error)));
        };
        let mode = self.check_mode(common, target, survey);
        look(FindingCode::ModeNeedsVerity, mode);
        look(FindingCode::RootDevice, self.entry.check_root(common));
        if survey.check().is_ok() {
            look(FindingCode::Etc, self.check_etc(common, repository, target));
        }
        found
    }

    fn check_mode(&self, common: &Common, target: &Target, survey: &Survey) -> anyhow::Result<()> {
        if survey.verity == VeritySupport::Kernel {
            return Ok(());
        }
        let aim = self.aim(target);
        let mode = self.entry.foresee(common, &aim, as_with_ostree)?.mode;
        if mode == Mode::Integrity {
            return Ok(());
        }
        let is_absence = |finding: &&Finding| finding.code == FindingCode::NoVerity;
        let absence = survey.findings.iter().find(is_absence);
        let reason = absence.map_or("the store was made without it", |finding| &*finding.text);
        let message = format!(
            "the mode {} needs fs-verity: {reason}",
            ModeChoice::from(mode)
        );
        let way_out = absence.and_then(|finding| finding.way_out.as_deref());
        let choose = "choose --mode integrity";
        let hint = way_out.map_or_else(|| choose.into(), |other| format!("{other}; or {choose}"));
        let failure = Failure::new(ErrorClass::Unsupported, message);
        Err(failure.hint(hint).into())
    }

    /// That local changes and the default of the commit can both be had.
    fn check_etc(
        &self,
        common: &Common,
        repository: &Repository,
        target: &Target,
    ) -> anyhow::Result<()> {
        let aim = self.aim(target);
        if self.entry.foresee(common, &aim, as_with_ostree)?.etc != EtcMode::Merge {
            return Ok(());
        }
        let commit = repository.commit(target.commit)?;
        let tree = ostree::read_etc(repository, &commit, &Silent)?;
        self.entry.check_etc(common, &tree)
    }
}
