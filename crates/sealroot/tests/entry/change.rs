// SPDX-License-Identifier: MIT OR Apache-2.0
//! Adding, blessing, replacing and removing entries.

use sealroot::entry::{Boot, EntryError, Loader, NewEntry, OurEntry, Owner};
use sealroot::monitor::Silent;
use sealroot::store::StorePath;
use sealroot_format::ErrorClass;
use sealroot_testkit::boot_files;
use sealroot_testkit::memory_io::{MemoryDisk, Trouble};

use crate::support::{Wanted, all, boot, bootable, deployment, digest, kernel, look};

fn path(text: &str) -> StorePath {
    StorePath::new(text).expect("a path")
}

fn nothing(_: &OurEntry) -> bool {
    false
}

// Rules: N2, E2
#[test]
fn an_entry_is_written_as_documented() {
    let disk = MemoryDisk::new(false);
    let added = Wanted::of(0xab).add(&look(&disk), &all).expect("added");
    assert!(!added.is_reused);
    let (linux, initrd) = kernel(0xab);
    let files = digest(&linux, &initrd);
    let commit = "ab".repeat(32);
    let entry = format!(
        "title Test OS 171\nversion 1\nsort-key sealroot\n\
         options quiet rw sealroot={commit}.0\n\
         initrd /sealroot/{files}/initrd\nlinux /sealroot/{files}/linux\n"
    );
    let expected = [
        (
            "/loader/entries/sealroot-00000001-abababababab.0.conf".to_owned(),
            entry.into_bytes(),
        ),
        (format!("/sealroot/{files}/initrd"), initrd),
        (format!("/sealroot/{files}/linux"), linux),
    ];
    assert_eq!(disk.files(), expected.into());
}

// Rules: O4
#[test]
fn the_newest_is_the_default_and_the_one_before_the_rollback() {
    let disk = MemoryDisk::new(false);
    for number in [1, 2, 3] {
        Wanted::of(number).add(&look(&disk), &all).expect("added");
    }
    let entries = look(&disk).entries().expect("read");
    let of =
        |entry: Option<&sealroot::entry::Entry>| entry.and_then(sealroot::entry::Entry::deployment);
    assert_eq!(of(entries.default_entry()), Some(deployment(3)));
    assert_eq!(of(entries.rollback_entry()), Some(deployment(2)));
    assert_eq!(entries.in_boot_order().len(), 3);
}

// Rules: N3
#[test]
fn the_same_again_writes_nothing() {
    let disk = MemoryDisk::new(false);
    let first = Wanted::of(1).add(&look(&disk), &all).expect("added");
    let before = disk.files();
    let io = disk.process(Trouble::None);
    let calls = io.calls();
    let second = Wanted::of(1).add(&boot(io), &all).expect("added");
    assert!(second.is_reused);
    assert_eq!(second.entry, first.entry);
    assert_eq!(calls.get().changes, 0);
    assert_eq!(disk.files(), before);
}

#[test]
fn deployments_with_one_kernel_share_it() {
    let disk = MemoryDisk::new(false);
    let mut wanted = Wanted::of(1);
    wanted.add(&look(&disk), &all).expect("added");
    wanted.deployment = deployment(2);
    let io = disk.process(Trouble::None);
    let calls = io.calls();
    wanted.add(&boot(io), &all).expect("added");
    assert_eq!(calls.get().of("create"), 1, "only the entry");
    // Removing one leaves the kernel to the other.
    let removed = look(&disk)
        .remove(&["sealroot-00000001-010101010101.0.conf"], &Silent)
        .expect("removed");
    assert_eq!((removed.entries.len(), removed.kernels.len()), (1, 0));
    assert_eq!(bootable(&disk.files()).len(), 1);
}

