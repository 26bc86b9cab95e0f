// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors on standard error: the chain of causes once, a way out, and an exit code by class.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use sealroot_format::ErrorClass;
use serde_json::json;

use crate::hint;
use crate::output::{Output, printable};

/// A failure the command itself found: usage, or something missing.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    class: ErrorClass,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure of `class`; `message` says what, where, expected and found.
    pub(crate) fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds how to go on.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// How to go on.
    pub(crate) fn own_hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// Prints `error` and gives the exit code of its class.
pub(crate) fn report(error: &anyhow::Error, output: Output) -> ExitCode {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    let hint = hint::of(error);
    print(&causes, class_of(error), hint.as_deref(), output)
}

/// Prints what clap has to say: help and version are no errors.
pub(crate) fn report_usage(error: &clap::Error, output: Output) -> ExitCode {
    if !error.use_stderr() || !output.is_json() {
        let printed = error.print();
        if error.use_stderr() {
            // A closed stderr leaves nobody to tell.
            return ExitCode::from(ErrorClass::Usage.exit_code());
        }
        return match printed {
            Err(failure) if failure.kind() != io::ErrorKind::BrokenPipe => {
                let failure = anyhow::Error::new(failure);
                report(&failure.context("cannot write to standard output"), output)
            }
            _ => ExitCode::SUCCESS,
        };
    }
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text).trim();
    let in_one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (message, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    let hint = Some(in_one_line(rest)).filter(|rest| !rest.is_empty());
    print(
        &[in_one_line(message)],
        ErrorClass::Usage,
        hint.as_deref(),
        output,
    )
}

fn print(causes: &[String], class: ErrorClass, hint: Option<&str>, output: Output) -> ExitCode {
    let mut out = io::stderr().lock();
    // A closed stderr leaves nobody to tell; the exit code still does.
    let _ = if output.is_json() {
        let error = json!({ "error": causes, "class": class.name(), "hint": hint });
        writeln!(out, "{error}")
    } else {
        let hint = hint
            .map(|hint| format!("\nhint: {}", printable(hint)))
            .unwrap_or_default();
        let causes: Vec<String> = causes.iter().map(|cause| printable(cause)).collect();
        writeln!(out, "error: {}{hint}", causes.join("\n  because "))
    };
    ExitCode::from(class.exit_code())
}

/// An error and its causes, in a line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The class of the first cause that has one.
pub(crate) fn class_of(error: &anyhow::Error) -> ErrorClass {
    let class = error.chain().find_map(class_of_cause);
    class.unwrap_or(ErrorClass::Io)
}

fn class_of_cause(cause: &(dyn Error + 'static)) -> Option<ErrorClass> {
    macro_rules! first_class {
        ($($type:ty),+ $(,)?) => {
            $(if let Some(known) = cause.downcast_ref::<$type>() {
                return Some(known.class());
            })+
        };
    }
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.class);
    }
    first_class!(
        sealroot::activate::ActivateError,
        sealroot::adopt::AdoptError,
        sealroot::build::BuildError,
        sealroot::delta::DeltaError,
        sealroot::deploy::DeployError,
        sealroot::entry::EntryError,
        sealroot::etc::EtcError,
        sealroot::floor::FloorError,
        sealroot::import::ImportError,
        sealroot::entry::InitrdError,
        sealroot::initramfs::Error,
        sealroot::keyring::KeyringError,
        sealroot::machine::MachineError,
        sealroot::mount::MountError,
        sealroot::ostree::OstreeError,
        sealroot::release::ReleaseError,
        sealroot::repair::RepairError,
        sealroot::seal::SealError,
        sealroot::keys::Error,
        sealroot::signer::Error,
        sealroot::source::SourceError,
        sealroot::store::StoreError,
        sealroot::uki::UkiError,
        sealroot::unpack::UnpackError,
        sealroot_remote::RemoteError,
        sealroot_remote::source::SourceError,
        sealroot_format::floor::Error,
        sealroot_format::pack::PackError,
        sealroot_format::policy::Error,
        sealroot_format::sign::Error,
        sealroot_format::text::Error,
        sealroot_format::tree::TreeError,
    );
    let error = cause.downcast_ref::<io::Error>()?;
    (error.kind() == io::ErrorKind::NotFound).then_some(ErrorClass::NotFound)
}
