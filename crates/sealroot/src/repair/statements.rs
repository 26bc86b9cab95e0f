// SPDX-License-Identifier: MIT OR Apache-2.0
//! Statements are brought back only with the signatures that the keyset asks for: no digest says what they
//! must be.

use sealroot_format::digest::CommitId;
use sealroot_format::sign::{Keyset, Name, Statement, Unverified, Verified};

use super::RepairError;
use super::damage::{Damage, Outcome, What};
use super::execute::{Repairing, why};
use super::source::SourceError;
use crate::store::{StoreError, StoreIo, statement_path};

impl<I: StoreIo> Repairing<'_, '_, I> {
    /// Fetches statements that cannot be used.
    pub(super) fn statements(
        &self,
        damage: &mut [Damage],
        keyset: Option<&Verified<Keyset>>,
    ) -> Result<(), RepairError> {
        for one in damage {
            let What::Statement(commit, stream) = &one.what else {
                continue;
            };
            one.outcome = match keyset {
                Some(keyset) => self.statement(commit, stream, keyset)?,
                None => Outcome::Left {
                    reasons: vec!["no keyset says who may sign it".into()],
                },
            };
        }
        Ok(())
    }

    fn statement(
        &self,
        commit: &CommitId,
        stream: &Name,
        keyset: &Verified<Keyset>,
    ) -> Result<Outcome, RepairError> {
        let mut reasons = Vec::new();
        for source in self.sources {
            let name = source.name();
            let candidates = match source.statements(commit, stream) {
                Ok(candidates) => candidates,
                Err(SourceError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    reasons.push(why(&name, &error));
                    continue;
                }
            };
            if candidates.is_empty() {
                reasons.push(format!("{name} has none"));
            }
            for bytes in candidates {
                match judge(&bytes, commit, stream, keyset) {
                    Ok(()) => {
                        self.write_statement(commit, stream, &bytes)?;
                        return Ok(Outcome::Repaired { from: name });
                    }
                    Err(reason) => reasons.push(format!("{name}: {reason}")),
                }
            }
        }
        Ok(Outcome::Left { reasons })
    }

    fn write_statement(
        &self,
        commit: &CommitId,
        stream: &Name,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        if let Err(StoreError::NotRegular { .. } | StoreError::TooLarge { .. }) =
            self.looker.store.read_statement(commit, stream)
        {
            self.transaction.put_away(&statement_path(commit, stream))?;
        }
        self.transaction.write_statement(commit, stream, bytes)?;
        Ok(())
    }
}

/// Why a file is not the statement of a commit in a stream, if it is not.
fn judge(
    bytes: &[u8],
    commit: &CommitId,
    stream: &Name,
    keyset: &Verified<Keyset>,
) -> Result<(), String> {
    let document = Unverified::<Statement>::parse(bytes).map_err(|error| error.to_string())?;
    let statement = document.verify(keyset).map_err(|error| error.to_string())?;
    if statement.commit == *commit && statement.stream == *stream {
        return Ok(());
    }
    Err(format!(
        "it is of commit {} in stream {}",
        statement.commit, statement.stream
    ))
}
