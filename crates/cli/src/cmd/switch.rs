// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot switch`

use std::collections::BTreeSet;

use clap::Args;
use sealroot::release;
use sealroot::store::Store;
use sealroot_format::ErrorClass;
use sealroot_format::sign::{Keyset, Name, Statement, Verified};

use crate::args::Common;
use crate::boot_entry::DeployArgs;
use crate::failure::Failure;
use crate::output::Output;

/// Boot next the newest release of another stream.
///
/// Of the signed releases of that stream in the store the one with the highest index is deployed,
/// with the /etc, /var and kernel arguments of what boots now. `rollback` goes back.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  sealroot switch testing && reboot")]
pub(crate) struct Switch {
    /// The stream.
    #[arg(value_name = "STREAM")]
    stream: Name,

    #[command(flatten)]
    how: DeployArgs,
}

impl Switch {
    pub(crate) fn run(&self, common: &Common, output: Output) -> anyhow::Result<()> {
        let deployed = self.how.deploy(common, output, None, |store, keyset| {
            newest(store, keyset, &self.stream)
        })?;
        output.emit(&deployed)
    }
}

/// The signed release of a stream with the highest index.
fn newest(
    store: &Store,
    keyset: &Verified<Keyset>,
    stream: &Name,
) -> anyhow::Result<Verified<Statement>> {
    let mut newest: Option<Verified<Statement>> = None;
    let mut others = BTreeSet::new();
    let mut refused = None;
    for (commit, found) in store.list_statements()? {
        if found != *stream {
            others.insert(found.to_string());
            continue;
        }
        match release::verify_statement(store, keyset, commit, Some(stream)) {
            Ok(statement)
                if newest
                    .as_ref()
                    .is_none_or(|best| best.index < statement.index) =>
            {
                newest = Some(statement);
            }
            Ok(_) => {}
            Err(error) => refused = Some(error),
        }
    }
    if let Some(newest) = newest {
        return Ok(newest);
    }
    if let Some(error) = refused {
        return Err(error.into());
    }
    let others: Vec<_> = others.into_iter().collect();
    let hint = if others.is_empty() {
        "it has none at all: `sealroot adopt`, `import` or `build` make one".into()
    } else {
        format!("it has releases of: {}", others.join(", "))
    };
    let message = format!("the store has no release of the stream {stream}");
    Err(Failure::new(ErrorClass::NotFound, message)
        .hint(hint)
        .into())
}
