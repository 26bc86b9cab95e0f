// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a machine boots: each thing that must hold, broken by hand, is found and named with what
//! mends it, and nothing is changed by looking.

use sealroot::deploy::{self, Flag};
use sealroot::doctor::{
    self, Check, Finding, FloorStores, Mend, Report, Severity, Subject, Verdict,
};
use sealroot::entry::{Boot, BootIo, Content, Loader, NewEntry};
use sealroot::floor::FloorError;
use sealroot::machine::Runtime;
use sealroot::monitor::Silent;
use sealroot::store::{Store, StoreIo, StorePath, object_path, pack_path};
use sealroot_format::floor::Floor;
use sealroot_format::policy::{EtcMode, FloorOn, FloorStore, Mode, Policy, RootDevice};
use sealroot_format::sign::{Keyset, Verified};
use sealroot_testkit::memory_io::{MemoryDisk, MemoryIo, MemoryKeyring, Trouble};

use crate::store_support::{keyset, keyset_file};
use crate::support::{self, Machine, initrd, initrd_with, open, policy_for};

/// What a machine keeps, or that it cannot be read.
#[derive(Clone, Copy, Debug, Default)]
struct Floors {
    firmware: Option<Floor>,
    counter: Option<u64>,
}

impl FloorStores for Floors {
    fn firmware(&self) -> Result<Floor, FloorError> {
        self.firmware.ok_or(FloorError::NoVariable)
    }

    fn counter(&self, _base: u64) -> Result<u64, FloorError> {
        self.counter.ok_or(FloorError::NoTpm)
    }
}

/// Looks at a machine whose keyset is the one that signs here, and which keeps no floors.
pub(crate) fn examine(store: &Store<MemoryIo>, boot: &Boot<MemoryIo>, runtime: &Runtime) -> Report {
    let keyset = keyset(1, 7);
    let subject = Subject {
        store,
        boot: Ok(boot),
        runtime,
        keyset: Some(&keyset),
        floors: None,
        root: None,
    };
    doctor::examine(&subject, &Silent).expect("nobody holds the lock")
}

/// That a machine boots, and has at most what an interrupted run left.
pub(crate) fn only_leftovers(store: &Store<MemoryIo>, boot: &Boot<MemoryIo>, when: &str) {
    let nothing = tempfile::tempdir().expect("a directory");
    let report = examine(store, boot, &Runtime::new(nothing.path()));
    for (check, severity, finding) in &report.findings {
        let is_leftover = (*check, *severity) == (Check::Leftovers, Severity::Warning);
        assert!(is_leftover, "{when}: {check:?} {finding:?}");
    }
    let boots = report.entries.iter().map(|entry| entry.verdict);
    assert!(
        boots.clone().all(|verdict| verdict == Verdict::Boots),
        "{when}: {report:?}"
    );
}

/// A machine with the first two releases in the menu, the second the default; the third is deployed
/// and unused.
struct Bench {
    machine: Machine,
    boot: MemoryDisk,
    keyset: Verified<Keyset>,
}

/// What is known of it besides.
struct Given<'g> {
    keyset: Option<&'g Verified<Keyset>>,
    floors: Option<&'g Floors>,
    root: Option<&'g RootDevice>,
    /// Why the boot partition is not known, if it is not.
    unknown: Option<&'g str>,
}

impl Bench {
    /// A machine that boots nothing.
    fn bare(machine: Machine, boot: MemoryDisk) -> Self {
        Self {
            machine,
            boot,
            keyset: keyset(1, 7),
        }
    }

    fn new() -> Self {
        let bench = Self::bare(Machine::new(true), MemoryDisk::new(false));
        bench.machine.add_entries(&bench.partition(), &[0, 1]);
        bench
    }

    fn partition(&self) -> Boot<MemoryIo> {
        Boot::new(self.boot.process(Trouble::None), Loader::SystemdBoot, "")
    }

    fn examine(&self) -> Report {
        self.examine_with(|_| {})
    }

