// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of `/etc` that the machine keeps under `/var` (`docs/format/kept.md`), put into the
//! `/etc` of this boot.
//!
//! Nobody vouches for them. Each is read once, whole, and what was read is what is checked and
//! written. A file that is not what its type allows is not used and said to be so: the release's
//! own is what was signed, so the boot goes on with that, and the machine can be repaired.

use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sealroot_format::kept::{FILES, KEPT_DIRECTORY, Kept, KeptFile, Kind, Shadow, ZONES};
use sealroot_format::limits::{MAX_ACCOUNTS_BYTES, MAX_KEPT_FILE_BYTES};

use crate::console::say;
use crate::refusal::{Code, OrRefuse as _, Refusal};
use crate::state::copy_attributes;
use crate::sysroot::{find_file_beneath, open_directory_beneath};

/// Who may write what is kept, for a person.
const ROOTS: &str = "root's, and for nobody else to write";

/// The permissions that let others than the owner write.
const OTHERS_WRITE: u32 = 0o022;

/// Puts what is kept in `var` into `etc`; time zones and users are those of the verified `root`.
///
/// Refuses only where a good file cannot be written: half of one would be worse than none.
pub(crate) fn put_into(
    etc: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    var: BorrowedFd<'_>,
) -> Result<(), Refusal> {
    let directory = match open_kept(var) {
        Ok(Some(directory)) => directory,
        Ok(None) => return Ok(()),
        Err(reason) => {
            say_unused(&reason);
            return Ok(());
        }
    };
    for file in &FILES {
        match read(file, etc, root, directory.as_fd()) {
            Ok(Some((place, content))) => {
                write(&place, file, &content).or_refuse(
                    Code::State,
                    file.path(),
                    "to be written",
                )?;
            }
            Ok(None) => {}
            Err(reason) => say_unused(&reason),
        }
    }
    Ok(())
}

fn say_unused(reason: &Refusal) {
    say(&format!("kept file NOT USED: {}", reason.message));
}

/// Where files are kept, if there is such a place.
fn open_kept(var: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Refusal> {
    let what = "/var/lib/sealroot/etc";
    let expected = "a directory through no symlink";
    let directory = match open_directory_beneath(var, KEPT_DIRECTORY) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.or_refuse(Code::State, what, expected)?,
    };
    let stat = rustix::fs::fstat(&directory).or_refuse(Code::State, what, expected)?;
    check_owner(what, &stat)?;
    Ok(Some(directory))
}

fn check_owner(what: &str, stat: &rustix::fs::Stat) -> Result<(), Refusal> {
    if stat.st_uid == 0 && stat.st_mode & OTHERS_WRITE == 0 {
        return Ok(());
    }
    let found = format!("user {}, mode {:o}", stat.st_uid, stat.st_mode & 0o7777);
    Err(Refusal::new(Code::State, what, ROOTS, found))
}

/// Where a file goes.
struct Place {
    directory: OwnedFd,
    name: &'static str,
    /// The release's, of which it gets owner, label and other attributes.
    old: Option<OwnedFd>,
}

/// What goes there.
enum Content {
    File(Vec<u8>),
    Link(String),
}

/// What is kept of a file, if it may be used.
fn read(
    file: &KeptFile,
    etc: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
) -> Result<Option<(Place, Content)>, Refusal> {
    let found = find_file_beneath(directory, file.name(), Code::State);
    let Some((fd, stat)) = found.map_err(|refusal| of_file(file, &refusal))? else {
        return Ok(None);
    };
    check_owner(file.path(), &stat)?;
    let bytes = read_whole(fd, file.path(), MAX_KEPT_FILE_BYTES)?;
    let kept = file
        .parse(&bytes)
        .map_err(|error| Refusal::of(Code::State, &error))?;
    let place = find_place(file, etc)?;
    let content = match (kept, file.kind) {
        (Kept::Zone(zone), kind) => {
            check_zone(file, zone, root)?;
            match kind {
                Kind::ZoneLink => Content::Link(format!("../{ZONES}/{zone}")),
                _ => Content::File(bytes),
            }
        }
        (Kept::Shadow(shadow), _) => Content::File(merge(&shadow, etc)?),
        _ => Content::File(bytes),
    };
    Ok(Some((place, content)))
}

