// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line: what every command shares, and the list of commands.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use clap::{Args, Parser, Subcommand};
use sealroot::keys::KeysetFile;
use sealroot::machine;
use sealroot::store::{KernelIo, Store, StoreError, VeritySupport};
use sealroot_format::ErrorClass;
use sealroot_format::sign::{Keyset, Unverified, Verified};
use sealroot_remote::state;

use crate::cmd;
use crate::failure::Failure;
use crate::files;
use crate::output::Output;
use crate::progress::Progress;

/// Sign an OS tree once; boot it verified everywhere.
///
/// A vendor turns a tree into a signed pack and objects (build, sign); a device keeps them under
/// /ostree/verity, deploys and boots them (deploy, initramfs). Everything an attacker changes on
/// the disk is refused at boot or when it is read.
#[derive(Debug, Parser)]
#[command(name = "sealroot", version, max_term_width = 100, after_long_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
The whole way, from a directory to something that boots:
  sealroot keys new vendor                        # vendor.secret, vendor.public, vendor.keyset
  sealroot --sysroot /mnt build --dir ./tree \\
      --os exampleos --stream stable --version 1.0 --index 1
  sealroot --sysroot /mnt sign COMMIT --key vendor.secret
  sealroot --sysroot /mnt --keyset vendor.keyset verify COMMIT
  sealroot --sysroot /mnt --keyset vendor.keyset deploy COMMIT
  sealroot initramfs --help                       # what the machine boots with
  sealroot uki build --help                       # that in one image that firmware verifies

Exit codes, and their classes in JSON:
  0                done
  1  io            the system refused: space, permission, device
  2  usage         the request itself is wrong
  3  corrupt       something is damaged, or no file of ours
  4  untrusted     not authentic: a wrong digest, a missing or foreign signature
  5  unsupported   beyond what this version, kernel or filesystem can do
  6  not_found     something named is not there
  7  busy          somebody else is at it; later may help

