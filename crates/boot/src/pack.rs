// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pack's bytes: opened once, authenticated by the descriptor that is then used.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use sealroot_format::digest::VerityDigest;
use sealroot_sys::mount::fd_path;
use sealroot_sys::verity::measure_verity;

use crate::hash::digest_of;
use crate::overlay::Enforcement;
use crate::plan::BootPlan;
use crate::refusal::{Code, OrRefuse as _, Refusal};
use crate::release::Release;
use crate::sysroot::open_file_beneath;

/// A pack that is the signed one, and stays it however the disk changes under it: either the
/// kernel checks every read, or it is a sealed copy in memory.
#[derive(Debug)]
pub(crate) struct Pack {
    file: File,
    digest: VerityDigest,
}

impl Pack {
    /// The descriptor, open for reading.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The file, for positional reads.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Its name.
    pub(crate) fn digest(&self) -> VerityDigest {
        self.digest
    }
}

/// Opens the release's pack and refuses all but the right bytes.
pub(crate) fn open(
    plan: &BootPlan,
    release: &Release,
    packs: BorrowedFd<'_>,
) -> Result<Pack, Refusal> {
    let name = format!("{}.pack", release.pack);
    let (file, stat) = open_file_beneath(packs, &name, Code::Pack)?;
    let size_bytes = u64::try_from(stat.st_size).unwrap_or_default();
    if let Some(stated) = &release.stated
        && stated.pack_size_bytes != size_bytes
    {
        return Err(Refusal::new(
            Code::Pack,
            &name,
            format!("{} bytes", stated.pack_size_bytes),
            format!("{size_bytes} bytes"),
        ));
    }
    let file = match plan.enforcement {
        Enforcement::Kernel => {
            check_measurement(&file, &name, release.pack)?;
            File::from(file)
        }
        Enforcement::AtBoot => {
            check_memory(&name, size_bytes, plan.memory_limit_bytes)?;
            sealed_copy(&File::from(file), size_bytes, &name, release.pack)?
        }
    };
    Ok(Pack {
        file,
        digest: release.pack,
    })
}

/// Refuses a file on which the kernel does not enforce the digest.
fn check_measurement(file: &OwnedFd, name: &str, expected: VerityDigest) -> Result<(), Refusal> {
    let wanted = format!("the fs-verity digest {expected}");
    let measured = measure_verity(file).or_refuse(Code::Pack, name, &wanted)?;
    match measured.sha256().map(VerityDigest::from_bytes) {
        Some(digest) if digest == expected => Ok(()),
        Some(digest) => Err(Refusal::new(Code::Pack, name, wanted, digest)),
        None => Err(Refusal::new(
            Code::Pack,
            name,
            wanted,
            format!("a digest of the algorithm {}", measured.algorithm()),
        )),
    }
}

/// Refuses to take more memory than the plan allows.
pub(crate) fn check_memory(what: &str, bytes: u64, limit_bytes: u64) -> Result<(), Refusal> {
    if bytes <= limit_bytes {
        return Ok(());
    }
    Err(Refusal::new(
        Code::Memory,
        what,
        format!("at most {limit_bytes} bytes of memory to be needed"),
        bytes,
    ))
}

/// Reads a file once into memory that nobody can change any more, and hashes what was read.
fn sealed_copy(
    source: &File,
    size_bytes: u64,
    name: &str,
    expected: VerityDigest,
) -> Result<File, Refusal> {
    let copying = "to be copied into memory";
    let copy = rustix::fs::memfd_create(
        "sealroot-pack",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL,
    )
    .or_refuse(Code::Pack, name, copying)?;
    let mut copy = File::from(copy);
    io::copy(&mut source.take(size_bytes), &mut copy)
        .and_then(|_| copy.flush())
        .or_refuse(Code::Pack, name, copying)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&copy, seals).or_refuse(Code::Pack, name, "a seal")?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let copy = rustix::fs::open(fd_path(copy.as_fd()), flags, Mode::empty()).or_refuse(
        Code::Pack,
        name,
        copying,
    )?;
    let copy = File::from(copy);
    let digest = digest_of(&copy, size_bytes).or_refuse(Code::Pack, name, "a readable copy")?;
    if digest == expected {
        return Ok(copy);
    }
    Err(Refusal::new(
        Code::Pack,
        name,
        format!("the fs-verity digest {expected}"),
        digest,
    ))
}
