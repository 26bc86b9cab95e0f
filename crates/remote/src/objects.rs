// SPDX-License-Identifier: MIT OR Apache-2.0
//! Objects out of bundles: those that lie near one another come in one range, and each goes into the
//! store as it comes.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use sealroot::monitor::Monitor;
use sealroot::store::{StoreError, Transaction};
use sealroot_format::digest::{Sha256Digest, VerityDigest};

use crate::bundle::{self, Place};
use crate::error::RemoteError;
use crate::fetch::{self, Fetcher};
use crate::layout::Kind;
use crate::part::MAX_MISMATCHES;

/// Ranges that are fetched at the same time.
const RANGES_AT_ONCE: usize = 4;

/// Bytes between two objects that are rather fetched in vain than asked around.
const MAX_GAP_BYTES: u64 = 64 * 1024;

/// Most ranges of a step; beyond that the smallest gaps are fetched as well.
const MAX_RANGES: usize = 384;

/// An object that is to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missing {
    /// Which.
    pub(crate) digest: VerityDigest,
    /// Its length.
    pub(crate) size_bytes: u64,
    /// Where it lies, compressed.
    pub(crate) place: Place,
}

/// What fetches objects into a store.
pub(crate) struct ObjectFetcher<'o> {
    pub(crate) fetcher: &'o Fetcher,
    pub(crate) transaction: &'o Transaction<'o>,
    pub(crate) monitor: &'o dyn Monitor,
}

impl ObjectFetcher<'_> {
    /// Fetches all of them, several ranges at a time.
    pub(crate) fn fetch(&self, missing: Vec<Missing>) -> Result<(), RemoteError> {
        let ranges = Mutex::new(ranges(missing, |object| object.place).into_iter());
        let failure = Mutex::new(None);
        let lock = || failure.lock().unwrap_or_else(PoisonError::into_inner);
        let work = || {
            while lock().is_none() {
                let next = ranges.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(range) = next else { break };
                if let Err(error) = self.fetch_range(&range) {
                    let mut failure = lock();
                    // That the store has failed for another thread says less than why.
                    if matches!(
                        *failure,
                        None | Some(RemoteError::Store(StoreError::Failed { .. }))
                    ) {
                        *failure = Some(error);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..RANGES_AT_ONCE {
                scope.spawn(work);
            }
        });
        let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        failure.map_or(Ok(()), Err)
    }

    /// Fetches a range; of another source, as far as it is not what it should be.
    fn fetch_range(&self, range: &Range<Missing>) -> Result<(), RemoteError> {
        let mut objects = &range.items[..];
        let mut mismatches = 0;
        loop {
            let fetched = self.fetch_in_order(range, &mut objects);
            match fetched {
                Err(RemoteError::Mismatch { .. }) if mismatches < MAX_MISMATCHES => {
                    self.fetcher.blame();
                    mismatches += 1;
                }
                fetched => return fetched,
            }
        }
    }

    /// Fetches objects of a range, and takes each that is there off the list.
    fn fetch_in_order(
        &self,
        range: &Range<Missing>,
        objects: &mut &[Missing],
    ) -> Result<(), RemoteError> {
        let Some(first) = objects.first() else {
            return Ok(());
        };
        let path = Kind::Bundle.path_of(&range.bundle);
        let mut at = first.place.start;
        let mut reader = self.fetcher.reader(&path, at, range.end);
        while let Some((object, rest)) = objects.split_first() {
            let place = object.place;
            read_to_end((&mut reader).take(place.start - at))?;
            let mut frame = Told {
                reader: (&mut reader).take(place.size_bytes),
                monitor: self.monitor,
            };
            let added = add_object(self.transaction, object, &mut frame);
            added.map_err(|error| self.about_object(error, &path, object))?;
            read_to_end(frame)?;
            at = place.end();
            *objects = rest;
        }
        Ok(())
    }

    /// An object that is not what it should be says nothing of the store.
    fn about_object(&self, error: RemoteError, path: &str, object: &Missing) -> RemoteError {
        let mismatch = |what, expected: &dyn ToString, found: &dyn ToString| {
            RemoteError::mismatch((self.fetcher.location(), path), what, expected, found)
        };
        match error {
            RemoteError::Store(StoreError::DigestMismatch {
                expected, found, ..
            }) => mismatch("an object", &expected, &found),
            RemoteError::Store(StoreError::SizeMismatch {
                expected_bytes,
                found,
                ..
            }) => mismatch("size of an object", &expected_bytes, &found),
            RemoteError::Io { source, .. } if bundle::is_no_frame(&source) => {
                mismatch("an object", &object.digest, &source)
            }
            error => error,
        }
    }
}

fn add_object(
    transaction: &Transaction<'_>,
    object: &Missing,
    frame: &mut dyn Read,
) -> Result<(), RemoteError> {
    let mut content = bundle::Decompressed::new(frame)?;
    let added = transaction.add_foreign_object(&object.digest, object.size_bytes, &mut content);
    added.map_err(|error| match error {
        StoreError::Content { source, .. } => fetch::cause(source, "fetch an object"),
        error => error.into(),
    })
}

/// Tells of each byte that comes.
struct Told<'m, R> {
    reader: R,
    monitor: &'m dyn Monitor,
}

impl<R: Read> Read for Told<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.monitor.advance(read as u64);
        Ok(read)
    }
}

fn read_to_end(mut reader: impl Read) -> Result<(), RemoteError> {
    let read = std::io::copy(&mut reader, &mut std::io::sink());
    read.map(drop)
        .map_err(|error| fetch::cause(error, "fetch an object"))
}

/// How many bytes come, if what lies in these places is fetched.
pub(crate) fn fetched_bytes(places: Vec<Place>) -> u64 {
    let ranges = ranges(places, |place| *place);
    ranges.iter().map(|range| range.end - range.start).sum()
}

/// A piece of a bundle, and what is wanted of it.
#[derive(Debug)]
struct Range<T> {
    bundle: Sha256Digest,
    start: u64,
    end: u64,
    items: Vec<T>,
}

/// Puts what lies near one another into ranges.
fn ranges<T>(mut items: Vec<T>, place: impl Fn(&T) -> Place) -> Vec<Range<T>> {
    items.sort_unstable_by_key(|item| (place(item).bundle, place(item).start));
    let pairs = items.iter().zip(items.iter().skip(1));
    let pairs = pairs.map(|(before, after)| (place(before), place(after)));
    let pairs = pairs.filter(|(before, after)| before.bundle == after.bundle);
    let mut gaps: Vec<u64> = pairs
        .map(|(before, after)| after.start.saturating_sub(before.end()))
        .collect();
    gaps.sort_unstable_by(|one, other| other.cmp(one));
    let widest = gaps.get(MAX_RANGES).copied().unwrap_or_default();
    let gap_bytes = widest.max(MAX_GAP_BYTES);
    let mut ranges: Vec<Range<T>> = Vec::new();
    for item in items {
        let place = place(&item);
        match ranges.last_mut() {
            Some(range)
                if range.bundle == place.bundle
                    && place.start >= range.end
                    && place.start - range.end <= gap_bytes =>
            {
                range.end = place.end();
                range.items.push(item);
            }
            _ => ranges.push(Range {
                bundle: place.bundle,
                start: place.start,
                end: place.end(),
                items: vec![item],
            }),
        }
    }
    ranges
}
