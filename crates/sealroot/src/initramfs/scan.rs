// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an initramfs that others made carries of ours: the boot program, its policy, its keyset, its certificates.
//!
//! An initramfs is a row of cpio archives, each as it is or compressed, with zeros in between; the
//! first often holds microcode and nothing else. A later file replaces an earlier one of its name.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use sealroot_format::ErrorClass;
use sealroot_format::limits::{
    MAX_INITRAMFS_BYTES, MAX_INITRAMFS_MEMBERS, MAX_INITRAMFS_WINDOW_BYTES, MAX_KEYSET_BYTES,
    MAX_PATH_BYTES, MAX_POLICY_BYTES, MAX_VERITY_CERTIFICATES_BYTES,
};
use sealroot_format::policy::{
    CertificatesError, KEYSET_PATH, POLICY_PATH, REPAIR_TOOL_PATH, VERITY_CERTIFICATES_PATH,
};

use super::certificates::{CertificateName, certificate_names};

/// Where the boot program is in an initramfs of systemd.
pub const PROGRAM_PATH: &str = "usr/lib/sealroot/sealroot-boot";
/// Where it is where it is all there is.
pub(crate) const INIT_PATH: &str = "init";

const INPUT_BUFFER_BYTES: usize = 64 * 1024;
const HEADER_BYTES: usize = 110;
const TRAILER: &[u8] = b"TRAILER!!!";
const ELF_MAGIC: &[u8] = b"\x7fELF";
const TYPE_MASK: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

/// What of ours was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// The path of the boot program.
    pub program: Option<String>,
    /// The policy file.
    pub policy: Option<Vec<u8>>,
    /// The keyset file.
    pub keyset: Option<Vec<u8>>,
    /// Whether it has something with which the boot program would repair instead.
    pub repairs: bool,
    /// The certificates for the kernel's keyring of fs-verity; of a file that is too long, no more than
    /// shows that.
    pub verity_certificates: Option<Vec<u8>>,
}

impl Carried {
    /// Whether all is there that it takes to boot a release, and a release is what is booted.
    pub const fn is_complete(&self) -> bool {
        let has_orders = self.policy.is_some() && self.keyset.is_some();
        self.program.is_some() && has_orders && !self.repairs
    }

    /// The certificates by name; none if there is no file of them.
    ///
    /// # Errors
    ///
    /// The boot program refuses such a file.
    pub fn certificate_names(&self) -> Result<Vec<CertificateName>, CertificatesError> {
        self.verity_certificates
            .as_deref()
            .map_or_else(|| Ok(Vec::new()), certificate_names)
    }
}

/// Why an initramfs could not be looked through.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// It could not be read or decompressed.
    #[error("cannot read the initramfs near byte {offset_bytes}")]
    Read {
        /// How far reading had come.
        offset_bytes: u64,
        /// Why not.
        source: io::Error,
    },
    /// It is no initramfs.
    #[error("the initramfs has {found} at byte {offset_bytes}, expected {expected}")]
    Format {
        /// Where, of the file or of what it decompresses to.
        offset_bytes: u64,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// It is larger than it may be.
    #[error("the initramfs has more than {max} {what} when it is unpacked")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How many it may have.
        max: u64,
    },
}

impl ScanError {
    /// What kind of failure this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Read { source, .. }
                if !matches!(
                    source.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                ErrorClass::Io
            }
            Self::Read { .. } | Self::Format { .. } => ErrorClass::Corrupt,
            Self::TooLarge { .. } => ErrorClass::Unsupported,
        }
    }
}

/// Looks through an initramfs from its beginning to its end.
pub fn scan(initramfs: &mut dyn Read) -> Result<Carried, ScanError> {
    let mut scan = Scan {
        found: Carried::default(),
        bytes_left: MAX_INITRAMFS_BYTES,
        members_left: MAX_INITRAMFS_MEMBERS,
    };
    scan.archives(&mut Input::new(initramfs), Depth::Outer)?;
    Ok(scan.found)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Outer,
    /// What is compressed inside something compressed, the kernel does not unpack.
    Compressed,
}

struct Scan {
    found: Carried,
    bytes_left: u64,
    members_left: u32,
}