    fn examine_with<'g>(&'g self, change: impl FnOnce(&mut Given<'g>)) -> Report {
        let (store, boot) = (self.machine.open(), self.partition());
        let runtime = self.machine.runtime();
        let mut given = Given {
            keyset: Some(&self.keyset),
            floors: None,
            root: None,
            unknown: None,
        };
        change(&mut given);
        let subject = Subject {
            store: &store,
            boot: given.unknown.map_or(Ok(&boot), Err),
            runtime: &runtime,
            keyset: given.keyset,
            floors: given.floors.map(|floors| floors as &dyn FloorStores),
            root: given.root,
        };
        let report = doctor::examine(&subject, &Silent).expect("nobody holds the lock");
        for io in [store.io(), boot.io()] {
            let calls = io.calls().get();
            assert_eq!(
                calls.changes,
                calls.of("try_lock"),
                "a look changes nothing"
            );
        }
        report
    }

    fn remove(&self, path: &StorePath) {
        let io = self.machine.disk.process(Trouble::None);
        StoreIo::remove_file(&io, path).expect("removed");
    }

    /// The file in `deploy/` of a deployment.
    fn in_deployment(&self, number: usize, name: &str) -> StorePath {
        path(&format!("deploy/{}/{name}", self.machine.names[number]))
    }

    /// The files of the newest entry of a deployment.
    fn kernel(&self, number: usize, file: &str) -> StorePath {
        let entries = self.partition().entries().expect("read");
        let entry = entries
            .of(&self.machine.names[number])
            .and_then(|entry| entry.ours());
        path(&format!(
            "sealroot/{}/{file}",
            entry.expect("an entry").text.files
        ))
    }

    /// Gives a deployment another entry, which becomes the default, with this initramfs.
    fn add(&self, number: usize, initrd: &[u8], tries: Option<u32>) {
        let linux = vec![u8::try_from(9 + number).expect("few"); 100];
        let new = NewEntry {
            deployment: self.machine.names[number],
            title: "test".into(),
            content: Content::Kernel {
                arguments: "quiet".parse().expect("an argument"),
                linux: &linux,
                initrd: &initrd.to_vec(),
            },
            tries,
        };
        self.partition()
            .add(&new, &|_| true, &Silent)
            .expect("added");
    }

    /// The same with an initramfs for this policy.
    fn add_with(&self, number: usize, change: impl FnOnce(&mut Policy)) {
        let mut policy = policy_for(&self.machine.releases[number]);
        change(&mut policy);
        self.add(number, &initrd(&policy, &keyset_file(1, 7)), None);
    }

    fn raise(&self, number: usize, flag: Flag, content: &[u8]) {
        let store = self.machine.open();
        let transaction = store.begin(&Silent).expect("begun");
        let name = self.machine.names[number];
        deploy::raise_flag(&transaction, &name, flag, content).expect("raised");
        transaction.finish().expect("finished");
    }
}

fn path(text: &str) -> StorePath {
    StorePath::new(text).expect("a path")
}

/// The only finding of a check.
fn only(report: &Report, check: Check) -> (Severity, Finding) {
    let mut found = report.of(check);
    let (severity, finding) = found
        .next()
        .unwrap_or_else(|| panic!("{check:?}: {report:?}"));
    assert!(found.next().is_none(), "{report:?}");
    assert!(!finding.place.is_empty() && !finding.expected.is_empty() && !finding.found.is_empty());
    (severity, finding.clone())
}

/// The checks in which something was found.
fn checks(report: &Report) -> Vec<Check> {
    let mut checks: Vec<_> = report.findings.iter().map(|(check, ..)| *check).collect();
    checks.dedup();
    checks
}

fn verdicts(report: &Report) -> Vec<Verdict> {
    report.entries.iter().map(|entry| entry.verdict).collect()
}

