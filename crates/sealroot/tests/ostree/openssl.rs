// SPDX-License-Identifier: MIT OR Apache-2.0
//! A repository whose commit was pulled from a remote, and keys and signatures by `openssl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64ct::{Base64, Encoding};
use sealroot::monitor::Warnings;
use sealroot::ostree::{Engine, KeyDirectories, OstreeError, Repository, SignatureError, Vouched};
use sealroot_format::ErrorClass;
use sealroot_format::digest::CommitId;
use sealroot_testkit::need;
use tempfile::TempDir;

use crate::craft::{Content, Craft};
use crate::encode::{Value, array, bytes, text};

/// A repository with a commit that was pulled from `origin`, and the directories of its system.
pub(crate) struct Signed {
    pub(crate) craft: Craft,
    pub(crate) commit: String,
    pub(crate) directory: TempDir,
    pub(crate) openssl: PathBuf,
}

/// A key pair in files.
pub(crate) struct Pair {
    pub(crate) secret: PathBuf,
    /// PEM.
    pub(crate) public: String,
    pub(crate) der: Vec<u8>,
}

impl Pair {
    /// The bare key of an Ed25519 pair, in base64.
    pub(crate) fn bare(&self) -> String {
        Base64::encode_string(&self.der[self.der.len() - 32..])
    }

    pub(crate) fn base64(&self) -> String {
        Base64::encode_string(&self.der)
    }
}

pub(crate) const ED25519: &[&str] = &["-algorithm", "ed25519"];
pub(crate) const RSA: &[&str] = &["-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048"];
pub(crate) const P256: &[&str] = &["-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

impl Signed {
    pub(crate) fn new() -> Option<Self> {
        let openssl = need::tool("openssl")?;
        let craft = Craft::new();
        let commit = craft.commit_file(craft.put_content(&Content::regular(b"x")));
        craft.write("refs/remotes/origin/main", format!("{commit}\n").as_bytes());
        craft.write("refs/heads/main", format!("{commit}\n").as_bytes());
        Some(Self {
            craft,
            commit,
            directory: tempfile::tempdir().unwrap(),
            openssl,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn openssl(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new(&self.openssl)
            .args(arguments)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {errors}");
        output.stdout
    }

    pub(crate) fn pair(&self, name: &str, kind: &[&str]) -> Pair {
        let secret = self.path(name);
        let path = secret.to_str().unwrap();
        self.openssl(&[&["genpkey", "-out", path], kind].concat());
        let public = self.openssl(&["pkey", "-in", path, "-pubout"]);
        Pair {
            public: String::from_utf8(public).unwrap(),
            der: self.openssl(&["pkey", "-in", path, "-pubout", "-outform", "DER"]),
            secret,
        }
    }

    pub(crate) fn commit_path(&self) -> PathBuf {
        let checksum = CommitId::from_hex(&*self.commit).unwrap();
        self.craft.object_path(*checksum.as_bytes(), "commit")
    }

    /// A signature over a file.
    pub(crate) fn sign(&self, pair: &Pair, file: &Path) -> Vec<u8> {
        let (key, file) = (pair.secret.to_str().unwrap(), file.to_str().unwrap());
        // The key says of what kind it is.
        let is_ed25519 = pair.der.len() == 44;
        if is_ed25519 {
            return self.openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", file]);
        }
        self.openssl(&["dgst", "-sha256", "-sign", key, file])
    }

    pub(crate) fn sign_commit(&self, pair: &Pair) -> Vec<u8> {
        self.sign(pair, &self.commit_path())
    }

    /// Detached metadata with these signatures.
    pub(crate) fn detach(&self, entries: &[(&str, &[Vec<u8>])]) {
        let entry = |(key, signatures): &(&str, &[Vec<u8>])| {
            let list = array(1, signatures.iter().map(bytes).collect());
            let variant = Value::Variant(Box::new(list), "aay".into());
            Value::Tuple(vec![text(key), variant])
        };
        let dictionary = array(8, entries.iter().map(entry).collect());
        fs::write(
            self.commit_path().with_extension("commitmeta"),
            dictionary.encode(),
        )
        .unwrap();
    }

    /// The settings of the remote `origin`.
    pub(crate) fn configure(&self, settings: &str) {
        let core = "[core]\nrepo_version=1\nmode=archive-z2\n";
        let config = format!("{core}[remote \"origin\"]\nurl=http://x/\n{settings}\n");
        self.craft.write("config", config.as_bytes());
    }

    pub(crate) fn directories(&self) -> KeyDirectories {
        KeyDirectories::of_system(&self.path("system"))
    }

    pub(crate) fn write_system(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path("system").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// What `origin` demands, met or not, and the warnings.
    pub(crate) fn check_warned(&self) -> (Result<Vouched, OstreeError>, Vec<String>) {
        let repository = Repository::open(self.craft.path()).unwrap();
        let id = CommitId::from_hex(&*self.commit).unwrap();
        let commit = repository.commit(id).unwrap();
        let monitor = Warnings::default();
        let vouched = repository.check_remote("origin", &commit, &self.directories(), &monitor);
        // The same by name.
        let demanded = repository.demanded_commit("origin:main", &self.directories(), &monitor);
        assert_eq!(demanded.is_ok(), vouched.is_ok());
        (vouched, monitor.take())
    }

    pub(crate) fn check(&self) -> Result<Vouched, OstreeError> {
        self.check_warned().0
    }

    #[track_caller]
    pub(crate) fn accepts(&self, engine: Engine) {
        let (found, _) = self.check().unwrap().key.expect("a key");
        assert_eq!(found, engine);
    }

    #[track_caller]
    pub(crate) fn refuses(&self) -> SignatureError {
        match self.check() {
            Err(OstreeError::Signature(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn refuses_untrusted(&self) {
        let error = self.refuses();
        assert!(
            matches!(error, SignatureError::Untrusted { .. }),
            "{error:?}"
        );
        assert_eq!(error.class(), ErrorClass::Untrusted);
    }

    /// Refuses for want of any key.
    #[track_caller]
    pub(crate) fn refuses_without_key(&self) {
        let error = self.refuses();
        assert!(
            matches!(error, SignatureError::NoTrustedKey { .. }),
            "{error:?}"
        );
        assert_eq!(error.class(), ErrorClass::Untrusted);
    }
}
