// SPDX-License-Identifier: MIT OR Apache-2.0
//! Good files of each type.

use sealroot_format::kept::{FILES, Kept, KeptFile};
use sealroot_format::limits::MAX_KEPT_FILE_BYTES;

pub(crate) const HASH: &str = "$y$j9T$0123456789abcdef$0123456789abcdef0123456789abcdef0123456789a";

pub(crate) const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\n\
                              b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n\
                              QyNTUxOQAAACA=\n\
                              -----END OPENSSH PRIVATE KEY-----\n";

pub(crate) fn file(path: &str) -> &'static KeptFile {
    KeptFile::find(path).unwrap_or_else(|| panic!("{path} can be kept"))
}

/// Files that are accepted, by their paths.
pub(crate) fn good() -> Vec<(&'static str, String)> {
    let line = |name: &str, hash: &str| format!("{name}:{hash}:19000:0:99999:7:::\n");
    let many: Vec<_> = ["!", "!!", "*", "!*", HASH, &format!("!{HASH}")]
        .iter()
        .enumerate()
        .map(|(at, hash)| line(&format!("user-{at}"), hash))
        .collect();
    let mut good: Vec<(&str, String)> = [
        ("/etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        ("/etc/hostname", "a\n"),
        ("/etc/hostname", "Web-1.example.ORG\n"),
        ("/etc/hostname", "1\n"),
        ("/etc/localtime", "Europe/Paris\n"),
        ("/etc/localtime", "America/Argentina/ComodRivadavia\n"),
        ("/etc/localtime", "Etc/GMT+12\n"),
        ("/etc/timezone", "UTC\n"),
        (
            "/etc/locale.conf",
            "LANG=de_DE.UTF-8\nLC_TIME=ca_ES.UTF-8@valencia\n",
        ),
        ("/etc/locale.conf", "LANGUAGE=de:en\n"),
        (
            "/etc/vconsole.conf",
            "KEYMAP=us\nFONT=ter-v16n\nXKBOPTIONS=grp:win,terminate:x\n",
        ),
        ("/etc/adjtime", "0.0 0 0.0\n0\nUTC\n"),
        ("/etc/adjtime", "-0.123456 1700000000 0\n-1\nLOCAL\n"),
        (
            "/etc/ssh/ssh_host_rsa_key.pub",
            "ssh-rsa AAAAB3NzaC1yc2E= root@host\n",
        ),
        (
            "/etc/ssh/ssh_host_ecdsa_key.pub",
            "ecdsa-sha2-nistp521 AAAA\n",
        ),
        (
            "/etc/ssh/ssh_host_ed25519_key.pub",
            "ssh-ed25519 AA== a comment\n",
        ),
        ("/etc/ssh/ssh_host_ed25519_key", KEY),
        ("/etc/ssh/ssh_host_ecdsa_key", KEY),
        ("/etc/ssh/ssh_host_rsa_key", KEY),
    ]
    .map(|(path, text)| (path, text.to_owned()))
    .into();
    good.push(("/etc/hostname", format!("{}.b\n", "a".repeat(62))));
    good.push(("/etc/shadow", many.concat()));
    good.push(("/etc/shadow", format!("root:{HASH}:::::::\n")));
    good
}

// Rules: A5, A6, A7, A8, A9, A11, A12, A13
#[test]
fn good_files_are_accepted_and_stay_the_same() {
    for (path, text) in good() {
        let kept = file(path).parse(text.as_bytes());
        let kept = kept.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(kept.to_string(), text);
    }
    let tested: Vec<_> = good().into_iter().map(|(path, _)| path).collect();
    assert!(FILES.iter().all(|file| tested.contains(&file.path())));
}

#[test]
fn a_machine_id_is_a_number() {
    let kept = file("/etc/machine-id").parse(b"0000000000000000000000000000000f\n");
    assert_eq!(kept.unwrap(), Kept::MachineId(15));
}

// Rules: A1, A3
#[test]
fn the_list_is_closed_and_names_are_told_apart() {
    for path in [
        "/etc/passwd",
        "/etc/group",
        "/etc/ld.so.preload",
        "/etc/ssh/sshd_config",
        "/etc/ssh/ssh_host_dsa_key",
        "/etc/../etc/hostname",
        "/etc//hostname",
        "hostname",
        "",
    ] {
        assert_eq!(KeptFile::find(path), None, "{path}");
    }
    let mut names: Vec<_> = FILES.iter().map(KeptFile::name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FILES.len());
    assert_eq!(
        file("/etc/ssh/ssh_host_rsa_key").path_in_etc(),
        "ssh/ssh_host_rsa_key"
    );
    for file in &FILES {
        let shown = file.is_secret() && file.permissions & 0o077 != 0;
        assert!(!shown, "{}", file.path());
        assert_eq!(file.permissions & 0o7133, 0, "{}", file.path());
    }
}

// Rules: A4
#[test]
fn a_file_has_a_bound() {
    for file in &FILES {
        let error = file
            .parse(&vec![b'a'; MAX_KEPT_FILE_BYTES + 1])
            .unwrap_err();
        let message = format!(
            "{} is too long: expected at most 16384 bytes, found 16385",
            file.path()
        );
        assert_eq!(error.to_string(), message);
    }
}
