// SPDX-License-Identifier: MIT OR Apache-2.0
//! A deployment that is staged, made what boots next.

use sealroot::activate::{self, ActivateError, Aim, Machine, Prepared, Staged, Start, Wishes};
use sealroot::deploy;
use sealroot::entry::Boot;
use sealroot::monitor::Monitor;
use sealroot::release;
use sealroot::store::{ImageName, Store, Transaction};
use sealroot::uki;
use sealroot_format::policy::DeploymentName;
use sealroot_format::sign::{Statement, Verified};
use sealroot_format::tree::Tree;

use super::{EntryReport, EtcReport, Installed, read_image};
use crate::args::Common;
use crate::machine::BootArgs;

/// A deployment that is there and is to become what boots next.
pub(crate) struct StagedDeployment<'s> {
    pub(crate) name: DeploymentName,
    pub(crate) statement: Verified<Statement>,
    pub(crate) staged: Staged,
    /// Where boot entries and the records of this boot are.
    pub(crate) boot: &'s Boot,
    pub(crate) args: &'s BootArgs,
}

impl<'s> StagedDeployment<'s> {
    /// With its statement, which the keyset verifies.
    pub(crate) fn find(
        common: &Common,
        store: &Store,
        (name, staged): (DeploymentName, Staged),
        boot: &'s Boot,
        args: &'s BootArgs,
    ) -> anyhow::Result<Self> {
        let stream = deploy::read_record(store, name)?.stream;
        let keyset = common.trusted_keyset()?;
        Ok(Self {
            statement: release::verify_statement(store, &keyset, name.commit, Some(&stream))?,
            name,
            staged,
            boot,
            args,
        })
    }

    /// Makes it what boots next.
    pub(crate) fn activate(
        &self,
        common: &Common,
        transaction: &Transaction<'_>,
    ) -> anyhow::Result<(EntryReport, Option<EtcReport>)> {
        let (store, monitor) = (transaction.store(), transaction.monitor());
        let done = self.prepared(common, store, monitor, |machine, prepared, tree| {
            activate::activate(transaction, machine, self.name, tree, prepared)
        })?;
        Ok((
            EntryReport::new(&done.added, self.boot.loader()),
            done.etc.as_ref().map(EtcReport::new),
        ))
    }

    /// Finds out what would stand against that. Nothing is written.
    pub(crate) fn check(
        &self,
        common: &Common,
        store: &Store,
        monitor: &dyn Monitor,
    ) -> anyhow::Result<()> {
        self.prepared(common, store, monitor, |machine, prepared, tree| {
            activate::check(store, machine, Some(self.name), tree, prepared, monitor)
        })
    }

    fn prepared<T>(
        &self,
        common: &Common,
        store: &Store,
        monitor: &dyn Monitor,
        act: impl FnOnce(&Machine<'_>, &Prepared<'_>, &Tree) -> Result<T, ActivateError>,
    ) -> anyhow::Result<T> {
        let (sysroot, runtime) = (common.physical_root(), self.args.runtime());
        let machine = Machine {
            sysroot: &sysroot,
            boot: self.boot,
            runtime: &runtime,
        };
        let statement = &self.statement;
        let release = release::read_pack(store, statement)?;
        let pack = activate::pack_of(&release.bytes, &statement.pack_digest)?;
        let aim = Aim::of_record(&deploy::read_record(store, self.name)?);
        let installed = Installed::of(common)?;
        let image = self.staged.image().map(|image| ImageName {
            pack: statement.pack_digest,
            image,
        });
        let image = image.map(|name| read_image(store, &name)).transpose()?;
        let contents = image.as_deref().map(uki::read).transpose()?;
        let wishes = Wishes {
            kernel_arguments: &self.staged.kernel_arguments,
            tries: self.staged.tries,
            start: match (&image, &contents) {
                (Some(file), Some(contents)) => Start::Image { file, contents },
                _ => Start::OfRelease(installed.parts(None)),
            },
        };
        let prepared =
            activate::prepare(store, &pack, &machine, statement, &aim, &wishes, monitor)?;
        Ok(act(&machine, &prepared, &release.tree)?)
    }
}
