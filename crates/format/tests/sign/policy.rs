// SPDX-License-Identifier: MIT OR Apache-2.0
//! The policy: one text form, no contradictions, and no release or command line but the wanted.

use crate::common::{
    assert_each_line_matters, edited, golden_keyset, golden_policy, golden_statement, signed,
    trusted,
};
use proptest::prelude::*;
use sealroot_format::{
    ErrorClass,
    digest::{CommitId, VerityDigest},
    policy::{
        CommandLine, DeploymentName, Error, FloorOn, FloorStore, Layer, MemoryPercent, Mode,
        Pinned, PinnedPack, Policy, RootDevice, SecureBoot, Var, deployment_on,
    },
    sign::{Statement, Verified},
};

fn replaced(from: &str, to: &str) -> Result<Policy, Error> {
    let text = golden_policy().to_string();
    assert_eq!(text.matches(from).count(), 1, "{from}");
    Policy::parse(text.replacen(from, to, 1).as_bytes())
}

fn deployment() -> DeploymentName {
    DeploymentName {
        commit: CommitId::from_bytes([0xc0; 32]),
        serial: 7,
    }
}

fn line(text: &str) -> CommandLine {
    text.parse().unwrap()
}

// Rules: P1, P2, P3
#[test]
fn every_legal_value_reads_back() {
    for (from, to) in [
        ("mode sealed", "mode verity"),
        ("mode sealed", "mode integrity"),
        (
            "layer erofs\ntmpfs-percent -",
            "layer tmpfs\ntmpfs-percent 1",
        ),
        (
            "layer erofs\ntmpfs-percent -",
            "layer tmpfs\ntmpfs-percent 25",
        ),
        (
            "root PARTUUID=4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
            "root PARTUUID=deadbeef-02",
        ),
        (
            "root PARTUUID=4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
            "root UUID=00000000-1111-2222-3333-abcdefabcdef",
        ),
        (
            "root PARTUUID=4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
            "root LABEL=root_1.a",
        ),
        ("var stateroot=debian", "var volatile"),
        ("var stateroot=debian", "var stateroot=volatile"),
        ("variant -", "variant server"),
        ("release-index 42", "release-index 0"),
        ("release-epoch 3", "release-epoch 18446744073709551615"),
        ("epoch-floor 3", "epoch-floor 0"),
        ("floor-on index", "floor-on epoch"),
        (
            "floor-store efi,tpm\ntpm-base 4096",
            "floor-store efi\ntpm-base -",
        ),
        (
            "floor-on index\nfloor-store efi,tpm",
            "floor-on epoch\nfloor-store tpm",
        ),
        (
            "floor-on index\nfloor-store efi,tpm\ntpm-base 4096",
            "floor-on epoch\nfloor-store -\ntpm-base -",
        ),
        ("tpm-base 4096", "tpm-base 0"),
        ("allow-insecure-boot no", "allow-insecure-boot yes"),
    ] {
        let policy = replaced(from, to).unwrap_or_else(|error| panic!("{to}: {error}"));
        let again = Policy::parse(policy.to_string().as_bytes()).unwrap();
        assert_eq!(again, policy);
        assert_ne!(policy, golden_policy(), "{to}");
    }
}

