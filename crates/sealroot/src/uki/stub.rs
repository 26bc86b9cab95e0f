// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which stub an image has: those alone of which it is known what they give a kernel
//! (docs/format/uki.md U21).

use super::Fault;
use super::image::{Image, SectionName};

/// Where systemd's programs for EFI say what they are.
const MAGIC: SectionName = *b".sdmagic";

const NAME: &str = "#### LoaderInfo: systemd-stub ";

/// The first version that has the section, and the last of which it is known that it starts nothing where
/// somebody before it has registered an initramfs with the firmware. Those of 2026 unpack that one too.
const VERSIONS: std::ops::RangeInclusive<u32> = 250..=259;

/// That the stub is one of those.
pub(super) fn check(image: &Image<'_>) -> Result<(), Fault> {
    let said = image.section(MAGIC)?.map(|section| section.content);
    let expected = || {
        let (first, last) = (VERSIONS.start(), VERSIONS.end());
        format!(
            "the stub of a systemd from {first} to {last}, which takes no initramfs from others"
        )
    };
    let fault = |found: String| Fault::new("the stub", expected(), found);
    let Some(said) = said else {
        return Err(fault("one that does not say what it is".into()));
    };
    match version(said) {
        Some(version) if VERSIONS.contains(&version) => Ok(()),
        Some(version) => Err(fault(format!("that of systemd {version}"))),
        None => Err(fault("another one".into())),
    }
}

fn version(said: &[u8]) -> Option<u32> {
    let version = said.strip_prefix(NAME.as_bytes())?;
    let end = version.iter().position(|byte| !byte.is_ascii_digit())?;
    let digits = version.get(..end)?;
    str::from_utf8(digits).ok()?.parse().ok()
}