impl Scan {
    fn archives(&mut self, input: &mut Input<'_>, depth: Depth) -> Result<(), ScanError> {
        loop {
            self.skip_zeros(input)?;
            let magic = input.peek(6)?;
            match magic {
                [] => return Ok(()),
                [b'0', b'7', b'0', b'7', b'0', b'1' | b'2'] => self.archive(input)?,
                _ if depth == Depth::Compressed => return Err(input.unexpected("a cpio archive")),
                [0x1f, 0x8b, ..] => {
                    let mut decoder = GzDecoder::new(&mut *input);
                    self.archives(&mut Input::new(&mut decoder), Depth::Compressed)?;
                }
                [0x28, 0xb5, 0x2f, 0xfd, ..] => self.zstd(input)?,
                [0xfd, b'7', b'z', b'X', b'Z', 0] => {
                    let limit_kib = u32::try_from(MAX_INITRAMFS_WINDOW_BYTES / 1024);
                    let limit_kib = limit_kib.unwrap_or(u32::MAX);
                    let mut decoder = XzReader::new_mem_limit(&mut *input, false, limit_kib);
                    self.archives(&mut Input::new(&mut decoder), Depth::Compressed)?;
                }
                _ => return Err(input.unexpected("cpio, or what gzip, xz or zstd compressed")),
            }
        }
    }

    fn zstd(&mut self, input: &mut Input<'_>) -> Result<(), ScanError> {
        let mut frame = FrameDecoder::new();
        frame.set_max_window_size(MAX_INITRAMFS_WINDOW_BYTES);
        let offset_bytes = input.offset_bytes;
        let decoder = StreamingDecoder::new_with_decoder(&mut *input, frame);
        let mut decoder = decoder.map_err(|error| ScanError::Read {
            offset_bytes,
            source: io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
        })?;
        self.archives(&mut Input::new(&mut decoder), Depth::Compressed)
    }

    /// One archive, up to and with its trailer.
    fn archive(&mut self, input: &mut Input<'_>) -> Result<(), ScanError> {
        loop {
            let member = self.member(input)?;
            if member.name == TRAILER {
                return Ok(());
            }
            self.content(input, &member)?;
        }
    }

    fn member(&mut self, input: &mut Input<'_>) -> Result<Member, ScanError> {
        let too_many = ScanError::TooLarge {
            what: "members",
            max: MAX_INITRAMFS_MEMBERS.into(),
        };
        self.members_left = self.members_left.checked_sub(1).ok_or(too_many)?;
        let mut header = [0; HEADER_BYTES];
        self.read(input, &mut header)?;
        let fields = |index: usize| -> Option<u32> {
            let at = index.checked_mul(8)?.checked_add(6)?;
            let digits = header.get(at..at.checked_add(8)?)?;
            u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        };
        let is_member = matches!(header, [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..]);
        let parsed = (fields(1), fields(6), fields(11));
        let (Some(mode), Some(size_bytes), Some(name_bytes), true) =
            (parsed.0, parsed.1, parsed.2, is_member)
        else {
            return Err(input.malformed("a member of a cpio archive", &header));
        };
        let name_bytes = usize::try_from(name_bytes).unwrap_or(usize::MAX);
        if !(1..=MAX_PATH_BYTES + 1).contains(&name_bytes) {
            return Err(input.malformed("a name of 1 to 4096 bytes", &header));
        }
        let padded_bytes = (HEADER_BYTES + name_bytes).next_multiple_of(4) - HEADER_BYTES;
        let mut name = vec![0; padded_bytes];
        self.read(input, &mut name)?;
        name.truncate(name_bytes - 1);
        Ok(Member {
            name,
            mode,
            size_bytes: size_bytes.into(),
        })
    }