#[test]
fn nothing_is_said_of_a_machine_that_is_fine() {
    let bench = Bench::new();
    let report = bench.examine();
    assert_eq!(checks(&report), []);
    assert_eq!(verdicts(&report), [Verdict::Boots; 2]);
    assert_eq!((report.deployments, report.packs), (3, 3));
    assert!(report.objects >= 9);
    assert_eq!(report.entries[0].deployment, bench.machine.names[1]);
    assert!(report.entries[0].is_default && !report.entries[1].is_default);
    bench.machine.boot(
        &bench.machine.releases[1].pack.1,
        Some(bench.machine.names[1]),
    );
    assert_eq!(checks(&bench.examine()), []);
}

#[test]
fn content_that_is_missing_or_wrong_is_found_and_what_needs_it_does_not_boot() {
    for (number, is_used) in [(0, true), (1, true), (2, false)] {
        let bench = Bench::new();
        let (_, digest) = &bench.machine.releases[number].objects[number];
        let own = bench.in_deployment(number, &object_path(digest).to_string());
        bench.remove(&own);
        let report = bench.examine();
        let (severity, finding) = only(&report, Check::Content);
        assert!(finding.found.contains("it is not there"), "{finding:?}");
        assert!(
            finding
                .place
                .contains(&bench.machine.names[number].to_string())
        );
        let expected = if is_used {
            (Severity::Failure, Mend::Repair)
        } else {
            (Severity::Warning, Mend::Prune)
        };
        assert_eq!((severity, finding.mend), expected);
        let [default, before] = verdicts(&report)[..] else {
            panic!("{report:?}");
        };
        let refused = |of| {
            if number == of {
                Verdict::Refused
            } else {
                Verdict::Boots
            }
        };
        assert_eq!((default, before), (refused(1), refused(0)));
        let is_default = number == 1;
        assert_eq!(
            report.worst_of(Check::Boots),
            is_default.then_some(Severity::Failure)
        );
    }

    // A shared object of other content is everybody's who names it.
    let bench = Bench::new();
    let (_, digest) = &bench.machine.releases[0].objects[1];
    bench.machine.disk.plant(&object_path(digest), b"other");
    let report = bench.examine();
    let damaged = report.of(Check::Content).count();
    assert_eq!(damaged, 2, "{report:?}");
    assert_eq!(only(&report, Check::Boots).0, Severity::Failure);
    assert_eq!(verdicts(&report), [Verdict::Refused; 2]);

    let bench = Bench::new();
    bench.remove(&pack_path(&bench.machine.releases[0].pack.1));
    let (severity, finding) = only(&bench.examine(), Check::Content);
    assert_eq!(severity, Severity::Failure);
    assert!(finding.found.contains("pack "), "{finding:?}");
}

#[test]
fn a_record_that_says_nothing_is_found() {
    let bench = Bench::new();
    let record = bench.in_deployment(1, "deployment.toml");
    bench.machine.disk.plant(&record, b"version = 1\n");
    let report = bench.examine();
    let (severity, finding) = only(&report, Check::Content);
    assert_eq!(severity, Severity::Failure);
    assert_eq!(finding.mend, Mend::Replace(bench.machine.names[1]));
    assert_eq!(verdicts(&report), [Verdict::Refused, Verdict::Boots]);
}

#[test]
fn entries_whose_files_are_not_whole_do_not_boot() {
    for file in ["linux", "initrd"] {
        let bench = Bench::new();
        bench.boot.rot(&bench.kernel(1, file));
        let report = bench.examine();
        let (severity, finding) = only(&report, Check::Entries);
        assert_eq!(severity, Severity::Failure);
        assert!(finding.found.contains("the digest"), "{finding:?}");
        let commit = bench.machine.names[1].commit;
        let mend = Mend::Deploy {
            commit,
            is_image: false,
        };
        assert_eq!(finding.mend, mend);
        let (severity, finding) = only(&report, Check::Boots);
        assert_eq!((severity, finding.mend), (Severity::Failure, mend));

        // The way back is no less needed.
        let bench = Bench::new();
        bench.boot.rot(&bench.kernel(0, file));
        let report = bench.examine();
        assert_eq!(only(&report, Check::Entries).0, Severity::Failure);
        assert_eq!(report.worst_of(Check::Boots), None);
    }
}

/// A change of what an initramfs is told to do.
type Change = fn(&mut Policy);

