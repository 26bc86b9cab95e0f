// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a deployment would be and what would stand against it, before there is anything of it.

use sealroot::activate::{self, ActivateError, Aim, Machine, SoFar};
use sealroot::entry::root_device;
use sealroot::monitor::Silent;
use sealroot::store::Store;
use sealroot::uki;
use sealroot_format::policy::{EtcMode, Mode};
use sealroot_format::tree::Tree;

use super::{AimArgs, EntryArgs};
use crate::args::Common;

impl EntryArgs {
    /// What it would be for.
    pub(crate) fn foresee(
        &self,
        common: &Common,
        aim: &AimArgs,
        usual_etc: fn(Mode) -> EtcMode,
    ) -> anyhow::Result<Aim> {
        let so_far = self.on_machine(common, SoFar::Nothing, |store, machine| match store {
            Some(store) => Ok(SoFar::read(store, machine)?),
            None => Ok(SoFar::Nothing),
        })?;
        let wished = aim.aim(&so_far, usual_etc, &Silent)?;
        let image = self.image()?;
        let carried = match &image {
            Some(image) => Some(uki::read(image)?.policy),
            None => self.given()?.and_then(|given| given.policy),
        };
        Ok(carried.as_ref().map_or(wished, Aim::of_policy))
    }

    /// That an initramfs that is made here could find the filesystem of the sysroot.
    pub(crate) fn check_root(&self, common: &Common) -> anyhow::Result<()> {
        if self.initramfs.is_some() || self.uki.is_some() || self.root.is_some() {
            return Ok(());
        }
        self.on_machine(common, (), |_, machine| {
            match root_device(machine.sysroot) {
                Some(_) => Ok(()),
                None => Err(ActivateError::NoRootDevice {
                    sysroot: machine.sysroot.to_owned(),
                }
                .into()),
            }
        })
    }

    /// That the `/etc` to be merged does not clash with the default in `tree`.
    pub(crate) fn check_etc(&self, common: &Common, tree: &Tree) -> anyhow::Result<()> {
        self.on_machine(common, (), |store, machine| {
            Ok(activate::check_etc(store, machine, None, tree, &Silent)?)
        })
    }

    /// Why there would be no boot entry, if one is wanted.
    pub(crate) fn no_entry_because(&self, common: &Common) -> anyhow::Result<Option<String>> {
        if self.no_entry {
            return Ok(None);
        }
        Ok(self.boot.find(common)?.reason().map(str::to_owned))
    }

    /// Does it where there would be a boot entry; elsewhere it is `otherwise`.
    fn on_machine<T>(
        &self,
        common: &Common,
        otherwise: T,
        work: impl FnOnce(Option<&Store>, &Machine<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let place = self.boot.find(common)?;
        let Some(boot) = place.found().filter(|_| !self.no_entry) else {
            return Ok(otherwise);
        };
        let (sysroot, runtime) = (common.physical_root(), self.boot.runtime());
        let machine = Machine {
            sysroot: &sysroot,
            boot,
            runtime: &runtime,
        };
        work(common.open_store().ok().as_ref(), &machine)
    }
}
