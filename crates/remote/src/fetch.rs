// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes of files from sources that fail: asked for again, from the place where they ended, of the
//! next source, within bounds.

use std::fmt;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sealroot::monitor::{Monitor, Silent};

use crate::error::RemoteError;
use crate::source::{Source, SourceError};

/// An answer that brought fewer bytes than this, and not all, was in vain.
const MIN_PROGRESS_BYTES: u64 = 64 * 1024;

/// A pause that is at least so long is told, and none so soon after another.
const PAUSE_TO_TELL: Duration = Duration::from_secs(1);

/// How failures are met.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How often in a row something may be asked for in vain.
    pub attempts: u32,
    /// How long to wait after the first time; twice as long after each further one.
    pub pause: Duration,
    /// How long to wait at most.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 8,
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
        }
    }
}

/// What was asked for and came so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests.
    pub requests: u64,
    /// Bytes of content.
    pub bytes: u64,
}

/// Reads files of sources with the same content.
pub struct Fetcher {
    sources: Vec<Box<dyn Source>>,
    patience: Patience,
    bytes_per_second: Option<u64>,
    /// The source that is asked first.
    first: AtomicUsize,
    requests: AtomicU64,
    bytes: AtomicU64,
    monitor: Arc<dyn Monitor + Send>,
    /// When a pause was told last.
    told: Mutex<Option<Instant>>,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Fetcher");
        fields
            .field("sources", &self.location())
            .finish_non_exhaustive()
    }
}

impl Fetcher {
    /// From the first of these sources, or one of the others where it fails; at least one.
    pub fn new(
        sources: Vec<Box<dyn Source>>,
        patience: Patience,
        bytes_per_second: Option<u64>,
    ) -> Self {
        Self {
            sources,
            patience,
            bytes_per_second,
            first: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            monitor: Arc::new(Silent),
            told: Mutex::default(),
        }
    }

    /// Who is to be told why it takes so long.
    #[must_use]
    pub fn telling(self, monitor: Arc<dyn Monitor + Send>) -> Self {
        Self { monitor, ..self }
    }

    /// What was asked for and came so far.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            requests: self.requests.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// What came was not what was signed: another source is asked first from now on.
    pub fn blame(&self) {
        self.first.fetch_add(1, Ordering::Relaxed);
    }

    /// What `make` makes of small files of one source; where what came is not what it should be, of
    /// the next one. The error is that of the first.
    pub(crate) fn of_any<T>(
        &self,
        mut make: impl FnMut() -> Result<T, RemoteError>,
    ) -> Result<T, RemoteError> {
        let mut first = None;
        for left in (0..self.sources.len()).rev() {
            match make() {
                Err(error) if error.is_of_content() => {
                    self.blame();
                    if left > 0 {
                        self.monitor
                            .warn(format!("{error}; asking the next mirror"));
                    }
                    first.get_or_insert(error);
                }
                made => return made,
            }
        }
        first.map_or_else(make, Err)
    }

    /// The source that is asked first, for people.
    pub(crate) fn asked_first(&self) -> String {
        let first = self.first.load(Ordering::Relaxed) % self.sources.len();
        self.sources[first].location()
    }

    /// Where files come from, for people.
    pub fn location(&self) -> String {
        let locations: Vec<_> = self
            .sources
            .iter()
            .map(|source| source.location())
            .collect();
        locations.join(", ")
    }

    /// A small file, whole; one with more than `max_bytes` is cut off behind the first that is too
    /// much.
    pub fn small(&self, path: &str, max_bytes: usize) -> Result<Vec<u8>, RemoteError> {
        let wanted = max_bytes as u64 + 1;
        let mut failures = Failures::new(self);
        loop {
            let mut content = Vec::new();
            let read = match failures.source().open(path, 0, wanted) {
                Ok(mut reader) => reader
                    .read_to_end(&mut content)
                    .map_err(|error| unavailable(path, &error)),
                Err(failure) => Err(failure),
            };
            self.count(content.len() as u64);
            match read {
                Ok(_) => return Ok(content),
                Err(failure) => failures.add(failure)?,
            }
        }
    }

    /// Reads the bytes from `start` up to `end` of a file, in their order. An error that it ends with
    /// holds a [`RemoteError`].
    pub fn reader<'f>(&'f self, path: &'f str, start: u64, end: u64) -> RangeReader<'f> {
        RangeReader {
            fetcher: self,
            path,
            at: start,
            end,
            failures: Failures::new(self),
            open: None,
        }
    }

    /// Waits until so many bytes may have come.
    fn hold_back(&self, bytes: u64, since: Instant) {
        if let Some(rate) = self.bytes_per_second {
            let nanos = bytes.saturating_mul(1_000_000_000) / rate.max(1);
            thread::sleep(Duration::from_nanos(nanos).saturating_sub(since.elapsed()));
        }
    }

    /// Waits before sources are asked again that failed.
    fn pause(&self, pause: Duration, failure: &SourceError) {
        if pause >= PAUSE_TO_TELL {
            self.tell(failure, &format!("asking again in {} s", pause.as_secs()));
        }
        thread::sleep(pause);
    }