// Rules: P1, P2, P3, P5
#[test]
fn illegal_values_are_refused() {
    let root = "root PARTUUID=4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
    for (from, to) in [
        ("sealroot policy 1\n", ""),
        ("sealroot policy 1", "sealroot policy 01"),
        ("mode sealed", "mode Sealed"),
        ("mode sealed", "mode legacy"),
        ("mode sealed", "mode -"),
        ("mode sealed\n", ""),
        ("mode sealed", "mode sealed\nmode sealed"),
        ("mode sealed", "mode sealed "),
        ("mode sealed", "mode  sealed"),
        ("mode sealed", "mode\tsealed"),
        ("mode sealed", "mode sealed\r"),
        ("mode sealed", "\nmode sealed"),
        ("mode sealed", "debug yes\nmode sealed"),
        ("tmpfs-percent -", "tmpfs-percent 10"),
        (
            "layer erofs\ntmpfs-percent -",
            "layer tmpfs\ntmpfs-percent -",
        ),
        (
            "layer erofs\ntmpfs-percent -",
            "layer tmpfs\ntmpfs-percent 0",
        ),
        (
            "layer erofs\ntmpfs-percent -",
            "layer tmpfs\ntmpfs-percent 26",
        ),
        (
            "layer erofs\ntmpfs-percent -",
            "layer tmpfs\ntmpfs-percent 010",
        ),
        (root, "root -"),
        (root, "root /dev/vda1"),
        (root, "root LABEL=../x"),
        (root, "root LABEL="),
        (root, "root LABEL=a b"),
        (root, "root UUID=DEADBEEF-1111-2222-3333-abcdefabcdef"),
        (root, "root UUID=deadbeef-02"),
        (root, "root PARTUUID=deadbeef-002"),
        (
            root,
            "root PARTUUID=4f68bce3-e8cd-4db1-96e7-fbcaf984b709/PARTNROFF=1",
        ),
        ("var stateroot=debian", "var stateroot=../etc"),
        ("var stateroot=debian", "var stateroot="),
        ("var stateroot=debian", "var debian"),
        ("var stateroot=debian", "var -"),
        ("os debian", "os -"),
        ("os debian", "os de/bian"),
        ("stream stable", "stream -"),
        ("arch x86_64", "arch -"),
        ("arch x86_64", "arch any of"),
        ("release-index 42", "release-index -1"),
        ("release-index 42", "release-index 18446744073709551616"),
        ("release-epoch 3", "release-epoch 03"),
        ("epoch-floor 3", "epoch-floor -"),
        ("floor-on index", "floor-on -"),
        ("floor-on index", "floor-on strict"),
        ("floor-store efi,tpm", "floor-store tpm,efi"),
        ("floor-store efi,tpm", "floor-store efi,"),
        ("floor-store efi,tpm", "floor-store efi, tpm"),
        ("floor-store efi,tpm", "floor-store efi"),
        ("floor-store efi,tpm", "floor-store -"),
        ("floor-store efi,tpm", "floor-store tpm"),
        ("tpm-base 4096", "tpm-base -"),
        ("tpm-base 4096", "tpm-base 0x10"),
        ("epoch-floor 3", "epoch-floor +3"),
        ("epoch-floor 3", "epoch-floor 18446744073709551616"),
        ("allow-insecure-boot no", "allow-insecure-boot maybe"),
        ("cmdline console=ttyS0 lockdown=integrity", "cmdline "),
        ("cmdline console=ttyS0 lockdown=integrity", "cmdline  a"),
        ("cmdline console=ttyS0 lockdown=integrity", "cmdline a "),
        (
            "cmdline console=ttyS0 lockdown=integrity",
            "cmdline a=\"b c\"",
        ),
        (
            "cmdline console=ttyS0 lockdown=integrity",
            "cmdline a sealroot=x",
        ),
        ("cmdline console=ttyS0 lockdown=integrity\n", "cmdline a"),
        ("lockdown=integrity\n", "lockdown=integrity\n\n"),
        ("lockdown=integrity\n", "lockdown=integrity\nx y\n"),
    ] {
        match replaced(from, to) {
            Err(error) => assert_ne!(error.class(), ErrorClass::Untrusted, "{to}"),
            Ok(policy) => panic!("accepted {to:?}: {policy:?}"),
        }
    }
}

