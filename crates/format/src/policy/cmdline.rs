// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel command line: compared as a whole, and asked for one token.

use std::{fmt, str::FromStr};

use super::{DeploymentName, Error, Policy};
use crate::{limits, text};

/// The parameter that names a deployment. All tokens that begin like it are ours.
const PARAMETER: &str = "sealroot";

/// A kernel command line as a policy names it: 1 to [`limits::MAX_CMDLINE_BYTES`] printable ASCII
/// characters, no space at either end, no quotation marks, not `-` alone, and nothing that
/// [`deployment_on`] refuses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CommandLine {
    text: Box<str>,
    deployment: Option<DeploymentName>,
}

impl CommandLine {
    pub(super) const EXPECTED: &str = "1 to 4096 printable ASCII characters without quotation \
        marks or a space at either end, sealroot=<commit>.<serial> at most once, or - for any";

    pub(super) fn accept(text: &str) -> Option<Self> {
        let trimmed = text.trim_matches(' ') == text && !text.is_empty();
        let deployment = deployment_on(text.as_bytes()).ok()?;
        let fits = text.len() <= limits::MAX_CMDLINE_BYTES && !text.contains('\n');
        (trimmed && fits && text != text::NONE).then(|| Self {
            text: text.into(),
            deployment,
        })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The deployment it names.
    pub const fn deployment(&self) -> Option<DeploymentName> {
        self.deployment
    }
}

impl FromStr for CommandLine {
    type Err = text::Error;

    fn from_str(text: &str) -> Result<Self, text::Error> {
        Self::accept(text).ok_or_else(|| text::Error::Value {
            expected: Self::EXPECTED,
            found: text::excerpt(text.as_bytes()),
        })
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `/proc/cmdline` as text, without the spaces and the line feed at its end.
fn clean(proc_cmdline: &[u8]) -> Result<&str, Error> {
    let refuse = |reason| Err(Error::CommandLine { reason });
    // The kernel ends its buffer with a line feed.
    let line = proc_cmdline.strip_suffix(b"\n").unwrap_or(proc_cmdline);
    let (limit, found) = (limits::MAX_CMDLINE_BYTES, line.len());
    if found > limit {
        return refuse(format!("expected at most {limit} bytes, found {found}"));
    }
    match str::from_utf8(line) {
        Ok(text) if line.iter().all(|byte| matches!(byte, b' '..=b'~')) => {
            Ok(text.trim_end_matches(' '))
        }
        _ => refuse(format!(
            "expected printable ASCII characters, found {}",
            text::excerpt(line)
        )),
    }
}

/// The deployment that a command line (the bytes of `/proc/cmdline`) names with
/// `sealroot=<commit>.<serial>`, if it does.
///
/// The name is a hint on what to look for; trust comes from the policy alone. Refused are lines
/// that two readers may take apart in two ways: with a quotation mark, with the token twice, or
/// with any other token that begins with `sealroot`.
pub fn deployment_on(proc_cmdline: &[u8]) -> Result<Option<DeploymentName>, Error> {
    named_in(clean(proc_cmdline)?)
}

fn named_in(line: &str) -> Result<Option<DeploymentName>, Error> {
    let refuse = |reason| Err(Error::CommandLine { reason });
    let mut tokens = (line.split(' ')).filter(|token| token.starts_with(PARAMETER));
    if line.contains('"') {
        return refuse("quotation marks are not supported".to_owned());
    }
    let Some(token) = tokens.next() else {
        return Ok(None);
    };
    if let Some(second) = tokens.next() {
        let (first, second) = (
            text::excerpt(token.as_bytes()),
            text::excerpt(second.as_bytes()),
        );
        return refuse(format!(
            "expected one parameter {PARAMETER}, found {first} and {second}"
        ));
    }
    let value = (token.strip_prefix(PARAMETER)).and_then(|rest| rest.strip_prefix('='));
    match value.map(str::parse) {
        Some(Ok(name)) => Ok(Some(name)),
        _ => refuse(format!(
            "expected {PARAMETER}=<commit>.<serial>, found {}",
            text::excerpt(token.as_bytes())
        )),
    }
}

impl Policy {
    /// Checks the command line the kernel was started with (the bytes of `/proc/cmdline`), and
    /// gives the deployment it names.
    ///
    /// It must be the policy's, to the byte. Where the policy names neither a pack nor, in its
    /// command line, a deployment, one space and the token `sealroot=<commit>.<serial>` must
    /// follow it. A policy without a command line takes any, but still wants a deployment where
    /// it names no pack.
    pub fn check_cmdline(&self, proc_cmdline: &[u8]) -> Result<Option<DeploymentName>, Error> {
        let line = clean(proc_cmdline)?;
        let Some(expected) = self.secure_boot.command_line() else {
            return self.needed(named_in(line)?);
        };
        if self.pinned.pack().is_some() || expected.deployment.is_some() {
            if line == expected.as_str() {
                return Ok(expected.deployment);
            }
            return Err(difference(expected.as_str(), line));
        }
        let token = (line.strip_prefix(expected.as_str())).and_then(|rest| rest.strip_prefix(' '));
        match token {
            Some(token) if !token.contains(' ') => self.needed(named_in(token)?),
            _ => Err(difference(
                &format!("{expected} {PARAMETER}=<commit>.<serial>"),
                line,
            )),
        }
    }

    fn needed(&self, named: Option<DeploymentName>) -> Result<Option<DeploymentName>, Error> {
        match (named, self.pinned.pack()) {
            (None, None) => Err(Error::NoDeployment),
            _ => Ok(named),
        }
    }
}

/// Says where `found` begins to differ, in whole tokens.
fn difference(expected: &str, found: &str) -> Error {
    let pairs = expected.bytes().zip(found.bytes());
    let same_bytes = pairs
        .take_while(|(expected, found)| expected == found)
        .count();
    let same = expected.get(..same_bytes).unwrap_or_default();
    let offset_bytes = same.rfind(' ').map_or(0, |space| space.saturating_add(1));
    let rest = |text: &str| text::excerpt(text.get(offset_bytes..).unwrap_or_default().as_bytes());
    Error::OtherCommandLine {
        offset_bytes,
        expected: rest(expected),
        found: rest(found),
    }
}
