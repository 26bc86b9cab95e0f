// SPDX-License-Identifier: MIT OR Apache-2.0
//! The deflated bytes of an archive's content object: exactly the claimed length, exactly one
//! stream, nothing after it.

#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::io::{self, BufRead, BufReader, Read};

use flate2::{Decompress, FlushDecompress, Status};

/// What is wrong with deflated bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InflateError {
    /// It is no deflate stream.
    #[error("the deflated data is damaged")]
    Damaged,
    /// The stream has no end.
    #[error("the deflated data ends too early")]
    Truncated,
    /// Something follows the stream.
    #[error("bytes follow the deflated data")]
    Excess,
    /// The stream holds more or less than the object's header says.
    #[error("the header says {claimed_bytes} bytes, the data holds {relation} than that")]
    Size {
        /// What the header says.
        claimed_bytes: u64,
        /// `more` or `less`.
        relation: &'static str,
    },
}

impl From<InflateError> for io::Error {
    fn from(error: InflateError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Inflates a raw deflate stream.
#[derive(Debug)]
pub(super) struct Inflate<R> {
    inner: BufReader<R>,
    stream: Decompress,
    claimed_bytes: u64,
    left_bytes: u64,
    done: bool,
}

impl<R: Read> Inflate<R> {
    const BUFFER_BYTES: usize = 64 * 1024;

    /// A reader that gives `claimed_bytes` bytes and then the end, or an error.
    pub(super) fn new(inner: R, claimed_bytes: u64) -> Self {
        Self {
            inner: BufReader::with_capacity(Self::BUFFER_BYTES, inner),
            stream: Decompress::new(false),
            claimed_bytes,
            left_bytes: claimed_bytes,
            done: false,
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.done = true;
        if self.left_bytes > 0 {
            return Err(self.size_error("less"));
        }
        if !self.inner.fill_buf()?.is_empty() {
            return Err(InflateError::Excess.into());
        }
        Ok(())
    }

    fn size_error(&self, relation: &'static str) -> io::Error {
        let claimed_bytes = self.claimed_bytes;
        InflateError::Size {
            claimed_bytes,
            relation,
        }
        .into()
    }
}

impl<R: Read> Read for Inflate<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        while !self.done {
            let input = self.inner.fill_buf()?;
            let at_end = input.is_empty();
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let status = self
                .stream
                .decompress(input, out, FlushDecompress::None)
                .map_err(|_| InflateError::Damaged)?;
            let consumed = self.stream.total_in().saturating_sub(before_in);
            let produced = self.stream.total_out().saturating_sub(before_out);
            self.inner
                .consume(usize::try_from(consumed).map_err(io::Error::other)?);
            self.left_bytes = match self.left_bytes.checked_sub(produced) {
                Some(left) => left,
                None => return Err(self.size_error("more")),
            };
            match status {
                Status::StreamEnd => self.finish()?,
                Status::Ok | Status::BufError if produced == 0 && consumed == 0 => {
                    return Err(if at_end {
                        InflateError::Truncated.into()
                    } else {
                        InflateError::Damaged.into()
                    });
                }
                Status::Ok | Status::BufError => {}
            }
            if produced > 0 {
                return usize::try_from(produced).map_err(io::Error::other);
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;

    use super::*;

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn inflate(deflated: &[u8], claimed_bytes: u64) -> Result<Vec<u8>, InflateError> {
        let mut out = Vec::new();
        match Inflate::new(deflated, claimed_bytes).read_to_end(&mut out) {
            Ok(_) => Ok(out),
            Err(error) => Err(*error.get_ref().unwrap().downcast_ref().unwrap()),
        }
    }

    #[test]
    fn whole_streams_of_the_claimed_length_are_read() {
        for len in [0, 1, 4095, 4096, 65_536, 1 << 20] {
            let bytes: Vec<u8> = (0..len).map(|i: u32| (i % 251) as u8).collect();
            assert_eq!(inflate(&deflate(&bytes), len.into()), Ok(bytes));
        }
    }

    #[test]
    fn every_truncation_and_every_other_claim_is_refused() {
        let bytes = b"some bytes, some bytes, and more of them".repeat(5);
        let len = bytes.len() as u64;
        let deflated = deflate(&bytes);
        for end in 0..deflated.len() {
            let error = inflate(deflated.get(..end).unwrap(), len).unwrap_err();
            assert_eq!(error, InflateError::Truncated, "{end}");
        }
        for (claim, relation) in [(0, "more"), (len - 1, "more"), (len + 1, "less")] {
            let claimed_bytes = claim;
            let error = inflate(&deflated, claim).unwrap_err();
            assert_eq!(
                error,
                InflateError::Size {
                    claimed_bytes,
                    relation
                }
            );
        }
        let more = [&*deflated, b"x"].concat();
        assert_eq!(inflate(&more, len), Err(InflateError::Excess));
    }

    #[test]
    fn a_bomb_stops_at_its_claim() {
        let deflated = deflate(&vec![0; 64 << 20]);
        assert!(deflated.len() < 70_000);
        let mut reader = Inflate::new(&*deflated, 1000);
        let mut out = vec![0; 4096];
        assert!(reader.read(&mut out).is_err());
    }
}
