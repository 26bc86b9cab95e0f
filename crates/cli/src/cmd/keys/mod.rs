// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sealroot keys`

mod report;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use sealroot::keys::{self, KeysetPlan, RolePlan};
use sealroot::seal;
use sealroot_format::ErrorClass;
use sealroot_format::sign::secret::SecretKey;
use sealroot_format::sign::{Keyset, Recovery, Role, Unverified, Verified};
use serde::Serialize;

use crate::failure::Failure;
use crate::name::AnyName;
use crate::output::{Output, Report};
use crate::signers::SignerOptions;

use report::KeysetReport;

/// Make and show signing keys and keysets.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key, and a keyset in which it alone has every role.
    ///
    /// Writes NAME.secret (keep it secret), NAME.public and NAME.keyset (give it to devices). The
    /// key files are in OSTree's format.
    #[command(after_long_help = NEW_EXAMPLE)]
    New(New),
    /// Put a keyset together: which keys may sign what, and how many must.
    ///
    /// It must then be signed by its root keys, with `keys sign`.
    #[command(after_long_help = KEYSET_EXAMPLE)]
    Keyset(NewKeyset),
    /// Add a root key's signature to a keyset.
    #[command(after_long_help = SIGN_EXAMPLES)]
    Sign(SignKeyset),
    /// Show the keys, roles and thresholds of a keyset.
    #[command(after_long_help = SHOW_EXAMPLE)]
    Show(Show),
    /// Show that a root key is held: sign what `seal --challenge` has written.
    ///
    /// The signature is worth nothing for anything else.
    #[command(after_long_help = PROVE_EXAMPLE)]
    Prove(Prove),
}

const NEW_EXAMPLE: &str = "\
Example:
  sealroot keys new vendor                        # vendor.secret, vendor.public, vendor.keyset";

const SIGN_EXAMPLES: &str = "\
Examples:
  sealroot keys sign team.keyset --key a.secret
  sealroot keys sign team.keyset --public-key hsm.public --signer 'hsm-sign --slot 3'
  sealroot keys sign next.keyset --after team.keyset --key a.secret";

const SHOW_EXAMPLE: &str = "\
Examples:
  sealroot keys show vendor.keyset
  sealroot keys show next.keyset --after vendor.keyset";

const PROVE_EXAMPLE: &str = "\
Example:
  sealroot keys prove recovery --key root.secret";

const KEYSET_EXAMPLE: &str = "\
Example: two of three offline keys for the keyset itself, any of two for releases:
  sealroot keys keyset team.keyset --root a.public --root b.public --root c.public \\
      --root-threshold 2 --release d.public --release e.public --channel e.public
  sealroot keys sign team.keyset --key a.secret
  sealroot keys sign team.keyset --key b.secret

The keyset that follows another is signed by enough root keys of both:
  sealroot keys keyset next.keyset --after team.keyset --root ...
  sealroot keys sign next.keyset --after team.keyset --key a.secret";

#[derive(Debug, Args)]
pub(crate) struct New {
    /// What the files are called, without their endings.
    #[arg(value_name = "NAME")]
    name: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct NewKeyset {
    /// Where to write the keyset.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The keyset that this one follows; its root keys must sign too.
    #[arg(long, value_name = "KEYSET")]
    after: Option<PathBuf>,

    /// A public key that signs keysets.
    #[arg(long, value_name = "FILE", required = true)]
    root: Vec<PathBuf>,

    /// How many root keys must sign.
    #[arg(long, value_name = "K", default_value_t = 1)]
    root_threshold: usize,

    /// A public key that signs releases.
    #[arg(long, value_name = "FILE", required = true)]
    release: Vec<PathBuf>,

    /// How many release keys must sign.
    #[arg(long, value_name = "K", default_value_t = 1)]
    release_threshold: usize,

    /// A public key that signs what is newest.
    #[arg(long, value_name = "FILE", required = true)]
    channel: Vec<PathBuf>,

    /// How many channel keys must sign.
    #[arg(long, value_name = "K", default_value_t = 1)]
    channel_threshold: usize,
}

#[derive(Debug, Args)]
pub(crate) struct SignKeyset {
    /// The keyset.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The keyset that this one follows; its root keys must sign too.
    #[arg(long, value_name = "KEYSET")]
    after: Option<PathBuf>,

    #[command(flatten)]
    signer: SignerOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The keyset.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The keyset that this one follows: are there enough signatures by its root keys too?
    #[arg(long, value_name = "KEYSET")]
    after: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Prove {
    /// What is to be signed; the signature is added to it.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    signer: SignerOptions,
}

#[derive(Serialize)]
struct ProvedReport {
    file: AnyName,
    keyset: u64,
    commit: String,
    /// Key ids, this one among them.
    signatures: Vec<String>,
}

impl Report for ProvedReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{}: for keyset {} and machines that run {}, signed by {}",
            self.file,
            self.keyset,
            self.commit,
            self.signatures.join(", ")
        )
    }
}

impl Prove {
    fn run(&self, output: Output) -> anyhow::Result<()> {
        let file = &self.file;
        let mut document = seal::read_proof(file)?;
        // Told before somebody is asked for a signature.
        let recovery = Recovery::parse(document.body())?;
        self.signer.signer(output)?.sign(&mut document)?;
        keys::write_document(file, &document)?;
        let signatures = document.signatures().iter();
        output.emit(&ProvedReport {
            file: file.as_path().into(),
            keyset: recovery.keyset,
            commit: recovery.commit.to_string(),
            signatures: signatures.map(|one| one.key.to_string()).collect(),
        })
    }
}