#[test]
fn an_initramfs_that_would_not_take_its_release_is_found_before_the_boot() {
    let changes: [(&str, Change); 5] = [
        ("stream: expected testing", |policy| {
            policy.stream = "testing".parse().expect("a name");
        }),
        ("variant: expected server", |policy| {
            policy.variant = Some("server".parse().expect("a name"));
        }),
        ("epoch: expected 3 or above", |policy| {
            policy.epoch_floor = 3;
        }),
        ("none", |policy| policy.etc = EtcMode::Merge),
        ("UUID=01234567-89ab-cdef-0123-456789abcdef", |policy| {
            policy.root = "UUID=01234567-89ab-cdef-0123-456789abcdef"
                .parse()
                .expect("a device");
        }),
    ];
    let root: RootDevice = "UUID=fedcba98-7654-3210-fedc-ba9876543210"
        .parse()
        .expect("a device");
    for (found, change) in changes {
        let bench = Bench::new();
        bench.add_with(1, change);
        let report = bench.examine_with(|given| given.root = Some(&root));
        let (severity, finding) = only(&report, Check::Entries);
        assert_eq!(severity, Severity::Failure, "{finding:?}");
        assert!(finding.found.contains(found), "{found}: {finding:?}");
        assert_eq!(report.worst_of(Check::Boots), Some(Severity::Failure));
    }
    // Keys that have not signed it, and a mode that this store cannot do.
    let bench = Bench::new();
    let policy = policy_for(&bench.machine.releases[1]);
    bench.add(1, &initrd(&policy, &keyset_file(1, 8)), None);
    let (_, finding) = only(&bench.examine(), Check::Entries);
    assert!(
        finding
            .expected
            .contains("the keys in the initramfs have signed"),
        "{finding:?}"
    );
    let bench = Bench::bare(Machine::new(false), MemoryDisk::new(false));
    bench.add_with(1, |policy| policy.mode = Mode::Verity);
    let (_, finding) = only(&bench.examine(), Check::Entries);
    assert!(finding.found.contains("mode verity"), "{finding:?}");
    // What cannot be found out is no failure, and no proof either.
    let bench = Bench::new();
    bench.add(1, b"made in a way of its own", None);
    let report = bench.examine();
    assert_eq!(only(&report, Check::Entries).0, Severity::Warning);
    assert_eq!(verdicts(&report), [Verdict::Unknown, Verdict::Boots]);
    assert_eq!(only(&report, Check::Boots).0, Severity::Warning);
}

#[test]
fn signed_objects_without_their_certificate_are_found_before_the_boot() {
    let filled = MemoryKeyring {
        has_certificate: true,
        requires_signatures: false,
    };
    let mut bench = Bench::bare(Machine::new(true), MemoryDisk::new(false));
    bench.machine.disk.set_keyring(filled);
    // Nothing that is there is signed.
    bench.add_with(1, |_| {});
    assert_eq!(checks(&bench.examine()), []);
    let mut signed = support::release(40);
    signed.is_signed = true;
    let name = support::deploy(&bench.machine.open(), &signed);
    bench.machine.names.push(name);
    bench.machine.releases.push(signed);

    let policy = policy_for(&bench.machine.releases[3]);
    bench.add(3, &initrd(&policy, &keyset_file(1, 7)), None);
    let (severity, finding) = only(&bench.examine(), Check::Entries);
    assert_eq!(severity, Severity::Failure, "{finding:?}");
    assert!(
        finding.found.contains("no certificate is there"),
        "{finding:?}"
    );
    // A SEQUENCE of DER: what we cannot read is the kernel's to judge.
    let certificate = initrd_with(&policy, &keyset_file(1, 7), &[0x30, 1, 7]);
    bench.add(3, &certificate, None);
    let report = bench.examine();
    assert_eq!(verdicts(&report)[0], Verdict::Boots, "{report:?}");
    // A kernel that verifies none opens them all.
    let none = MemoryKeyring {
        has_certificate: false,
        ..filled
    };
    bench.machine.disk.set_keyring(none);
    bench.add(3, &initrd(&policy, &keyset_file(1, 7)), None);
    assert_eq!(verdicts(&bench.examine())[0], Verdict::Boots);
}