    /// Says what failed and what is done about it, unless that was done a moment ago.
    fn tell(&self, failure: &SourceError, then: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= PAUSE_TO_TELL) {
            *told = Some(Instant::now());
            let location = self.location();
            self.monitor.warn(format!("{location}: {failure}; {then}"));
        }
    }

    fn count(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// See [`Fetcher::reader`].
pub struct RangeReader<'f> {
    fetcher: &'f Fetcher,
    path: &'f str,
    at: u64,
    end: u64,
    failures: Failures<'f>,
    open: Option<Answer>,
}

/// What a source gives.
struct Answer {
    reader: Box<dyn Read + Send>,
    came_bytes: u64,
}

impl fmt::Debug for RangeReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("RangeReader");
        fields
            .field("path", &self.path)
            .field("at", &self.at)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl RangeReader<'_> {
    /// An answer failed, or ended too early.
    fn failed(&mut self, failure: SourceError) -> io::Result<()> {
        if let Some(answer) = self.open.take()
            && answer.came_bytes >= MIN_PROGRESS_BYTES
        {
            self.failures.forget(&failure);
            return Ok(());
        }
        self.failures.add(failure).map_err(io::Error::other)
    }
}

impl Read for RangeReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let len = left.min(buffer.len());
        if len == 0 {
            return Ok(0);
        }
        loop {
            let Some(answer) = &mut self.open else {
                let source = self.failures.source();
                match source.open(self.path, self.at, self.end - self.at) {
                    Ok(reader) => {
                        let came_bytes = 0;
                        self.open = Some(Answer { reader, came_bytes });
                    }
                    Err(failure) => self.failures.add(failure).map_err(io::Error::other)?,
                }
                continue;
            };
            let since = Instant::now();
            match answer.reader.read(&mut buffer[..len]) {
                Ok(0) => {
                    let (path, at, end) = (self.path, self.at, self.end);
                    let reason = format!("it ended at byte {at}, expected {end}");
                    let path = path.into();
                    self.failed(SourceError::Refused { path, reason })?;
                }
                Ok(read) => {
                    answer.came_bytes += read as u64;
                    self.at += read as u64;
                    self.fetcher.count(read as u64);
                    self.fetcher.hold_back(read as u64, since);
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.failed(unavailable(self.path, &error))?,
            }
        }
    }
}

/// What has failed in a row, and who is asked next.
struct Failures<'f> {
    fetcher: &'f Fetcher,
    source: usize,
    fruitless: u32,
    /// How often each source was asked in vain.
    asked: Vec<u32>,
    /// Which sources are not asked again.
    given_up: Vec<bool>,
    pause: Duration,
}

impl<'f> Failures<'f> {
    fn new(fetcher: &'f Fetcher) -> Self {
        Self {
            fetcher,
            source: fetcher.first.load(Ordering::Relaxed) % fetcher.sources.len(),
            fruitless: 0,
            asked: vec![0; fetcher.sources.len()],
            given_up: vec![false; fetcher.sources.len()],
            pause: fetcher.patience.pause,
        }
    }

    /// The source to ask now.
    fn source(&self) -> &'f dyn Source {
        self.fetcher.requests.fetch_add(1, Ordering::Relaxed);
        &*self.fetcher.sources[self.source]
    }

    /// Something came after all. The rest is asked of the next source, which may be a better one.
    fn forget(&mut self, failure: &SourceError) {
        self.fetcher.tell(failure, "asking for the rest");
        *self = Self {
            source: (self.source + 1) % self.fetcher.sources.len(),
            ..Self::new(self.fetcher)
        };
    }

    /// Goes on to the next source that may do better; an error if that was enough. When all were asked, it
    /// waits.
    fn add(&mut self, failure: SourceError) -> Result<(), RemoteError> {
        let Fetcher {
            sources, patience, ..
        } = self.fetcher;
        self.fruitless += 1;
        self.asked[self.source] += 1;
        let most = match failure.attempts() {
            _ if !sources[self.source].may_change() => 1,
            most => most.unwrap_or(u32::MAX),
        };
        self.given_up[self.source] = self.asked[self.source] >= most;
        let next = (1..=sources.len())
            .map(|step| (self.source + step) % sources.len())
            .find(|next| !self.given_up[*next])
            .filter(|_| self.fruitless < patience.attempts);
        let Some(next) = next else {
            return Err(RemoteError::Source {
                location: sources[self.source].location(),
                source: failure,
            });
        };
        // All that are left were asked as often.
        let is_round_over = self.asked[next] >= self.asked[self.source];
        self.source = next;
        if is_round_over {
            self.fetcher.pause(self.pause, &failure);
            self.pause = (self.pause * 2).min(patience.longest_pause);
        }
        Ok(())
    }
}

fn unavailable(path: &str, reason: &dyn fmt::Display) -> SourceError {
    SourceError::Unavailable {
        path: path.into(),
        reason: reason.to_string(),
    }
}

