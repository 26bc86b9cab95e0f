// SPDX-License-Identifier: MIT OR Apache-2.0
//! Up to four messages interleaved, by the SHA extensions of x86.
//!
//! One stream waits for the latency of `sha256rnds2` at every step; four fill the gaps and reach
//! its throughput.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_loadu_si128, _mm_set_epi32,
    _mm_set_epi64x, _mm_setzero_si128, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32,
    _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_storeu_si128,
};

use crate::constants::{INITIAL, ROUND};
use crate::tail::Tail;
use crate::{BLOCK_BYTES, Digest};

pub(crate) fn is_available() -> bool {
    is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("sse4.1")
}

/// As [`crate::Engine::hash_each`], which checked the lengths. For CPUs where [`is_available`].
pub(crate) fn hash_each(messages: &[u8], message_bytes: usize, out: &mut [Digest]) {
    let (mut rest, mut out) = (messages, out);
    while !out.is_empty() {
        let streams = match out.len() {
            // Three and two take less time than four and one.
            5 => 3,
            len => len.min(4),
        };
        let (digests, out_after) = out.split_at_mut(streams);
        let message = |i: usize| &rest[i * message_bytes..][..message_bytes];
        match digests {
            // SAFETY: an engine that leads here exists only where `is_available`; likewise below.
            [a] => unsafe { hash_streams([message(0)], [a]) },
            // SAFETY: as above.
            [a, b] => unsafe { hash_streams([message(0), message(1)], [a, b]) },
            // SAFETY: as above.
            [a, b, c] => unsafe {
                hash_streams([message(0), message(1), message(2)], [a, b, c]);
            },
            // SAFETY: as above.
            [a, b, c, d] => unsafe {
                hash_streams(
                    [message(0), message(1), message(2), message(3)],
                    [a, b, c, d],
                );
            },
            _ => unreachable!("one to four"),
        }
        rest = &rest[streams * message_bytes..];
        out = out_after;
    }
}

/// The halves of the hash value, in the order in which the instructions want the words.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

#[target_feature(enable = "sha,ssse3,sse4.1")]
fn hash_streams<const N: usize>(messages: [&[u8]; N], out: [&mut Digest; N]) {
    let word = |i: usize| INITIAL[i].cast_signed();
    let mut states = [State {
        abef: _mm_set_epi32(word(0), word(1), word(4), word(5)),
        cdgh: _mm_set_epi32(word(2), word(3), word(6), word(7)),
    }; N];
    let split = messages.map(<[u8]>::as_chunks::<BLOCK_BYTES>);
    compress(&mut states, split.map(|(blocks, _)| blocks));
    let tails = split.map(|(_, rest)| Tail::new(rest, messages[0].len()));
    compress(&mut states, tails.each_ref().map(Tail::blocks));
    for (state, digest) in states.into_iter().zip(out) {
        store(state, digest);
    }
}

/// The blocks of each stream, of which all have the same number, into the hash values.
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn compress<const N: usize>(states: &mut [State; N], streams: [&[[u8; BLOCK_BYTES]]; N]) {
    let mut before = *states;
    #[expect(clippy::needless_range_loop, reason = "it indexes every stream")]
    for i in 0..streams[0].len() {
        let mut now = before;
        // The last 16 words of the message schedule, four to a register.
        let mut w = [[_mm_setzero_si128(); 4]; N];
        macro_rules! four_rounds {
            ($($group:literal)*) => {$(
                let k = round_constants::<$group>();
                for s in 0..N {
                    let words = if $group < 4 {
                        load_words(&streams[s][i], $group)
                    } else {
                        schedule([
                            w[s][$group % 4],
                            w[s][($group + 1) % 4],
                            w[s][($group + 2) % 4],
                            w[s][($group + 3) % 4],
                        ])
                    };
                    w[s][$group % 4] = words;
                    let words = _mm_add_epi32(words, k);
                    let State { abef, cdgh } = now[s];
                    let cdgh = _mm_sha256rnds2_epu32(cdgh, abef, words);
                    let words = _mm_shuffle_epi32::<0b00_00_11_10>(words);
                    let abef = _mm_sha256rnds2_epu32(abef, cdgh, words);
                    now[s] = State { abef, cdgh };
                }
            )*};
        }
        four_rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for s in 0..N {
            before[s].abef = _mm_add_epi32(before[s].abef, now[s].abef);
            before[s].cdgh = _mm_add_epi32(before[s].cdgh, now[s].cdgh);
        }
    }
    *states = before;
}

/// The constants of four rounds.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn round_constants<const GROUP: usize>() -> __m128i {
    let word = |i: usize| ROUND[4 * GROUP + i].cast_signed();
    _mm_set_epi32(word(3), word(2), word(1), word(0))
}

/// The next four words of the message schedule from the last 16.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn schedule([a, b, c, d]: [__m128i; 4]) -> __m128i {
    let shifted = _mm_alignr_epi8::<4>(d, c);
    _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(a, b), shifted), d)
}

/// Four big-endian words of a block.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
fn load_words(block: &[u8; BLOCK_BYTES], group: usize) -> __m128i {
    let (quarters, _) = block.as_chunks::<16>();
    let quarter: &[u8; 16] = &quarters[group];
    // SAFETY: reads 16 bytes, unaligned, from an array of 16.
    let bytes = unsafe { _mm_loadu_si128(quarter.as_ptr().cast()) };
    let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    _mm_shuffle_epi8(bytes, swap)
}

#[target_feature(enable = "sha,ssse3,sse4.1")]
fn store(State { abef, cdgh }: State, digest: &mut Digest) {
    // From the high word down: F E B A and D C H G ...
    let feba = _mm_shuffle_epi32::<0b00_01_10_11>(abef);
    let dchg = _mm_shuffle_epi32::<0b10_11_00_01>(cdgh);
    // ... to D C B A and H G F E, and from words to big-endian bytes.
    let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let low = _mm_shuffle_epi8(_mm_blend_epi16::<0xf0>(feba, dchg), swap);
    let high = _mm_shuffle_epi8(_mm_alignr_epi8::<8>(dchg, feba), swap);
    let [first, second] = digest.as_chunks_mut::<16>().0 else {
        unreachable!("a digest has 32 bytes")
    };
    // SAFETY: writes 16 bytes, unaligned, to an array of 16.
    unsafe { _mm_storeu_si128(first.as_mut_ptr().cast(), low) };
    // SAFETY: as above.
    unsafe { _mm_storeu_si128(second.as_mut_ptr().cast(), high) };
}
