// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deployments: is the record valid and the layer complete?

use sealroot_format::policy::DeploymentName;

use super::content::Good;
use super::releases::Releases;
use super::{Checker, FindingCode, explain};
use crate::deploy::{self, ETC_NAME, Flag, LAYER_NAME, RECORD_NAME};
use crate::store::{FileKind, StoreDir, StoreIo, StorePath, parse_deployment_name, statement_path};

impl<I: StoreIo> Checker<'_, I> {
    /// Checks all deployments. `seen` are the shared objects.
    pub(super) fn check_deployments(&self, releases: &Releases, seen: &Good) {
        for (path, entry) in self.list(&StoreDir::Deploy.path()) {
            match parse_deployment_name(&entry.name) {
                Some(name) if entry.kind == FileKind::Directory => {
                    self.check_deployment(&path, name, releases, seen);
                    self.note(|report| report.deployments += 1);
                }
                _ => self.stray(&path, &entry),
            }
        }
    }

    fn check_deployment(
        &self,
        directory: &StorePath,
        name: DeploymentName,
        releases: &Releases,
        seen: &Good,
    ) {
        let mut layer_objects = 0;
        for (path, entry) in self.list(directory) {
            match &*entry.name {
                n if n == LAYER_NAME.as_bytes() && entry.kind == FileKind::Directory => {
                    layer_objects =
                        (self.check_layer(&path, &releases.objects, seen).names.len()) as u64;
                }
                n if n == ETC_NAME.as_bytes() && entry.kind == FileKind::Directory => {}
                n if n == RECORD_NAME.as_bytes() => {}
                n if Flag::ALL.iter().any(|flag| flag.name().as_bytes() == n) => {
                    self.is_regular(&path, &entry);
                }
                _ => self.stray(&path, &entry),
            }
        }
        let record = match deploy::read_record(self.store, name) {
            Ok(record) => record,
            Err(error) => {
                self.find(FindingCode::BadRecord, directory, explain(&error));
                return;
            }
        };
        let expected = record.objects.saturating_sub(record.unlinked);
        if layer_objects != expected {
            let detail = format!("it has {layer_objects} objects, expected {expected}");
            self.find(FindingCode::WrongObjectCount, directory, detail);
        }
        self.require_pack(directory, &record.pack, &releases.packs);
        let statement = statement_path(&record.commit, &record.stream);
        if !releases.statements.contains(&statement) {
            let detail = format!("it is of the release of {statement}, which is not there");
            self.find(FindingCode::MissingStatement, directory, detail);
        }
    }
}
