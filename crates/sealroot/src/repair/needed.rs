// SPDX-License-Identifier: MIT OR Apache-2.0
//! What releases and deployments need.

use std::collections::{BTreeMap, BTreeSet};

use sealroot_format::digest::{CommitId, VerityDigest};
use sealroot_format::policy::DeploymentName;
use sealroot_format::sign::{Name, Statement, Unverified};

use super::damage::{Damage, Place, What};
use super::{Chosen, RepairError};
use crate::check::FindingCode;
use crate::deploy::{self, Record};
use crate::store::{Store, StoreError, StoreIo, statement_path};

/// What is needed.
#[derive(Debug, Default)]
pub(super) struct Needed {
    /// Statements; why they cannot be used.
    bad_statements: BTreeMap<(CommitId, Name), String>,
    /// Packs.
    pub(super) packs: BTreeMap<VerityDigest, NeededPack>,
}

/// Who needs a pack.
#[derive(Debug, Default)]
pub(super) struct NeededPack {
    /// The statements that name it. Nothing is verified.
    pub(super) statements: Vec<Statement>,
    /// The deployments of it, and how many objects each lacks for good reasons.
    pub(super) deployments: Vec<(DeploymentName, u64)>,
}

impl Needed {
    /// Collects what the statements and the records of what was chosen name.
    pub(super) fn find<I: StoreIo>(
        store: &Store<I>,
        chosen: &BTreeSet<Chosen>,
    ) -> Result<Self, RepairError> {
        let mut needed = Self::default();
        let is_chosen = |one: Chosen| chosen.is_empty() || chosen.contains(&one);
        let mut commits = BTreeSet::new();
        let mut wanted = BTreeSet::new();
        for (commit, stream) in store.list_statements()? {
            commits.insert(commit);
            if is_chosen(Chosen::Commit(commit)) {
                wanted.insert((commit, stream));
            }
        }
        for deployment in deploy::deployments(store).map_err(of_deploy)? {
            let name = deployment.name;
            commits.insert(name.commit);
            let is_named = chosen.contains(&Chosen::Deployment(name));
            if !is_named && !is_chosen(Chosen::Commit(name.commit)) {
                continue;
            }
            match deployment.record {
                Ok(record) => {
                    wanted.insert((record.commit, record.stream.clone()));
                    needed.add_deployment(name, &record);
                }
                Err(error) if is_named => return Err(of_deploy(error)),
                // It says nothing of what it needs; `check` finds it.
                Err(_) => {}
            }
        }
        for one in chosen {
            match one {
                Chosen::Commit(commit) if !commits.contains(commit) => {
                    return Err(RepairError::NoRelease { commit: *commit });
                }
                Chosen::Deployment(name) => {
                    deploy::read_record(store, *name).map_err(of_deploy)?;
                }
                Chosen::Commit(_) => {}
            }
        }
        for (commit, stream) in wanted {
            match read_statement(store, &commit, &stream)? {
                Ok(statement) => {
                    let pack = needed.packs.entry(statement.pack_digest).or_default();
                    pack.statements.push(statement);
                }
                Err(why) => {
                    needed.bad_statements.insert((commit, stream), why);
                }
            }
        }
        Ok(needed)
    }

    /// The statements that cannot be used.
    pub(super) fn damaged_statements(&self) -> Vec<Damage> {
        let damage = |((commit, stream), why): (&(CommitId, Name), &String)| {
            let place = Place {
                path: statement_path(commit, stream),
                code: FindingCode::BadStatement,
                detail: why.clone(),
            };
            Damage::new(What::Statement(*commit, stream.clone()), None, vec![place])
        };
        self.bad_statements.iter().map(damage).collect()
    }

    fn add_deployment(&mut self, name: DeploymentName, record: &Record) {
        let pack = self.packs.entry(record.pack).or_default();
        pack.deployments.push((name, record.unlinked));
    }
}

impl NeededPack {
    /// The commit that it is a pack of.
    pub(super) fn commit(&self) -> Option<CommitId> {
        let stated = self.statements.first().map(|statement| statement.commit);
        stated.or_else(|| self.deployments.first().map(|(name, _)| name.commit))
    }

    /// Its length, if a statement says it.
    pub(super) fn size_bytes(&self) -> Option<u64> {
        let first = self.statements.first();
        first.map(|statement| statement.pack_size_bytes)
    }
}

fn of_deploy(error: deploy::DeployError) -> RepairError {
    match error {
        deploy::DeployError::Store(error) => error.into(),
        error => RepairError::Deploy(error),
    }
}

/// What a statement says; why it cannot be used, if it cannot.
fn read_statement<I: StoreIo>(
    store: &Store<I>,
    commit: &CommitId,
    stream: &Name,
) -> Result<Result<Statement, String>, StoreError> {
    let bytes = match store.read_statement(commit, stream) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Err("it is not there".into())),
        Err(error @ (StoreError::NotRegular { .. } | StoreError::TooLarge { .. })) => {
            return Ok(Err(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    let document = match Unverified::<Statement>::parse(&bytes) {
        Ok(document) => document,
        Err(error) => return Ok(Err(error.to_string())),
    };
    Ok(match Statement::parse(document.body()) {
        Ok(statement) if statement.commit == *commit && statement.stream == *stream => {
            Ok(statement)
        }
        Ok(other) => Err(format!(
            "it is of commit {} in stream {}",
            other.commit, other.stream
        )),
        Err(error) => Err(error.to_string()),
    })
}