#[derive(Serialize)]
struct NewReport {
    key: String,
    secret: AnyName,
    public: AnyName,
    keyset: AnyName,
}

impl Report for NewReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "key {}", self.key)?;
        writeln!(
            out,
            "{}: keep it secret; who has it can sign what this key may",
            self.secret
        )?;
        writeln!(out, "{}: the public key", self.public)?;
        writeln!(
            out,
            "{}: for devices, unless the key goes into a keyset with others: it says whom to trust",
            self.keyset
        )
    }
}

impl Keys {
    pub(crate) fn run(&self, output: Output) -> anyhow::Result<()> {
        match self {
            Self::New(New { name }) => output.emit(&new(name)?),
            Self::Keyset(plan) => {
                refuse_taken([&plan.file])?;
                let before = read_before(plan.after.as_deref())?;
                let keyset = plan.keyset(before.as_ref())?;
                keys::write_document(&plan.file, &keyset)?;
                output.emit(&KeysetReport::new(&plan.file, &keyset, before.as_ref())?)
            }
            Self::Sign(sign) => output.emit(&sign.sign(output)?),
            Self::Prove(prove) => prove.run(output),
            Self::Show(Show { file, after }) => {
                let before = read_before(after.as_deref())?;
                let keyset = keys::read_keyset(file)?;
                output.emit(&KeysetReport::new(file, &keyset, before.as_ref())?)
            }
        }
    }
}

/// That none of these files is there.
fn refuse_taken<const N: usize>(files: [&PathBuf; N]) -> anyhow::Result<()> {
    match files
        .into_iter()
        .find(|path| path.symlink_metadata().is_ok())
    {
        Some(path) => Err(keys::Error::Exists { path: path.clone() }.into()),
        None => Ok(()),
    }
}

/// Writes the three files, or none.
fn new(name: &Path) -> anyhow::Result<NewReport> {
    let with_ending = |ending: &str| {
        let mut path = name.as_os_str().to_owned();
        path.push(ending);
        PathBuf::from(path)
    };
    let key = keys::generate()?;
    let (secret, public, keyset) = (
        with_ending(".secret"),
        with_ending(".public"),
        with_ending(".keyset"),
    );
    refuse_taken([&secret, &public, &keyset])?;
    // The first error is the one to be told.
    let remove = |path: &Path| drop(fs::remove_file(path));
    keys::write_secret_key(&secret, &key)?;
    keys::write_public_key_file(&public, &[*key.public()])
        .and_then(|()| {
            let written = write_keyset(&keyset, &key);
            written.inspect_err(|_| remove(&public))
        })
        .inspect_err(|_| remove(&secret))?;
    Ok(NewReport {
        key: key.public().id().to_string(),
        secret: secret.into(),
        public: public.into(),
        keyset: keyset.into(),
    })
}

/// Writes a keyset in which one key has every role.
fn write_keyset(path: &Path, secret: &SecretKey) -> Result<(), keys::Error> {
    let public = *secret.public();
    let alone = || RolePlan {
        threshold: 1,
        keys: vec![public],
    };
    let plan = KeysetPlan {
        root: alone(),
        release: alone(),
        channel: alone(),
    };
    let mut keyset = plan.first()?;
    let signature = secret.sign(keyset.message());
    keyset.add(secret.public(), signature)?;
    keys::write_document(path, &keyset)
}

/// The keyset that another one follows.
fn read_before(path: Option<&Path>) -> Result<Option<Verified<Keyset>>, keys::Error> {
    path.map(keys::read_trusted_keyset).transpose()
}

impl SignKeyset {
    fn sign(&self, output: Output) -> anyhow::Result<KeysetReport> {
        let file = &self.file;
        let mut document = keys::read_keyset(file)?;
        let before = read_before(self.after.as_deref())?;
        // Told before somebody is asked for a signature.
        let keyset = KeysetReport::new(file, &document, before.as_ref())?;
        let signer = self.signer.signer(output)?;
        let key = signer.public().id();
        if !keyset.may_count(key) {
            let message = format!(
                "the key {key} is no root key of {}: its signature would not count",
                file.display()
            );
            return Err(Failure::new(ErrorClass::Usage, message)
                .hint("`sealroot keys show` lists the root keys")
                .into());
        }
        signer.sign(&mut document)?;
        keys::write_document(file, &document)?;
        KeysetReport::new(file, &document, before.as_ref())
    }
}

impl NewKeyset {
    fn keyset(&self, before: Option<&Verified<Keyset>>) -> anyhow::Result<Unverified<Keyset>> {
        let role = |role: Role, files: &[PathBuf], threshold| -> anyhow::Result<RolePlan> {
            let mut keys = Vec::new();
            for file in files {
                keys.extend(keys::read_public_keys(file)?);
            }
            if !(1..=keys.len()).contains(&threshold) {
                let count = keys.len();
                let message =
                    format!("--{role}-threshold: expected 1 to {count}, found {threshold}");
                return Err(Failure::new(ErrorClass::Usage, message)
                    .hint(format!(
                        "name more keys with --{role} FILE, or demand fewer"
                    ))
                    .into());
            }
            Ok(RolePlan { threshold, keys })
        };
        let plan = KeysetPlan {
            root: role(Role::Root, &self.root, self.root_threshold)?,
            release: role(Role::Release, &self.release, self.release_threshold)?,
            channel: role(Role::Channel, &self.channel, self.channel_threshold)?,
        };
        Ok(match before {
            None => plan.first()?,
            Some(before) => plan.successor(before)?,
        })
    }
}
