// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page on adoption, followed word by word on a machine that runs OSTree.

use anyhow::{Context as _, Result, ensure};
use sealroot_testkit::need::repository;
use sealroot_testkit::ostree_machine::{BootReport, MOUNT_VENDOR, OstreeMachine, Profile, Version};

use super::ostree_machine::vendor;

const PAGE: &str = "docs/adopt.md";

/// The heading of what is another way, for another machine.
const OTHER_WAY: &str = "## Without a vendor's statement";

const REBOOT: &str = "reboot";

/// What asks at a terminal is given one, and the answer.
const ASKS: &str = "sealroot revert";
const ANSWERED: &str = "echo y | script --quiet --return --command 'sealroot revert' /dev/null";

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_the_page_on_adoption_is_followed() -> Result<()> {
    let Some(vendor) = vendor()? else {
        return Ok(());
    };
    let Some(machine) = OstreeMachine::install(&vendor, Profile::Ext4, Version::V1)? else {
        return Ok(());
    };
    let text = page()?;
    let (way, _) = text.split_once(OTHER_WAY).context("another way")?;
    let first = vendor.commit(Version::V1)?;
    let boots = boots(way, &[("REMOTE:REF", "vendor:os/v2"), ("COMMIT", &*first)]);
    // Adopt; update; go back to the release before; give back; clear away.
    let runs: Vec<BootReport> = follow(&machine, &boots)?;
    let found: Vec<_> = runs
        .iter()
        .map(|run| (run.facts.booted.is_some(), &*run.facts.version))
        .collect();
    ensure!(
        found
            == [
                (false, "1"),
                (true, "1"),
                (true, "2"),
                (true, "1"),
                (false, "1")
            ],
        "{found:?}"
    );
    let end = machine.boot(&["test ! -e /sysroot/ostree/verity", "ostree admin status"])?;
    ensure!(end.facts.booted.is_none(), "{end:#?}");
    Ok(())
}

#[test]
#[ignore = "takes long: cargo xtask machines"]
fn nightly_the_page_on_adoption_is_followed_without_a_vendor() -> Result<()> {
    let Some(vendor) = vendor()? else {
        return Ok(());
    };
    let Some(machine) = OstreeMachine::install(&vendor, Profile::Ext4, Version::V1)? else {
        return Ok(());
    };
    let text = page()?;
    let (_, way) = text.split_once(OTHER_WAY).context("another way")?;
    let commit = vendor.commit(Version::V1)?;
    let words = [
        ("REF", "vendor:os/v1"),
        ("NAME", "mine"),
        ("COMMIT", &*commit),
    ];
    follow(&machine, &boots(way, &words))?;
    let end = machine.boot(&["sealroot status"])?;
    ensure!(end.facts.booted.is_some(), "{end:#?}");
    ensure!(end.facts.failed_units.is_empty(), "{end:#?}");
    Ok(())
}

fn page() -> Result<String> {
    let path = repository().join(PAGE);
    std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// What is typed at each boot: the blocks of commands, with what stands for something replaced.
fn boots(text: &str, words: &[(&str, &str)]) -> Vec<Vec<String>> {
    let mut boots = vec![Vec::new()];
    let mut is_command = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_command = line == "```sh";
            continue;
        }
        if !is_command {
            continue;
        }
        let (command, ends) = match line.strip_suffix(REBOOT) {
            Some(command) => (command.trim_end_matches("&& "), true),
            None => (line, false),
        };
        let mut command = command.to_owned();
        for (word, value) in words {
            let put = |found: &str| {
                if found == *word {
                    (*value).to_owned()
                } else {
                    found.to_owned()
                }
            };
            command = command.split(' ').map(put).collect::<Vec<_>>().join(" ");
        }
        if command == ASKS {
            ANSWERED.clone_into(&mut command);
        }
        let boot = boots.last_mut().expect("there is one");
        if !command.is_empty() {
            boot.push(command);
        }
        if ends {
            boots.push(Vec::new());
        }
    }
    boots.retain(|boot| !boot.is_empty());
    boots
}

fn follow(machine: &OstreeMachine, boots: &[Vec<String>]) -> Result<Vec<BootReport>> {
    let follow = |commands: &Vec<String>| {
        // As root, at home; the vendor is there in every boot.
        let steps: Vec<String> = commands
            .iter()
            .map(|command| format!("cd /root; {command}"))
            .collect();
        let steps: Vec<&str> = [MOUNT_VENDOR]
            .into_iter()
            .chain(steps.iter().map(String::as_str))
            .collect();
        let booted = machine.boot(&steps)?;
        println!("{} runs; done: {commands:#?}", booted.facts.version);
        ensure!(booted.facts.failed_units.is_empty(), "{booted:#?}");
        Ok(booted)
    };
    boots.iter().map(follow).collect()
}
