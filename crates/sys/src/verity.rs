// SPDX-License-Identifier: MIT OR Apache-2.0
//! fs-verity: enabling it on a file and measuring a file that has it.
//!
//! The names and errors are those of the kernel's `Documentation/filesystems/fsverity.rst`. A
//! measurement is the digest the kernel *will* enforce on each read; it reads no data itself.

use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, Setter, Updater, ioctl, opcode};

/// `FS_VERITY_HASH_ALG_SHA256`, the number in a [`Measurement`].
pub const HASH_ALGORITHM_SHA256: u16 = 1;

/// Bytes of one block of the Merkle tree in the only profile we enable.
pub const BLOCK_SIZE_BYTES: u32 = 4096;

/// Largest digest the kernel knows (SHA-512), bytes.
const MAX_DIGEST_BYTES: usize = 64;
const MAX_DIGEST_BYTES_U16: u16 = 64;

const FS_IOC_ENABLE_VERITY: Opcode = opcode::write::<EnableArg>(b'f', 133);
const FS_IOC_MEASURE_VERITY: Opcode = opcode::read_write::<DigestHeader>(b'f', 134);
const FS_IOC_READ_VERITY_METADATA: Opcode = opcode::read_write::<ReadMetadataArg>(b'f', 135);

/// `FS_VERITY_METADATA_TYPE_SIGNATURE`
const METADATA_TYPE_SIGNATURE: u64 = 3;

/// Longest built-in signature that a filesystem takes (`FS_VERITY_MAX_SIGNATURE_SIZE` of Linux), bytes.
const MAX_SIGNATURE_BYTES: usize = 16128;

/// `struct fsverity_enable_arg`
#[repr(C)]
struct EnableArg {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt_ptr: u64,
    sig_size: u32,
    reserved1: u32,
    sig_ptr: u64,
    reserved2: [u64; 11],
}

/// `struct fsverity_digest` without its flexible array.
#[repr(C)]
struct DigestHeader {
    algorithm: u16,
    size_bytes: u16,
}

/// `struct fsverity_read_metadata_arg`
#[repr(C)]
struct ReadMetadataArg {
    metadata_type: u64,
    offset: u64,
    length: u64,
    buf_ptr: u64,
    reserved: u64,
}

/// The request whose result says how many bytes were read.
struct ReadMetadata(ReadMetadataArg);

// SAFETY: the opcode is that of FS_IOC_READ_VERITY_METADATA, whose argument is this struct.
unsafe impl Ioctl for ReadMetadata {
    type Output = usize;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        FS_IOC_READ_VERITY_METADATA
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.0).cast()
    }

    unsafe fn output_from_ptr(read: IoctlOutput, _: *mut c_void) -> rustix::io::Result<usize> {
        usize::try_from(read).map_err(|_| Errno::OVERFLOW)
    }
}

#[repr(C)]
struct DigestBuffer {
    header: DigestHeader,
    bytes: [u8; MAX_DIGEST_BYTES],
}

const _: () = assert!(size_of::<EnableArg>() == 128);
const _: () = assert!(size_of::<DigestHeader>() == 4);
const _: () = assert!(size_of::<ReadMetadataArg>() == 40);
const _: () = assert!(size_of::<DigestBuffer>() == 4 + MAX_DIGEST_BYTES_U16 as usize);
const _: () = assert!(std::mem::offset_of!(DigestBuffer, bytes) == 4);

/// Why fs-verity could not be enabled: one variant per documented `errno`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnableVerityError {
    /// `EACCES`
    #[error("no write access to the file")]
    AccessDenied,
    /// `EBUSY`
    #[error("fs-verity is being enabled on the file already")]
    Busy,
    /// `EEXIST`
    #[error("the file has fs-verity already")]
    AlreadyEnabled,
    /// `EFBIG`
    #[error("the file is too large for fs-verity")]
    FileTooLarge,
    /// `EINTR`
    #[error("interrupted by a fatal signal")]
    Interrupted,
    /// `EINVAL`
    #[error("the hash algorithm, the block size or the kind of file is not supported")]
    InvalidArgument,
    /// `EBADMSG`
    #[error("the built-in signature is malformed")]
    SignatureMalformed,
    /// `EISDIR`
    #[error("it is a directory")]
    IsDirectory,
    /// `EKEYREJECTED`
    #[error("the built-in signature is of another digest")]
    SignatureRejected,
    /// `EMSGSIZE`
    #[error("the built-in signature is too long")]
    SignatureTooLong,
    /// `ENOKEY`
    #[error("the certificate of the built-in signature is not in the kernel's keyring .fs-verity")]
    NoCertificate,
    /// `ENOTTY`
    #[error("this type of filesystem does not implement fs-verity")]
    NotImplemented,
    /// `ENOPKG`
    #[error("the kernel does not have SHA-256 for fs-verity, or what the signature was made with")]
    NoHashAlgorithm,
    /// `EOPNOTSUPP`
    #[error("fs-verity is not configured in the kernel or not enabled on the filesystem")]
    NotSupported,
    /// `EPERM`
    #[error(
        "the file is append-only, or the kernel requires signatures (fs.verity.require_signatures)"
    )]
    NotPermitted,
    /// `EROFS`
    #[error("the filesystem is read-only")]
    ReadOnlyFilesystem,
    /// `ETXTBSY`
    #[error("the file is open for writing")]
    OpenForWriting,
    /// Anything else, for example `ENOSPC` or `EIO` from writing the Merkle tree.
    #[error("{0}")]
    Other(Errno),
}

