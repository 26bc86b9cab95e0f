// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is damaged is named, and replaced from whatever has it.

use std::fs;
use std::path::{Path, PathBuf};

use sealroot_format::ErrorClass;
use sealroot_testkit::content::bytes;
use sealroot_testkit::need;

use crate::support::{STORE, Scratch, overwrite};

const DEVICE: &str = "--store device --keyset vendor.keyset";

/// Large files of the tree: each is an object.
const FILES: u64 = 1000;

fn write_tree(scratch: &Scratch, files: u64) {
    for number in 0..files {
        let name = format!("tree/usr/lib/{number}");
        scratch.write(&name, bytes(number, 5000));
    }
    scratch.write("tree/etc/hostname", "example\n");
}

/// A device that has pulled and deployed what a vendor has published in `www`; the commit.
fn device(files: u64) -> (Scratch, String) {
    let scratch = Scratch::new();
    write_tree(&scratch, files);
    scratch.ok("keys new vendor");
    let commit = scratch.release(1);
    let publish = format!("publish {commit} --to www --key vendor.secret");
    scratch.ok(&format!("{STORE} {publish}"));
    let add = "remote add vendor www --os exampleos --stream stable";
    scratch.ok(&format!("{DEVICE} {add}"));
    scratch.ok(&format!("{DEVICE} pull"));
    scratch.ok(&format!("{DEVICE} deploy {commit} --mode integrity"));
    (scratch, commit)
}

fn files_below(scratch: &Scratch, directory: &str) -> Vec<PathBuf> {
    let files = scratch.listing(directory).into_iter();
    let files = files.filter(|(path, _)| path.extension().is_some_and(|ending| ending == "file"));
    files
        .map(|(path, _)| scratch.path(path.to_str().expect("plain")))
        .collect()
}

/// Damages a file in one of four ways. Where it has fs-verity another has to take its place.
fn damage(path: &Path, how: usize) {
    let whole = fs::read(path).expect("a file");
    let other = match how % 4 {
        0 => whole[..whole.len() / 2].to_vec(),
        1 => vec![0; whole.len()],
        2 => whole.iter().map(|byte| !byte).collect(),
        _ => {
            fs::remove_file(path).expect("removed");
            return;
        }
    };
    if fs::File::options().write(true).open(path).is_ok() && how % 8 < 4 {
        // All hardlinks are damaged.
        overwrite(path, &other);
    } else {
        fs::remove_file(path).expect("removed");
        fs::write(path, other).expect("written");
    }
}

/// Damages every object, shared and linked, and the pack.
fn damage_all(scratch: &Scratch, store: &str) {
    for directory in [format!("{store}/objects"), format!("{store}/deploy")] {
        for (number, path) in files_below(scratch, &directory).iter().enumerate() {
            if path.exists() {
                damage(path, number + usize::from(directory.ends_with("deploy")));
            }
        }
    }
    damage(&scratch.only(&format!("{store}/pack"), ".pack"), 1);
}

fn assert_whole(scratch: &Scratch, options: &str, commit: &str) {
    scratch.ok(&format!("{options} verify {commit} --full"));
    let check = scratch.ok(&format!("{options} check --full")).text();
    assert!(!check.contains("damage "), "{check}");
    let again = scratch
        .ok(&format!("{options} --json repair --full"))
        .json();
    assert_eq!(again["damage"], serde_json::json!([]));
}

#[test]
fn a_thousand_objects_come_from_the_remote() {
    let (scratch, commit) = device(FILES);
    damage_all(&scratch, "device");
    let repair = format!("{DEVICE} --json repair --full");
    let repaired = scratch.ok(&repair).json();
    let damage = repaired["damage"].as_array().expect("a list");
    assert_eq!(damage.len() as u64, FILES + 1);
    for one in damage {
        assert_eq!(
            (&one["outcome"], &one["from"]),
            (&"repaired".into(), &"the remote vendor".into())
        );
    }
    let object = damage
        .iter()
        .find(|one| one["kind"] == "object")
        .expect("one");
    let file = object["files"][0].as_str().expect("text");
    assert!(file.starts_with("/usr/lib/"), "{file}");
    assert_whole(&scratch, DEVICE, &commit);
}

#[test]
fn single_objects_come_without_the_rest() {
    let (scratch, commit) = device(FILES);
    let files = files_below(&scratch, "device/objects");
    damage(&files[17], 1);
    for path in files_below(&scratch, "device/deploy") {
        if path.file_name() == files[17].file_name() && path.exists() {
            damage(&path, 5);
        }
    }
    let text = scratch.ok(&format!("{DEVICE} repair --full")).text();
    assert!(text.contains("REPAIRED from the remote vendor"), "{text}");
    assert!(text.contains("1 damaged or missing, 1 repaired"), "{text}");
    assert_whole(&scratch, DEVICE, &commit);
}

#[test]
fn without_a_source_each_is_named_and_nothing_is_changed() {
    let (scratch, _) = device(8);
    fs::remove_dir_all(scratch.path("www")).expect("removed");
    let names: Vec<String> = files_below(&scratch, "device/objects")
        .iter()
        .map(|path| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .expect("plain");
            name.strip_suffix(".file").expect("an object").to_owned()
        })
        .collect();
    for directory in ["device/objects", "device/deploy"] {
        for path in files_below(&scratch, directory) {
            if path.exists() {
                damage(&path, 7);
            }
        }
    }
    let before = scratch.listing("device");
    for line in ["repair --full", "repair --dry-run"] {
        let ran = scratch.run(&format!("{DEVICE} {line}"));
        assert_eq!(
            ran.code,
            i32::from(ErrorClass::Corrupt.exit_code()),
            "{}",
            ran.err
        );
        for name in &names {
            assert!(ran.text().contains(name.as_str()), "{line}: {}", ran.text());
        }
        assert!(ran.err.contains("8 of what the releases"), "{}", ran.err);
        assert!(ran.err.contains("hint: "), "{}", ran.err);
    }
    assert_eq!(scratch.listing("device"), before);
}

