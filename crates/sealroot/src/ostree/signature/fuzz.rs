// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzzer runs of this room.

use std::path::Path;

use base64ct::{Base64, Encoding as _};

use super::super::keyfile::KeyFile;
use super::key::{Engine, Key};
use super::remote::Settings;
use super::ring::{KeyDirectories, parse};

/// What the remote `r` demands, where no key file is there.
pub(in super::super) fn demands(path: &Path, config: KeyFile<'_>) {
    let group = "remote \"r\"".to_owned();
    let has_file = Engine::ALL.into_iter().any(|engine| {
        let key = format!("verification-{engine}-file");
        config.get(&group, &key).is_some()
    });
    if has_file {
        return;
    }
    let settings = Settings {
        path,
        config,
        group,
    };
    let nowhere = KeyDirectories::of_system(Path::new("/proc/self/fd/none"));
    let _ = settings.demands("r", &nowhere);
}

/// The keys in a file verify nothing that they have not signed, and are read again.
pub(in super::super) fn keys(engine: Engine, text: &str) {
    let Ok(keys) = parse(engine, Path::new("keys"), text) else {
        return;
    };
    for key in keys {
        let again = Key::parse(engine, &Base64::encode_string(key.as_bytes()));
        assert_eq!(again.expect("it was read").as_bytes(), key.as_bytes());
        for signature in [&[0; 64][..], key.as_bytes(), text.as_bytes()] {
            assert!(!key.verifies(b"message", signature), "anyone can sign");
        }
    }
}