// Rules: P10, P11
#[test]
fn a_kept_etc_is_never_sealed_and_needs_a_deployment() {
    let golden = golden_policy().to_string();
    let merging = golden.replace("etc transient", "etc merge");
    let error = Policy::parse(merging.as_bytes()).unwrap_err().to_string();
    assert!(
        error.starts_with("policy: mode and etc: what is kept"),
        "{error}"
    );
    for mode in ["verity", "integrity"] {
        let text = merging.replace("mode sealed", &format!("mode {mode}"));
        let error = Policy::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("etc, pack and cmdline"), "{error}");
        let token = format!("lockdown=integrity sealroot={}.0", "ab".repeat(32));
        let text = text.replace("lockdown=integrity", &token);
        let policy = Policy::parse(text.as_bytes()).unwrap();
        assert_eq!(policy.etc, sealroot_format::policy::EtcMode::Merge);
        assert_eq!(policy.to_string(), text);
    }
}

// Rules: P4
#[test]
fn an_allowlist_needs_a_place_where_files_are_kept() {
    let kept = golden_policy()
        .to_string()
        .replace("etc transient", "etc allowlist");
    let policy = Policy::parse(kept.as_bytes()).unwrap();
    assert_eq!(policy.mode, Mode::Sealed);
    assert_eq!(policy.to_string(), kept);
    let forgotten = kept.replace("var stateroot=debian", "var volatile");
    let error = Policy::parse(forgotten.as_bytes()).unwrap_err().to_string();
    assert!(
        error.starts_with("policy: etc and var: the files of"),
        "{error}"
    );
}

// Rules: P14, P15
#[test]
fn a_pinned_pack_is_named_with_its_release_and_not_below_the_floor() {
    let golden = golden_policy().to_string();
    let digest = golden_policy().pinned.pack().unwrap().digest;
    let pack = format!("pack sha256:4096:{digest}");
    for missing in ["release-index 42", "release-epoch 3"] {
        let key = missing.split(' ').next().unwrap();
        let error = replaced(missing, &format!("{key} -")).unwrap_err();
        assert!(error.to_string().contains("release-index"), "{error}");
    }
    let unpinned = |text: String| Policy::parse(text.as_bytes()).unwrap().pinned;
    let numbered = golden.replace(&pack, "pack -");
    let nothing = numbered
        .replace("release-index 42", "release-index -")
        .replace("release-epoch 3", "release-epoch -");
    let numbers = golden_policy().pinned.numbers().unwrap();
    assert_eq!(unpinned(numbered), Pinned::Numbers(numbers));
    assert_eq!(unpinned(nothing), Pinned::Nothing);
    let error = replaced("release-epoch 3", "release-epoch 2").unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("policy: release-epoch and epoch-floor: the release"),
        "{error}"
    );
}

// Rules: P16, P17
#[test]
fn a_floor_is_kept_where_it_fits() {
    let policy = golden_policy();
    assert_eq!(policy.floor_on, FloorOn::Index);
    let store = FloorStore {
        efi: true,
        tpm: Some(4096),
    };
    assert_eq!(policy.floor_store, store);
    let error = replaced("tpm-base 4096", "tpm-base -").unwrap_err();
    assert!(error.to_string().contains("tpm-base: a counter"), "{error}");
    let error = replaced("floor-store efi,tpm", "floor-store tpm").unwrap_err();
    assert!(error.to_string().contains("floor-on and"), "{error}");
}

// Rules: P1, P6
#[test]
fn contradictions_and_unsupported_values_say_so() {
    let error = replaced("cmdline console=ttyS0 lockdown=integrity", "cmdline -").unwrap_err();
    assert!(matches!(error, Error::Contradiction { .. }), "{error}");
    let both = golden_policy()
        .to_string()
        .replace("allow-insecure-boot no", "allow-insecure-boot yes")
        .replace("cmdline console=ttyS0 lockdown=integrity", "cmdline -");
    let policy = Policy::parse(both.as_bytes()).unwrap();
    assert_eq!(policy.secure_boot, SecureBoot::NotRequired(None));
    let error = replaced("sealroot policy 1", "sealroot policy 2").unwrap_err();
    assert_eq!(error.class(), ErrorClass::Unsupported);
    let long = format!("{}{}", golden_policy(), "#".repeat(16 * 1024));
    assert!(
        Policy::parse(long.as_bytes())
            .unwrap_err()
            .to_string()
            .contains("too long")
    );
}

