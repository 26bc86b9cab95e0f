// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's keyring for fs-verity: gets the certificates of the initramfs, and nothing after
//! them (`docs/format/policy.md`, section 6).
//!
//! Nothing here lets a file boot. A file with a built-in signature opens only while its certificate
//! is in the keyring, and security modules such as IPE go by that.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;

use rustix::io::Errno;
use sealroot_format::policy::{Mode, VERITY_CERTIFICATES_PATH, split_certificates};
use sealroot_sys::keyring::{
    ASYMMETRIC, FS_VERITY, KeySerial, add_key, find_keyring, keyctl_restrict_keyring,
};

use crate::refusal::{Code, OrRefuse as _, Refusal};

const KEYS: &str = "/proc/keys";

/// Whether the kernel opens files with fs-verity that have no built-in signature: 0 if it does.
const REQUIRE_SIGNATURES: &str = "/proc/sys/fs/verity/require_signatures";

/// What the system's own `sysctl` reads at its start, the files sorted by their names wherever they
/// are: the last one counts.
const SYSCTL_DIRECTORY: &str = "/run/sysctl.d";
const SYSCTL_FILE: &str = "/run/sysctl.d/zz-sealroot.conf";
const SYSCTL_TEXT: &str = "\
# By sealroot's boot program. With 1 no file of the release could be opened any more.
fs.verity.require_signatures = 0
";

/// Fills the keyring and closes it, before anything with fs-verity is opened.
pub(crate) fn prepare(mode: Mode) -> Result<(), Refusal> {
    let path = format!("/{VERITY_CERTIFICATES_PATH}");
    let certificates = match fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).or_refuse(Code::Policy, &path, "a readable file"),
    };
    let keys = fs::read_to_string(KEYS).unwrap_or_default();
    match (certificates, find_keyring(&keys, FS_VERITY)) {
        (Some(bytes), Some(keyring)) => {
            fill(&path, &bytes, keyring)?;
            close(keyring)
        }
        (Some(_), None) => {
            let expected = "one for fs-verity (CONFIG_FS_VERITY_BUILTIN_SIGNATURES)";
            Err(Refusal::new(Code::Kernel, "keyring", expected, "none"))
        }
        (None, Some(keyring)) if mode == Mode::Sealed => close(keyring),
        (None, _) => Ok(()),
    }
}

fn fill(path: &str, bytes: &[u8], keyring: KeySerial) -> Result<(), Refusal> {
    let certificates = split_certificates(bytes).or_refuse(
        Code::Policy,
        path,
        "certificates in DER, one after another",
    )?;
    for certificate in certificates {
        let expected = "a certificate that the kernel takes into an open keyring";
        add_key(ASYMMETRIC, c"", certificate, keyring).or_refuse(Code::Kernel, path, expected)?;
    }
    Ok(())
}

/// From here on root adds no certificate either.
fn close(keyring: KeySerial) -> Result<(), Refusal> {
    match keyctl_restrict_keyring(keyring) {
        // Closed already is as good.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno).or_refuse(Code::Kernel, FS_VERITY, "a keyring that can be closed"),
    }
}

/// Has the kernel open what is not signed, whatever its command line said: built-in signatures sign
/// bare digests and decide nothing here, and neither packs nor most objects have one.
pub(crate) fn require_no_signatures() -> Result<(), Refusal> {
    match fs::write(REQUIRE_SIGNATURES, "0") {
        // A kernel without these signatures.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        written => written.or_refuse(Code::Kernel, REQUIRE_SIGNATURES, "to be set to 0"),
    }
}

/// Has the system leave that as it is when it sets what its administrator wants, so that a file in a
/// kept `/etc` does not by accident end every boot. It is not proof against root, who needs no file
/// for that, nor has to be where the mode is sealed: there no such file outlasts a boot.
pub(crate) fn keep_it_so() -> Result<(), Refusal> {
    if !fs::exists(REQUIRE_SIGNATURES).unwrap_or(false) {
        return Ok(());
    }
    let write = || {
        fs::create_dir_all(SYSCTL_DIRECTORY)?;
        fs::set_permissions(SYSCTL_DIRECTORY, fs::Permissions::from_mode(0o755))?;
        fs::write(SYSCTL_FILE, SYSCTL_TEXT)?;
        fs::set_permissions(SYSCTL_FILE, fs::Permissions::from_mode(0o644))
    };
    write().or_refuse(Code::System, SYSCTL_FILE, "to be written")
}
