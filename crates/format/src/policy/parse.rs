// SPDX-License-Identifier: MIT OR Apache-2.0
//! The text of a policy.

use std::fmt;

use super::{
    CommandLine, Error, EtcMode, FloorStore, Layer, MemoryPercent, Mode, Pinned, PinnedPack,
    Policy, RootDevice, SecureBoot, Var, floor,
};
use crate::{
    limits,
    sign::ReleaseNumbers,
    text::{self, Lines, Name, OrNone, Tagged},
};

/// Version of the policy's format.
const VERSION: u32 = 1;

const STATEROOT: &str = "stateroot=";

impl Policy {
    /// Reads the policy file of an initramfs.
    pub fn parse(file: &[u8]) -> Result<Self, Error> {
        let mut lines = Lines::new("policy", file, limits::MAX_POLICY_BYTES)?;
        lines.header("policy", VERSION)?;
        let policy = Self {
            mode: lines.field("mode")?.parse(MODES, parse_mode)?,
            layer: parse_layer(&mut lines)?,
            root: (lines.field("root")?).parse("PARTUUID=, UUID= or LABEL=", |text| {
                text.parse::<RootDevice>().ok()
            })?,
            etc: (lines.field("etc")?).parse(EtcMode::EXPECTED, EtcMode::accept)?,
            var: (lines.field("var")?).parse("volatile or stateroot=NAME", parse_var)?,
            pinned: parse_pinned(&mut lines)?,
            os: lines.field("os")?.name()?,
            variant: (lines.field("variant")?).optional(Name::EXPECTED, Name::accept)?,
            stream: lines.field("stream")?.name()?,
            arch: lines.field("arch")?.name()?,
            epoch_floor: lines.field("epoch-floor")?.number()?,
            floor_on: floor::parse_on(&mut lines)?,
            floor_store: FloorStore::parse(&mut lines)?,
            secure_boot: parse_secure_boot(&mut lines)?,
        };
        lines.end()?;
        check_etc(&policy)?;
        check_pinned(&policy)?;
        floor::check(&policy)?;
        Ok(policy)
    }
}

/// policy.md P14: a pack is named with the numbers of its release.
fn parse_pinned(lines: &mut Lines<'_>) -> Result<Pinned, Error> {
    let digest = (lines.field("pack")?).optional(Tagged::EXPECTED, Tagged::parse)?;
    let index = (lines.field("release-index")?).optional(text::NUMBER, text::number)?;
    let epoch = (lines.field("release-epoch")?).optional(text::NUMBER, text::number)?;
    match (digest, index, epoch) {
        (None, None, None) => Ok(Pinned::Nothing),
        (None, Some(index), Some(epoch)) => Ok(Pinned::Numbers(ReleaseNumbers { index, epoch })),
        (Some(digest), Some(index), Some(epoch)) => Ok(Pinned::Pack(PinnedPack {
            digest,
            release: ReleaseNumbers { index, epoch },
        })),
        _ => Err(Error::Contradiction {
            fields: "pack, release-index and release-epoch",
            reason: "the index and the epoch of a release are named together, and with a pack always",
        }),
    }
}

/// policy.md P15: what the policy names must be what it lets boot.
fn check_pinned(policy: &Policy) -> Result<(), Error> {
    match policy.pinned.numbers() {
        Some(numbers) if numbers.epoch < policy.epoch_floor => Err(Error::Contradiction {
            fields: "release-epoch and epoch-floor",
            reason: "the release is below the floor, so nothing would boot",
        }),
        _ => Ok(()),
    }
}

/// policy.md P4: kept files are kept somewhere. P10, P11: a kept `/etc` needs a deployment that
/// keeps it, and is never sealed.
fn check_etc(policy: &Policy) -> Result<(), Error> {
    if policy.etc == EtcMode::Allowlist && policy.var == Var::Volatile {
        return Err(Error::Contradiction {
            fields: "etc and var",
            reason: "the files of the allowlist are kept in /var, which a volatile one forgets",
        });
    }
    if policy.etc != EtcMode::Merge {
        return Ok(());
    }
    if policy.mode == Mode::Sealed {
        return Err(Error::Contradiction {
            fields: "mode and etc",
            reason: "what is kept in /etc can start programs and is verified by nobody, which \
                     sealed rules out",
        });
    }
    let line = policy.secure_boot.command_line();
    if policy.pinned.pack().is_some() && line.is_some_and(|line| line.deployment().is_none()) {
        return Err(Error::Contradiction {
            fields: "etc, pack and cmdline",
            reason: "a kept /etc is a deployment's, and the command line names none",
        });
    }
    Ok(())
}