// Rules: P1
#[test]
fn no_line_may_be_missing_doubled_or_elsewhere() {
    let text = golden_policy().to_string();
    assert_each_line_matters(&text, |text| Policy::parse(text).is_ok());
}

#[test]
fn percent_is_from_1_to_25() {
    assert_eq!(MemoryPercent::new(0), None);
    assert_eq!(MemoryPercent::new(25), Some(MemoryPercent::MAX));
    assert_eq!(MemoryPercent::new(26), None);
}

/// THREATS A13: tokens that would take over the boot, in every place.
// Rules: C1, C2
#[test]
fn no_token_can_be_added_to_the_command_line() {
    let named = golden_policy();
    let unnamed = Policy {
        pinned: Pinned::Nothing,
        ..golden_policy()
    };
    let good = "console=ttyS0 lockdown=integrity";
    let suffix = format!(" sealroot={}", deployment());
    assert_eq!(named.check_cmdline(good.as_bytes()), Ok(None));
    assert_eq!(
        named.check_cmdline(format!("{good}\n").as_bytes()),
        Ok(None)
    );
    let started = format!("{good}{suffix}\n");
    assert_eq!(
        unnamed.check_cmdline(started.as_bytes()),
        Ok(Some(deployment()))
    );

    let tokens = [
        "init=/bin/sh",
        "rdinit=/bin/sh",
        "rd.break",
        "root=/dev/sda1",
        "selinux=0",
        "systemd.unit=rescue.target",
        "systemd.debug-shell",
        "module_blacklist=erofs",
        "quiet",
        "lockdown=none",
        "sealroot=off",
        "sealroot",
        "sealroot.mode=integrity",
        "--",
        "\"",
        "ostree.prepare-root.composefs=0",
        "a=\"b c\"",
        "1",
        "\t",
        "\0",
        "\u{e4}",
        "\n",
        "\r",
    ];
    for token in tokens {
        for bad in [
            format!("{token} {good}"),
            format!("{good} {token}"),
            format!("{good}{token}"),
            good.replacen(' ', &format!(" {token} "), 1),
            format!("{good} {good} {token}"),
        ] {
            // A single line feed at the end is the kernel's own.
            if bad.trim_end_matches([' ', '\n']) == good {
                continue;
            }
            assert!(named.check_cmdline(bad.as_bytes()).is_err(), "{bad:?}");
            let bad = format!("{bad}{suffix}");
            assert!(unnamed.check_cmdline(bad.as_bytes()).is_err(), "{bad:?}");
            let bad = format!("{good}{suffix} {token}");
            if bad.trim_end_matches([' ', '\n']) != format!("{good}{suffix}") {
                assert!(unnamed.check_cmdline(bad.as_bytes()).is_err(), "{bad:?}");
            }
        }
    }
    for bad in [
        "",
        "\n",
        &good[1..],
        &good[..good.len() - 1],
        &good.to_uppercase(),
    ] {
        assert!(named.check_cmdline(bad.as_bytes()).is_err(), "{bad:?}");
        assert!(unnamed.check_cmdline(bad.as_bytes()).is_err(), "{bad:?}");
    }
    assert!(
        unnamed.check_cmdline(good.as_bytes()).is_err(),
        "no deployment named"
    );
    let error = named
        .check_cmdline(b"console=ttyS0 lockdown=none")
        .unwrap_err();
    assert_eq!(error.class(), ErrorClass::Untrusted);
    assert_eq!(
        error.to_string(),
        "kernel command line, byte 14: expected \"lockdown=integrity\", found \"lockdown=none\""
    );
}

