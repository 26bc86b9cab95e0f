// SPDX-License-Identifier: MIT OR Apache-2.0
//! Releases under the policies of others: each statement with each policy, and only what belongs
//! together boots: A38.

use std::fs;

use anyhow::Result;
use sealroot_format::sign::{Statement, Unverified};

use super::{Accept, Attack, Stage, Target};
use crate::release::{Layer, Release};

/// A release that was genuinely signed, and the policy of its image.
#[derive(Clone, Copy)]
struct Variant {
    name: &'static str,
    claim: fn(&mut Statement),
    /// What of the usual policy is otherwise, by key.
    policy: Option<(&'static str, &'static str)>,
}

const VARIANTS: [Variant; 6] = [
    Variant {
        name: "the release",
        claim: |_| {},
        policy: None,
    },
    Variant {
        name: "another OS",
        claim: |statement| statement.os = name("other"),
        policy: Some(("os", "other")),
    },
    Variant {
        name: "another edition",
        claim: |statement| statement.variant = Some(name("debug")),
        policy: Some(("variant", "debug")),
    },
    Variant {
        name: "another stream",
        claim: |statement| statement.stream = name("testing"),
        policy: Some(("stream", "testing")),
    },
    Variant {
        name: "another architecture",
        claim: |statement| statement.arch = name("aarch64"),
        policy: Some(("arch", "aarch64")),
    },
    Variant {
        name: "another index",
        claim: |statement| statement.index = 7,
        policy: Some(("release-index", "7")),
    },
];

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a name")
}

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = Vec::new();
    for policy in VARIANTS {
        for statement in VARIANTS {
            attacks.push(attack(policy, statement));
        }
    }
    let mut kernel = attack(
        VARIANTS[0],
        Variant {
            name: "another kernel",
            claim: |statement| statement.kernel = Some("6.12.0-other".parse().expect("a word")),
            policy: None,
        },
    );
    kernel.name = "the release, for another kernel than runs".into();
    attacks.push(kernel);
    attacks
}

fn attack(policy: Variant, statement: Variant) -> Attack {
    let (accept, name) = if policy.name == statement.name {
        let name = format!("{} with its own image", statement.name);
        (Accept::same_tree(), name)
    } else {
        let name = format!("{} with the image of {}", statement.name, policy.name);
        (Accept::refused(&["release"]), name)
    };
    let attack = Attack::new("A38", "cross", name, accept, move |target| {
        put(target, statement.claim)
    });
    let lines = [
        ("pack", "PACK"),
        ("release-index", "1"),
        ("release-epoch", "0"),
    ];
    let lines = lines.into_iter().chain(policy.policy);
    Attack {
        policy: lines.collect(),
        ..attack.on(Stage::Shared).only(&[Layer::Erofs])
    }
}

/// Puts a signed statement in the place of the release's, under each name that a policy may look for.
fn put(target: Target<'_>, claim: fn(&mut Statement)) -> Result<()> {
    let release = target.release;
    let mut statement = release.statement.clone();
    claim(&mut statement);
    let key = release.secret_key()?;
    let mut document = Unverified::unsigned(&statement)?;
    let signature = key.sign(document.message());
    document.add(key.public(), signature)?;
    target.disk.mounted(|root| {
        let packs = root.join(Release::STORE).join("pack");
        for stream in ["stable", "testing"] {
            let name = format!("{}.{stream}.sign", statement.commit);
            fs::write(packs.join(name), document.to_string())?;
        }
        Ok(())
    })
}