#[test]
fn who_chooses_what_boots_is_said() {
    let bench = Bench::new();
    bench.boot.plant(
        &path("loader/entries/debian.conf"),
        b"title D\nsort-key debian\nlinux /l\n",
    );
    let (severity, finding) = only(&bench.examine(), Check::Boots);
    assert_eq!(severity, Severity::Warning);
    assert!(finding.found.contains("debian.conf"), "{finding:?}");

    let missing = format!(
        "title D\nlinux /l\noptions sealroot={}.0\n",
        "ab".repeat(32)
    );
    bench
        .boot
        .plant(&path("loader/entries/mine.conf"), missing.as_bytes());
    let (severity, finding) = only(&bench.examine(), Check::Entries);
    assert_eq!(severity, Severity::Warning);
    assert!(finding.found.contains("which is not there"), "{finding:?}");

    // Given up by the loader, changed by hand, or of nothing.
    let bench = Bench::new();
    let policy = policy_for(&bench.machine.releases[2]);
    bench.add(2, &initrd(&policy, &keyset_file(1, 7)), Some(1));
    let entries = bench.partition().entries().expect("read");
    let counted = entries
        .of(&bench.machine.names[2])
        .expect("it")
        .file_name
        .clone();
    let file = path(&format!("loader/entries/{counted}"));
    let text = bench.boot.files()[&format!("/{file}")].clone();
    BootIo::remove_file(bench.partition().io(), &file).expect("removed");
    let given_up = counted.replace("+1", "+0-1");
    bench
        .boot
        .plant(&path(&format!("loader/entries/{given_up}")), &text);
    let (severity, finding) = only(&bench.examine(), Check::Entries);
    assert_eq!(severity, Severity::Warning);
    assert!(finding.found.contains("given it up"), "{finding:?}");
    let changed = [&text[..], b"# mine\n"].concat();
    bench
        .boot
        .plant(&path(&format!("loader/entries/{given_up}")), &changed);
    let (severity, finding) = only(&bench.examine(), Check::Entries);
    assert_eq!(severity, Severity::Warning);
    assert!(finding.place.ends_with(&given_up), "{finding:?}");

    let empty = Bench::bare(Machine::new(true), MemoryDisk::new(false));
    assert_eq!(only(&empty.examine(), Check::Boots).0, Severity::Failure);
    empty
        .boot
        .plant(&path("loader"), b"a file, and no directory");
    let (severity, finding) = only(&empty.examine(), Check::Boots);
    assert_eq!(severity, Severity::Failure);
    assert!(finding.found.contains("loader"), "{finding:?}");
    let unknown = Bench::new().examine_with(|given| given.unknown = Some("several boot loaders"));
    let (severity, finding) = only(&unknown, Check::Boots);
    assert_eq!(
        (severity, finding.mend),
        (Severity::Warning, Mend::NameBoot)
    );
    assert_eq!(finding.found, "several boot loaders");
}

#[test]
fn what_piles_up_is_more_than_one_update_leaves() {
    let bench = Bench::new();
    bench.machine.disk.plant(&path("tmp/left"), &[1; 5000]);
    let (severity, finding) = only(&bench.examine(), Check::Leftovers);
    assert_eq!((severity, finding.mend), (Severity::Warning, Mend::Prune));
    bench
        .machine
        .disk
        .plant(&path("tmp/more"), &vec![1; 50_000]);
    assert_eq!(
        only(&bench.examine(), Check::Leftovers).0,
        Severity::Failure
    );

    let bench = Bench::new();
    let left = |number: u32| {
        let directory = path(&format!("sealroot/{number:064}"));
        bench
            .boot
            .plant(&directory.join("linux").expect("a path"), &[1; 5000]);
    };
    bench.boot.plant(
        &path("loader/entries/sealroot-00000009-abababababab.0.conf"),
        b"title x\n",
    );
    left(1);
    let (severity, finding) = only(&bench.examine(), Check::Leftovers);
    assert_eq!(severity, Severity::Warning);
    assert!(
        finding.found.starts_with("1 unfinished entries, 1 kernels"),
        "{finding:?}"
    );
    (2..20).for_each(left);
    assert_eq!(
        only(&bench.examine(), Check::Leftovers).0,
        Severity::Failure
    );
}