/// What ended a [`RangeReader`], out of an error that passed through other readers.
pub(crate) fn cause(error: io::Error, what: &'static str) -> RemoteError {
    match error.downcast::<RemoteError>() {
        Ok(cause) => cause,
        Err(error) => RemoteError::io(what)(error),
    }
}

#[cfg(test)]
mod tests {
    use sealroot::monitor::Warnings;

    use super::*;
    use crate::source::Obstacle;

    /// A server that is down the first times.
    struct Down(AtomicU64);

    impl Source for Down {
        fn location(&self) -> String {
            "http://example.org".into()
        }

        fn open(&self, path: &str, _: u64, _: u64) -> Result<Box<dyn Read + Send>, SourceError> {
            if self.0.fetch_sub(1, Ordering::Relaxed) > 1 {
                return Err(unavailable(path, &"connection refused"));
            }
            Ok(Box::new(io::empty()))
        }
    }

    #[test]
    fn what_is_waited_for_is_told() {
        for (pause, expected) in [
            (Duration::from_millis(1), &[][..]),
            (
                PAUSE_TO_TELL,
                &["http://example.org: cannot get os: connection refused; asking again in 1 s"],
            ),
        ] {
            let patience = Patience {
                attempts: 8,
                pause,
                longest_pause: pause,
            };
            let warnings = Arc::new(Warnings::default());
            let fetcher = Fetcher::new(vec![Box::new(Down(2.into()))], patience, None);
            let fetcher = fetcher.telling(Arc::<Warnings>::clone(&warnings));
            assert_eq!(fetcher.small("os", 10).expect("it comes"), b"");
            assert_eq!(warnings.take(), expected);
        }
    }

    /// Denies, or has no more than it has.
    struct Final(bool);

    impl Source for Final {
        fn location(&self) -> String {
            "a place".into()
        }

        fn may_change(&self) -> bool {
            self.0
        }

        fn open(&self, path: &str, _: u64, _: u64) -> Result<Box<dyn Read + Send>, SourceError> {
            if !self.0 {
                return Ok(Box::new(&b"short"[..]));
            }
            Err(SourceError::Denied {
                path: path.into(),
                reason: "the server answers 403 Forbidden".into(),
            })
        }
    }

    /// Cannot be reached, in that way; then it can, by somebody else who has mended it.
    struct Behind(Obstacle, AtomicU64);

    impl Source for Behind {
        fn location(&self) -> String {
            "http://example.org".into()
        }

        fn open(&self, path: &str, _: u64, _: u64) -> Result<Box<dyn Read + Send>, SourceError> {
            if self.1.fetch_sub(1, Ordering::Relaxed) > 1 {
                return Err(SourceError::Unreachable {
                    path: path.into(),
                    obstacle: self.0,
                    reason: "nobody answers".into(),
                });
            }
            Ok(Box::new(io::empty()))
        }
    }

    fn quick() -> Patience {
        Patience {
            pause: Duration::from_millis(1),
            ..Patience::default()
        }
    }

    #[test]
    fn what_lasts_is_not_waited_for() {
        for (obstacle, requests) in [
            (Obstacle::Nobody, 4),
            (Obstacle::Name, 2),
            (Obstacle::Tls, 2),
            (Obstacle::Certificate, 1),
            (Obstacle::Redirection, 1),
        ] {
            let behind = || -> Box<dyn Source> { Box::new(Behind(obstacle, u64::MAX.into())) };
            let fetcher = Fetcher::new(vec![behind()], quick(), None);
            fetcher.small("os", 10).expect_err("unreachable");
            assert_eq!(fetcher.traffic().requests, requests, "{obstacle:?}");

            // A mirror that lasts too is not asked more often for it, and one that comes back is waited for.
            let both = Fetcher::new(vec![behind(), behind()], quick(), None);
            both.small("os", 10).expect_err("unreachable");
            assert_eq!(both.traffic().requests, requests * 2, "{obstacle:?}");
            let down = || -> Box<dyn Source> { Box::new(Down(4.into())) };
            let mirror = Fetcher::new(vec![behind(), down()], quick(), None);
            mirror.small("os", 10).expect("the mirror has it");
            let most = requests.min(4) + 4;
            assert!(mirror.traffic().requests <= most, "{obstacle:?}");
        }
    }

    #[test]
    fn a_server_that_starts_anew_is_waited_for() {
        let starting: Box<dyn Source> = Box::new(Behind(Obstacle::Nobody, 4.into()));
        let fetcher = Fetcher::new(vec![starting], quick(), None);
        fetcher.small("os", 10).expect("it comes back");
    }

    #[test]
    fn what_does_not_change_is_asked_once() {
        for may_change in [true, false] {
            let fetcher = Fetcher::new(
                vec![Box::new(Final(may_change)), Box::new(Final(may_change))],
                Patience {
                    pause: Duration::from_secs(600),
                    ..Patience::default()
                },
                None,
            );
            let mut content = Vec::new();
            let read = fetcher.reader("os", 0, 100).read_to_end(&mut content);
            read.expect_err("refused");
            assert_eq!(fetcher.traffic().requests, 2);
        }
    }
}