// Rules: C1, C2
#[test]
fn a_deployment_in_the_embedded_command_line_is_the_only_one() {
    let embedded = format!("quiet sealroot={}", deployment());
    let policy = Policy {
        pinned: Pinned::Nothing,
        secure_boot: SecureBoot::Required(line(&embedded)),
        ..golden_policy()
    };
    assert_eq!(
        policy.check_cmdline(embedded.as_bytes()),
        Ok(Some(deployment()))
    );
    let other = embedded.replace(".7", ".8");
    assert!(policy.check_cmdline(other.as_bytes()).is_err());
    let twice = format!("{embedded} sealroot={}", deployment());
    assert!(policy.check_cmdline(twice.as_bytes()).is_err());
}

// Rules: C3
#[test]
fn an_open_command_line_still_needs_a_deployment_or_a_pack() {
    let open = Policy {
        secure_boot: SecureBoot::NotRequired(None),
        ..golden_policy()
    };
    assert_eq!(open.check_cmdline(b"anything at all\n"), Ok(None));
    let unnamed = Policy {
        pinned: Pinned::Nothing,
        ..open
    };
    assert_eq!(
        unnamed.check_cmdline(b"anything\n"),
        Err(Error::NoDeployment)
    );
    let named = format!("anything sealroot={} more\n", deployment());
    assert_eq!(
        unnamed.check_cmdline(named.as_bytes()),
        Ok(Some(deployment()))
    );
}

// Rules: C4
#[test]
fn the_boot_parameter_has_one_form() {
    let hex = "c0".repeat(32);
    for (good, expected) in [
        (String::new(), None),
        ("a b  c".to_owned(), None),
        ("xsealroot=1".to_owned(), None),
        (format!("sealroot={hex}.7"), Some(deployment())),
        (format!("a sealroot={hex}.7   b\n"), Some(deployment())),
    ] {
        assert_eq!(deployment_on(good.as_bytes()), Ok(expected), "{good:?}");
    }
    for bad in [
        "sealroot".to_owned(),
        "sealroot=".to_owned(),
        "sealroots=1".to_owned(),
        format!("sealroot={hex}"),
        format!("sealroot={hex}."),
        format!("sealroot={hex}.07"),
        format!("sealroot={hex}.+7"),
        format!("sealroot={hex}.-7"),
        format!("sealroot={hex}.4294967296"),
        format!("sealroot={}.7", hex.to_uppercase()),
        format!("sealroot={}.7", &hex[2..]),
        format!("sealroot={hex}00.7"),
        format!("sealroot={hex}.7.7"),
        format!("sealroot={hex}.7/.."),
        format!("sealroot=\"{hex}.7\""),
        format!("a=\"x sealroot={hex}.7\""),
        format!("sealroot={hex}.7 sealroot={hex}.7"),
        format!("sealroot={hex}.7 sealroot={hex}.8"),
        format!("sealroot={hex}.7 sealroot.x"),
        format!("sealroot={hex}.7\tx"),
        format!("sealroot={hex}.7\0"),
        format!("sealroot={hex}.7\n\n"),
        format!("{}sealroot={hex}.7", "a ".repeat(2048)),
    ] {
        assert!(deployment_on(bad.as_bytes()).is_err(), "{bad:?}");
    }
    let longest = "a".repeat(4096);
    assert_eq!(deployment_on(format!("{longest}\n").as_bytes()), Ok(None));
    assert!(deployment_on(format!("{longest}a").as_bytes()).is_err());
}

/// A statement and the policy that boots just it.
fn release(edit: impl Fn(&mut Statement)) -> (Verified<Statement>, Policy) {
    let mut statement = golden_statement();
    edit(&mut statement);
    let policy = Policy {
        pinned: Pinned::Pack(PinnedPack::of(&statement)),
        os: statement.os.clone(),
        variant: statement.variant.clone(),
        stream: statement.stream.clone(),
        arch: statement.arch.clone(),
        ..golden_policy()
    };
    let keyset = trusted(&golden_keyset());
    let statement = signed(&statement, &[11, 12]).verify(&keyset).unwrap();
    (statement, policy)
}

