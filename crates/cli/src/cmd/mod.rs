// SPDX-License-Identifier: MIT OR Apache-2.0
//! One module a command: its arguments and what it does.

pub(crate) mod adopt;
pub(crate) mod advise;
pub(crate) mod attest;
pub(crate) mod bless;
pub(crate) mod build;
pub(crate) mod cat;
pub(crate) mod check;
pub(crate) mod delta;
pub(crate) mod deploy;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod dump;
pub(crate) mod etc;
pub(crate) mod finalize;
pub(crate) mod floor;
pub(crate) mod image;
pub(crate) mod import;
pub(crate) mod initramfs;
pub(crate) mod kargs;
pub(crate) mod keys;
pub(crate) mod ls;
pub(crate) mod mount;
pub(crate) mod pin;
pub(crate) mod prune;
pub(crate) mod publish;
pub(crate) mod pull;
pub(crate) mod remote;
pub(crate) mod repair;
pub(crate) mod revert;
pub(crate) mod rollback;
pub(crate) mod seal;
pub(crate) mod sign;
pub(crate) mod sign_objects;
pub(crate) mod status;
pub(crate) mod switch;
pub(crate) mod uki;
pub(crate) mod undeploy;
pub(crate) mod unpack;
pub(crate) mod upgrade;
pub(crate) mod verify;

use crate::args::{Cli, Command};
use crate::output::Output;

/// Runs the chosen command.
pub(crate) fn run(cli: &Cli, output: Output) -> anyhow::Result<()> {
    let common = &cli.common;
    common.check()?;
    match &cli.command {
        Command::Keys(keys) => keys.run(output),
        Command::Image(image) => image.run(output),
        Command::Build(build) => build.run(common, output),
        Command::Import(import) => import.run(common, output),
        Command::Adopt(adopt) => adopt.run(common, output),
        Command::Revert(revert) => revert.run(common, output),
        Command::Sign(sign) => sign.run(common, output),
        Command::SignObjects(sign) => sign.run(common, output),
        Command::Advise(advise) => advise.run(common, output),
        Command::Diff(diff) => diff.run(common, output),
        Command::Delta(delta) => delta.run(common, output),
        Command::Publish(publish) => publish.run(common, output),
        Command::Remote(remote) => remote.run(common, output),
        Command::Pull(pull) => pull.run(common, output),
        Command::Upgrade(upgrade) => upgrade.run(common, output),
        Command::Verify(verify) => verify.run(common, output),
        Command::Deploy(deploy) => deploy.run(common, output),
        Command::Switch(switch) => switch.run(common, output),
        Command::Finalize(finalize) => finalize.run(common, output),
        Command::Bless(bless) => bless.run(common, output),
        Command::Rollback(rollback) => rollback.run(common, output),
        Command::Kargs(kargs) => kargs.run(common, output),
        Command::Undeploy(undeploy) => undeploy.run(common, output),
        Command::Pin(pin) => pin.run(common, output),
        Command::Unpin(unpin) => unpin.run(common, output),
        Command::Prune(prune) => prune.run(common, output),
        Command::Status(status) => status.run(common, output),
        Command::Attest(attest) => attest.run(output),
        Command::Floor(floor) => floor.run(common, output),
        Command::Seal(seal) => seal.run(common, output),
        Command::Check(check) => check.run(common, output),
        Command::Doctor(doctor) => doctor.run(common, output),
        Command::Repair(repair) => repair.run(common, output),
        Command::Etc(etc) => etc.run(common, output),
        Command::Ls(ls) => ls.run(common, output),
        Command::Cat(cat) => cat.run(common),
        Command::Dump(dump) => dump.run(common, output),
        Command::Mount(mount) => mount.run(common, output),
        Command::Unpack(unpack) => unpack.run(common, output),
        Command::Initramfs(initramfs) => initramfs.run(common, output),
        Command::Uki(uki) => uki.run(common, output),
    }
}
