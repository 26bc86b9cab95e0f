// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that people or settings name, opened so that nothing else that lies there holds a
//! command up: a fifo that nobody writes to, a terminal, a device without an end.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};

/// Opens a regular file, which can be read at any place.
///
/// # Errors
///
/// Besides those of opening it, [`io::ErrorKind::InvalidInput`] if it is something else.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = open_at_once(path)?;
    match what_else(&file)? {
        None => Ok(file),
        Some(found) => Err(refused("a regular file", found)),
    }
}

/// Opens a file or a pipe, which can be read once. A fifo that nobody has open for writing is
/// empty.
///
/// # Errors
///
/// Besides those of opening it, [`io::ErrorKind::InvalidInput`] if it is neither.
pub fn open(path: &Path) -> io::Result<File> {
    let file = open_at_once(path)?;
    match what_else(&file)? {
        None => {}
        Some(FIFO) => fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?,
        Some(found) => return Err(refused("a file", found)),
    }
    Ok(file)
}

/// Reads a small file or pipe: at most `limit_bytes` and one more, so that who parses it sees that
/// it is too long.
///
/// # Errors
///
/// Those of [`open`] and of reading it.
pub fn read(path: &Path, limit_bytes: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = limit_bytes as u64;
    (open(path)?.take(limit.saturating_add(1))).read_to_end(&mut bytes)?;
    Ok(bytes)
}

const FIFO: &str = "a fifo";

fn open_at_once(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// What it is if it is no regular file.
fn what_else(file: &File) -> io::Result<Option<&'static str>> {
    let kind = file.metadata()?.file_type();
    Ok(match kind {
        _ if kind.is_file() => None,
        _ if kind.is_dir() => Some("a directory"),
        _ if kind.is_fifo() => Some(FIFO),
        _ => Some("a device"),
    })
}

fn refused(expected: &str, found: &str) -> io::Error {
    let message = format!("expected {expected}, found {found}");
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::PathBuf;

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("it");
        (place, path)
    }

    fn make_fifo(path: &Path) {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a fifo");
    }

    #[test]
    fn a_fifo_that_nobody_writes_to_holds_nobody_up() {
        let (_place, path) = place();
        make_fifo(&path);
        let error = open_regular(&path).expect_err("a fifo");
        assert_eq!(error.to_string(), "expected a regular file, found a fifo");
        assert_eq!(read(&path, 10).expect("empty"), b"");
    }

    #[test]
    fn a_pipe_is_read_to_its_end() {
        let (_place, path) = place();
        make_fifo(&path);
        // Open both ways, so that neither side waits for the other.
        let both = File::options().read(true).write(true).open(&path);
        let mut writer = both.expect("open");
        let reader = std::thread::spawn({
            let path = path.clone();
            move || read(&path, 10)
        });
        writer.write_all(b"0123456789and more").expect("written");
        let found = reader.join().expect("it ends").expect("read");
        assert_eq!(found, b"0123456789a", "one byte more than the limit");
    }

    #[test]
    fn what_has_no_end_is_no_file() {
        for (path, found) in [("/dev/zero", "a device"), ("/", "a directory")] {
            let path = Path::new(path);
            let error = read(path, 10).expect_err(found);
            assert_eq!(error.to_string(), format!("expected a file, found {found}"));
            let error = open_regular(path).expect_err(found);
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
        let (_place, path) = place();
        fs::write(&path, b"content").expect("written");
        assert_eq!(read(&path, 10).expect("read"), b"content");
        assert!(open_regular(&path).is_ok());
    }
}
