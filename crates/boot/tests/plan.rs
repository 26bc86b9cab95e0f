// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a boot decides from its policy and the machine, without a machine.

use sealroot_boot::{
    BootPlan, Choice, Code, Enforcement, EtcPlan, Facts, FirmwareState, Refusal, plan,
};
use sealroot_format::policy::{Mode, Policy};

const PACK: &str = "sha256:4096:\
    00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const LINE: &str = "console=ttyS0 lockdown=integrity";

fn deployment() -> String {
    format!("sealroot={}.3", "0123456789abcdef".repeat(4))
}

/// A sealed policy for one pack, with lines replaced.
fn policy(changes: &[(&str, &str)]) -> Policy {
    let mut text = format!(
        "sealroot policy 1
mode sealed
layer erofs
tmpfs-percent -
root LABEL=root
etc transient
var volatile
pack {PACK}
release-index 7
release-epoch 2
os test
variant -
stream stable
arch x86_64
epoch-floor 0
floor-on epoch
floor-store -
tpm-base -
allow-insecure-boot no
cmdline {LINE}
"
    );
    for (key, value) in changes {
        let start = text
            .find(&format!("\n{key} "))
            .expect("a key of the policy")
            + 1;
        let end = start + text[start..].find('\n').expect("a line");
        text.replace_range(start..end, &format!("{key} {value}"));
    }
    Policy::parse(text.as_bytes()).expect("a valid policy")
}

/// A machine on which a sealed boot may go on.
fn facts() -> Facts {
    Facts {
        cmdline: format!("{LINE}\n").into_bytes(),
        firmware: FirmwareState::Enforcing,
        locked_down: true,
        kernel: "6.12.0".to_owned(),
        memory_bytes: 1_000_000_000,
    }
}

#[test]
fn a_kept_etc_is_the_deployments() {
    let merge = [
        ("etc", "merge"),
        ("mode", "verity"),
        ("cmdline", "-"),
        ("allow-insecure-boot", "yes"),
    ];
    let named = Facts {
        cmdline: format!("quiet {}\n", deployment()).into_bytes(),
        ..facts()
    };
    let text = policy(&merge);
    let plan = planned(&merge, &named);
    let Choice::Deployment(name) = plan.choice else {
        panic!("a deployment")
    };
    assert_eq!(plan.etc, EtcPlan::OfDeployment(name));
    assert_eq!(planned(&[], &facts()).etc, EtcPlan::Transient);
    let reason = "/etc is kept and verified by nobody".to_owned();
    assert!(plan.insecure.contains(&reason));
    // The pack alone says nothing of whose /etc.
    let refusal = sealroot_boot::plan(&text, &facts()).expect_err("no deployment");
    assert_eq!(refusal.code, Code::CommandLine);
}

#[test]
fn kept_files_are_no_reason_against_sealed() {
    let allowlist = [("etc", "allowlist"), ("var", "stateroot=test")];
    let plan = planned(&allowlist, &facts());
    assert_eq!(plan.etc, EtcPlan::Allowlist);
    assert_eq!(plan.insecure, Vec::<String>::new());
}

fn planned(changes: &[(&str, &str)], facts: &Facts) -> BootPlan {
    plan(&policy(changes), facts).expect("nothing is to be refused")
}

fn refused(changes: &[(&str, &str)], facts: &Facts) -> Refusal {
    plan(&policy(changes), facts).expect_err("it is to be refused")
}

#[test]
fn a_sealed_boot_is_sealed_for_no_other_reason_than_all() {
    let sealed = planned(&[], &facts());
    assert_eq!(sealed.mode, Mode::Sealed);
    assert_eq!(sealed.enforcement, Enforcement::Kernel);
    let Choice::Pinned(pack) = sealed.choice else {
        panic!("expected the pinned pack, found {:?}", sealed.choice);
    };
    assert_eq!((pack.release.index, pack.release.epoch), (7, 2));
    assert!(!sealed.var_may_execute);
    assert_eq!(sealed.insecure, Vec::<String>::new());
}

#[test]
fn a_machine_that_does_not_vouch_for_the_start_is_refused() {
    for firmware in [
        FirmwareState::Off,
        FirmwareState::SetupMode,
        FirmwareState::Unknown,
    ] {
        let facts = Facts {
            firmware,
            ..facts()
        };
        assert_eq!(refused(&[], &facts).code, Code::SecureBoot);
    }
    let facts = Facts {
        locked_down: false,
        ..facts()
    };
    assert_eq!(refused(&[], &facts).code, Code::SecureBoot);
}

#[test]
fn what_the_policy_lets_pass_is_named() {
    let facts = Facts {
        firmware: FirmwareState::Off,
        locked_down: false,
        ..facts()
    };
    let plan = planned(&[("allow-insecure-boot", "yes"), ("cmdline", "-")], &facts);
    assert_eq!(
        plan.insecure,
        [
            "Secure Boot is off",
            "the kernel is not locked down",
            "any command line is accepted",
            "the policy allows an insecure boot",
        ]
    );
    let plan = planned(&[("mode", "verity")], &self::facts());
    assert_eq!(plan.insecure, ["the mode is verity"]);
    assert!(plan.var_may_execute);
}

