// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk that answers two reads of the same place differently: a server of the network block device
//! protocol (NBD, the fixed newstyle handshake and simple replies), which a machine has as a disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result};

/// The unit in which it is fickle.
const BLOCK_BYTES: u64 = 4096;

const SERVER_MAGIC: u64 = 0x4e42_444d_4147_4943;
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

/// Fixed newstyle, no padding.
const HANDSHAKE_FLAGS: u16 = 1 | 2;
/// There are flags, and flushes are understood.
const EXPORT_FLAGS: u16 = 1 | 4;

const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_UNSUPPORTED: u32 = 0x8000_0001;

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;

/// The most bytes of one request or option.
const MAX_BYTES: u32 = 64 << 20;

/// A server for one machine.
#[derive(Debug)]
pub struct FickleDisk {
    socket: PathBuf,
    lies: Arc<AtomicUsize>,
}

impl FickleDisk {
    /// Serves an image, which gets what is written. Of these blocks, only the first read gives what is
    /// in it, and each later one has all bits of a byte inverted.
    pub fn serve(image: &Path, blocks: BTreeSet<u64>, socket: &Path) -> Result<Self> {
        let listener = UnixListener::bind(socket).context("a socket for a disk")?;
        let image = File::options().read(true).write(true).open(image)?;
        let lies = Arc::new(AtomicUsize::new(0));
        let mut export = Export {
            size_bytes: image.metadata()?.len(),
            image,
            blocks,
            read: BTreeSet::new(),
            lies: Arc::clone(&lies),
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A machine that is switched off just goes away.
                let _ = export.serve(stream);
            }
        });
        Ok(Self {
            socket: socket.to_owned(),
            lies,
        })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// How many blocks were given otherwise than at first.
    pub fn lies(&self) -> usize {
        self.lies.load(Ordering::Relaxed)
    }
}

struct Export {
    image: File,
    size_bytes: u64,
    blocks: BTreeSet<u64>,
    /// Those that were read once.
    read: BTreeSet<u64>,
    lies: Arc<AtomicUsize>,
}

impl Export {
    fn serve(&mut self, mut stream: UnixStream) -> io::Result<()> {
        self.negotiate(&mut stream)?;
        loop {
            let request: [u8; 28] = bytes(&mut stream)?;
            let magic = u32::from_be_bytes(field(&request, 0));
            let kind = u16::from_be_bytes(field(&request, 6));
            let at = u64::from_be_bytes(field(&request, 16));
            let len = u32::from_be_bytes(field(&request, 24));
            if magic != REQUEST_MAGIC || kind == DISCONNECT || len > MAX_BYTES {
                return Ok(());
            }
            let mut data = vec![0; len as usize];
            if kind == WRITE {
                stream.read_exact(&mut data)?;
                self.image.write_all_at(&data, at)?;
            }
            let mut reply = REPLY_MAGIC.to_be_bytes().to_vec();
            reply.extend(0_u32.to_be_bytes());
            reply.extend(&request[8..16]);
            if kind == READ {
                self.image.read_exact_at(&mut data, at)?;
                self.lie(at, &mut data);
                reply.extend(data);
            }
            stream.write_all(&reply)?;
        }
    }

    /// Changes what was read before.
    fn lie(&mut self, at: u64, data: &mut [u8]) {
        let end = at + data.len() as u64;
        let touched: Vec<u64> = (self
            .blocks
            .range(at / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES)))
        .copied()
        .collect();
        for block in touched {
            if self.read.insert(block) {
                continue;
            }
            let first = (block * BLOCK_BYTES).max(at) - at;
            if let Some(byte) = usize::try_from(first + 99)
                .ok()
                .and_then(|at| data.get_mut(at))
            {
                *byte = !*byte;
                self.lies.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn negotiate(&self, stream: &mut UnixStream) -> io::Result<()> {
        stream.write_all(&SERVER_MAGIC.to_be_bytes())?;
        stream.write_all(&OPTION_MAGIC.to_be_bytes())?;
        stream.write_all(&HANDSHAKE_FLAGS.to_be_bytes())?;
        let _client_flags: [u8; 4] = bytes(stream)?;
        loop {
            let header: [u8; 16] = bytes(stream)?;
            let option = u32::from_be_bytes(field(&header, 8));
            let len = u32::from_be_bytes(field(&header, 12)).min(MAX_BYTES);
            stream.read_exact(&mut vec![0; len as usize])?;
            if option != OPTION_GO {
                answer(stream, option, REPLY_UNSUPPORTED, &[])?;
                continue;
            }
            // Its kind, 0, is what comes first.
            let mut export = 0_u16.to_be_bytes().to_vec();
            export.extend(self.size_bytes.to_be_bytes());
            export.extend(EXPORT_FLAGS.to_be_bytes());
            answer(stream, option, REPLY_INFO, &export)?;
            return answer(stream, option, REPLY_ACK, &[]);
        }
    }
}

fn answer(stream: &mut UnixStream, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let mut reply = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
    reply.extend(option.to_be_bytes());
    reply.extend(kind.to_be_bytes());
    reply.extend(
        u32::try_from(data.len())
            .map_err(io::Error::other)?
            .to_be_bytes(),
    );
    reply.extend(data);
    stream.write_all(&reply)
}

fn bytes<const N: usize>(stream: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The bytes of a number in a header.
fn field<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    header[at..at + N]
        .try_into()
        .expect("a field has its length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_read_of_a_fickle_block_is_another() {
        let directory = tempfile::tempdir().expect("a directory");
        let image = directory.path().join("image");
        std::fs::write(&image, [7; 4 * 4096]).expect("an image");
        let mut export = Export {
            image: File::open(&image).expect("an image"),
            size_bytes: 4 * 4096,
            blocks: BTreeSet::from([2]),
            read: BTreeSet::new(),
            lies: Arc::default(),
        };
        for (round, lies) in [(0, 0), (1, 1)] {
            let mut data = [7; 3 * 4096];
            export.lie(4096, &mut data);
            let changed: Vec<usize> = (0..data.len()).filter(|at| data[*at] != 7).collect();
            let expected: &[usize] = if lies == 0 { &[] } else { &[4096 + 99] };
            assert_eq!(changed, expected, "round {round}");
            assert_eq!(export.lies.load(Ordering::Relaxed), lies);
        }
    }
}