#[test]
fn a_rollback_is_a_new_entry_for_the_old_deployment() {
    let disk = MemoryDisk::new(false);
    for number in [1, 2] {
        Wanted::of(number).add(&look(&disk), &all).expect("added");
    }
    let entries = look(&disk).entries().expect("read");
    let rollback = entries
        .rollback_entry()
        .and_then(|entry| entry.ours())
        .expect("there is one");
    let added = look(&disk)
        .add(&NewEntry::again(rollback), &all, &Silent)
        .expect("added");
    assert_eq!(
        added.removed.entries,
        ["sealroot-00000001-010101010101.0.conf"]
    );
    let names: Vec<_> = bootable(&disk.files())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let expected = [
        "sealroot-00000003-010101010101.0.conf",
        "sealroot-00000002-020202020202.0.conf",
    ];
    assert_eq!(names, expected);
}

#[test]
fn what_is_not_kept_goes_with_its_kernel() {
    let disk = MemoryDisk::new(false);
    for number in [1, 2] {
        Wanted::of(number).add(&look(&disk), &all).expect("added");
    }
    let added = Wanted::of(3).add(&look(&disk), &nothing).expect("added");
    assert_eq!(
        (added.removed.entries.len(), added.removed.kernels.len()),
        (2, 2)
    );
    assert_eq!(disk.files().len(), 3, "an entry, a kernel, an initramfs");
}

// Rules: C4
#[test]
fn a_counted_entry_is_blessed_under_its_plain_name() {
    let disk = MemoryDisk::new(false);
    Wanted::of(1).add(&look(&disk), &all).expect("added");
    let mut wanted = Wanted::of(1);
    wanted.arguments = "changed";
    wanted.tries = Some(3);
    let added = wanted.add(&look(&disk), &all).expect("added");
    let names = |disk: &MemoryDisk| -> Vec<_> {
        bootable(&disk.files())
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    };
    let expected = [
        "sealroot-00000002-010101010101.0+3.conf",
        "sealroot-00000001-010101010101.0.conf",
    ];
    assert_eq!(
        names(&disk),
        expected,
        "the old one stays until the new one is good"
    );

    // The loader counts, then the system comes up.
    let counted = disk.files()["/loader/entries/sealroot-00000002-010101010101.0+3.conf"].clone();
    disk.plant(
        &path("loader/entries/sealroot-00000002-010101010101.0+2-1.conf"),
        &counted,
    );
    let io = disk.process(Trouble::None);
    sealroot::entry::BootIo::remove_file(
        &io,
        &path("loader/entries/sealroot-00000002-010101010101.0+3.conf"),
    )
    .expect("removed");
    look(&disk)
        .bless(&added.entry.id, &Silent)
        .expect("blessed");
    assert_eq!(names(&disk), ["sealroot-00000002-010101010101.0.conf"]);
    let io = disk.process(Trouble::None);
    let calls = io.calls();
    boot(io)
        .bless(&added.entry.id, &Silent)
        .expect("blessed already");
    assert_eq!(calls.get().changes, 0);
}

#[test]
fn a_counted_entry_once_more_does_not_lose_what_it_falls_back_to() {
    let disk = MemoryDisk::new(false);
    Wanted::of(1).add(&look(&disk), &all).expect("added");
    let mut wanted = Wanted::of(1);
    wanted.arguments = "changed";
    wanted.tries = Some(3);
    wanted.add(&look(&disk), &all).expect("added");
    let before = disk.files();
    for tries in [Some(3), None] {
        wanted.tries = tries;
        let again = wanted.add(&look(&disk), &all).expect("added");
        assert!(again.is_reused, "{tries:?}");
        assert_eq!(disk.files(), before, "{tries:?}");
    }
}

#[test]
fn an_entry_out_of_tries_is_no_default_and_can_be_made_one_again() {
    let disk = MemoryDisk::new(false);
    Wanted::of(1).add(&look(&disk), &all).expect("added");
    let mut wanted = Wanted::of(2);
    wanted.tries = Some(0);
    wanted.add(&look(&disk), &all).expect("added");
    let entries = look(&disk).entries().expect("read");
    assert_eq!(
        entries
            .default_entry()
            .and_then(sealroot::entry::Entry::deployment),
        Some(deployment(1))
    );
    wanted.tries = None;
    let added = wanted.add(&look(&disk), &all).expect("added");
    assert!(!added.is_reused);
    let entries = look(&disk).entries().expect("read");
    assert_eq!(
        entries
            .default_entry()
            .and_then(sealroot::entry::Entry::deployment),
        Some(deployment(2))
    );
}

