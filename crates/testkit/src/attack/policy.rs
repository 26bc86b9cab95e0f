// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nothing on the disk decides anything: files that would switch verification off, files of the
//! store changed or deleted, statements that are not what was signed: A12, A22.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Accept, Attack, Stage};
use crate::content;
use crate::release::Release;

pub(super) fn attacks() -> Vec<Attack> {
    let mut attacks = vec![plant_policies()];
    attacks.extend(plant_each());
    attacks.push(require_signatures());
    attacks.extend(change_records());
    attacks.extend(change_each_record());
    attacks.extend(change_statement());
    attacks
}

/// Files in which other systems, or ours, would look for what to do.
const POLICY_FILES: [(&str, &str); 12] = [
    ("policy", "sealroot policy 1\nmode integrity\nlayer erofs\n"),
    ("keyset", "sealroot keyset 1\n"),
    (
        "config",
        "[core]\nverify=no\n[ex-integrity]\nfsverity=no\ncomposefs=no\n",
    ),
    (
        "prepare-root.conf",
        "[composefs]\nenabled=no\n[sysroot]\nreadonly=false\n",
    ),
    ("store.toml", "verity = \"none\"\n"),
    ("deployment.toml", "mode = \"legacy\"\nverify = false\n"),
    ("policy.toml", "mode = \"legacy\"\n"),
    ("cmdline", "sealroot.verify=0 init=/bin/sh\n"),
    ("fstab", "/dev/vda / ext4 rw 0 0\ntmpfs /usr tmpfs rw 0 0\n"),
    ("ld.so.preload", "/evil.so\n"),
    ("90-evil.conf", "fs.verity.require_signatures=1\n"),
    (".verity-off", ""),
];

/// Directories of the physical root in which they are planted.
const POLICY_PLACES: [&str; 17] = [
    "",
    "boot",
    "boot/loader",
    "etc",
    "etc/sealroot",
    "etc/sysctl.d",
    "etc/systemd/system",
    "etc/ostree",
    "usr/lib/ostree",
    "usr/lib/sysctl.d",
    "usr/etc",
    "ostree",
    "ostree/repo",
    "ostree/verity",
    "ostree/verity/pack",
    "ostree/verity/deploy",
    "ostree/verity/objects",
];

fn plant_policies() -> Attack {
    Attack::new(
        "A12",
        "plant",
        "policies planted on the disk",
        Accept::same_tree(),
        |target| {
            target.disk.mounted(|root| {
                for place in POLICY_PLACES {
                    for file in POLICY_FILES {
                        plant(root, place, file)?;
                    }
                }
                Ok(())
            })
        },
    )
    .mutants(POLICY_FILES.len() * POLICY_PLACES.len())
}

fn plant(root: &Path, place: &str, (name, text): (&str, &str)) -> Result<()> {
    let directory = root.join(place);
    fs::create_dir_all(&directory)?;
    let path = directory.join(name);
    fs::write(&path, text).with_context(|| path.display().to_string())
}

/// The same files, each judged alone.
fn plant_each() -> Vec<Attack> {
    let each = POLICY_PLACES.into_iter().flat_map(|place| {
        POLICY_FILES.map(move |file| {
            let name = format!("alone: {place}/{} planted", file.0);
            Attack::new("A12", "plant", name, Accept::same_tree(), move |target| {
                target.disk.mounted(|root| plant(root, place, file))
            })
            .on(Stage::Shared)
        })
    });
    each.collect()
}

// Rules: P22
/// What would keep every unsigned file with fs-verity from opening. Each boot on a shared machine finds
/// the kernel set so, as by root in the system before or by a kernel parameter; here a system's own
/// settings say it too.
fn require_signatures() -> Attack {
    const PLACES: [&str; 5] = [
        "etc/sysctl.d",
        "usr/lib/sysctl.d",
        "usr/local/lib/sysctl.d",
        "ostree/deploy/test/var/lib/sysctl.d",
        "ostree/verity",
    ];
    const SETTING: (&str, &str) = ("zzz.conf", "fs.verity.require_signatures = 1\n");
    let name = "signatures required of every file";
    let accept = Accept::same_tree();
    Attack::new("A21", "signatures required", name, accept, |target| {
        (target.disk).mounted(|root| {
            PLACES
                .iter()
                .try_for_each(|place| plant(root, place, SETTING))
        })
    })
    .mutants(PLACES.len())
    .on(Stage::Shared)
}

type ChangeFile = fn(&Path) -> Result<()>;

const RECORD_CHANGES: [(&str, ChangeFile); 4] = [
    ("deleted", |path| Ok(fs::remove_file(path)?)),
    ("emptied", |path| Ok(fs::write(path, "")?)),
    ("random", |path| {
        Ok(fs::write(path, content::bytes(5, 5000))?)
    }),
    ("hostile", |path| {
        Ok(fs::write(path, "verity = \"none\"\nmode = \"legacy\"\n")?)
    }),
];

