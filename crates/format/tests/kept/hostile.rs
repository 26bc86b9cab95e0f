// SPDX-License-Identifier: MIT OR Apache-2.0
//! What root may leave in a kept file for the next boot: refused, and secrets are not shown.

use sealroot_format::kept::FILES;

use crate::types::{HASH, KEY, file, good};

const TABLE: &[(&str, &str, &[&str])] = &[
    (
        "A5",
        "/etc/machine-id",
        &[
            "0123456789abcdef0123456789abcde\n",
            "0123456789abcdef0123456789abcdef0\n",
            "0123456789ABCDEF0123456789ABCDEF\n",
            "+123456789abcdef0123456789abcdef\n",
            "00000000000000000000000000000000\n",
            "01234567-89ab-cdef-0123-456789abcdef\n",
            "uninitialized\n",
            " 0123456789abcdef0123456789abcdef\n",
        ],
    ),
    (
        "A6",
        "/etc/hostname",
        &[
            "\n",
            "a b\n",
            "-a\n",
            "a-\n",
            ".a\n",
            "a.\n",
            "a..b\n",
            "../a\n",
            "a/b\n",
            "a_b\n",
            "# comment\na\n",
            "a\nALL ALL=(ALL) NOPASSWD: ALL\n",
            "$(reboot)\n",
            "`reboot`\n",
            "a;reboot\n",
            "%H\n",
            "a\r\n",
            "a\x1b[2J\n",
            "h\u{f6}st\n",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
            "a.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
        ],
    ),
    (
        "A7",
        "/etc/localtime",
        &[
            "/etc/passwd\n",
            "../../../var/lib/evil\n",
            "Europe/../../../var/evil\n",
            "Europe//Paris\n",
            "Europe/Paris/\n",
            "Europe/.hidden\n",
            "Europe/Paris.tab\n",
            "./UTC\n",
            "-x\n",
            "Europe Paris\n",
            ":Europe/Paris\n",
            "TZif2\n\0",
        ],
    ),
    (
        "A8",
        "/etc/locale.conf",
        &[
            "PATH=x\n",
            "LD_PRELOAD=x\n",
            "LOCPATH=x\n",
            "LC_ALL=C\n",
            "lang=C\n",
            "LANG =C\n",
            "LANG=\n",
            "LANG=C\nLANG=C\n",
            "LANG=/var/locale\n",
            "LANG=../x\n",
            "LANG=\"C\"\n",
            "LANG=$(reboot)\n",
            "LANG=C;reboot\n",
            "LANG=C \n",
            " LANG=C\n",
            "export LANG=C\n",
            "# LANG=C\n",
            "LANG=C\n\n",
            "KEYMAP=us\n",
            "LANG=C\\\n",
        ],
    ),
    (
        "A8",
        "/etc/vconsole.conf",
        &[
            "KEYMAP=/var/evil.map\n",
            "KEYMAP=../evil\n",
            "KEYMAP=-f\n",
            "FONT=--help\n",
            "LANG=C\n",
        ],
    ),
    (
        "A9",
        "/etc/adjtime",
        &[
            "0.0 0 0.0\n0\nutc\n",
            "0.0 0 0.0\n0\n",
            "0.0 0 0.0\n0\nUTC\nmore\n",
            "0.0 0\n0\nUTC\n",
            "0.0 0 0.0 0\n0\nUTC\n",
            "0.0  0.0\n0\nUTC\n",
            ". 0 0\n0\nUTC\n",
            "1e9 0 0\n0\nUTC\n",
            "nan 0 0\n0\nUTC\n",
            "--1 0 0\n0\nUTC\n",
            "0 0 0\n000000000000000000000\nUTC\n",
        ],
    ),
    (
        "A11",
        "/etc/ssh/ssh_host_rsa_key.pub",
        &[
            "ssh-ed25519 AAAA\n",
            "ssh-rsa\n",
            "ssh-rsa \n",
            "ssh-rsa  AAAA\n",
            "ssh-rsa A*A\n",
            "ssh-rsa A=A\n",
            "ssh-rsa AAA===\n",
            "command=\"reboot\" ssh-rsa AAAA\n",
            "ssh-rsa AAAA\nssh-rsa AAAA\n",
            "@cert-authority * ssh-rsa AAAA\n",
            "# ssh-rsa AAAA\n",
        ],
    ),
    (
        "A12",
        "/etc/ssh/ssh_host_rsa_key",
        &[
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n",
            "-----BEGIN OPENSSH PRIVATE KEY-----\n-----END OPENSSH PRIVATE KEY-----\n",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n\n-----END OPENSSH PRIVATE KEY-----\n",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n../x\n-----END OPENSSH PRIVATE KEY-----\n",
            "Include /var/evil\n",
        ],
    ),
];

