// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors on standard error: the chain of causes once, a way out, and an exit code by class.

use std::io::{self, Write};
use std::process::ExitCode;

use sealroot_format::ErrorClass;
use serde_json::json;

use crate::output::Output;

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
}

/// Prints `error` and gives the exit code of its class.
pub(crate) fn report(error: &anyhow::Error, output: Output) -> ExitCode {
    let class = class_of(error);
    let hint = error.chain().find_map(|cause| {
        cause
            .downcast_ref::<Failure>()
            .and_then(|failure| failure.hint.as_deref())
    });
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    let mut out = io::stderr().lock();
    // A closed stderr leaves nobody to tell; the exit code still does.
    let _ = if output.is_json() {
        let class = format!("{class:?}").to_lowercase();
        writeln!(
            out,
            "{}",
            json!({ "error": causes, "class": class, "hint": hint })
        )
    } else {
        let hint = hint
            .map(|hint| format!("\nhint: {hint}"))
            .unwrap_or_default();
        writeln!(out, "error: {}{hint}", causes.join("\n  because "))
    };
    ExitCode::from(class.exit_code())
}

/// The class of the first cause that has one.
fn class_of(error: &anyhow::Error) -> ErrorClass {
    macro_rules! first_class {
        ($cause:ident: $($type:ty),+ $(,)?) => {
            $(if let Some(known) = $cause.downcast_ref::<$type>() {
                return known.class();
            })+
        };
    }
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.class;
        }
        first_class!(cause:
            sealroot::build::BuildError,
            sealroot::deploy::DeployError,
            sealroot::initramfs::Error,
            sealroot::mount::MountError,
            sealroot::ostree::OstreeError,
            sealroot::release::ReleaseError,
            sealroot::keys::Error,
            sealroot::signer::Error,
            sealroot::source::SourceError,
            sealroot::store::StoreError,
            sealroot::unpack::UnpackError,
            sealroot_format::pack::PackError,
            sealroot_format::policy::Error,
            sealroot_format::sign::Error,
            sealroot_format::text::Error,
            sealroot_format::tree::TreeError,
        );
    }
    ErrorClass::Io
}
