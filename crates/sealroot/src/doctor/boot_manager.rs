// SPDX-License-Identifier: MIT OR Apache-2.0
//! The firmware's boot manager, where it starts images without a loader: does it start what it should, and
//! what if it forgets?

use super::{Check, Finding, Mend, Report, Seen};
use crate::boot_manager::OurOption;
use crate::check::explain;
use crate::entry::{Boot, BootIo, Entries, Entry, EntryOption, FallbackState, OurEntry, Starts};
use crate::machine::State;
use crate::store::StoreIo;
use crate::uki;

impl<I: StoreIo, B: BootIo> Seen<'_, I, B> {
    /// Looks at load options and fallback.
    pub(super) fn boot_manager(&self, report: &mut Report) {
        let Some((boot, entries)) = self.boot else {
            return;
        };
        if entries.options().is_none() {
            return;
        }
        let options = entries.options().map(|options| &options.ours[..]);
        for option in options.unwrap_or_default() {
            if option.has_data {
                report.fail(Check::Boots, given(option));
            }
        }
        for (entry, ours) in entries.ours() {
            if let Some(finding) = self.unstarted(boot, entries, entry, ours) {
                report.warn(Check::Entries, finding);
            }
        }
        let is_started = |option: EntryOption| option.is_next || option.position.is_some();
        let mut ours = entries.ours().filter_map(|(entry, _)| entry.option);
        if entries.ours().next().is_some() && !ours.any(is_started) {
            report.fail(
                Check::Boots,
                Finding {
                    place: variable("BootOrder"),
                    expected: "a boot option for an image of sealroot's".into(),
                    found:
                        "none: the firmware has lost its variables, or somebody has changed them"
                            .into(),
                    mend: Mend::Bless,
                },
            );
        }
        fallback(boot, entries, report);
    }

    /// What is wrong with an entry that the firmware does not start.
    fn unstarted(
        &self,
        boot: &Boot<B>,
        entries: &Entries,
        entry: &Entry,
        ours: &OurEntry,
    ) -> Option<Finding> {
        let place = boot
            .location()
            .join("loader/entries")
            .join(&entry.file_name);
        let name = ours.text.deployment;
        let mut running = self
            .scan
            .deployments
            .iter()
            .filter(|found| found.name == name);
        let runs = running.any(|found| found.states.contains(&State::Booted));
        let again = Mend::Deploy {
            commit: name.commit,
            is_image: ours.text.starts == Starts::Image,
        };
        let (expected, found) = match entry.option {
            Some(option) if option.is_next || option.position.is_some() => return None,
            Some(_) if runs => (
                "a boot that was blessed",
                "it was started once, and is not started again".to_owned(),
            ),
            Some(_) => (
                "a boot that was blessed",
                "the firmware has started it once, and gone back".to_owned(),
            ),
            None => ("a boot option that starts it", why_none(entries, ours)),
        };
        Some(Finding {
            place: place.display().to_string(),
            expected: expected.into(),
            found,
            mend: if runs { Mend::Bless } else { again },
        })
    }
}

/// Whoever has root can have firmware give an image a command line. Where nothing verifies the image, it is taken.
fn given(option: &OurOption) -> Finding {
    Finding {
        place: variable(&format!("Boot{:04X}", option.number)),
        expected: "a boot option that gives nothing to its image".into(),
        found: "one that gives it data, as a command line is given".into(),
        mend: Mend::Bless,
    }
}

/// Why nothing starts an entry.
fn why_none(entries: &Entries, ours: &OurEntry) -> String {
    let digest = ours.text.files.to_hex();
    let options = entries.options().map(|options| &options.ours[..]);
    let mut of_image = options.unwrap_or_default().iter();
    match of_image.find(|option| option.path.contains(&digest)) {
        Some(option) => format!("Boot{:04X} is not active", option.number),
        None => "none".into(),
    }
}

/// What the firmware starts if it loses its variables.
fn fallback<B: BootIo>(boot: &Boot<B>, entries: &Entries, report: &mut Report) {
    let expected = "a copy of an image that was good, for firmware that has lost its variables";
    let mut warn = |place: String, found: &str, mend: Mend| {
        let (expected, found) = (expected.to_owned(), found.to_owned());
        let finding = Finding {
            place,
            expected,
            found,
            mend,
        };
        report.warn(Check::Boots, finding);
    };
    let fallback = match boot.fallback(entries) {
        Ok(Some(fallback)) => fallback,
        Ok(None) => return,
        Err(error) => {
            let place = boot.location();
            let mend = Mend::Look(place.to_owned());
            return warn(place.display().to_string(), &explain(&error), mend);
        }
    };
    let path = boot.location().join(&fallback.path);
    let place = path.display().to_string();
    match fallback.state {
        FallbackState::Copy(_) => {}
        FallbackState::Missing => warn(place, "none", Mend::Bless),
        FallbackState::Other => {
            let image = boot.file(&fallback.path).ok().flatten().unwrap_or_default();
            // What is another system's is no matter of ours.
            if uki::read(&image).is_ok() {
                let found = "an image of sealroot's that no entry starts any more";
                warn(place, found, Mend::Look(path));
            }
        }
    }
}

fn variable(name: &str) -> String {
    format!("the firmware's variable {name}")
}