/// Says which file of `/etc` a refusal is about, not only what it is called where it is kept.
fn of_file(file: &KeptFile, refusal: &Refusal) -> Refusal {
    let message = format!("{}: {}", file.path(), refusal.message);
    Refusal {
        code: refusal.code,
        message,
    }
}

/// The whole of a file that is as long as it may be.
fn read_whole(file: OwnedFd, what: &str, limit_bytes: usize) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    // One more than allowed, so that it shows.
    let most = u64::try_from(limit_bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let expected = "a file that can be read";
    let read = std::fs::File::from(file).take(most).read_to_end(&mut bytes);
    read.or_refuse(Code::State, what, expected)?;
    if bytes.len() > limit_bytes {
        let expected = format!("at most {limit_bytes} bytes");
        return Err(Refusal::new(Code::State, what, expected, "more"));
    }
    Ok(bytes)
}

/// The place of a file in `/etc`, which the release must have a directory for.
fn find_place(file: &KeptFile, etc: BorrowedFd<'_>) -> Result<Place, Refusal> {
    let (parent, name) = match file.path_in_etc().rsplit_once('/') {
        Some((parent, name)) => (parent, name),
        None => (".", file.path_in_etc()),
    };
    let what = file.path();
    let expected = "a directory of the release for it";
    let directory = open_directory_beneath(etc, parent).or_refuse(Code::State, what, expected)?;
    let expected = "a file or nothing in the release";
    let old = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(errno).or_refuse(Code::State, what, expected),
        Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
    };
    let old = match old {
        Some(FileType::Directory) => {
            return Err(Refusal::new(Code::State, what, expected, "a directory"));
        }
        Some(FileType::RegularFile) => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let old = rustix::fs::openat(&directory, name, flags, Mode::empty());
            Some(old.or_refuse(Code::State, what, expected)?)
        }
        _ => None,
    };
    Ok(Place {
        directory,
        name,
        old,
    })
}

/// A time zone is one that the release has.
fn check_zone(file: &KeptFile, zone: &str, root: BorrowedFd<'_>) -> Result<(), Refusal> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let path = format!("{ZONES}/{zone}");
    let expected = "a time zone of the release";
    let stat = rustix::fs::openat2(root, &path, flags, Mode::empty(), resolve)
        .and_then(rustix::fs::fstat)
        .or_refuse(Code::State, file.path(), expected)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        other => Err(Refusal::new(
            Code::State,
            file.path(),
            expected,
            format!("{other:?}"),
        )),
    }
}

/// The release's `shadow` with the kept passwords of its users.
fn merge(shadow: &Shadow<'_>, etc: BorrowedFd<'_>) -> Result<Vec<u8>, Refusal> {
    let read = |name| {
        let (file, _) = crate::sysroot::open_file_beneath(etc, name, Code::State)?;
        read_whole(file, name, MAX_ACCOUNTS_BYTES)
    };
    let merged = shadow.merge(&read("shadow")?, &read("passwd")?);
    if merged.ignored > 0 {
        let expected = "users of the release who can log in";
        let found = format!("{} others", merged.ignored);
        say_unused(&Refusal::new(
            Code::State,
            "lines of /etc/shadow",
            expected,
            found,
        ));
    }
    Ok(merged.bytes)
}

/// Puts a file in place of what the release has.
fn write(place: &Place, file: &KeptFile, content: &Content) -> Result<(), Errno> {
    let Place {
        directory,
        name,
        old,
    } = place;
    match rustix::fs::unlinkat(directory, *name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let bytes = match content {
        Content::Link(target) => return rustix::fs::symlinkat(target, directory, *name),
        Content::File(bytes) => bytes,
    };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let new = rustix::fs::openat(directory, *name, flags, Mode::RUSR | Mode::WUSR)?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::write(&new, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    if let Some(old) = old {
        copy_attributes(old, &new)?;
    }
    if file.kind == Kind::Shadow {
        // As the release has them: some systems let a group read it.
        return Ok(());
    }
    rustix::fs::fchown(
        &new,
        Some(rustix::fs::Uid::ROOT),
        Some(rustix::fs::Gid::ROOT),
    )?;
    rustix::fs::fchmod(&new, Mode::from_raw_mode(file.permissions))
}