// Rules: N4
#[test]
fn others_entries_are_listed_and_left_alone() {
    let disk = MemoryDisk::new(false);
    let (linux, initrd) = kernel(9);
    let files = digest(&linux, &initrd);
    let ostree =
        b"title OSTree\nversion 2\noptions ostree=/ostree/boot.0/os/x/0\nlinux /ostree/k\n";
    let clever = format!("linux /sealroot/{files}/linux\n");
    let planted: [(&str, &[u8]); 6] = [
        ("loader/entries/ostree-2.conf", ostree),
        ("loader/entries/other.conf", clever.as_bytes()),
        ("loader/entries/noise.conf", b"\xff\xfe"),
        ("loader/entries/README", b"hello"),
        ("sealroot/note", b"mine"),
        ("EFI/BOOT", b"firmware"),
    ];
    for (name, content) in &planted {
        if let Some((directory, _)) = path(name).split() {
            let io = disk.process(Trouble::None);
            let mut whole = StorePath::root();
            for part in directory.as_bytes().split(|byte| *byte == b'/') {
                whole = whole.join(part).expect("a name");
                let _ = sealroot::entry::BootIo::create_directory(&io, &whole);
            }
        }
        disk.plant(&path(name), content);
    }
    // A kernel of ours that only a foreign entry names is not ours to remove.
    let io = disk.process(Trouble::None);
    sealroot::entry::BootIo::create_directory(&io, &path(&format!("sealroot/{files}")))
        .expect("made");
    disk.plant(&path(&format!("sealroot/{files}/linux")), &linux);
    disk.plant(&path(&format!("sealroot/{files}/initrd")), &initrd);

    Wanted::of(1).add(&look(&disk), &nothing).expect("added");
    Wanted::of(2).add(&look(&disk), &nothing).expect("added");
    for (name, content) in &planted {
        assert_eq!(disk.files()[&format!("/{name}")], *content, "{name}");
    }
    assert!(
        disk.files()
            .contains_key(&format!("/sealroot/{files}/linux"))
    );
    let entries = look(&disk).entries().expect("read");
    let owners: Vec<_> = entries
        .in_boot_order()
        .iter()
        .map(|entry| &entry.owner)
        .collect();
    assert!(
        matches!(
            owners[..],
            [Owner::Sealroot(_), Owner::Other, Owner::Ostree]
        ),
        "{owners:?}"
    );
    let error = look(&disk)
        .remove(&["ostree-2.conf"], &Silent)
        .expect_err("not ours");
    assert!(matches!(error, EntryError::NoEntry { .. }), "{error}");
}

// Rules: E1
#[test]
fn a_changed_entry_of_ours_stays_and_keeps_its_kernel() {
    let disk = MemoryDisk::new(false);
    Wanted::of(1).add(&look(&disk), &all).expect("added");
    let name = "/loader/entries/sealroot-00000001-010101010101.0.conf";
    let mut text = disk.files()[name].clone();
    text.extend_from_slice(b"architecture x64\n");
    disk.plant(&path(&name[1..]), &text);
    Wanted::of(2).add(&look(&disk), &nothing).expect("added");
    assert_eq!(disk.files()[name], text);
    assert_eq!(bootable(&disk.files()).len(), 2);
    let entries = look(&disk).entries().expect("read");
    assert!(matches!(
        entries.in_boot_order()[1].owner,
        Owner::Changed { .. }
    ));
}

