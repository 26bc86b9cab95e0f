// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several processes at one store on a real filesystem: some build, deploy and pin, some collect all
//! they can. What is pinned is there whole at any time.

use std::collections::BTreeSet;
use std::env;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sealroot::check::{Depth, Severity, check};
use sealroot::deploy::{self, DeployError, Flag, Request};
use sealroot::machine::{self, BootChoices, Releases, Retention, Runtime, prune};
use sealroot::monitor::Silent;
use sealroot::store::{Store, StoreError};
use sealroot_format::policy::{DeploymentName, Mode};

use crate::store_support::{Release, Scratch};
use crate::support::{deploy, release};

/// Says to this test program that it is one of the processes, and where the store is.
const STORE_VARIABLE: &str = "SEALROOT_TEST_STORE";

/// Says which of them it is.
const NUMBER_VARIABLE: &str = "SEALROOT_TEST_NUMBER";

/// How many build, deploy and pin.
const BUILDERS: u8 = 3;

/// How many collect.
const COLLECTORS: u8 = 2;

/// How many releases each builder goes through.
const ROUNDS: u8 = 12;

/// The release that boots all the time.
const BOOTING: u8 = 1;

const TEST: &str = "processes::what_is_pinned_stays_whole_whoever_collects_meanwhile";

// Rules: G2, G4, G5
#[test]
fn what_is_pinned_stays_whole_whoever_collects_meanwhile() {
    if let Some(location) = env::var_os(STORE_VARIABLE) {
        let number = env::var(NUMBER_VARIABLE).expect("a number");
        let number = number.parse().expect("a number");
        let store = Store::open(Path::new(&location)).expect("a store");
        let store = store.with_lock_wait(Duration::from_secs(120));
        if number < BUILDERS {
            build_and_pin(&store, number);
        } else {
            collect_all_the_time(&store);
        }
        return;
    }
    let scratch = Scratch::new();
    let store = scratch.store();
    deploy(&store, &release(BOOTING));
    let builders: Vec<_> = (0..BUILDERS).map(|n| spawn(&scratch, n)).collect();
    let collectors: Vec<_> = (BUILDERS..BUILDERS + COLLECTORS)
        .map(|n| spawn(&scratch, n))
        .collect();
    for mut builder in builders {
        assert!(builder.wait().expect("waited").success());
    }
    std::fs::write(stop_file(&store), "").expect("written");
    for mut collector in collectors {
        assert!(collector.wait().expect("waited").success());
    }

    let report = check(&store, Depth::Full, &Silent).expect("checked");
    for finding in &report.findings {
        assert_eq!(finding.code.severity(), Severity::Leftover, "{finding:?}");
    }
    collect(&store);
    collect(&store);
    let found = deploy::deployments(&store).expect("listed");
    let found: BTreeSet<_> = found.into_iter().map(|found| found.name.commit).collect();
    let expected = (0..BUILDERS).map(last).chain([release(BOOTING)]);
    let expected: Vec<_> = expected.collect();
    let commits: BTreeSet<_> = expected.iter().map(Release::commit).collect();
    assert_eq!(found, commits);
    let objects = expected.iter().flat_map(|release| &release.objects);
    let objects: BTreeSet<_> = objects.map(|(_, digest)| *digest).collect();
    let report = check(&store, Depth::Full, &Silent).expect("checked");
    assert_eq!(report.findings, []);
    assert_eq!(report.objects, objects.len() as u64);
}

fn spawn(scratch: &Scratch, number: u8) -> Child {
    Command::new(env::current_exe().expect("this program"))
        .args(["--exact", TEST])
        .env(STORE_VARIABLE, scratch.location())
        .env(NUMBER_VARIABLE, number.to_string())
        .stdout(Stdio::null())
        .spawn()
        .expect("spawned")
}

/// What tells the collectors that the builders are done.
fn stop_file(store: &Store) -> std::path::PathBuf {
    store.location().with_file_name("stop")
}

/// The release of a builder's round, of which one object is in the next one too, or in another
/// builder's.
fn of_round(number: u8, round: u8) -> Release {
    release(10 + 2 * (number * ROUNDS + round))
}

fn last(number: u8) -> Release {
    of_round(number, ROUNDS - 1)
}

fn collect(store: &Store) {
    let name = DeploymentName {
        commit: release(BOOTING).commit(),
        serial: 0,
    };
    let choices = || {
        Ok(BootChoices {
            default: Some(name),
            rollback: None,
            named: [(name, String::new())].into(),
            ..BootChoices::default()
        })
    };
    let all = Retention {
        keep: 0,
        releases: Releases::None,
    };
    let runtime = Runtime::new(store.location().with_file_name("run"));
    prune(store, &runtime, &choices, all, &Silent).expect("pruned");
}

fn collect_all_the_time(store: &Store) {
    while !stop_file(store).exists() {
        collect(store);
    }
}

/// Deploys and pins one release after the other, each before the one before is given up.
fn build_and_pin(store: &Store, number: u8) {
    let mut before: Option<DeploymentName> = None;
    for round in 0..ROUNDS {
        let release = of_round(number, round);
        let name = loop {
            release.build(store).expect("built");
            match deploy_pinned(store, &release) {
                Ok(name) => break name,
                // Collected before it was deployed: nothing used it yet.
                Err(DeployError::Store(StoreError::NotFound { .. })) => {}
                Err(error) => panic!("{error}"),
            }
        };
        assert_whole(store, &release, &name);
        if let Some(before) = before.replace(name) {
            machine::unpin(store, &before, &Silent).expect("unpinned");
        }
        assert_whole(store, &release, &name);
    }
}

fn deploy_pinned(store: &Store, release: &Release) -> Result<DeploymentName, DeployError> {
    let transaction = store.begin(&Silent)?;
    let request = Request {
        statement: &release.statement,
        mode: Mode::Integrity,
        origin: None,
        stateroot: None,
        etc: None,
        untouched: std::collections::BTreeSet::new(),
        now: 0,
    };
    let deployed = deploy::deploy(&transaction, &request, release.object_list())?;
    deploy::raise_flag(&transaction, &deployed.name, Flag::Pinned, b"")?;
    transaction.finish()?;
    Ok(deployed.name)
}

/// A pinned deployment has all it needs, without any lock.
fn assert_whole(store: &Store, release: &Release, name: &DeploymentName) {
    deploy::read_record(store, *name).expect("a record");
    store.open_pack(&release.pack.1).expect("a pack");
    for (content, digest) in &release.objects {
        store
            .open_object(digest, content.len() as u64)
            .expect("an object");
    }
}
