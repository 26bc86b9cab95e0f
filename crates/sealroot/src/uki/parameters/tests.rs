// SPDX-License-Identifier: MIT OR Apache-2.0
use std::collections::BTreeSet;

use sealroot_format::ErrorClass;
use sealroot_format::digest::CommitId;

use super::*;

const PAGE: &str = include_str!("../../../../../docs/format/uki.md");

/// What is in code spans in the first column of the page's tables behind a rule.
fn table(rule: &str) -> BTreeSet<String> {
    let (_, behind) = PAGE.split_once(&format!("- **{rule}**")).expect("the rule");
    let rows = behind.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let spans = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    spans.map(str::to_owned).collect()
}

fn reason(line: &str) -> String {
    match command_line(line, None).expect_err(line) {
        error @ UkiError::Parameter { .. } => {
            assert_eq!(error.class(), ErrorClass::Usage);
            error.to_string()
        }
        other => panic!("{line}: {other}"),
    }
}

// Rules: U10
#[test]
fn what_each_image_has_is_added_once() {
    let required: BTreeSet<String> = REQUIRED
        .iter()
        .map(|(token, _)| (*token).to_owned())
        .collect();
    assert_eq!(table("U10"), required);
    let all = "lockdown=integrity module.sig_enforce=1 noresume systemd.import_credentials=no --";
    for (wished, expected) in [
        ("", all.to_owned()),
        (
            "  console=ttyS0\n quiet ",
            format!("console=ttyS0 quiet {all}"),
        ),
        (all, all.to_owned()),
        (
            "noresume lockdown=confidentiality",
            "noresume lockdown=confidentiality module.sig_enforce=1 \
             systemd.import_credentials=no --"
                .to_owned(),
        ),
    ] {
        let line = command_line(wished, None).expect(wished);
        assert_eq!(line.as_str(), expected);
        assert_eq!(command_line(line.as_str(), None).expect("again"), line);
    }
    for (token, _) in REQUIRED {
        let line = all.replace(token, "quiet").parse().expect("a command line");
        let error = check(&line).expect_err(token);
        assert!(
            error
                .to_string()
                .contains(&format!("{token}: it is missing: ")),
            "{error}"
        );
    }
}

// Rules: U19
#[test]
fn nothing_that_is_appended_is_a_parameter() {
    let line = command_line("quiet", None).expect("a line");
    let text = line.as_str();
    for other in [
        text.trim_end_matches(" --").to_owned(),
        format!("{text} quiet"),
        format!("{text} --"),
        text.replace("quiet", "--"),
        text.replace(" --", "--"),
    ] {
        let line = other.parse().expect("a command line");
        let error = check(&line).expect_err(&other).to_string();
        assert!(error.starts_with("kernel parameter --: "), "{error}");
    }
}

#[test]
fn a_deployment_is_named_last_and_by_nobody_else() {
    let commit = CommitId::from_bytes([0xab; 32]);
    let name = DeploymentName { commit, serial: 3 };
    let line = command_line("quiet", Some(name)).expect("a line");
    assert!(
        line.as_str()
            .ends_with(&format!(" sealroot={}.3 --", "ab".repeat(32)))
    );
    assert_eq!(line.deployment(), Some(name));
    reason(&format!("sealroot={name}"));
    reason("sealroot.debug");
}

// Rules: U11
#[test]
fn what_no_image_may_have_is_refused_in_each_spelling() {
    let refused: BTreeSet<String> = REFUSED
        .iter()
        .map(|(token, _)| (*token).to_owned())
        .collect();
    assert_eq!(refused.len(), REFUSED.len());
    assert_eq!(table("U11"), refused);
    for (token, why) in REFUSED {
        let token = token.replace('*', "flags");
        let dashed = token.replace('_', "-");
        for spelled in [token.clone(), dashed] {
            let values = if spelled.contains('=') { "" } else { "=x" };
            for line in [
                format!("{spelled}{values}"),
                format!("quiet {spelled}{values} ro"),
            ] {
                let error = reason(&line);
                assert!(error.ends_with(why), "{line}: {error}");
            }
        }
        if !token.contains('=') {
            reason(&token);
        }
    }
    for line in [
        "lockdown=none",
        "lockdown",
        "module.sig_enforce=0",
        "systemd.import_credentials=yes",
        "systemd.import-credentials=yes",
        "init=/bin/sh",
        "rd.break=pre-mount",
        "rd.systemd.unit=emergency.target",
        "rootflags=subvol=x",
        "resume_offset=1",
        "lsm=apparmor,bpf",
        "lsm=",
        "lockdown=integrity lockdown=none",
    ] {
        reason(line);
    }
}

#[test]
fn what_does_no_harm_is_left() {
    for line in [
        "console=ttyS0,115200 console=tty0",
        "quiet splash loglevel=3 panic=10",
        "lsm=lockdown,yama,apparmor",
        "selinux=1 enforcing=1 security=selinux",
        "systemd.show_status=yes systemd.condition_needs_update=no",
        "rd.luks.uuid=1 mitigations=auto",
        "initial=1 ro",
    ] {
        command_line(line, None).expect(line);
    }
}

// Rules: U12
#[test]
fn a_line_that_kernels_would_cut_off_is_refused() {
    let own = command_line("x", None).expect("short").as_str().len();
    let longest = "x".repeat(MAX_UKI_CMDLINE_BYTES - own + 1);
    let line = command_line(&longest, None).expect("just short enough");
    assert_eq!(line.as_str().len(), MAX_UKI_CMDLINE_BYTES);
    let error = reason(&format!("{longest}x"));
    assert!(
        error.contains("at most 2047 bytes altogether, found 2048"),
        "{error}"
    );
    for odd in ["a=\"b c\"", "caf\u{e9}"] {
        let error = command_line(odd, None).expect_err(odd);
        assert!(matches!(error, UkiError::CommandLine { .. }), "{error}");
    }
}
