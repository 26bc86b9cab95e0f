// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is staged: it is there whole, one at a time, or not at all.

use super::{Check, Finding, Mend, Report, Seen};
use crate::activate;
use crate::check::explain;
use crate::entry::BootIo;
use crate::machine::State;
use crate::store::StoreIo;

impl<I: StoreIo, B: BootIo> Seen<'_, I, B> {
    /// Looks at the flags. Whether the content is whole was said of all deployments.
    pub(super) fn staged(&self, report: &mut Report) {
        let is_staged = self.scan.deployments.iter();
        let is_staged = is_staged.filter(|found| found.states.contains(&State::Staged));
        let names: Vec<_> = is_staged.map(|found| found.name).collect();
        let Some(first) = names.first() else {
            return;
        };
        report.staged = Some(*first);
        let text: Vec<_> = names.iter().map(ToString::to_string).collect();
        let finding = |expected: &str, found: String, mend: Mend| Finding {
            place: format!("deployment {}", text.join(" and ")),
            expected: expected.into(),
            found,
            mend,
        };
        let is_left_over = activate::staged(self.subject.store)
            .and_then(|staged| staged.map(|(_, staged)| staged.is_left_over()).transpose());
        match is_left_over {
            Ok(Some(true)) => {
                let found = "it was staged before this boot: the machine went down without it";
                report.warn(
                    Check::Staged,
                    finding(
                        "nothing, or what was staged in this boot",
                        found.into(),
                        Mend::Finalize,
                    ),
                );
            }
            Ok(_) => {}
            Err(error) => {
                let commit = first.commit;
                let mend = Mend::Deploy {
                    commit,
                    is_image: false,
                };
                report.fail(
                    Check::Staged,
                    finding("a note of what is to be done", explain(&error), mend),
                );
            }
        }
        if names.len() > 1 {
            let found = format!(
                "{} are staged, of which the last deployed is taken",
                names.len()
            );
            report.warn(
                Check::Staged,
                finding("one deployment at most", found, Mend::Finalize),
            );
        }
    }
}
