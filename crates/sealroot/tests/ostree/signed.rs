// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signatures over commits, made by `openssl`, and what remotes demand.

use std::fs;

use base64ct::{Base64, Encoding};
use sealroot::monitor::Warnings;
use sealroot::ostree::{BadKey, Engine, Key, OstreeError, Repository, SignatureError};
use sealroot_format::ErrorClass;

use crate::encode::{Value, array, text};
use crate::openssl::{ED25519, P256, RSA, Signed};

const NO_GPG: &str = "gpg-verify=false";
const ED25519_KEY: &str = "ostree.sign.ed25519";
const SPKI_KEY: &str = "ostree.sign.spki";

#[test]
fn keys_of_each_kind_and_from_each_place_are_good() {
    let Some(signed) = Signed::new() else {
        return;
    };
    let pair = signed.pair("ed25519", ED25519);
    let good = signed.sign_commit(&pair);
    signed.detach(&[(ED25519_KEY, std::slice::from_ref(&good))]);
    let inline = format!("{NO_GPG}\nverification-ed25519-key={}", pair.bare());
    for demand in ["true", "1", "ed25519", "spki;ed25519"] {
        let spki = format!("verification-spki-key={}", pair.base64());
        signed.configure(&format!("{inline}\n{spki}\nsign-verify={demand}"));
        signed.accepts(Engine::Ed25519);
    }
    let other = signed.pair("other", ED25519);
    let list = format!("{}\n\n{}\n", other.bare(), pair.bare());
    let file = signed.write_system("keys", &list);
    let from_file = format!("{NO_GPG}\nsign-verify=true\nverification-ed25519-file=");
    signed.configure(&format!("{from_file}{}", file.display()));
    signed.accepts(Engine::Ed25519);
    signed.configure(&format!("{NO_GPG}\nsign-verify=true"));
    for place in [
        "etc/ostree/trusted.ed25519",
        "etc/ostree/trusted.ed25519.d/vendor",
        "usr/share/ostree/trusted.ed25519",
        "usr/share/ostree/trusted.ed25519.d/vendor",
    ] {
        signed.refuses_without_key();
        let file = signed.write_system(place, &list);
        signed.accepts(Engine::Ed25519);
        fs::remove_file(file).unwrap();
    }
    for kind in [ED25519, RSA, P256] {
        let pair = signed.pair("spki", kind);
        signed.detach(&[(SPKI_KEY, &[signed.sign_commit(&pair)])]);
        let key = format!("verification-spki-key={}", pair.base64());
        signed.configure(&format!("{NO_GPG}\nsign-verify=spki\n{key}"));
        signed.accepts(Engine::Spki);
        let blocks = format!("of somebody\n{}of us\n{}", other.public, pair.public);
        let file = signed.write_system("keys.pem", &blocks);
        let file = format!("verification-spki-file={}", file.display());
        signed.configure(&format!("{NO_GPG}\nsign-verify=true\n{file}"));
        signed.accepts(Engine::Spki);
        // Over something else.
        let wrong = signed.sign(&pair, &signed.path("spki"));
        signed.detach(&[(SPKI_KEY, &[wrong])]);
        signed.refuses_untrusted();
    }
}

