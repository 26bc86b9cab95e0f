// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a boot was refused: the one kind of error of the boot program.
//!
//! Each refusal is one line for a person, with a stable code for machines
//! (`docs/design/boot.md`, "Refusals").

use std::error::Error;
use std::fmt;

/// What was being checked when the boot was refused. The texts never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The policy in the initramfs is missing or malformed.
    Policy,
    /// The keyset in the initramfs is missing or malformed.
    Keyset,
    /// The command line is not the expected one, or names no release.
    CommandLine,
    /// Secure Boot is not on.
    SecureBoot,
    /// The kernel lacks something boot cannot do without.
    Kernel,
    /// A kernel module of the initramfs does not load.
    Module,
    /// The machine's own filesystems (`/proc`, `/dev` and so on) cannot be set up.
    System,
    /// No block device or more than one is the root the policy names.
    RootDevice,
    /// The root filesystem cannot be mounted or is of a kind that is not allowed.
    RootFilesystem,
    /// A path below `ostree/verity` is not what the layout says.
    Store,
    /// The release statement is missing, malformed or not signed well enough.
    Statement,
    /// The statement is of another OS, architecture or stream than the policy's.
    Release,
    /// The release's epoch, or its index, is below the floor.
    Epoch,
    /// A floor that the policy says is kept is not there, or is none.
    Floor,
    /// The pack is missing, of the wrong size, or not the one that was signed.
    Pack,
    /// An object is missing or not the one the pack names.
    Object,
    /// The metadata layer cannot be brought up or is not the tree that was signed.
    Metadata,
    /// The machine has too little memory.
    Memory,
    /// The overlay cannot be mounted.
    Overlay,
    /// The kernel does not enforce what it was asked to enforce.
    SelfTest,
    /// The tree has no place for something boot must mount.
    Tree,
    /// `/etc` or `/var` cannot be set up.
    State,
    /// The verified root has no init, or it cannot be started.
    Init,
    /// The TPM that the policy names does not take what is booted.
    Measure,
    /// There was nothing to repair, or something that nothing on the disk can replace.
    Repair,
    /// The boot program itself failed.
    Internal,
}

impl Code {
    /// All codes, in the order of the checks.
    pub const ALL: &[Self] = &[
        Self::Policy,
        Self::Keyset,
        Self::CommandLine,
        Self::SecureBoot,
        Self::Kernel,
        Self::Module,
        Self::System,
        Self::RootDevice,
        Self::RootFilesystem,
        Self::Store,
        Self::Statement,
        Self::Release,
        Self::Epoch,
        Self::Floor,
        Self::Pack,
        Self::Object,
        Self::Metadata,
        Self::Memory,
        Self::Overlay,
        Self::SelfTest,
        Self::Tree,
        Self::State,
        Self::Init,
        Self::Measure,
        Self::Repair,
        Self::Internal,
    ];

    /// The code as printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Keyset => "keyset",
            Self::CommandLine => "command-line",
            Self::SecureBoot => "secure-boot",
            Self::Kernel => "kernel",
            Self::Module => "module",
            Self::System => "system",
            Self::RootDevice => "root-device",
            Self::RootFilesystem => "root-filesystem",
            Self::Store => "store",
            Self::Statement => "statement",
            Self::Release => "release",
            Self::Epoch => "epoch",
            Self::Floor => "floor",
            Self::Pack => "pack",
            Self::Object => "object",
            Self::Metadata => "metadata",
            Self::Memory => "memory",
            Self::Overlay => "overlay",
            Self::SelfTest => "self-test",
            Self::Tree => "tree",
            Self::State => "state",
            Self::Init => "init",
            Self::Measure => "measure",
            Self::Repair => "repair",
            Self::Internal => "internal",
        }
    }
}

/// A refusal to boot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("REFUSED {}: {message}", code.as_str())]
pub struct Refusal {
    /// What was being checked.
    pub code: Code,
    /// What exactly, what it must be and what it is; one line.
    pub message: String,
}

impl Refusal {
    /// A refusal of `what`.
    pub fn new(
        code: Code,
        what: impl fmt::Display,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) -> Self {
        Self::from_parts(code, &what, &expected, &found)
    }

    /// Not one for each type of the parts: this program is to stay small.
    #[cold]
    #[inline(never)]
    fn from_parts(
        code: Code,
        what: &dyn fmt::Display,
        expected: &dyn fmt::Display,
        found: &dyn fmt::Display,
    ) -> Self {
        Self {
            code,
            message: one_line(format!("{what}: expected {expected}, found {found}")),
        }
    }

    /// A refusal for an error that says itself what was expected and found.
    #[cold]
    #[inline(never)]
    pub fn of(code: Code, error: &dyn Error) -> Self {
        Self {
            code,
            message: one_line(Chain(error).to_string()),
        }
    }
}

/// `text` as one line of printable characters, whatever came from outside: no line can be forged.
fn one_line(text: String) -> String {
    if text.chars().any(char::is_control) {
        text.escape_debug().to_string()
    } else {
        text
    }
}

/// Turns failed calls into refusals.
pub(crate) trait OrRefuse<T> {
    /// The value, or a refusal that says what the error and its causes say.
    fn or_refuse(
        self,
        code: Code,
        what: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Result<T, Refusal>;
}

impl<T, E: Error> OrRefuse<T> for Result<T, E> {
    fn or_refuse(
        self,
        code: Code,
        what: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Result<T, Refusal> {
        self.map_err(|error| Refusal::from_parts(code, &what, &expected, &Chain(&error)))
    }
}

/// An error and its causes, `: ` between them.
struct Chain<'e>(&'e dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_whatever_was_found() {
        let refusal = Refusal::new(Code::Pack, "pack", "a file", "x\nsealroot: all is well");
        assert_eq!(
            refusal.to_string(),
            "REFUSED pack: pack: expected a file, found x\\nsealroot: all is well"
        );
    }
}