#[test]
fn what_is_staged_is_whole_or_not_there() {
    let staged = |boot: &str| format!("version = 1\nboot = \"{boot}\"\n");
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux");
    let bench = Bench::new();
    bench.raise(2, Flag::Staged, staged(boot_id.trim_end()).as_bytes());
    let report = bench.examine();
    assert_eq!(checks(&report), []);
    assert_eq!(report.staged, Some(bench.machine.names[2]));

    bench.raise(0, Flag::Staged, staged(boot_id.trim_end()).as_bytes());
    let (severity, finding) = only(&bench.examine(), Check::Staged);
    assert_eq!(
        (severity, finding.mend),
        (Severity::Warning, Mend::Finalize)
    );

    let bench = Bench::new();
    bench.raise(2, Flag::Staged, staged("another").as_bytes());
    let (severity, finding) = only(&bench.examine(), Check::Staged);
    assert_eq!(
        (severity, finding.mend),
        (Severity::Warning, Mend::Finalize)
    );
    bench.raise(2, Flag::Staged, b"version = 9");
    assert_eq!(only(&bench.examine(), Check::Staged).0, Severity::Failure);

    // What nothing used so far is needed now.
    let (_, digest) = &bench.machine.releases[2].objects[2];
    bench.remove(&bench.in_deployment(2, &object_path(digest).to_string()));
    assert_eq!(only(&bench.examine(), Check::Content).0, Severity::Failure);
}

#[test]
fn keysets_that_do_not_fit_are_told() {
    let bench = Bench::new();
    for (version, seed, findings) in [(1, 7, 0), (2, 7, 0), (1, 8, 4), (2, 8, 2)] {
        let trusted = keyset(version, seed);
        let report = bench.examine_with(|given| given.keyset = Some(&trusted));
        let found = report.of(Check::Keys).count();
        assert_eq!(found, findings, "{version} {seed}: {report:?}");
        assert!(
            report.worst() < Some(Severity::Failure),
            "it boots by its own keyset"
        );
    }
    let policy = policy_for(&bench.machine.releases[1]);
    bench.add(1, &initrd(&policy, &keyset_file(2, 7)), None);
    let (severity, finding) = only(&bench.examine(), Check::Keys);
    assert_eq!((severity, finding.mend), (Severity::Warning, Mend::Keyset));
    assert_eq!(checks(&bench.examine_with(|given| given.keyset = None)), []);
}

#[test]
fn floors_that_are_gone_or_above_what_is_kept_are_found() {
    let bench = Bench::new();
    let both = FloorStore {
        efi: true,
        tpm: Some(7),
    };
    for number in [0, 1] {
        bench.add_with(number, |policy| {
            policy.floor_store = both;
            policy.floor_on = FloorOn::Index;
        });
    }
    let floors = |index: u64| Floors {
        firmware: Some(Floor { epoch: 0, index }),
        counter: Some(0),
    };
    let with = |floors: Floors| bench.examine_with(|given| given.floors = Some(&floors));
    assert_eq!(checks(&with(floors(1))), []);

    // Releases 1 and 2 are kept; the floor has passed the way back, then the default.
    let report = with(floors(2));
    let (severity, finding) = only(&report, Check::Floor);
    let mend = Mend::Undeploy(bench.machine.names[0]);
    assert_eq!((severity, finding.mend), (Severity::Warning, mend));
    assert_eq!(verdicts(&report)[..1], [Verdict::Boots]);
    assert_eq!(report.worst_of(Check::Boots), None);
    let report = with(floors(3));
    assert_eq!(report.worst_of(Check::Floor), Some(Severity::Failure));
    assert_eq!(only(&report, Check::Boots).0, Severity::Failure);

    for (gone, mend) in [
        (
            Floors {
                firmware: None,
                ..floors(1)
            },
            Mend::EnrolVariable,
        ),
        (
            Floors {
                counter: None,
                ..floors(1)
            },
            Mend::EnrolCounter(7),
        ),
    ] {
        let report = with(gone);
        let worst = report
            .of(Check::Floor)
            .max_by_key(|(severity, _)| *severity);
        let (severity, finding) = worst.expect("found");
        assert_eq!((severity, &finding.mend), (Severity::Failure, &mend));
        assert_eq!(only(&report, Check::Boots).0, Severity::Failure);
    }
    // Another machine's are not known here.
    let report = bench.examine();
    assert_eq!(report.worst(), Some(Severity::Warning));
    assert_eq!(verdicts(&report), [Verdict::Unknown; 2]);
}