#[test]
fn what_is_not_signed_by_a_trusted_key_is_refused() {
    let Some(signed) = Signed::new() else {
        return;
    };
    let (pair, other) = (signed.pair("key", ED25519), signed.pair("other", ED25519));
    let key = format!("verification-ed25519-key={}", pair.bare());
    signed.configure(&format!("{NO_GPG}\nsign-verify=true\n{key}"));
    let unsigned = || {
        let error = signed.refuses();
        assert!(
            matches!(error, SignatureError::Unsigned { .. }),
            "{error:?}"
        );
        assert_eq!(error.class(), ErrorClass::Untrusted);
        assert!(error.to_string().contains("ed25519 or spki"), "{error}");
    };
    unsigned();
    signed.detach(&[]);
    unsigned();
    signed.detach(&[(ED25519_KEY, &[])]);
    unsigned();
    signed.detach(&[("ostree.sign.dummy", &[b"dummy".to_vec()])]);
    unsigned();
    let good = signed.sign_commit(&pair);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        signed.detach(&[(ED25519_KEY, &[bad])]);
        signed.refuses_untrusted();
    }
    for bad in [good[..63].to_vec(), [&*good, b"x"].concat(), Vec::new()] {
        signed.detach(&[(ED25519_KEY, std::slice::from_ref(&bad))]);
        signed.refuses_untrusted();
        // One that is malformed does not spoil a good one.
        let foreign = signed.sign_commit(&other);
        signed.detach(&[(ED25519_KEY, &[bad, foreign, good.clone()])]);
        signed.accepts(Engine::Ed25519);
    }
    signed.detach(&[(ED25519_KEY, &[signed.sign_commit(&other)])]);
    signed.refuses_untrusted();
    signed.detach(&[(ED25519_KEY, &[signed.sign(&pair, &signed.path("key"))])]);
    signed.refuses_untrusted();
    // Under the key of another engine it is none.
    signed.detach(&[(SPKI_KEY, std::slice::from_ref(&good))]);
    signed.refuses_untrusted();
    // Signatures that are no list of bytes are none.
    signed.detach(&[(ED25519_KEY, std::slice::from_ref(&good))]);
    signed.accepts(Engine::Ed25519);
    let path = signed.commit_path().with_extension("commitmeta");
    let as_text = Value::Variant(Box::new(text("x")), "s".into());
    let entry = Value::Tuple(vec![text(ED25519_KEY), as_text]);
    fs::write(&path, array(8, vec![entry]).encode()).unwrap();
    unsigned();
    fs::write(&path, b"no variant").unwrap();
    assert!(matches!(signed.check(), Err(OstreeError::Detached { .. })));
    // A commit that was changed is another commit.
    signed.detach(&[(ED25519_KEY, &[good])]);
    signed.accepts(Engine::Ed25519);
}

#[test]
fn a_revoked_key_counts_nowhere() {
    let Some(signed) = Signed::new() else {
        return;
    };
    let ed25519 = signed.pair("key", ED25519);
    let rsa = signed.pair("rsa", RSA);
    for (engine, pair, key, list) in [
        (Engine::Ed25519, &ed25519, ed25519.bare(), ed25519.bare()),
        (Engine::Spki, &rsa, rsa.base64(), rsa.public.clone()),
    ] {
        signed.detach(&[(engine.metadata_key(), &[signed.sign_commit(pair)])]);
        let key = format!("verification-{engine}-key={key}");
        signed.configure(&format!("{NO_GPG}\nsign-verify=true\n{key}"));
        signed.accepts(engine);
        for place in ["etc/ostree", "usr/share/ostree"] {
            for name in [
                format!("revoked.{engine}"),
                format!("revoked.{engine}.d/one"),
            ] {
                let file = signed.write_system(&format!("{place}/{name}"), &list);
                signed.refuses_without_key();
                fs::remove_file(file).unwrap();
            }
        }
        signed.accepts(engine);
    }
}

#[test]
fn demands_that_cannot_be_met_are_told_apart() {
    let Some(signed) = Signed::new() else {
        return;
    };
    let pair = signed.pair("key", ED25519);
    signed.detach(&[(ED25519_KEY, &[signed.sign_commit(&pair)])]);
    let class = |settings: &str| {
        signed.configure(&format!("{NO_GPG}\n{settings}"));
        signed.check().map(drop).map_err(|error| error.class())
    };
    assert_eq!(class(""), Ok(()));
    assert_eq!(class("sign-verify=false"), Ok(()));
    assert_eq!(class("sign-verify="), Ok(()));
    assert_eq!(class("sign-verify=ed25519"), Err(ErrorClass::Usage));
    assert_eq!(class("sign-verify=dummy"), Err(ErrorClass::Unsupported));
    assert_eq!(class("sign-verify=;"), Err(ErrorClass::Untrusted));
    let key = format!("verification-ed25519-key={}", pair.bare());
    assert_eq!(class(&format!("sign-verify=ed25519\n{key}")), Ok(()));
    assert_eq!(
        class(&format!("sign-verify=ed25519;unknown\n{key}")),
        Err(ErrorClass::Unsupported)
    );
    for bad in ["", "AAAA", "=", "x y"] {
        let settings = format!("sign-verify=ed25519\nverification-ed25519-key={bad}");
        let expected = if bad.is_empty() {
            ErrorClass::Usage
        } else {
            ErrorClass::Corrupt
        };
        assert_eq!(class(&settings), Err(expected), "{bad:?}");
    }
    let missing = "sign-verify=true\nverification-ed25519-file=/no/such/file";
    assert_eq!(class(missing), Err(ErrorClass::Io));
    let file = signed.write_system("keys", "-----BEGIN PUBLIC KEY-----\nAAAA\n");
    let unfinished = format!(
        "sign-verify=true\nverification-spki-file={}",
        file.display()
    );
    assert_eq!(class(&unfinished), Err(ErrorClass::Corrupt));
    assert_eq!(
        class("sign-verify=true\nverification-spki-file=a\\b"),
        Err(ErrorClass::Corrupt)
    );

    // By its checksum or a local ref a commit has no remote.
    assert_eq!(class("sign-verify=dummy"), Err(ErrorClass::Unsupported));
    let repository = Repository::open(signed.craft.path()).unwrap();
    for rev in [&*signed.commit, "main"] {
        let directories = signed.directories();
        let monitor = Warnings::default();
        assert!(
            repository
                .demanded_commit(rev, &directories, &monitor)
                .is_ok()
        );
    }
    // A remote that is not configured says nothing.
    signed
        .craft
        .write("config", b"[core]\nrepo_version=1\nmode=archive-z2\n");
    let error = signed.refuses();
    assert!(
        matches!(error, SignatureError::NoRemote { .. }),
        "{error:?}"
    );
    let conf = format!("[remote \"origin\"]\n{NO_GPG}\nsign-verify=true\n{key}\n");
    signed.write_system("etc/ostree/remotes.d/origin.conf", &conf);
    signed.accepts(Engine::Ed25519);
}

