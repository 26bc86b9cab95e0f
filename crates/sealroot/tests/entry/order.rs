// SPDX-License-Identifier: MIT OR Apache-2.0
//! The order of entries: all loaders agree on ours, and foreign judges on the rest.

use std::cmp::Ordering;
use std::fs;
use std::process::Command;

use proptest::prelude::*;
use sealroot::entry::{Boot, EntryId, Generation, KernelBootIo, Loader, Tries};
use sealroot::store::StorePath;
use sealroot_format::policy::DeploymentName;
use sealroot_testkit::memory_io::{MemoryDisk, Trouble};
use sealroot_testkit::need;

use crate::support::deployment;

/// The entries of a partition with these files in `loader/entries`, as a loader orders them.
fn ordered(loader: Loader, files: &[(String, String)]) -> Vec<String> {
    let disk = MemoryDisk::new(false);
    for (name, text) in files {
        let path = |text: &str| StorePath::new(text).expect("a path");
        if disk.files().is_empty() {
            let io = disk.process(Trouble::None);
            sealroot::entry::BootIo::create_directory(&io, &path("loader")).expect("made");
        }
        disk.plant(&path(&format!("loader/entries/{name}")), text.as_bytes());
    }
    let boot = Boot::new(disk.process(Trouble::None), loader, "");
    let entries = boot.entries().expect("read");
    let names = entries
        .in_boot_order()
        .iter()
        .map(|entry| entry.file_name.clone());
    names.collect()
}

fn ours(generation: u32, number: u8, tries: Option<Tries>) -> (String, String) {
    let deployment = DeploymentName {
        serial: u32::from(number),
        ..deployment(number)
    };
    let generation = Generation::new(generation).expect("a generation");
    let name = EntryId::new(generation, &deployment).file_name(tries);
    let files = "ab".repeat(32);
    let text = format!(
        "title T\nversion {generation}\nsort-key sealroot\noptions sealroot={deployment}\n\
         initrd /sealroot/{files}/initrd\nlinux /sealroot/{files}/linux\n"
    );
    (name, text)
}