#[test]
fn what_is_pinned_is_held_against_the_floor_of_this_boot() {
    let bench = Bench::new();
    bench.raise(2, Flag::Pinned, b"");
    let machine = &bench.machine;
    machine.boot(&machine.releases[1].pack.1, Some(machine.names[1]));
    let record = machine.runtime().booted_path();
    let text = std::fs::read_to_string(&record).expect("a record");
    let floor = "\"index\": 2, \"epoch\": 0, \"floor\": {\"epoch\": 0, \"index\": 0, \"on\": \
                 \"index\", \"efi\": true, \"tpm_base\": null}";
    std::fs::write(
        &record,
        text.replace("\"index\": null, \"epoch\": null", floor),
    )
    .expect("written");
    let floors = Floors {
        firmware: Some(Floor { epoch: 0, index: 4 }),
        counter: None,
    };
    let report = bench.examine_with(|given| given.floors = Some(&floors));
    let (severity, finding) = only(&report, Check::Floor);
    let mend = Mend::Undeploy(machine.names[2]);
    assert_eq!((severity, finding.mend), (Severity::Warning, mend));
}

#[test]
fn a_partition_without_room_for_the_next_update_is_told() {
    const MIB: u64 = 1 << 20;
    let examine = |entries: usize, capacity_bytes: u64| {
        let boot = MemoryDisk::with_capacity(capacity_bytes);
        let bench = Bench::bare(Machine::new(true), boot);
        for (number, release) in bench.machine.releases.iter().take(entries).enumerate() {
            let mut image = initrd(&policy_for(release), &keyset_file(1, 7));
            image.resize(usize::try_from(MIB).expect("small"), 0);
            bench.add(number, &image, None);
        }
        bench.examine()
    };
    let report = examine(2, 8 * MIB);
    assert_eq!(checks(&report), []);
    assert!(report.room.is_some_and(|room| room.largest_bytes > MIB));
    // One more fits; or does once what is not kept is gone.
    for capacity_bytes in [4 * MIB, 5 * MIB / 2] {
        let (severity, finding) = only(&examine(2, capacity_bytes), Check::Room);
        assert_eq!(severity, Severity::Warning);
        assert!(matches!(finding.mend, Mend::MakeRoom(_)), "{finding:?}");
    }
    assert_eq!(
        only(&examine(1, 3 * MIB / 2), Check::Room).0,
        Severity::Failure
    );
}

#[test]
fn while_somebody_changes_the_store_nothing_is_said() {
    let bench = Bench::new();
    let store = bench.machine.open();
    let transaction = store.begin(&Silent).expect("begun");
    let other = open(&bench.machine.disk, Trouble::None);
    let other = other.with_lock_wait(std::time::Duration::ZERO);
    let boot = bench.partition();
    let subject = Subject {
        store: &other,
        boot: Ok(&boot),
        runtime: &bench.machine.runtime(),
        keyset: None,
        floors: None,
        root: None,
    };
    let busy = doctor::examine(&subject, &Silent).expect_err("busy");
    assert_eq!(busy.class(), sealroot_format::ErrorClass::Busy);
    drop(transaction);
}