    fn content(&mut self, input: &mut Input<'_>, member: &Member) -> Result<(), ScanError> {
        let path = std::str::from_utf8(&member.name).unwrap_or_default();
        let path = path
            .strip_prefix("./")
            .unwrap_or(path)
            .trim_start_matches('/');
        let is_regular = member.mode & TYPE_MASK == REGULAR;
        let max_bytes = match path {
            POLICY_PATH => MAX_POLICY_BYTES,
            KEYSET_PATH => MAX_KEYSET_BYTES,
            VERITY_CERTIFICATES_PATH => MAX_VERITY_CERTIFICATES_BYTES.saturating_add(1),
            PROGRAM_PATH | INIT_PATH => ELF_MAGIC.len(),
            _ => 0,
        };
        let wanted_bytes = member.size_bytes.min(max_bytes as u64);
        let mut content = vec![0; usize::try_from(wanted_bytes).unwrap_or_default()];
        self.read(input, &mut content)?;
        let padded_bytes = member.size_bytes.next_multiple_of(4);
        self.skip(input, padded_bytes.saturating_sub(wanted_bytes))?;
        let is_whole = is_regular && wanted_bytes == member.size_bytes;
        match path {
            POLICY_PATH => self.found.policy = is_whole.then_some(content),
            KEYSET_PATH => self.found.keyset = is_whole.then_some(content),
            REPAIR_TOOL_PATH => self.found.repairs = true,
            VERITY_CERTIFICATES_PATH => {
                self.found.verity_certificates = is_regular.then_some(content);
            }
            PROGRAM_PATH | INIT_PATH => {
                let is_program = is_regular && content == ELF_MAGIC;
                match &self.found.program {
                    // The one of systemd's initramfs; its `init` is systemd.
                    Some(found) if found != path => {}
                    _ => self.found.program = is_program.then(|| path.to_owned()),
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads exactly, and counts.
    fn read(&mut self, input: &mut Input<'_>, buffer: &mut [u8]) -> Result<(), ScanError> {
        self.count(buffer.len() as u64)?;
        let offset_bytes = input.offset_bytes;
        let read = input.read_exact(buffer);
        read.map_err(|source| ScanError::Read {
            offset_bytes,
            source,
        })
    }

    fn skip(&mut self, input: &mut Input<'_>, mut bytes: u64) -> Result<(), ScanError> {
        self.count(bytes)?;
        while bytes > 0 {
            let offset_bytes = input.offset_bytes;
            let failed = |source| ScanError::Read {
                offset_bytes,
                source,
            };
            let available = input.fill_buf().map_err(failed)?.len();
            if available == 0 {
                return Err(failed(io::ErrorKind::UnexpectedEof.into()));
            }
            let now = available.min(usize::try_from(bytes).unwrap_or(usize::MAX));
            input.consume(now);
            bytes = bytes.saturating_sub(now as u64);
        }
        Ok(())
    }

    fn skip_zeros(&mut self, input: &mut Input<'_>) -> Result<(), ScanError> {
        loop {
            let offset_bytes = input.offset_bytes;
            let available = input.fill_buf().map_err(|source| ScanError::Read {
                offset_bytes,
                source,
            })?;
            let zeros = available.iter().take_while(|&&byte| byte == 0).count();
            let is_end = zeros < available.len() || available.is_empty();
            input.consume(zeros);
            self.count(zeros as u64)?;
            if is_end {
                return Ok(());
            }
        }
    }

    fn count(&mut self, bytes: u64) -> Result<(), ScanError> {
        self.bytes_left = self
            .bytes_left
            .checked_sub(bytes)
            .ok_or(ScanError::TooLarge {
                what: "bytes",
                max: MAX_INITRAMFS_BYTES,
            })?;
        Ok(())
    }
}

struct Member {
    name: Vec<u8>,
    mode: u32,
    size_bytes: u64,
}

/// A buffered reader that can look ahead and knows where it is.
struct Input<'r> {
    inner: &'r mut dyn Read,
    buffer: Vec<u8>,
    position: usize,
    filled: usize,
    offset_bytes: u64,
}

impl<'r> Input<'r> {
    fn new(inner: &'r mut dyn Read) -> Self {
        Self {
            inner,
            buffer: vec![0; INPUT_BUFFER_BYTES],
            position: 0,
            filled: 0,
            offset_bytes: 0,
        }
    }

    fn available(&self) -> &[u8] {
        self.buffer
            .get(self.position..self.filled)
            .unwrap_or_default()
    }

    /// Reads more; whether there was more.
    fn fill_more(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.position..self.filled, 0);
        self.filled = self.filled.saturating_sub(self.position);
        self.position = 0;
        loop {
            let free = self.buffer.get_mut(self.filled..).unwrap_or_default();
            match self.inner.read(free) {
                Ok(read) => {
                    self.filled = self.filled.saturating_add(read);
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next bytes, without taking them; fewer only at the end.
    fn peek(&mut self, len: usize) -> Result<&[u8], ScanError> {
        while self.available().len() < len {
            let more = self.fill_more().map_err(|source| ScanError::Read {
                offset_bytes: self.offset_bytes,
                source,
            })?;
            if !more {
                break;
            }
        }
        Ok(self.available().get(..len).unwrap_or(self.available()))
    }

    fn unexpected(&mut self, expected: &'static str) -> ScanError {
        let found = self.available();
        let found = found.get(..6).unwrap_or(found).escape_ascii().to_string();
        ScanError::Format {
            offset_bytes: self.offset_bytes,
            expected,
            found,
        }
    }

    fn malformed(&self, expected: &'static str, found: &[u8]) -> ScanError {
        ScanError::Format {
            offset_bytes: self.offset_bytes,
            expected,
            found: found.escape_ascii().to_string(),
        }
    }
}

impl Read for Input<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let len = available.len().min(out.len());
        out[..len].copy_from_slice(&available[..len]);
        self.consume(len);
        Ok(len)
    }
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.filled {
            self.fill_more()?;
        }
        Ok(self.available())
    }

    fn consume(&mut self, len: usize) {
        self.position = self.position.saturating_add(len).min(self.filled);
        self.offset_bytes = self.offset_bytes.saturating_add(len as u64);
    }
}