#[test]
fn a_copy_of_the_server_and_another_store_will_do() {
    let (scratch, commit) = device(20);
    fs::rename(scratch.path("www"), scratch.path("stick")).expect("renamed");
    for from in ["stick", "store"] {
        damage_all(&scratch, "device");
        let repaired = scratch
            .ok(&format!("{DEVICE} --json repair --full --from {from}"))
            .json();
        assert_eq!(
            (&repaired["repaired"], &repaired["left"]),
            (&21.into(), &0.into())
        );
        assert_whole(&scratch, DEVICE, &commit);
    }
}

#[test]
fn offline_no_remote_is_asked() {
    let (scratch, commit) = device(20);
    damage_all(&scratch, "device");
    let left = scratch.run(&format!("{DEVICE} repair --full --offline"));
    assert_eq!(left.code, i32::from(ErrorClass::Corrupt.exit_code()));
    assert!(left.text().contains("0 repaired"), "{}", left.text());
    assert!(left.err.contains("without --offline"), "{}", left.err);
    let server = format!("{DEVICE} repair --offline --from http://example.org");
    scratch.refused(ErrorClass::Usage, &server, &["--offline", "hint: "]);

    // What is at hand is taken: a copy in a directory, and another link of the same object.
    let copy = format!("{DEVICE} --json repair --full --offline --from www");
    assert_eq!(scratch.ok(&copy).json()["repaired"], 21);
    damage(&files_below(&scratch, "device/objects")[0], 5);
    let link = format!("{DEVICE} --json repair --full --offline");
    assert_eq!(scratch.ok(&link).json()["repaired"], 1);
    assert_whole(&scratch, DEVICE, &commit);
}

#[test]
fn a_statement_comes_back_signed() {
    let (scratch, commit) = device(2);
    let path = scratch.only("device/pack", ".sign");
    let whole = fs::read(&path).expect("a file");
    overwrite(&path, &whole[..whole.len() / 3]);
    let ran = scratch.run("--store device repair --no-ostree --keyset nowhere");
    assert_ne!(ran.code, 0);
    let repaired = scratch
        .ok(&format!("{DEVICE} --json repair {commit}"))
        .json();
    assert_eq!(repaired["damage"][0]["kind"], "statement");
    assert_eq!(fs::read(&path).expect("a file"), whole);
    assert_whole(&scratch, DEVICE, &commit);
}

#[test]
fn what_is_not_there_cannot_be_repaired() {
    let (scratch, _) = device(1);
    let nothing = "0".repeat(64);
    let line = format!("{DEVICE} repair {nothing}");
    scratch.refused(ErrorClass::NotFound, &line, &[&nothing, "sealroot status"]);
    let line = format!("{DEVICE} repair {nothing}.0");
    scratch.refused(ErrorClass::NotFound, &line, &["no deployment"]);
}

#[test]
fn ostree_gives_objects_and_the_pack_is_made_again() {
    if need::tool("ostree").is_none() {
        return;
    }
    let scratch = Scratch::new();
    write_tree(&scratch, 50);
    scratch.ok("keys new vendor");
    let ostree = |line: &str| {
        let output = scratch
            .command_of("ostree", line)
            .output()
            .expect("it starts");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}: {errors}");
        String::from_utf8(output.stdout)
            .expect("text")
            .trim_end()
            .to_owned()
    };
    ostree("--repo=vendor init --mode=archive");
    let commit = ostree(
        "--repo=vendor commit --branch=os --owner-uid=0 --owner-gid=0 --no-xattrs --tree=dir=tree",
    );
    scratch.ok("--store store build --ostree vendor os --os exampleos --stream stable --index 1");
    scratch.ok("--store store sign --ostree vendor os --key vendor.secret");
    ostree("--repo=client init --mode=bare-user");
    let url = format!("file://{}", scratch.path("vendor").display());
    ostree(&format!(
        "--repo=client remote add --no-gpg-verify vendor {url}"
    ));
    ostree("--repo=client pull vendor os");
    scratch.ok(&format!("{DEVICE} import --ostree client vendor:os"));
    scratch.ok(&format!("{DEVICE} deploy {commit} --mode integrity"));
    damage_all(&scratch, "device");
    let refused = scratch.run(&format!("{DEVICE} repair --full"));
    assert_eq!(refused.code, i32::from(ErrorClass::Corrupt.exit_code()));
    let line = format!("{DEVICE} --json repair --full --ostree-repo client");
    let repaired = scratch.ok(&line).json();
    assert_eq!(
        (&repaired["repaired"], &repaired["left"]),
        (&51.into(), &0.into())
    );
    assert_whole(&scratch, DEVICE, &commit);
    ostree("--repo=client fsck --quiet");
}

#[test]
fn what_is_gone_with_its_directory_comes_back() {
    let (scratch, commit) = device(5);
    let deployment = format!("device/deploy/{commit}.0/objects");
    for directory in [&deployment, "device/objects"] {
        fs::remove_dir_all(scratch.path(directory)).expect("removed");
        scratch.ok(&format!("{DEVICE} repair"));
        assert_whole(&scratch, DEVICE, &commit);
    }
}

#[test]
fn a_store_that_has_lost_its_name_is_made_one_again() {
    let (scratch, commit) = device(5);
    fs::remove_file(scratch.path("device/store.toml")).expect("removed");
    scratch.ok(&format!("{DEVICE} pull"));
    assert_whole(&scratch, DEVICE, &commit);
}
