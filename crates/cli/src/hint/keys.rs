// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys, signatures, and images that are signed.

use sealroot::initramfs::Error as InitramfsError;
use sealroot::keyring::KeyringError;
use sealroot::keys;
use sealroot::uki::UkiError;

use sealroot_format::sign::{self, Role};

use super::content::of_store;

pub(super) fn of_keys(error: &keys::Error) -> Option<String> {
    match error {
        keys::Error::Exists { .. } => Some(
            "choose another name: what was signed with a lost key cannot be signed again".into(),
        ),
        keys::Error::OtherKind { expected, .. } => Some(of_kind(*expected).into()),
        keys::Error::Sign(error) => of_sign(error),
        _ => None,
    }
}

pub(super) const fn of_kind(wanted: keys::Kind) -> &'static str {
    match wanted {
        keys::Kind::SecretKey => {
            "name the file with the secret key, which `sealroot keys new NAME` calls NAME.secret; or sign \
             with --signer COMMAND"
        }
        keys::Kind::PublicKeys => {
            "name the file with the public key, which `sealroot keys new NAME` calls NAME.public"
        }
        keys::Kind::Keyset => {
            "name the keyset, which `sealroot keys new NAME` calls NAME.keyset; `sealroot keys keyset` makes \
             one of public keys"
        }
        keys::Kind::Statement => {
            "name the file with the statement: pack/COMMIT.STREAM.sign in the store, or what `sealroot image` \
             has written"
        }
    }
}

pub(super) fn of_sign(error: &sign::Error) -> Option<String> {
    match error {
        sign::Error::TooFewSignatures {
            role: Role::Root, ..
        } => Some(
            "`sealroot keys sign` adds a root key's signature; `sealroot keys show` says whose are \
             wanted"
                .into(),
        ),
        sign::Error::TooFewSignatures { .. } => Some(
            "`sealroot sign` adds a signature; `sealroot keys show` says whose the keyset wants"
                .into(),
        ),
        _ => None,
    }
}

pub(super) fn of_keyring(error: &KeyringError) -> Option<String> {
    match error {
        KeyringError::Signer(error) => of_uki(error),
        KeyringError::Store(error) => of_store(error),
        _ => None,
    }
}

pub(super) fn of_uki(error: &UkiError) -> Option<String> {
    Some(match error {
        UkiError::NotSealed { .. } => "all that a key has signed boots wherever that key is \
            trusted; --sign-unsealed signs it all the same"
            .into(),
        UkiError::Repairs => "`sealroot uki install` puts it on the boot partition".into(),
        UkiError::Initramfs(InitramfsError::RepairTool { .. }) => {
            "`cargo xtask dist` in sealroot's sources makes a static one; name it with --repair-tool FILE"
                .into()
        }
        UkiError::Signed => "sign the image as `sealroot uki build` made it".into(),
        UkiError::Credential { .. } => {
            "`openssl pkey` and `openssl x509` make PEM of other forms; \
            a key that may not be in a file signs with --signer COMMAND"
                .into()
        }
        UkiError::ForeignSignature { .. } => {
            "name the certificate of the very key that signs with --certificate".into()
        }
        UkiError::Secret { .. } => "find out how it got there: what has been in an image is no \
            secret any more"
            .into(),
        _ => return None,
    })
}