/// Others' entries as loaders read them and people damage them, each of which names this kernel.
fn odd_texts(files: &str) -> Vec<Vec<u8>> {
    let linux = format!("linux /sealroot/{files}/linux\n");
    let upper = format!("linux \\SEALROOT\\{}\\LINUX\n", files.to_uppercase());
    vec![
        [b"title Notl\xf6sung\n", linux.as_bytes()].concat(),
        [linux.as_bytes(), b"options x\r\xff\0\xfe"].concat(),
        [b"title ", &[b'x'; 70_000][..], b"\n", linux.as_bytes()].concat(),
        linux.replace('\n', "\r").into_bytes(),
        upper.into_bytes(),
        format!("initrd /sealroot//./{files}/initrd").into_bytes(),
    ]
}

// Rules: N5
#[test]
fn a_kernel_that_an_entry_names_in_any_way_stays() {
    let before = MemoryDisk::new(false);
    let added = Wanted::of(1).add(&look(&before), &all).expect("added");
    let files = added.entry.text.files.to_string();
    for (number, text) in odd_texts(&files).iter().enumerate() {
        let disk = before.copy();
        disk.plant(&path("loader/entries/rescue.conf"), text);
        Wanted::of(2).add(&look(&disk), &nothing).expect("added");
        look(&disk).clear(&Silent).expect("cleared");
        let linux = format!("/sealroot/{files}/linux");
        assert!(disk.files().contains_key(&linux), "text {number}");
    }
}

// Rules: N5
#[test]
fn while_an_entry_cannot_be_read_no_kernel_goes() {
    let disk = MemoryDisk::new(false);
    Wanted::of(1).add(&look(&disk), &all).expect("added");
    disk.plant(
        &path("loader/entries/large.conf"),
        &vec![b'x'; (1 << 20) + 1],
    );
    let added = Wanted::of(2).add(&look(&disk), &nothing).expect("added");
    assert_eq!(
        (added.removed.entries.len(), added.removed.kernels.len()),
        (1, 0)
    );
    let entries = look(&disk).entries().expect("read");
    let unreadable = entries.unreadable().expect("it is named");
    assert!(unreadable.path.ends_with("loader/entries/large.conf"));
    assert!(
        unreadable.reason.contains("expected at most"),
        "{}",
        unreadable.reason
    );
    let io = disk.process(Trouble::None);
    sealroot::entry::BootIo::remove_file(&io, &path("loader/entries/large.conf")).expect("removed");
    let removed = look(&disk).clear(&Silent).expect("cleared");
    assert_eq!(removed.kernels.len(), 1);
}

/// One that somebody has changed since sorts before all others of ours: only a newer one will do.
#[test]
fn there_is_a_way_back_from_a_changed_entry() {
    let disk = MemoryDisk::new(false);
    for number in [1, 2] {
        Wanted::of(number).add(&look(&disk), &all).expect("added");
    }
    let name = "/loader/entries/sealroot-00000002-020202020202.0.conf";
    let mut text = disk.files()[name].clone();
    text.extend_from_slice(b"# x\n");
    disk.plant(&path(&name[1..]), &text);
    let entries = look(&disk).entries().expect("read");
    let rollback = entries.rollback_entry().and_then(|entry| entry.ours());
    let rollback = rollback.expect("there is one");
    assert_eq!(rollback.text.deployment, deployment(1));
    let added = look(&disk)
        .add(&NewEntry::again(rollback), &all, &Silent)
        .expect("added");
    assert_eq!(
        (added.is_reused, added.entry.id.generation.get()),
        (false, 3)
    );
    assert_eq!(added.boots_instead, None);
    let booted = bootable(&disk.files()).into_iter().next();
    assert_eq!(
        booted.expect("an entry").0,
        "sealroot-00000003-010101010101.0.conf"
    );
}

