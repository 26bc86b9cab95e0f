// SPDX-License-Identifier: MIT OR Apache-2.0
//! SHA-256 of many independent messages of equal length at once.
//!
//! A single SHA-256 is bound by the latency of its rounds; the blocks of a Merkle tree are
//! independent, so several are computed side by side. Which way is open depends on the CPU and is
//! found at run time:
//!
//! | engine | at once | needs |
//! |---|---|---|
//! | `avx512` | 16, one per 32-bit lane | AVX-512 F and BW |
//! | `sha-ni` | 4, interleaved | SHA, SSSE3, SSE4.1 |
//! | `portable` | 1 | nothing; the `sha2` crate, which has its own detection |
//!
//! All engines give the same digests; the tests hold them against one another.

// The only unsafe code outside sealroot-sys: vector loads and stores, and the calls into functions
// for CPU features that were detected.
#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "see above"))]

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod constants;
mod portable;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
#[cfg(target_arch = "x86_64")]
mod tail;

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Bytes of a SHA-256 digest.
pub const DIGEST_BYTES: usize = 32;

/// A SHA-256 digest.
pub type Digest = [u8; DIGEST_BYTES];

/// Bytes of a block of SHA-256's own compression function.
#[cfg(target_arch = "x86_64")]
const BLOCK_BYTES: usize = 64;

/// A way to compute SHA-256 that this CPU has: engines are only to be had from
/// [`Engine::available`] and [`Engine::best`], which detect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Engine(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512 {
        /// For what is too little to fill the lanes.
        sha_ni: bool,
    },
    #[cfg(target_arch = "x86_64")]
    ShaNi,
    Portable,
}

impl Engine {
    /// The engines this CPU has, widest first; the last one is always there.
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let detected = {
            let sha_ni = sha_ni::is_available();
            let avx512 = avx512::is_available().then_some(Kind::Avx512 { sha_ni });
            avx512.into_iter().chain(sha_ni.then_some(Kind::ShaNi))
        };
        #[cfg(not(target_arch = "x86_64"))]
        let detected = std::iter::empty();
        detected.chain([Kind::Portable]).map(Self)
    }

    /// The fastest engine of this CPU.
    ///
    /// AVX-512 and the SHA extensions are so close that it depends on the CPU (on Zen 4, which has
    /// half the width, the second are ahead by a sixth) and hypervisors hide which it is: where
    /// both are there, the first call lets them race for about 0.3 ms.
    pub fn best() -> Self {
        static BEST: OnceLock<Engine> = OnceLock::new();
        *BEST.get_or_init(|| {
            let mut engines = Self::available().filter(|engine| engine.0 != Kind::Portable);
            match (engines.next(), engines.next()) {
                (Some(wide), Some(narrow)) => race(wide, narrow),
                (Some(engine), None) => engine,
                (None, _) => Self(Kind::Portable),
            }
        })
    }

    /// The SHA-256 of each of `out.len()` messages of `message_bytes` bytes that lie one after the
    /// other in `messages`.
    ///
    /// # Panics
    /// If `messages` is not exactly that long.
    pub fn hash_each(self, messages: &[u8], message_bytes: usize, out: &mut [Digest]) {
        assert_eq!(
            Some(messages.len()),
            message_bytes.checked_mul(out.len()),
            "bytes of {} messages of {message_bytes} bytes",
            out.len()
        );
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 { sha_ni } => avx512::hash_each(messages, message_bytes, out, sha_ni),
            #[cfg(target_arch = "x86_64")]
            Kind::ShaNi => sha_ni::hash_each(messages, message_bytes, out),
            Kind::Portable => portable::hash_each(messages, message_bytes, out),
        }
    }
}

/// The name of the engine: `avx512`, `sha-ni` or `portable`.
impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 { .. } => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::ShaNi => "sha-ni",
            Kind::Portable => "portable",
        })
    }
}

/// The faster one, by the best time of each in a few short runs by turns.
fn race(first: Engine, second: Engine) -> Engine {
    const ROUNDS: usize = 8;
    const MESSAGES: usize = 16;
    const MESSAGE_BYTES: usize = 4096;
    let messages = vec![0; MESSAGES * MESSAGE_BYTES];
    let mut digests = [[0; DIGEST_BYTES]; MESSAGES];
    let mut time = |engine: Engine| {
        let start = Instant::now();
        engine.hash_each(&messages, MESSAGE_BYTES, &mut digests);
        start.elapsed()
    };
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        best = (best.0.min(time(first)), best.1.min(time(second)));
    }
    if best.0 <= best.1 { first } else { second }
}
