// SPDX-License-Identifier: MIT OR Apache-2.0
//! `pull` on disks of all sizes, from those on which nothing fits up to one that does: what was there
//! stays, it is said what is needed, and on a larger disk the next run goes on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Once;

use sealroot_format::ErrorClass;
use sealroot_testkit::http_server::{Answer, HttpServer};
use sealroot_testkit::need;

use super::{DEVICE, Place, Shape, Way};
use crate::support::{Ran, check_refusal};

/// How many sizes are tried for each way, and how often a disk is filled meanwhile.
const SIZES: u64 = 16;

const SHAPE: Shape = Shape {
    small_objects: 60,
    large_objects: 2,
    new_objects: 1,
    new_bytes: 4_000_000,
};

/// What files of a filesystem are rounded up to.
const BLOCK_BYTES: u64 = 4096;

/// More than is needed.
const ENOUGH_BYTES: u64 = 32 << 20;

/// What each run asks for, and heads of files that it goes on with.
const DOCUMENT_BYTES: u64 = 64 * 1024;

/// A device whose disk has a size.
struct Disk<'p> {
    place: &'p Place,
}

impl<'p> Disk<'p> {
    fn of(place: &'p Place, bytes: u64) -> Self {
        let disk = Self { place };
        disk.mount(&format!("-t tmpfs -o size={bytes} none disk"));
        disk
    }

    /// Makes room.
    fn grow(&self) {
        self.mount(&format!("-o remount,size={ENOUGH_BYTES} disk"));
        let filler = self.place.scratch.path(FILLER);
        if filler.exists() {
            fs::remove_file(filler).expect("removed");
        }
    }

    fn mount(&self, line: &str) {
        let mounted = self.place.scratch.command_of("mount", line).status();
        assert!(mounted.expect("mount starts").success(), "{line}");
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let unmounted = self.place.scratch.command_of("umount", "disk").status();
        assert!(unmounted.expect("umount starts").success());
    }
}

const FILLER: &str = "disk/filler";

/// Fills the disk of a path, but for `left_bytes`, while others write to it.
fn fill(path: &Path, left_bytes: u64) {
    let disk = path.parent().expect("a directory");
    let free = rustix::fs::statvfs(disk).expect("statvfs");
    let len = (free.f_bavail * free.f_frsize).saturating_sub(left_bytes);
    match fs::write(path, vec![1; usize::try_from(len).expect("small")]) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
        filled => filled.expect("written"),
    }
}

/// How space is short.
#[derive(Clone, Copy, Debug)]
enum Shortage {
    /// The disk has so many bytes.
    Size(u64),
    /// The disk is filled, but for so many bytes, when what is large is asked for.
    Filled(u64),
}

/// A pull on a disk on which all fits.
struct Whole {
    sent_bytes: u64,
    listing: Vec<(PathBuf, u64)>,
}

impl Place {
    /// Pulls; how that ended, and the bytes that were sent.
    fn pull(&self, way: Way, shortage: Shortage) -> (Ran, u64) {
        let (filler, once) = (self.scratch.path(FILLER), Once::new());
        let server = HttpServer::serve(&self.scratch.path("www"), move |request| {
            let asked_bytes = request.range.map_or(0, |(first, last)| last - first);
            let is_large = asked_bytes > 400_000 && !request.path.starts_with("channel");
            if let (Shortage::Filled(left_bytes), true) = (shortage, is_large) {
                once.call_once(|| fill(&filler, left_bytes));
            }
            Answer::Honest
        });
        let server = server.expect("a server");
        let line = format!("{DEVICE} {} --from {}", way.pull(), server.url());
        let ran = self.scratch.run(&line);
        (ran, server.sent_bytes())
    }

    fn kept_bytes(&self) -> u64 {
        let files = self.scratch.listing("disk/device").into_iter();
        let is_part = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "part");
        files
            .filter(|(path, _)| is_part(path))
            .map(|(_, len)| len)
            .sum()
    }

    fn used_bytes(&self, store: &str) -> u64 {
        let files = self.scratch.listing(store).into_iter();
        files
            .map(|(_, len)| len.next_multiple_of(BLOCK_BYTES))
            .sum()
    }

    fn whole_on_large_disk(&self, way: Way) -> Whole {
        let _disk = Disk::of(self, ENOUGH_BYTES);
        self.begin(way);
        let (ran, sent_bytes) = self.pull(way, Shortage::Size(ENOUGH_BYTES));
        assert_eq!(ran.code, 0, "{}", ran.err);
        self.assert_tidy(&"a large disk");
        Whole {
            sent_bytes,
            listing: self.pruned_listing(),
        }
    }

    /// Pulls where space is short, and again where it is not; what the first kept, if it failed.
    fn pull_twice(&self, shortage: Shortage, way: Way, whole: &Whole) -> Option<u64> {
        let about = format!("{way:?}, {shortage:?}");
        let disk = Disk::of(
            self,
            match shortage {
                Shortage::Size(bytes) => bytes,
                Shortage::Filled(_) => ENOUGH_BYTES,
            },
        );
        self.begin(way);
        let (ran, _) = self.pull(way, shortage);
        self.assert_sound(&about);
        let mut failed = None;
        if ran.code != 0 {
            let words = [" bytes needed, ", " available", "hint: make room"];
            check_refusal(&ran, ErrorClass::Io, &about, &words);
            let kept_bytes = self.kept_bytes();
            disk.grow();
            let (ran, sent_bytes) = self.pull(way, Shortage::Size(ENOUGH_BYTES));
            assert_eq!(ran.code, 0, "{about}: {}", ran.err);
            let at_most = whole.sent_bytes - kept_bytes + DOCUMENT_BYTES;
            assert!(sent_bytes <= at_most, "{about}: {sent_bytes}, {at_most}");
            self.assert_sound(&about);
            failed = Some(kept_bytes);
        }
        disk.grow();
        self.assert_tidy(&about);
        assert!(self.pruned_listing() == whole.listing, "{about}");
        failed
    }

    fn pull_where_space_is_short(&self, way: Way) {
        let whole = self.whole_on_large_disk(way);
        let first = self.used_bytes(way.template()) + 32 * BLOCK_BYTES;
        // What was fetched lies beside what is made of it, and so does what the pack is made of.
        let more = self.used_bytes("store") + 2 * whole.sent_bytes;
        let mut failures = Vec::new();
        for number in 0..=SIZES {
            let bytes = more * number / SIZES;
            for shortage in [Shortage::Size(first + bytes), Shortage::Filled(bytes)] {
                let failed = self.pull_twice(shortage, way, &whole);
                assert!(number > 0 || failed.is_some(), "{shortage:?} does");
                assert!(number < SIZES || failed.is_none(), "{shortage:?} fails");
                failures.extend(failed);
            }
        }
        assert!(failures.len() > 12, "{failures:?}");
        if way == Way::Delta {
            let delta = self.scratch.only("www/delta", ".delta");
            let delta_bytes = fs::metadata(delta).expect("there").len();
            assert!(failures.contains(&delta_bytes), "{failures:?}");
        }
    }
}

// Rules: O6
#[test]
fn on_a_full_disk_nothing_is_lost_and_the_next_run_goes_on() {
    if !need::root() {
        return;
    }
    let place = Place::new(SHAPE, "/dev/shm".as_ref());
    for way in Way::ALL {
        place.pull_where_space_is_short(way);
    }
}