// Rules: O5
#[test]
fn what_boots_instead_is_told_and_the_way_back_is_not_it() {
    let rows: [(Loader, &str, &str, Option<&str>); 6] = [
        (Loader::SystemdBoot, "debian", "", Some("debian.conf")),
        (Loader::SystemdBoot, "debian", "default sealroot-*\n", None),
        (
            Loader::SystemdBoot,
            "zz",
            "timeout 3\ndefault zz.conf\n",
            Some("zz.conf"),
        ),
        (Loader::SystemdBoot, "zz", "default @saved\n", None),
        (Loader::SystemdBoot, "zz", "default gone-?.conf\n", None),
        (Loader::Grub, "zz", "default sealroot-*\n", Some("zz.conf")),
    ];
    for (loader, foreign, config, expected) in rows {
        let disk = MemoryDisk::new(false);
        let boot = Boot::new(disk.process(Trouble::None), loader, "");
        Wanted::of(1).add(&boot, &all).expect("added");
        let text = format!("title {foreign}\nsort-key {foreign}\nlinux /l\n");
        disk.plant(
            &path(&format!("loader/entries/{foreign}.conf")),
            text.as_bytes(),
        );
        disk.plant(&path("loader/loader.conf"), config.as_bytes());
        let added = Wanted::of(2).add(&boot, &all).expect("added");
        assert_eq!(
            added.boots_instead.as_deref(),
            expected,
            "{foreign} {config}"
        );
        let entries = boot.entries().expect("read");
        let rollback = entries
            .rollback_entry()
            .and_then(sealroot::entry::Entry::deployment);
        assert_eq!(rollback, Some(deployment(1)), "{foreign} {config}");
    }
}

// Rules: E4
#[test]
fn an_image_is_started_by_systemd_boot_alone() {
    let disk = MemoryDisk::new(false);
    Wanted::of(1).add(&look(&disk), &all).expect("added");
    let added = Wanted::of(2).add_image(&look(&disk), &all).expect("added");
    let files = disk.files();
    let digest = boot_files::image_digest(&Wanted::of(2).kernel.0);
    assert_eq!(added.entry.text.files, digest);
    let image = format!("/sealroot/{digest}/uki.efi");
    assert_eq!(files[&image], Wanted::of(2).kernel.0);
    let entry = &files["/loader/entries/sealroot-00000002-020202020202.0.conf"];
    let commit = "02".repeat(32);
    assert_eq!(
        String::from_utf8_lossy(entry),
        format!(
            "title Test OS 2\nversion 2\nsort-key sealroot\n# sealroot={commit}.0\nefi {image}\n"
        )
    );
    let again = Wanted::of(2).add_image(&look(&disk), &all);
    assert!(again.expect("added").is_reused);
    // Changed by somebody, it is not ours any more, and what it uses stays.
    let changed = String::from_utf8_lossy(entry).replace("Test OS", "Their OS\nversion 1");
    disk.plant(
        &path("loader/entries/sealroot-00000002-020202020202.0.conf"),
        changed.as_bytes(),
    );
    look(&disk).clear(&Silent).expect("cleared");
    assert!(disk.files().contains_key(&image));
    let entries = look(&disk).entries().expect("read");
    assert!(matches!(
        entries.in_boot_order()[0].owner,
        Owner::Changed { .. }
    ));
    for loader in [Loader::Grub, Loader::GrubFedora] {
        let disk = MemoryDisk::new(false);
        let boot = Boot::new(disk.process(Trouble::None), loader, "");
        let error = Wanted::of(1).add_image(&boot, &all).expect_err("refused");
        assert!(matches!(error, EntryError::NoImages { .. }), "{error}");
        assert!(disk.files().is_empty());
    }
}

#[test]
fn a_damaged_kernel_is_written_again() {
    let disk = MemoryDisk::new(false);
    let added = Wanted::of(1).add(&look(&disk), &all).expect("added");
    let linux = path(&format!("sealroot/{}/linux", added.entry.text.files));
    disk.plant(&linux, b"rotten");
    let error = look(&disk)
        .add(&NewEntry::again(&added.entry), &all, &Silent)
        .expect_err("the kernel is damaged");
    assert_eq!(error.class(), ErrorClass::Corrupt, "{error}");
    Wanted::of(1)
        .add(&look(&disk), &all)
        .expect("written again");
    assert_eq!(bootable(&disk.files()).len(), 1);
}