With --json a result is one JSON value on standard output, and each error or warning one line of
JSON on standard error: {\"error\": [MESSAGE, CAUSE...], \"class\": CLASS, \"hint\": TEXT or null} or
{\"warning\": TEXT}. A name, a path or the target of a symlink is a string if it is UTF-8, and
{\"base64\": TEXT} if not; a dump is text that has escapes of its own. Errors, reasons and details
are for people: names in them are shown, not told exactly.

What takes long is told there too, one stage after the other: {\"progress\": \"start\", \"stage\": TEXT,
\"unit\": \"bytes\" or \"items\", \"done\": 0, \"total\": NUMBER or null}, then the same with \"advance\" at
most four times a second, then with \"end\", also of what failed. Stages are for people. More is done
than the total where something has to be fetched again. {\"progress\": \"wait\", \"stage\": TEXT} says
that nothing goes on for now, and why.

Files:
  <sysroot>/ostree/verity          the store
  <sysroot>/etc/sealroot/keyset    whom to trust
  /run/sealroot/booted.json        what the boot program says of this boot
  /run/sealroot/mounts             what is mounted for a look";

/// Where a system has its keyset.
const KEYSETS: [&str; 2] = ["etc/sealroot/keyset", "usr/lib/sealroot/keyset"];

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The physical root that holds /ostree.
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    pub(crate) sysroot: PathBuf,

    /// The store of packs and objects [default: <sysroot>/ostree/verity].
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,

    /// The keys to trust and how many must sign [default: <sysroot>/etc/sealroot/keyset, else
    /// <sysroot>/usr/lib/sealroot/keyset; a later one if a remote has gone on to it from there].
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) keyset: Option<PathBuf>,

    /// Print the result as JSON, errors too.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// What was named as the keyset, once it was read.
    #[arg(skip)]
    keyset_file: OnceLock<KeysetFile>,
}

impl Common {
    /// That what was named may be what it is named as.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        files::expect_directory(&self.sysroot, "--sysroot", "the root's directory")?;
        match &self.store {
            Some(store) => files::expect_directory(store, "--store", "a store's directory"),
            None => Ok(()),
        }
    }

    /// The root that holds `ostree` itself: on a booted machine `/sysroot`, and `/ostree` is only a
    /// link into that.
    pub(crate) fn physical_root(&self) -> PathBuf {
        let usual = Path::new("/sysroot");
        if self.sysroot == Path::new("/") && usual.join("ostree").is_dir() {
            return usual.to_owned();
        }
        self.sysroot.clone()
    }

    /// Opens the store.
    pub(crate) fn open_store(&self) -> Result<Store, StoreError> {
        let store = match &self.store {
            Some(location) => Store::open(location),
            None => Store::open_in_sysroot(&self.physical_root()),
        }?;
        Ok(self.telling(store))
    }

    /// The same store, at whose lock nobody waits without a word.
    fn telling(&self, store: Store) -> Store {
        store.telling(Arc::new(Progress::new(Output::new(self.json))))
    }

    /// Opens the store to change it: where the sysroot is mounted read-only, as on a booted machine,
    /// this process alone sees it writable.
    pub(crate) fn open_store_for_change(&self) -> anyhow::Result<Store> {
        self.make_writable()?;
        Ok(self.open_store()?)
    }

    /// Lets this process alone write to the sysroot, if it is mounted read-only.
    pub(crate) fn make_writable(&self) -> anyhow::Result<()> {
        let ostree = self.physical_root().join("ostree");
        if self.store.is_none() && ostree.is_dir() {
            machine::make_writable(&ostree)?;
        }
        Ok(())
    }

    /// Opens the store, making it first if there is none. Of one just made that has no fs-verity it says why:
    /// not everything that was meant can become of what is in it, perhaps.
    pub(crate) fn open_or_create_store(&self, output: Output) -> anyhow::Result<Store> {
        self.make_writable()?;
        let store = match &self.store {
            Some(location) => Store::open_or_create(location),
            None => Store::open_or_create_in_sysroot(&self.physical_root()),
        }?;
        if store.is_new() && store.verity() == VeritySupport::None {
            output.note(&format!(
                "the new store in {} has no fs-verity: {}. Only the mode integrity can be deployed from it, \
                 which hashes every object at each boot",
                store.location().display(),
                store.verity_absence()
            ));
        }
        Ok(self.telling(store))
    }

    /// Where the store is, or will be.
    pub(crate) fn store_path(&self) -> PathBuf {
        self.store
            .clone()
            .unwrap_or_else(|| self.physical_root().join(KernelIo::STORE_IN_SYSROOT))
    }

    /// The keyset, which is trusted because the user named it or the administrator installed it.
    pub(crate) fn trusted_keyset(&self) -> anyhow::Result<Verified<Keyset>> {
        Ok(self.keyset_file()?.trusted()?)
    }

    /// The file of the keyset. It is read once, so that it may be a pipe.
    pub(crate) fn keyset_file(&self) -> anyhow::Result<&KeysetFile> {
        if let Some(file) = self.keyset_file.get() {
            return Ok(file);
        }
        let path = self.keyset_path();
        if self.keyset.is_none() && path.symlink_metadata().is_err() {
            let [administrators, vendors] = self.usual_keysets();
            let message = format!(
                "there is no keyset at {} nor at {}",
                administrators.display(),
                vendors.display()
            );
            return Err(Failure::new(ErrorClass::NotFound, message)
                .hint(
                    "put the vendor's there, or name it with --keyset FILE; who signs releases makes \
                     one with `sealroot keys new`",
                )
                .into());
        }
        let mut file = KeysetFile::read(&path)?;
        if self.keyset.is_none()
            && let Some(later) = self.later_keyset(&file)
        {
            file = file.replaced_by(&later);
        }
        Ok(self.keyset_file.get_or_init(|| file))
    }

    /// The keyset that a remote has gone on to from the installed one: what is revoked there counts
    /// for nothing here.
    fn later_keyset(&self, installed: &KeysetFile) -> Option<Unverified<Keyset>> {
        let trusted = installed.trusted().ok()?;
        state::later_keyset(&self.open_store().ok()?, &trusted)
    }

    /// Where the keyset is: the administrator's, else the one that the OS brings.
    pub(crate) fn keyset_path(&self) -> PathBuf {
        if let Some(path) = &self.keyset {
            return path.clone();
        }
        let [administrators, vendors] = self.usual_keysets();
        // One that is there and cannot be used is an error, and not passed over.
        if administrators.symlink_metadata().is_err() && vendors.exists() {
            vendors
        } else {
            administrators
        }
    }

    fn usual_keysets(&self) -> [PathBuf; 2] {
        let root = if self.sysroot == Path::new("/sysroot") {
            Path::new("/")
        } else {
            &*self.sysroot
        };
        KEYSETS.map(|path| root.join(path))
    }
}

// What a command says of itself is its help, the first line and the rest: words here would hide the
// rest.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make and show signing keys and keysets.
    #[command(subcommand)]
    Keys(cmd::keys::Keys),
    Image(cmd::image::Image),
    Build(cmd::build::Build),
    Sign(cmd::sign::Sign),
    SignObjects(cmd::sign_objects::SignObjects),
    Import(cmd::import::Import),
    Adopt(cmd::adopt::Adopt),
    Revert(cmd::revert::Revert),
    Advise(cmd::advise::Advise),
    Diff(cmd::diff::Diff),
    Delta(cmd::delta::Delta),
    Publish(cmd::publish::Publish),
    /// Say where releases come from; clean up where they are published.
    #[command(subcommand)]
    Remote(cmd::remote::RemoteCommand),
    Pull(cmd::pull::Pull),
    Upgrade(cmd::upgrade::Upgrade),
    Verify(cmd::verify::Verify),
    Deploy(cmd::deploy::Deploy),
    Switch(cmd::switch::Switch),
    Finalize(cmd::finalize::Finalize),
    Bless(cmd::bless::Bless),
    Rollback(cmd::rollback::Rollback),
    Kargs(cmd::kargs::Kargs),
    Undeploy(cmd::undeploy::Undeploy),
    Pin(cmd::pin::Pin),
    Unpin(cmd::pin::Unpin),
    Prune(cmd::prune::Prune),
    Status(cmd::status::Status),
    Attest(cmd::attest::Attest),
    /// Keep older releases from booting: floors in the firmware and in the TPM.
    #[command(subcommand)]
    Floor(cmd::floor::FloorCommand),
    Doctor(cmd::doctor::Doctor),
    Seal(cmd::seal::Seal),
    Check(cmd::check::Check),
    Repair(cmd::repair::Repair),
    Etc(cmd::etc::Etc),
    Ls(cmd::ls::Ls),
    Cat(cmd::cat::Cat),
    Dump(cmd::dump::Dump),
    Mount(cmd::mount::Mount),
    Unpack(cmd::unpack::Unpack),
    Initramfs(cmd::initramfs::Initramfs),
    /// Make, sign and show unified kernel images: what firmware verifies and starts.
    #[command(subcommand)]
    Uki(cmd::uki::Uki),
}