/// THREATS A38: the cross product of statements and policies; only the diagonal boots.
// Rules: P7, P9
#[test]
fn only_the_release_a_policy_is_for_passes() {
    let releases = [
        release(|_| ()),
        release(|s| s.os = "fedora".parse().unwrap()),
        release(|s| s.variant = Some("server".parse().unwrap())),
        release(|s| s.stream = "debug".parse().unwrap()),
        release(|s| s.arch = "aarch64".parse().unwrap()),
        release(|s| s.pack_digest = VerityDigest::from_bytes([0xfb; 32])),
        release(|s| s.index = 43),
        release(|s| s.epoch = 4),
    ];
    let kernel = "6.12.57+deb12-amd64";
    for (row, (_, policy)) in releases.iter().enumerate() {
        for (column, (statement, _)) in releases.iter().enumerate() {
            let result = policy.check_release(statement, None, kernel);
            assert_eq!(
                result.is_ok(),
                row == column,
                "policy {row}, statement {column}"
            );
            if let Err(error) = result {
                assert_eq!(error.class(), ErrorClass::Untrusted);
            }
        }
    }
}

// Rules: P8, P9
#[test]
fn kernel_epoch_and_commit_are_checked() {
    let (statement, pinned) = release(|_| ());
    let policy = Policy {
        pinned: Pinned::Nothing,
        ..pinned
    };
    let kernel = "6.12.57+deb12-amd64";
    let field = |result: Result<(), Error>| match result {
        Err(Error::OtherRelease { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    policy
        .check_release(&statement, Some(&deployment()), kernel)
        .unwrap();
    for other in ["6.12.57+deb12-amd6", "6.12.57+deb12-amd64 ", ""] {
        assert_eq!(
            field(policy.check_release(&statement, None, other)),
            "kernel"
        );
    }
    let other = DeploymentName {
        commit: CommitId::from_bytes([1; 32]),
        serial: 7,
    };
    assert_eq!(
        field(policy.check_release(&statement, Some(&other), kernel)),
        "commit"
    );
    let floor = |epoch_floor| Policy {
        epoch_floor,
        ..policy.clone()
    };
    assert_eq!(
        field(floor(4).check_release(&statement, None, kernel)),
        "epoch"
    );
    floor(3).check_release(&statement, None, kernel).unwrap();
    floor(0).check_release(&statement, None, kernel).unwrap();

    let (unbound, policy) = release(|s| s.kernel = None);
    policy.check_release(&unbound, None, "any").unwrap();
}

#[test]
fn the_fields_are_what_the_text_says() {
    let policy = golden_policy();
    assert_eq!(policy.mode, Mode::Sealed);
    assert_eq!(policy.layer, Layer::Erofs);
    assert!(matches!(&policy.root, RootDevice::PartUuid(uuid)
        if uuid.as_str() == "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"));
    assert!(matches!(&policy.var, Var::Stateroot(name) if name.as_str() == "debian"));
    assert_eq!(Policy::parse(policy.to_string().as_bytes()), Ok(policy));
}

proptest! {
    #[test]
    fn what_is_read_is_written_to_the_byte(bytes in edited(golden_policy().to_string())) {
        if let Ok(policy) = Policy::parse(&bytes) {
            prop_assert_eq!(policy.to_string().into_bytes(), bytes);
        }
    }

    #[test]
    fn only_the_wanted_command_line_passes(
        bytes in edited("console=ttyS0 lockdown=integrity\n".to_owned()),
    ) {
        let trimmed = bytes.strip_suffix(b"\n").unwrap_or(&bytes).trim_ascii_end();
        let wanted = trimmed == b"console=ttyS0 lockdown=integrity"
            && bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n'));
        if golden_policy().check_cmdline(&bytes).is_ok() {
            prop_assert!(wanted);
        }
    }

    #[test]
    fn no_bytes_make_the_parsers_panic(bytes: Vec<u8>) {
        drop(Policy::parse(&bytes));
        drop(deployment_on(&bytes));
    }
}
