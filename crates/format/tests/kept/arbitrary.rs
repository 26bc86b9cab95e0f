// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever the bytes, nothing panics, and what is accepted is written as it was read.

use proptest::prelude::*;
use proptest::sample::select;
use sealroot_format::kept::{FILES, Kept, KeptFile, select_shadow};

use crate::types::{file, good};

/// Bytes of one file, and where they may be taken for another.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let change = (
        any::<prop::sample::Index>(),
        select(b"\0\n\r :=/.-$!*aZ0\xff".to_vec()),
        0..3,
    );
    (select(good()), prop::collection::vec(change, 0..4)).prop_map(|((_, text), changes)| {
        let mut bytes = text.into_bytes();
        for (index, byte, kind) in changes {
            if bytes.is_empty() {
                continue;
            }
            let at = index.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

fn check(file: &KeptFile, bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(kept) = file.parse(bytes) {
        let text = kept.to_string();
        prop_assert_eq!(text.as_bytes(), bytes);
        prop_assert!(text.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')));
        prop_assert_eq!(file.parse(text.as_bytes()), Ok(kept));
    }
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for file in &FILES {
            check(file, &bytes)?;
        }
    }

    #[test]
    fn changed_files_are_refused_or_stay_the_same(bytes in mutated()) {
        for file in &FILES {
            check(file, &bytes)?;
        }
    }

    #[test]
    fn no_merge_has_users_that_the_release_does_not_have(
        release in "([a-c]?(:[*!x$]{0,2}){0,9}\n?){0,5}",
        passwd in "([a-c]:x:[0-9]:[0-9]::/:(/bin/sh|/sbin/nologin|/bin/false|sh|)\n){0,4}",
        kept in "([a-e]:[!*]:1::::::\n){1,4}",
    ) {
        let Ok(Kept::Shadow(shadow)) = file("/etc/shadow").parse(kept.as_bytes()) else {
            return Ok(());
        };
        let merged = shadow.merge(release.as_bytes(), passwd.as_bytes());
        let names = |text: &[u8]| -> Vec<Vec<u8>> {
            let text = text.strip_suffix(b"\n").unwrap_or(text);
            let lines = text.split(|byte| *byte == b'\n');
            lines.map(|line| line.split(|byte| *byte == b':').next().unwrap().to_vec()).collect()
        };
        prop_assert_eq!(names(&merged.bytes), names(release.as_bytes()));
        prop_assert!(merged.ignored <= kept.lines().count());
        // Nothing changes but lines of users with a shell.
        for (new, old) in merged.bytes.split(|b| *b == b'\n').zip(release.as_bytes().split(|b| *b == b'\n')) {
            let name = new.split(|b| *b == b':').next().unwrap();
            let entry = [name, b":x:"].concat();
            let has_shell = passwd.lines().any(|line| {
                line.as_bytes().starts_with(&entry) && line.ends_with("/bin/sh")
            });
            prop_assert!(new == old || has_shell);
        }
        let _ = select_shadow(release.as_bytes(), passwd.as_bytes());
    }
}