impl EnableVerityError {
    /// Whether fs-verity is missing altogether, rather than refused for this file.
    pub const fn is_unsupported(self) -> bool {
        matches!(self, Self::NotImplemented | Self::NotSupported)
    }

    /// Whether the file would be taken without its signature, or may be.
    pub const fn is_about_signature(self) -> bool {
        matches!(
            self,
            Self::SignatureMalformed
                | Self::SignatureRejected
                | Self::SignatureTooLong
                | Self::NoCertificate
                | Self::NoHashAlgorithm
        )
    }
}

impl From<Errno> for EnableVerityError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ACCESS => Self::AccessDenied,
            Errno::BADMSG => Self::SignatureMalformed,
            Errno::BUSY => Self::Busy,
            Errno::EXIST => Self::AlreadyEnabled,
            Errno::FBIG => Self::FileTooLarge,
            Errno::INTR => Self::Interrupted,
            Errno::INVAL => Self::InvalidArgument,
            Errno::ISDIR => Self::IsDirectory,
            Errno::KEYREJECTED => Self::SignatureRejected,
            Errno::MSGSIZE => Self::SignatureTooLong,
            Errno::NOKEY => Self::NoCertificate,
            Errno::NOTTY => Self::NotImplemented,
            Errno::NOPKG => Self::NoHashAlgorithm,
            Errno::OPNOTSUPP => Self::NotSupported,
            Errno::PERM => Self::NotPermitted,
            Errno::ROFS => Self::ReadOnlyFilesystem,
            Errno::TXTBSY => Self::OpenForWriting,
            other => Self::Other(other),
        }
    }
}

/// Why a file could not be measured: one variant per documented `errno`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureVerityError {
    /// `ENODATA`
    #[error("the file does not have fs-verity enabled")]
    NotEnabled,
    /// `ENOTTY`
    #[error("this type of filesystem does not implement fs-verity")]
    NotImplemented,
    /// `EOPNOTSUPP`
    #[error("fs-verity is not configured in the kernel or not enabled on the filesystem")]
    NotSupported,
    /// `EOVERFLOW`
    #[error("the digest is longer than 64 bytes")]
    DigestTooLong,
    /// Anything else, for example `EIO` from reading the descriptor.
    #[error("{0}")]
    Other(Errno),
}

impl MeasureVerityError {
    /// Whether fs-verity is missing altogether, rather than from this file.
    pub const fn is_unsupported(self) -> bool {
        matches!(self, Self::NotImplemented | Self::NotSupported)
    }
}

impl From<Errno> for MeasureVerityError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NODATA => Self::NotEnabled,
            Errno::NOTTY => Self::NotImplemented,
            Errno::OPNOTSUPP => Self::NotSupported,
            Errno::OVERFLOW => Self::DigestTooLong,
            other => Self::Other(other),
        }
    }
}

/// What the kernel enforces on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measurement {
    algorithm: u16,
    len_bytes: usize,
    bytes: [u8; MAX_DIGEST_BYTES],
}

impl Measurement {
    /// The hash algorithm, `FS_VERITY_HASH_ALG_*`.
    pub const fn algorithm(&self) -> u16 {
        self.algorithm
    }

    /// The digest.
    pub fn digest(&self) -> &[u8] {
        &self.bytes[..self.len_bytes]
    }

    /// The digest if its algorithm is SHA-256. Block size and salt are part of what it hashes.
    pub fn sha256(&self) -> Option<[u8; 32]> {
        match self.algorithm {
            HASH_ALGORITHM_SHA256 => self.digest().try_into().ok(),
            _ => None,
        }
    }
}

/// `FS_IOC_ENABLE_VERITY` in our one profile: SHA-256, 4096-byte blocks, no salt, no signature.
///
/// The descriptor must be open for reading only and no other may be open for writing. All or
/// nothing across a crash, and not durable by itself.
#[doc(alias = "FS_IOC_ENABLE_VERITY")]
pub fn enable_verity(file: impl AsFd) -> Result<(), EnableVerityError> {
    enable(file, &[])
}