// Rules: A5, A6, A7, A8, A9, A11, A12
#[test]
fn what_a_type_does_not_allow_is_refused() {
    for (rule, path, texts) in TABLE {
        for text in *texts {
            let kept = file(path).parse(text.as_bytes());
            let error = kept.expect_err(&format!("{rule}: {text:?}")).to_string();
            assert!(error.starts_with(path), "{rule}: {error}");
            assert!(!error.contains(char::is_control), "{rule}: {error:?}");
        }
    }
}

/// A line of each good kind, and one thing wrong with it.
// Rules: A13
#[test]
fn passwords_are_refused_that_are_none_or_weak() {
    let line = |user: &str, hash: &str| format!("{user}:{hash}:19000:0:99999:7:::\n");
    let root = |hash: &str| line("root", hash);
    let good = root(HASH);
    for text in [
        root(""),
        root("x"),
        root("plain"),
        root("$1$saltsalt$0123456789abcdef012345678901234567890123"),
        root("$2a$10$0123456789abcdef0123456789abcdef0123456789abcdef01234"),
        root("$y$"),
        root(&HASH[..39]),
        root(&format!("{HASH}{}", "a".repeat(256))),
        root(&format!("{HASH} ")),
        root(&format!("!!{HASH}")),
        root("!x"),
        line("", HASH),
        line("+", HASH),
        line("-x", HASH),
        line("a/b", HASH),
        line(&"a".repeat(33), HASH),
        format!("{good}{good}"),
        format!("{good}\n"),
        format!("# comment\n{good}"),
        good.replace(":::\n", "::\n"),
        good.replace(":::\n", "::::\n"),
        good.replace(":::\n", ":::x\n"),
        good.replace("19000", "-1"),
        good.replace("19000", "12345678"),
        good.replace("99999", " 99999"),
        good.replace("root", "root\0"),
        good.replace("root", "ro\rot"),
    ] {
        let kept = file("/etc/shadow").parse(text.as_bytes());
        let error = kept.expect_err(&text).to_string();
        assert!(
            !error.contains("0123456789abcdef"),
            "a hash is shown: {error}"
        );
    }
}

// Rules: A4
#[test]
fn every_text_is_whole_and_printable() {
    for (path, text) in good() {
        let file = file(path);
        for bad in [
            String::new(),
            text.strip_suffix('\n').expect("a line feed").to_owned(),
            format!("{text}\n"),
            format!("{text}x\n"),
            format!("\u{feff}{text}"),
            format!("\0{text}"),
            format!("{text}\0"),
            text.replace('\n', "\r\n"),
            text.replace('\n', "\0\n"),
        ] {
            let kept = file.parse(bad.as_bytes());
            assert!(kept.is_err(), "{path}: {bad:?}");
        }
    }
}

// Rules: A4
#[test]
fn of_a_secret_nothing_is_shown() {
    let secrets = FILES.iter().filter(|file| file.is_secret());
    for file in secrets {
        for (_, text) in good().iter().filter(|(path, _)| *path == file.path()) {
            for at in 0..text.len() {
                for byte in *b"\0\n:x*" {
                    let mut bytes = text.clone().into_bytes();
                    bytes[at] = byte;
                    let Err(error) = file.parse(&bytes) else {
                        continue;
                    };
                    let shown = error.to_string();
                    let lines = KEY.lines().filter(|line| !line.starts_with('-'));
                    let mut parts = lines.flat_map(|line| [&line[..6], &line[line.len() - 6..]]);
                    assert!(parts.all(|part| !shown.contains(part)), "{shown}");
                    assert!(!shown.contains("abcdef"), "{shown}");
                }
            }
        }
    }
}