fn tries() -> impl Strategy<Value = Option<Tries>> {
    proptest::option::of((0..4_u32, 0..4_u32).prop_map(|(left, done)| Tries { left, done }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

// Rules: O1
    /// Every loader has our entries newest first, whatever the deployments are called.
    #[test]
    fn the_newest_of_ours_is_first(
        generations in proptest::collection::btree_set(1..100_000_000_u32, 1..8),
        numbers in proptest::collection::vec(any::<u8>(), 8),
    ) {
        let files: Vec<_> = (generations.iter().zip(numbers))
            .map(|(generation, number)| ours(*generation, number, None))
            .collect();
        let newest_first: Vec<_> = files.iter().rev().map(|(name, _)| name.clone()).collect();
        for loader in Loader::ALL {
            prop_assert_eq!(&ordered(loader, &files), &newest_first, "{:?}", loader);
        }
    }

    /// With tries: those that have none left are last, otherwise the newest is first.
    #[test]
    fn an_entry_out_of_tries_is_last(
        generations in proptest::collection::btree_map(1..1000_u32, tries(), 1..8),
    ) {
        let files: Vec<_> = (generations.iter())
            .map(|(generation, tries)| ours(*generation, 1, *tries))
            .collect();
        let is_bad = |tries: &Option<Tries>| tries.is_some_and(|tries| tries.left == 0);
        let mut expected: Vec<_> = generations.iter().zip(&files).collect();
        expected.sort_by_key(|((generation, tries), _)| (is_bad(tries), u32::MAX - **generation));
        let expected: Vec<_> = expected.into_iter().map(|(_, (name, _))| name.clone()).collect();
        prop_assert_eq!(ordered(Loader::SystemdBoot, &files), expected);
    }

// Rules: N1
    /// Names say what they were made of.
    #[test]
    fn names_are_read_back(generation in 1..100_000_000_u32, number: u8, tries in tries()) {
        let generation = Generation::new(generation).expect("a generation");
        let id = EntryId::new(generation, &deployment(number));
        let name = id.file_name(tries);
        prop_assert_eq!(EntryId::parse(name.as_bytes()), Some((id, tries)));
        prop_assert!(id.is_of(&deployment(number)));
    }

    /// Names of no or another form are not ours, and names of any kind do no harm.
    #[test]
    fn any_name_can_be_looked_at(name in "(sealroot-)?[0-9a-f.+-]{0,30}(\\.conf)?") {
        if let Some((id, tries)) = EntryId::parse(name.as_bytes()) {
            let left = tries.map_or(0, |tries| tries.left);
            let written = id.file_name(tries);
            // `+3-0` and `+03` are read as what loaders read, and written shorter.
            prop_assert!(written == name || left < 100, "{} {}", written, name);
        }
    }
}

// Rules: O3
#[test]
fn foreign_entries_have_their_place() {
    let entry = |name: &str, text: &str| (name.to_owned(), format!("{text}linux /k\n"));
    let files = [
        entry("ostree-1.conf", "version 1\n"),
        entry("ostree-2.conf", "version 2\n"),
        entry(
            "6a9857a393724b7a981ebb5b8495b9ea-6.12.conf",
            "sort-key debian\nversion 6.12\n",
        ),
        ours(9, 1, None),
        ours(10, 2, None),
    ];
    let place = |loader| {
        let order = ordered(loader, &files);
        let short = |name: &String| name.chars().take(17).collect::<String>();
        order.iter().map(short).collect::<Vec<_>>()
    };
    let machine = "6a9857a393724b7a9";
    let [newest, older] = ["sealroot-00000010", "sealroot-00000009"];
    let [second, first] = ["ostree-2.conf", "ostree-1.conf"];
    assert_eq!(
        place(Loader::SystemdBoot),
        [machine, newest, older, second, first]
    );
    // For RPM a number is newer than letters.
    assert_eq!(
        place(Loader::GrubFedora),
        [machine, newest, older, second, first]
    );
    assert_eq!(place(Loader::Grub), [newest, older, second, first, machine]);
}

/// Sorting panics, or gives what it pleases, where the order of three entries contradicts itself.
#[test]
fn entries_of_one_name_have_an_order_with_and_without_tries() {
    let entry = |name: &str| (name.to_owned(), "linux /vmlinuz\n".to_owned());
    let expected = ["x.conf", "x+3.conf", "x+2.conf", "x+2-1.conf"];
    for turn in 0..expected.len() {
        let mut names = expected;
        names.rotate_left(turn);
        let files: Vec<_> = names.into_iter().map(entry).collect();
        assert_eq!(ordered(Loader::SystemdBoot, &files), expected);
    }
    let many: Vec<_> = (0..40_u32)
        .map(|number| match number % 3 {
            0 => entry(&format!("x+{}.conf", number + 1)),
            1 => entry("x.conf"),
            _ => entry(&format!("y+{}.conf", 40 - number)),
        })
        .collect();
    assert_eq!(ordered(Loader::SystemdBoot, &many).len(), 28);
}

/// systemd's own comparison is the judge of ours.
#[test]
fn versions_compare_as_systemd_does() {
    let Some(systemd_analyze) = need::tool("systemd-analyze") else {
        return;
    };
    let words = [
        "1",
        "10",
        "2",
        "09",
        "1.0",
        "1.0.1",
        "1-1",
        "1-2",
        "1~rc1",
        "1^post",
        "1a",
        "1.a",
        "a",
        "b",
        "abc",
        "ab",
        "1_2",
        "1_10",
        "6.12.0-rc1",
        "6.12.0",
        "6.12-rc1",
        "1..2",
        "1--2",
        "~",
        "~~1",
        "ostree-1.conf",
        "ostree-10.conf",
        "sealroot-00000001-ab.0.conf",
        "sealroot-00000010-0b.0.conf",
        "",
    ];
    for a in words {
        for b in words {
            // It takes no empty word.
            if a.is_empty() || b.is_empty() {
                continue;
            }
            let output = Command::new(&systemd_analyze)
                .args(["compare-versions", "--", a, b])
                .output()
                .expect("it runs");
            let judged = match output.status.code() {
                Some(0) => Ordering::Equal,
                Some(11) => Ordering::Greater,
                Some(12) => Ordering::Less,
                other => panic!("{a} {b}: {other:?}"),
            };
            // As names without a sort key: the newer one is first.
            let files = [a, b].map(|version| {
                let name = if version == a { "x.conf" } else { "y.conf" };
                (
                    name.to_owned(),
                    format!("sort-key s\nversion {version}\nlinux /k\n"),
                )
            });
            if a == b {
                continue;
            }
            let first = ordered(Loader::SystemdBoot, &files).swap_remove(0);
            let expected = match judged {
                Ordering::Greater => "x.conf",
                // Where the versions are the same, the name decides.
                Ordering::Less | Ordering::Equal => "y.conf",
            };
            assert_eq!(first, expected, "{a:?} {b:?} {judged:?}");
        }
    }
}

// Rules: O2
/// `bootctl` is the judge of the whole order, on a filesystem of its own as it demands.
#[test]
fn bootctl_lists_in_the_same_order() {
    let (Some(bootctl), Some(unshare)) = (need::tool("bootctl"), need::tool("unshare")) else {
        return;
    };
    if !need::root() {
        return;
    }
    let entry = |name: &str, text: &str| (name.to_owned(), format!("{text}linux /kernel\n"));
    let mut files = vec![
        entry("ostree-1.conf", "version 1\n"),
        entry("ostree-10.conf", "version 10\n"),
        entry("ostree-2.conf", "version 2\n"),
        entry("old+2-1.conf", "version 2\n"),
        entry(
            "deb.conf",
            "sort-key debian\nmachine-id 6a9857a393724b7a981ebb5b8495b9ea\nversion 9\n",
        ),
        entry(
            "deb2.conf",
            "sort-key debian\nmachine-id 00009857a393724b7a981ebb5b8495b9\nversion 1\n",
        ),
        entry("zz.conf", "sort-key zz\nversion 1\n"),
    ];
    files.extend([1, 2, 9, 10, 11, 100].map(|generation| ours(generation, 7, None)));
    let tries = |left, done| Some(Tries { left, done });
    files.extend([
        ours(101, 8, tries(0, 3)),
        ours(102, 8, tries(2, 1)),
        ours(103, 8, tries(3, 0)),
    ]);
    let directory = tempfile::tempdir().expect("a directory");
    let esp = directory.path().join("esp");
    let source = directory.path().join("source/loader/entries");
    fs::create_dir_all(&esp).expect("a directory");
    fs::create_dir_all(&source).expect("a directory");
    let kernels = directory
        .path()
        .join("source/sealroot")
        .join("ab".repeat(32));
    fs::create_dir_all(&kernels).expect("a directory");
    for path in [
        kernels.join("linux"),
        kernels.join("initrd"),
        directory.path().join("source/kernel"),
    ] {
        fs::write(path, "x").expect("a file");
    }
    for (name, text) in &files {
        fs::write(source.join(name), text).expect("a file");
    }
    let script = "mount -t tmpfs none esp && cp -r source/. esp && \
        \"$0\" --esp-path=$PWD/esp list --no-pager --json=short";
    let output = Command::new(unshare)
        .args(["--mount", "sh", "-euc", script])
        .arg(bootctl)
        .current_dir(directory.path())
        .env("SYSTEMD_RELAX_ESP_CHECKS", "1")
        .env("SYSTEMD_RELAX_XBOOTLDR_CHECKS", "1")
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let listed: Vec<_> = (text.split("\"path\":\"").skip(1))
        .filter_map(|rest| rest.split('"').next()?.rsplit('/').next())
        .collect();
    let boot = Boot::new(
        KernelBootIo::open(&directory.path().join("source")).expect("opened"),
        Loader::SystemdBoot,
        "",
    );
    let entries = boot.entries().expect("read");
    let ours: Vec<_> = (entries.in_boot_order().iter())
        .map(|entry| &*entry.file_name)
        .collect();
    assert_eq!(listed, ours);
    assert_eq!(ours.len(), files.len());
}