#[test]
fn an_allowance_alone_unseals() {
    let plan = planned(&[("allow-insecure-boot", "yes")], &facts());
    assert_eq!(plan.insecure, ["the policy allows an insecure boot"]);
}

#[test]
fn the_mode_alone_decides_who_checks() {
    for (mode, enforcement) in [
        ("sealed", Enforcement::Kernel),
        ("verity", Enforcement::Kernel),
        ("integrity", Enforcement::AtBoot),
    ] {
        assert_eq!(
            planned(&[("mode", mode)], &facts()).enforcement,
            enforcement
        );
    }
}

/// Tokens that would take the system over, or the checks away, where a kernel or an OS heeds them.
const HOSTILE: [&str; 24] = [
    "init=/bin/sh",
    "rdinit=/bin/sh",
    "rd.break",
    "single",
    "root=/dev/sda1",
    "rw",
    "systemd.unit=emergency.target",
    "systemd.debug-shell",
    "systemd.setenv=LD_PRELOAD=/var/x.so",
    "selinux=0",
    "enforcing=0",
    "apparmor=0",
    "lockdown=none",
    "module_blacklist=overlay",
    "modprobe.blacklist=ipe",
    "ostree.prepare-root.composefs=0",
    "composefs=?00",
    "sealroot=off",
    "sealroot.mode=verity",
    "resume=/dev/sda2",
    "initrd=/evil.img",
    "ima_appraise=off",
    "fsverity.require_signatures=1",
    "--",
];

#[test]
fn no_token_more_or_less_passes_where_the_line_is_fixed() {
    let mut lines: Vec<String> = vec![String::new(), LINE[1..].into(), LINE.replace(' ', "  ")];
    for token in HOSTILE {
        lines.push(format!("{token} {LINE}"));
        lines.push(format!("{LINE} {token}"));
        lines.push(format!("{LINE}\0{token}"));
        lines.push(format!("{LINE}\n{token}"));
        lines.push(LINE.replace(' ', &format!(" {token} ")));
        lines.push(format!("\"{LINE} {token}\""));
        lines.push(format!(
            "{LINE} {}",
            format!("{token} ").repeat(4096 / token.len())
        ));
    }
    for line in lines {
        let facts = Facts {
            cmdline: line.clone().into_bytes(),
            ..facts()
        };
        assert_eq!(refused(&[], &facts).code, Code::CommandLine, "{line:?}");
    }
}

#[test]
fn a_policy_without_a_pack_needs_one_deployment_named() {
    let open = [
        ("pack", "-"),
        ("release-index", "-"),
        ("release-epoch", "-"),
        ("allow-insecure-boot", "yes"),
        ("cmdline", "-"),
    ];
    let named = deployment();
    let facts_with = |line: &str| Facts {
        cmdline: line.as_bytes().to_vec(),
        ..facts()
    };
    let plan = planned(&open, &facts_with(&format!("quiet {named} rw\n")));
    let Choice::Deployment(name) = plan.choice else {
        panic!("expected a deployment, found {:?}", plan.choice);
    };
    assert_eq!(format!("sealroot={name}"), named);
    for line in [
        "quiet".to_owned(),
        "quiet sealroot=".to_owned(),
        format!("{named} {named}"),
        format!("{named}0x"),
        format!("sealroot=../{}", &named[9..]),
    ] {
        let refusal = refused(&open, &facts_with(&line));
        assert_eq!(refusal.code, Code::CommandLine, "{line}");
    }
}

#[test]
fn a_deployment_beside_a_pinned_pack_still_needs_its_statement() {
    let line = format!("{LINE} {}", deployment());
    let facts = Facts {
        cmdline: line.clone().into_bytes(),
        ..facts()
    };
    let plan = planned(&[("cmdline", &line)], &facts);
    assert!(matches!(plan.choice, Choice::Deployment(_)));
}

#[test]
fn memory_is_capped_by_the_policy() {
    let layer = [("layer", "tmpfs"), ("tmpfs-percent", "10")];
    assert_eq!(planned(&layer, &facts()).memory_limit_bytes, 100_000_000);
    assert_eq!(planned(&[], &facts()).memory_limit_bytes, 250_000_000);
    let huge = Facts {
        memory_bytes: u64::MAX,
        ..facts()
    };
    assert!(planned(&layer, &huge).memory_limit_bytes <= u64::MAX / 10);
}

#[test]
fn a_refusal_is_one_line_with_its_code() {
    let facts = Facts {
        cmdline: b"evil\nsealroot: booting the sealed release".to_vec(),
        ..facts()
    };
    let text = refused(&[], &facts).to_string();
    assert!(text.starts_with("REFUSED command-line: "), "{text}");
    assert!(!text.contains('\n'), "{text}");
}
