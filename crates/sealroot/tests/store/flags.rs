// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flags of deployments: raised and lowered at once, durable, and never half.

use std::fs;
use std::os::unix::fs::symlink;

use sealroot::check::{Depth, FindingCode, check};
use sealroot::deploy::{self, DeployError, Flag};
use sealroot::monitor::Silent;
use sealroot::store::{Store, StoreError, StoreIo};
use sealroot_format::ErrorClass;
use sealroot_format::limits::MAX_DEPLOYMENT_FLAG_BYTES;
use sealroot_format::policy::{DeploymentName, Mode};

use crate::support::{Release, Scratch, content, play_power_cuts};

fn deployed<I: StoreIo>(store: &Store<I>) -> DeploymentName {
    let release = Release::new(1, vec![content(1, 5000)]);
    release.build(store).expect("built");
    let deployed = release.deploy(store, Mode::Integrity, &Silent);
    deployed.expect("deployed").name
}

fn raise<I: StoreIo>(
    store: &Store<I>,
    name: &DeploymentName,
    flag: Flag,
    content: &[u8],
) -> Result<bool, DeployError> {
    let transaction = store.begin(&Silent)?;
    let raised = deploy::raise_flag(&transaction, name, flag, content)?;
    transaction.finish()?;
    Ok(raised)
}

fn lower<I: StoreIo>(
    store: &Store<I>,
    name: &DeploymentName,
    flag: Flag,
) -> Result<bool, DeployError> {
    let transaction = store.begin(&Silent)?;
    let lowered = deploy::lower_flag(&transaction, name, flag)?;
    transaction.finish()?;
    Ok(lowered)
}

#[test]
fn flags_come_and_go() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let name = deployed(&store);
    for flag in Flag::ALL {
        let is_raised = || deploy::has_flag(&store, &name, flag).expect("looked at");
        assert!(!is_raised());
        assert!(raise(&store, &name, flag, b"").expect("raised"));
        assert!(is_raised());
        assert!(!raise(&store, &name, flag, b"").expect("again"));
        assert!(raise(&store, &name, flag, b"kargs = []\n").expect("changed"));
        let content = deploy::read_flag(&store, &name, flag).expect("read");
        assert_eq!(content.as_deref(), Some(&b"kargs = []\n"[..]));
    }
    let report = check(&store, Depth::Full, &Silent).expect("checked");
    assert_eq!(report.findings, []);
    for flag in Flag::ALL {
        assert!(lower(&store, &name, flag).expect("lowered"));
        assert!(!lower(&store, &name, flag).expect("again"));
        assert!(!deploy::has_flag(&store, &name, flag).expect("looked at"));
    }
}

#[test]
fn a_flag_needs_a_deployment_and_has_a_largest_size() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let name = deployed(&store);
    let missing = DeploymentName { serial: 7, ..name };
    for error in [
        raise(&store, &missing, Flag::Pinned, b"").expect_err("there is none"),
        lower(&store, &missing, Flag::Pinned).expect_err("there is none"),
    ] {
        assert_eq!(error.class(), ErrorClass::NotFound);
        assert!(error.to_string().contains(&missing.to_string()), "{error}");
    }
    let len = usize::try_from(MAX_DEPLOYMENT_FLAG_BYTES).expect("small");
    raise(&store, &name, Flag::Staged, &vec![b'x'; len]).expect("the largest");
    let error = raise(&store, &name, Flag::Staged, &vec![b'x'; len + 1]).expect_err("too large");
    let is_too_large = |error| matches!(error, DeployError::Store(StoreError::TooLarge { .. }));
    assert!(is_too_large(error));
}

// Rules: F2, N3
#[test]
fn whatever_has_the_name_of_a_flag_is_one() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let name = deployed(&store);
    let pinned = scratch.location().join(format!("deploy/{name}/pinned"));
    let is_pinned = || deploy::has_flag(&store, &name, Flag::Pinned).expect("looked at");
    let findings = || {
        let report = check(&store, Depth::Full, &Silent).expect("checked");
        let codes = report.findings.into_iter().map(|finding| finding.code);
        codes.collect::<Vec<_>>()
    };

    symlink("/nowhere", &pinned).expect("planted");
    assert!(is_pinned());
    assert_eq!(findings(), [FindingCode::NotRegular]);
    fs::remove_file(&pinned).expect("removed");

    fs::create_dir(&pinned).expect("planted");
    assert!(is_pinned());
    assert_eq!(findings(), [FindingCode::NotRegular]);
    fs::remove_dir(&pinned).expect("removed");

    fs::write(&pinned, vec![0; 1 << 20]).expect("planted");
    assert!(is_pinned());
    assert_eq!(findings(), []);
}

// Rules: F1
#[test]
fn a_power_cut_leaves_a_flag_as_it_was_or_as_it_is_to_be() {
    let flag = Flag::Staged;
    let raise_new = |store: &_, name: &_| drop(raise(store, name, flag, b"new"));
    let lower = |store: &_, name: &_| drop(lower(store, name, flag));
    let look = |store: &_, name: &_| deploy::read_flag(store, name, flag).expect("read");
    let with_old = |store: &_| {
        let name = deployed(store);
        raise(store, &name, flag, b"old").expect("raised");
        name
    };
    let crashes = play_power_cuts(&|store| deployed(store), &raise_new, &look)
        + play_power_cuts(&with_old, &raise_new, &look)
        + play_power_cuts(&with_old, &lower, &look);
    eprintln!("{crashes} power cuts, 0 flags lost");
    assert!(crashes > 200);
}