/// Every file of the store that is neither pack nor object nor statement.
fn change_records() -> Vec<Attack> {
    RECORD_CHANGES
        .into_iter()
        .map(|(mutator, change)| {
            let name = format!("every record of the store {mutator}");
            Attack::new("A12", mutator, name, Accept::same_tree(), move |target| {
                target.disk.mounted(|root| {
                    let mut found = Vec::new();
                    find_records(&root.join(Release::STORE), &mut found)?;
                    let mut known = RECORDS.map(|name| record(root, target.release, name));
                    found.sort();
                    known.sort();
                    anyhow::ensure!(found == known, "records {found:?}, not {known:?}");
                    found.iter().try_for_each(|path| change(path))
                })
            })
        })
        .collect()
}

/// The records, one of the deployment and others of the store.
const RECORDS: [&str; 3] = ["deployment.toml", "lock", "store.toml"];

/// What boot cannot do without, and does not take from anywhere else.
const STATEMENT: &str = "statement";

fn record(root: &Path, release: &Release, name: &str) -> PathBuf {
    match name {
        "deployment.toml" => root.join(release.deployment_path()).join(name),
        STATEMENT => root.join(release.statement_path()),
        _ => root.join(Release::STORE).join(name),
    }
}

/// The same files, and the statement, each judged alone.
fn change_each_record() -> Vec<Attack> {
    let each = RECORDS.into_iter().chain([STATEMENT]).flat_map(|name| {
        RECORD_CHANGES.map(move |(mutator, change)| {
            let title = format!("alone: {name} {mutator}");
            let accept = if name == STATEMENT {
                Accept::refused(&["statement"])
            } else {
                Accept::same_tree()
            };
            Attack::new("A12", mutator, title, accept, move |target| {
                target
                    .disk
                    .mounted(|root| change(&record(root, target.release, name)))
            })
            .on(Stage::Shared)
        })
    });
    each.collect()
}

fn find_records(directory: &Path, records: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            if !path.ends_with("objects") && !path.ends_with("pack") {
                find_records(&path, records)?;
            }
        } else {
            records.push(path);
        }
    }
    Ok(())
}

/// The statement, changed in ways that leave no valid signature.
fn change_statement() -> Vec<Attack> {
    let replace = |text: &[u8], from: &str, to: &str| -> Vec<u8> {
        String::from_utf8_lossy(text)
            .replacen(from, to, 1)
            .into_bytes()
    };
    let mut attacks = Vec::new();
    let mut add = |name: &str, change: Box<dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync>| {
        let name = format!("statement {name}");
        let refused = Accept::refused(&["statement"]);
        attacks.push(Attack::new(
            "A22",
            "statement",
            name,
            refused,
            move |target| {
                let path = target.release.statement_path();
                target.disk.mounted(|root| {
                    let path = root.join(path);
                    let text = fs::read(&path)?;
                    let changed = change(text.clone());
                    anyhow::ensure!(changed != text, "the statement is as it was");
                    Ok(fs::write(&path, changed)?)
                })
            },
        ));
    };
    add("emptied", Box::new(|_| Vec::new()));
    add(
        "truncated",
        Box::new(|text| text[..text.len() / 2].to_vec()),
    );
    add(
        "without signatures",
        Box::new(|text| {
            let end = text
                .windows(2)
                .position(|pair| pair == b"\n\n")
                .unwrap_or(0);
            text[..end + 2].to_vec()
        }),
    );
    add(
        "of a later release",
        Box::new(move |text| replace(&text, "\nindex 1\n", "\nindex 2\n")),
    );
    add(
        "for another OS",
        Box::new(move |text| replace(&text, "\nos ", "\nos x")),
    );
    add(
        "with one bit of its signature flipped",
        Box::new(|mut text| {
            let at = text.len() - 20;
            text[at] ^= 1;
            text
        }),
    );
    add(
        "with more behind it",
        Box::new(|mut text| {
            text.extend_from_slice(b"sig evil\n");
            text
        }),
    );
    add("of random bytes", Box::new(|_| content::bytes(9, 2000)));
    add(
        "of 65537 bytes",
        Box::new(|mut text| {
            text.resize(65537, b'\n');
            text
        }),
    );
    attacks.push(Attack::new(
        "A23",
        "statement size",
        "statement of a terabyte",
        Accept::refused(&["statement"]),
        |target| {
            let path = target.release.statement_path();
            target
                .disk
                .mounted(|root| Ok(File::create(root.join(path))?.set_len(1 << 40)?))
        },
    ));
    attacks
}
