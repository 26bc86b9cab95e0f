// SPDX-License-Identifier: MIT OR Apache-2.0
//! Updates of the variable, signed with the `openssl` command: firmware wants PKCS#7.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use sealroot_format::floor::Floor;
use sealroot_format::floor::update::{Update, message};

use super::FloorError;

/// Signs the update to a floor with a key that the certificate belongs to, both PEM files. A
/// passphrase is asked for by `openssl` itself.
pub fn sign(floor: Floor, key: &Path, certificate: &Path) -> Result<Update, FloorError> {
    let failed = |source| FloorError::OpenSsl { source };
    let mut openssl = Command::new("openssl")
        .args(["smime", "-sign", "-binary", "-noattr", "-md", "sha256"])
        .args(["-outform", "DER", "-signer"])
        .arg(certificate)
        .arg("-inkey")
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = openssl.stdin.take() {
        // A program that has given up says why by its status.
        let _ = input.write_all(&message(floor));
    }
    let output = openssl.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        let status = output.status;
        return Err(FloorError::NotSigned { status });
    }
    Ok(Update::new(floor, &output.stdout)?)
}