const MODES: &str = "sealed, verity or integrity";

fn parse_mode(text: &str) -> Option<Mode> {
    match text {
        "sealed" => Some(Mode::Sealed),
        "verity" => Some(Mode::Verity),
        "integrity" => Some(Mode::Integrity),
        _ => None,
    }
}

fn parse_layer(lines: &mut Lines<'_>) -> Result<Layer, Error> {
    let tmpfs = lines
        .field("layer")?
        .parse("erofs or tmpfs", |text| match text {
            "erofs" => Some(false),
            "tmpfs" => Some(true),
            _ => None,
        })?;
    let percent = (lines.field("tmpfs-percent")?).optional("1 to 25, or - for erofs", |text| {
        text::number(text).and_then(MemoryPercent::new)
    })?;
    let contradiction = |reason| Error::Contradiction {
        fields: "layer and tmpfs-percent",
        reason,
    };
    match (tmpfs, percent) {
        (true, Some(percent)) => Ok(Layer::Tmpfs(percent)),
        (false, None) => Ok(Layer::Erofs),
        (true, None) => Err(contradiction("a tmpfs needs a cap on its memory")),
        (false, Some(_)) => Err(contradiction("a mounted pack takes no memory to be capped")),
    }
}

fn parse_var(text: &str) -> Option<Var> {
    match text {
        "volatile" => Some(Var::Volatile),
        _ => text
            .strip_prefix(STATEROOT)
            .and_then(Name::accept)
            .map(Var::Stateroot),
    }
}

fn parse_secure_boot(lines: &mut Lines<'_>) -> Result<SecureBoot, Error> {
    let insecure = (lines.field("allow-insecure-boot")?).parse("yes or no", |text| match text {
        "no" => Some(false),
        "yes" => Some(true),
        _ => None,
    })?;
    let line = (lines.field("cmdline")?).optional(CommandLine::EXPECTED, CommandLine::accept)?;
    match (insecure, line) {
        (true, line) => Ok(SecureBoot::NotRequired(line)),
        (false, Some(line)) => Ok(SecureBoot::Required(line)),
        (false, None) => Err(Error::Contradiction {
            fields: "cmdline and allow-insecure-boot",
            reason: "a command line of any form can take over the system, so only a boot that is \
                     insecure anyway may leave it open",
        }),
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sealed => "sealed",
            Self::Verity => "verity",
            Self::Integrity => "integrity",
        })
    }
}

impl fmt::Display for Var {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volatile => f.write_str("volatile"),
            Self::Stateroot(name) => write!(f, "{STATEROOT}{name}"),
        }
    }
}

/// The canonical text.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (layer, percent) = match self.layer {
            Layer::Erofs => ("erofs", None),
            Layer::Tmpfs(percent) => ("tmpfs", Some(percent.get())),
        };
        let insecure = match self.secure_boot {
            SecureBoot::Required(_) => "no",
            SecureBoot::NotRequired(_) => "yes",
        };
        let (pack, numbers) = (self.pinned.pack(), self.pinned.numbers());
        let pack = pack.as_ref().map(|pack| Tagged(&pack.digest));
        let index = OrNone(numbers.as_ref().map(|numbers| &numbers.index));
        let epoch = OrNone(numbers.as_ref().map(|numbers| &numbers.epoch));
        writeln!(f, "sealroot policy {VERSION}")?;
        writeln!(f, "mode {}", self.mode)?;
        writeln!(f, "layer {layer}")?;
        writeln!(f, "tmpfs-percent {}", OrNone(percent.as_ref()))?;
        writeln!(f, "root {}", self.root)?;
        writeln!(f, "etc {}", self.etc)?;
        writeln!(f, "var {}", self.var)?;
        writeln!(f, "pack {}", OrNone(pack.as_ref()))?;
        writeln!(f, "release-index {index}")?;
        writeln!(f, "release-epoch {epoch}")?;
        writeln!(f, "os {}", self.os)?;
        writeln!(f, "variant {}", OrNone(self.variant.as_ref()))?;
        writeln!(f, "stream {}", self.stream)?;
        writeln!(f, "arch {}", self.arch)?;
        writeln!(f, "epoch-floor {}", self.epoch_floor)?;
        floor::write(self, f)?;
        writeln!(f, "allow-insecure-boot {insecure}")?;
        writeln!(f, "cmdline {}", OrNone(self.secure_boot.command_line()))
    }
}