/// [`enable_verity`] with a built-in signature: PKCS #7 in DER, detached, of the file's
/// `struct fsverity_formatted_digest`. A kernel with
/// `CONFIG_FS_VERITY_BUILTIN_SIGNATURES` verifies it by its keyring `.fs-verity`, now and whenever the
/// file is opened; others keep it and do not look at it.
pub fn enable_signed_verity(file: impl AsFd, signature: &[u8]) -> Result<(), EnableVerityError> {
    enable(file, signature)
}

fn enable(file: impl AsFd, signature: &[u8]) -> Result<(), EnableVerityError> {
    let sig_size =
        u32::try_from(signature.len()).map_err(|_| EnableVerityError::SignatureTooLong)?;
    let arg = EnableArg {
        version: 1,
        hash_algorithm: HASH_ALGORITHM_SHA256.into(),
        block_size: BLOCK_SIZE_BYTES,
        salt_size: 0,
        salt_ptr: 0,
        sig_size,
        reserved1: 0,
        sig_ptr: signature.as_ptr().expose_provenance() as u64,
        reserved2: [0; 11],
    };
    // SAFETY: the opcode is that of FS_IOC_ENABLE_VERITY, whose argument is this struct.
    let request = unsafe { Setter::<FS_IOC_ENABLE_VERITY, EnableArg>::new(arg) };
    // SAFETY: the kernel only reads the struct and as many bytes of the signature as it has; there is no
    // salt.
    unsafe { ioctl(file, request) }.map_err(Into::into)
}

/// `FS_IOC_MEASURE_VERITY`: the digest the kernel enforces on the file.
#[doc(alias = "FS_IOC_MEASURE_VERITY")]
pub fn measure_verity(file: impl AsFd) -> Result<Measurement, MeasureVerityError> {
    let mut buffer = DigestBuffer {
        header: DigestHeader {
            algorithm: 0,
            size_bytes: MAX_DIGEST_BYTES_U16,
        },
        bytes: [0; MAX_DIGEST_BYTES],
    };
    // SAFETY: the opcode is that of FS_IOC_MEASURE_VERITY, whose argument starts with the header
    // and is followed by as many bytes as the header says.
    let request = unsafe { Updater::<FS_IOC_MEASURE_VERITY, DigestBuffer>::new(&mut buffer) };
    // SAFETY: the kernel writes at most `size_bytes` bytes behind the header, which are there.
    unsafe { ioctl(file, request) }?;
    let len_bytes = usize::from(buffer.header.size_bytes);
    if len_bytes > MAX_DIGEST_BYTES {
        return Err(MeasureVerityError::DigestTooLong);
    }
    Ok(Measurement {
        algorithm: buffer.header.algorithm,
        len_bytes,
        bytes: buffer.bytes,
    })
}

/// `FS_IOC_READ_VERITY_METADATA`: the built-in signature that a file with fs-verity has; `None` if it
/// has none.
#[doc(alias = "FS_IOC_READ_VERITY_METADATA")]
pub fn read_verity_signature(file: impl AsFd) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; MAX_SIGNATURE_BYTES];
    let arg = ReadMetadataArg {
        metadata_type: METADATA_TYPE_SIGNATURE,
        offset: 0,
        length: buffer.len() as u64,
        buf_ptr: buffer.as_mut_ptr().expose_provenance() as u64,
        reserved: 0,
    };
    // SAFETY: the kernel writes at most `length` bytes to `buf_ptr`, which are there.
    match unsafe { ioctl(file, ReadMetadata(arg)) } {
        Ok(len_bytes) => {
            buffer.truncate(len_bytes);
            Ok(Some(buffer))
        }
        Err(Errno::NODATA) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_numbers_of_the_kernel_header() {
        assert_eq!(FS_IOC_ENABLE_VERITY, 0x4080_6685);
        assert_eq!(FS_IOC_MEASURE_VERITY, 0xc004_6686);
        assert_eq!(FS_IOC_READ_VERITY_METADATA, 0xc028_6687);
    }

    #[test]
    fn a_device_cannot_be_measured_and_says_so() {
        let device = std::fs::File::open("/dev/null").expect("/dev/null");
        assert_eq!(
            measure_verity(&device),
            Err(MeasureVerityError::NotImplemented)
        );
        assert_eq!(
            enable_verity(&device),
            Err(EnableVerityError::NotImplemented)
        );
        let error = read_verity_signature(&device).expect_err("no such request");
        assert_eq!(error.raw_os_error(), Some(Errno::NOTTY.raw_os_error()));
    }

    #[test]
    fn only_a_sha256_measurement_of_32_bytes_counts() {
        let measured = |algorithm, len_bytes| Measurement {
            algorithm,
            len_bytes,
            bytes: [7; MAX_DIGEST_BYTES],
        };
        assert_eq!(measured(1, 32).sha256(), Some([7; 32]));
        assert_eq!(measured(2, 64).sha256(), None);
        assert_eq!(measured(1, 31).sha256(), None);
    }
}