// Rules: C5
#[test]
fn the_last_entry_of_all_is_not_removed() {
    let disk = MemoryDisk::new(false);
    Wanted::of(1).add(&look(&disk), &all).expect("added");
    let name = "sealroot-00000001-010101010101.0.conf";
    let error = look(&disk)
        .remove(&[name], &Silent)
        .expect_err("the last one");
    assert!(matches!(error, EntryError::NothingLeft { .. }), "{error}");
    disk.plant(
        &path("loader/entries/ostree-1.conf"),
        b"title OSTree\nlinux /ostree/k\n",
    );
    let removed = look(&disk)
        .remove(&[name], &Silent)
        .expect("OSTree's is there");
    assert_eq!((removed.entries.len(), removed.kernels.len()), (1, 1));
    let left: Vec<_> = disk.files().into_keys().collect();
    assert_eq!(left, ["/loader/entries/ostree-1.conf"]);
}

#[test]
fn a_full_partition_is_told_before_anything_is_written() {
    let disk = MemoryDisk::with_capacity(200 * 4096);
    Wanted::of(1).add(&look(&disk), &all).expect("added");
    let mut large = Wanted::of(2);
    large.kernel.1 = vec![7; 250 * 4096];
    let before = disk.files();
    let io = disk.process(Trouble::None);
    let calls = io.calls();
    let error = large.add(&boot(io), &nothing).expect_err("too large");
    assert!(matches!(error, EntryError::NoSpace { .. }), "{error}");
    assert_eq!(calls.get().changes, 0);
    assert_eq!(disk.files(), before);
}

#[test]
fn old_kernels_go_first_where_space_is_short_but_never_the_default() {
    let disk = MemoryDisk::with_capacity(150 * 4096);
    for number in [1, 2] {
        let mut wanted = Wanted::of(number);
        wanted.kernel.1 = vec![number; 40 * 4096];
        wanted.add(&look(&disk), &all).expect("added");
    }
    let mut third = Wanted::of(3);
    third.kernel.1 = vec![3; 60 * 4096];
    let error = third.add(&look(&disk), &all).expect_err("all are kept");
    let text = error.to_string();
    let EntryError::NoSpace { freeable_bytes, .. } = error else {
        panic!("{text}")
    };
    assert_eq!(freeable_bytes, 0);
    let io = disk.process_watched(|operation, disk| {
        if matches!(operation, "create" | "write") {
            let default = bootable(&disk.files()).into_iter().next();
            assert!(default.is_some_and(|(name, _)| name.as_str() >= "sealroot-00000002"));
        }
    });
    let added = third
        .add(&boot(io), &nothing)
        .expect("there is room without the first");
    assert_eq!(added.removed.entries.len(), 2);
    assert_eq!(bootable(&disk.files()).len(), 1);
}

// Rules: E3
#[test]
fn an_unfinished_entry_is_not_shown_and_goes() {
    let disk = MemoryDisk::new(false);
    Wanted::of(1).add(&look(&disk), &all).expect("added");
    let name = "/loader/entries/sealroot-00000001-010101010101.0.conf";
    let text = String::from_utf8(disk.files()[name].clone()).expect("text");
    let unfinished = text
        .replace("\nlinux ", "\n#inux ")
        .replace("version 1", "version 2");
    for (number, text) in [unfinished.as_str(), "", &unfinished[..50], "\0\0\0"]
        .iter()
        .enumerate()
    {
        let name = format!(
            "loader/entries/sealroot-0000000{}-010101010101.0.conf",
            number + 2
        );
        disk.plant(&path(&name), text.as_bytes());
    }
    let entries = look(&disk).entries().expect("read");
    assert_eq!(entries.in_boot_order().len(), 1);
    let removed = look(&disk).clear(&Silent).expect("cleared");
    assert_eq!((removed.entries.len(), removed.kernels.len()), (4, 0));
    assert_eq!(bootable(&disk.files()).len(), 1);
}