#[test]
fn gpg_is_left_to_ostree_and_that_is_said() {
    let Some(signed) = Signed::new() else {
        return;
    };
    for demand in ["", "gpg-verify=true"] {
        signed.detach(&[]);
        signed.configure(demand);
        let error = signed.refuses();
        assert!(
            matches!(error, SignatureError::NoGpgSignature { .. }),
            "{error:?}"
        );
        assert_eq!(error.class(), ErrorClass::Untrusted);
        assert!(error.to_string().contains("`ostree pull`"), "{error}");
        signed.detach(&[("ostree.gpgsigs", &[b"a signature".to_vec()])]);
        let (vouched, warnings) = signed.check_warned();
        assert!(vouched.unwrap().is_gpg_left_to_ostree);
        assert!(
            warnings.iter().all(|text| text.contains("`ostree pull`")),
            "{warnings:?}"
        );
        assert_eq!(warnings.len(), 2);
    }
    // Both are demanded: one does not do for the other.
    let pair = signed.pair("key", ED25519);
    let key = format!("verification-ed25519-key={}", pair.bare());
    signed.configure(&format!("sign-verify=true\n{key}"));
    let error = signed.refuses();
    assert!(
        matches!(error, SignatureError::Unsigned { .. }),
        "{error:?}"
    );
    signed.detach(&[(ED25519_KEY, &[signed.sign_commit(&pair)])]);
    assert!(matches!(
        signed.refuses(),
        SignatureError::NoGpgSignature { .. }
    ));
}

#[test]
fn keys_that_protect_nothing_are_refused() {
    let Some(signed) = Signed::new() else {
        return;
    };
    let bare = |bytes: [u8; 32]| Key::parse(Engine::Ed25519, &Base64::encode_string(&bytes));
    let mut one = [0; 32];
    one[0] = 1;
    // Points of small order: signatures for all messages are known.
    assert_eq!(bare(one).unwrap_err(), BadKey::Weak);
    assert_eq!(bare([0; 32]).unwrap_err(), BadKey::Weak);
    let spki = |name: &str, kind: &[&str]| {
        let pair = signed.pair(name, kind);
        Key::parse(Engine::Spki, &pair.base64()).map(drop)
    };
    let rsa = |bits: &str| spki("rsa", &["-algorithm", "rsa", "-pkeyopt", bits]);
    assert_eq!(rsa("rsa_keygen_bits:1024"), Err(BadKey::Weak));
    assert_eq!(rsa("rsa_keygen_bits:3072"), Ok(()));
    let p384 = ["-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"];
    assert_eq!(spki("p384", &p384), Err(BadKey::Invalid));
    let ed448 = spki("ed448", &["-algorithm", "ed448"]);
    assert!(matches!(ed448, Err(BadKey::Algorithm(_))), "{ed448:?}");
    let pair = signed.pair("key", ED25519);
    for end in 0..pair.der.len() {
        let cut = Base64::encode_string(&pair.der[..end]);
        assert!(Key::parse(Engine::Spki, &cut).is_err());
    }
    let more = Base64::encode_string(&[&*pair.der, b"x"].concat());
    assert!(Key::parse(Engine::Spki, &more).is_err());
}
