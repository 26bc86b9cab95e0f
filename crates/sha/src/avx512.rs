// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sixteen messages at once, one in each 32-bit lane of the AVX-512 registers.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_loadu_si512, _mm512_ror_epi32, _mm512_set_epi64,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_i32x4,
    _mm512_srli_epi32, _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use crate::constants::{INITIAL, ROUND};
use crate::tail::Tail;
use crate::{BLOCK_BYTES, Digest, portable, sha_ni};

/// Messages at once.
const LANES: usize = 16;

/// From how many messages on a pass over all lanes is faster than the SHA extensions.
const WORTH_OVER_SHA_NI: usize = 11;

/// From how many messages on a pass over all lanes is faster than scalar code.
const WORTH_OVER_SCALAR: usize = 2;

/// Truth tables for `vpternlogd`.
const XOR3: i32 = 0x96;
const CHOOSE: i32 = 0xca;
const MAJORITY: i32 = 0xe8;

pub(crate) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// As [`crate::Engine::hash_each`], which checked the lengths. For CPUs where [`is_available`];
/// `sha_ni` says whether [`sha_ni::is_available`].
pub(crate) fn hash_each(messages: &[u8], message_bytes: usize, out: &mut [Digest], sha_ni: bool) {
    let mut rest = messages;
    for digests in out.chunks_mut(LANES) {
        let (taken, following) = rest.split_at(message_bytes * digests.len());
        rest = following;
        let worth = if sha_ni {
            WORTH_OVER_SHA_NI
        } else {
            WORTH_OVER_SCALAR
        };
        if digests.len() >= worth {
            // SAFETY: an engine that leads here exists only where `is_available`.
            unsafe { hash_lanes(taken, message_bytes, digests) };
        } else if sha_ni {
            sha_ni::hash_each(taken, message_bytes, digests);
        } else {
            portable::hash_each(taken, message_bytes, digests);
        }
    }
}

/// Hashes 1 to [`LANES`] messages; lanes without one repeat the first.
#[target_feature(enable = "avx512f,avx512bw")]
fn hash_lanes(messages: &[u8], message_bytes: usize, out: &mut [Digest]) {
    let mut lanes = [&messages[..message_bytes]; LANES];
    for (i, lane) in lanes.iter_mut().enumerate().take(out.len()) {
        *lane = &messages[i * message_bytes..][..message_bytes];
    }
    let mut state = [_mm512_setzero_si512(); 8];
    for (words, initial) in state.iter_mut().zip(INITIAL) {
        *words = _mm512_set1_epi32(initial.cast_signed());
    }
    let split = lanes.map(<[u8]>::as_chunks::<BLOCK_BYTES>);
    compress(&mut state, &split.map(|(blocks, _)| blocks));
    let tails = split.map(|(_, rest)| Tail::new(rest, message_bytes));
    compress(&mut state, &tails.each_ref().map(Tail::blocks));
    for (i, words) in state.into_iter().enumerate() {
        let mut by_lane = [0u32; LANES];
        // SAFETY: writes 64 bytes, unaligned, to an array of 16 words.
        unsafe { _mm512_storeu_si512(by_lane.as_mut_ptr().cast(), words) };
        for (digest, word) in out.iter_mut().zip(by_lane) {
            digest[4 * i..][..4].copy_from_slice(&word.to_be_bytes());
        }
    }
}

/// The blocks of each lane, of which all have the same number, into the hash values.
#[target_feature(enable = "avx512f,avx512bw")]
fn compress(state: &mut [__m512i; 8], lanes: &[&[[u8; BLOCK_BYTES]]; LANES]) {
    let mut before = *state;
    for block in 0..lanes[0].len() {
        let mut w = load_words(lanes, block);
        let mut now = before;
        // Every index must be known when compiling, or nothing would stay in registers. So the
        // working variables stay in their places and change names: in round `i`, variable `n` (0
        // for a, 7 for h) is in place `n - i`, modulo 8.
        macro_rules! round {
            ($i:literal, $first:literal) => {
                let at = |variable: usize| (variable + 16 - $i) % 8;
                let (a, e) = (now[at(0)], now[at(4)]);
                let choice = _mm512_ternarylogic_epi32::<CHOOSE>(e, now[at(5)], now[at(6)]);
                let majority = _mm512_ternarylogic_epi32::<MAJORITY>(a, now[at(1)], now[at(2)]);
                let k = _mm512_set1_epi32(ROUND[$first + $i].cast_signed());
                let sum = add(add(now[at(7)], add(w[$i], k)), add(choice, big_sigma_1(e)));
                now[at(3)] = add(now[at(3)], sum);
                now[at(7)] = add(sum, add(majority, big_sigma_0(a)));
            };
        }
        macro_rules! rounds {
            ($first:literal: $($i:literal)*) => {$(
                round!($i, $first);
                if $first < 48 {
                    w[$i] = schedule(w[$i], w[($i + 1) % 16], w[($i + 9) % 16], w[($i + 14) % 16]);
                }
            )*};
        }
        rounds!(0: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        rounds!(16: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        rounds!(32: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        rounds!(48: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        for (word, now) in before.iter_mut().zip(now) {
            *word = add(*word, now);
        }
    }
    *state = before;
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn add(x: __m512i, y: __m512i) -> __m512i {
    _mm512_add_epi32(x, y)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn xor3(x: __m512i, y: __m512i, z: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<XOR3>(x, y, z)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn big_sigma_0(x: __m512i) -> __m512i {
    xor3(
        _mm512_ror_epi32::<2>(x),
        _mm512_ror_epi32::<13>(x),
        _mm512_ror_epi32::<22>(x),
    )
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn big_sigma_1(x: __m512i) -> __m512i {
    xor3(
        _mm512_ror_epi32::<6>(x),
        _mm512_ror_epi32::<11>(x),
        _mm512_ror_epi32::<25>(x),
    )
}

/// The word of the message schedule that takes the place of the one 16 before it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn schedule(back_16: __m512i, back_15: __m512i, back_7: __m512i, back_2: __m512i) -> __m512i {
    let sigma_0 = xor3(
        _mm512_ror_epi32::<7>(back_15),
        _mm512_ror_epi32::<18>(back_15),
        _mm512_srli_epi32::<3>(back_15),
    );
    let sigma_1 = xor3(
        _mm512_ror_epi32::<17>(back_2),
        _mm512_ror_epi32::<19>(back_2),
        _mm512_srli_epi32::<10>(back_2),
    );
    add(add(back_16, sigma_0), add(back_7, sigma_1))
}

/// Reads block `at` of each message and turns them, so that register `i` has big-endian word `i` of
/// all 16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_words(lanes: &[&[[u8; BLOCK_BYTES]]; LANES], at: usize) -> [__m512i; 16] {
    const SWAP_HIGH: i64 = 0x0c0d_0e0f_0809_0a0b;
    const SWAP_LOW: i64 = 0x0405_0607_0001_0203;
    let swap = _mm512_set_epi64(
        SWAP_HIGH, SWAP_LOW, SWAP_HIGH, SWAP_LOW, SWAP_HIGH, SWAP_LOW, SWAP_HIGH, SWAP_LOW,
    );
    let mut rows = [_mm512_setzero_si512(); 16];
    for (row, blocks) in rows.iter_mut().zip(lanes) {
        let block: &[u8; BLOCK_BYTES] = &blocks[at];
        // SAFETY: reads 64 bytes, unaligned, from an array of 64.
        let bytes = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
        *row = _mm512_shuffle_epi8(bytes, swap);
    }
    transpose(&rows)
}

/// Swaps rows and columns of a 16 by 16 matrix of words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose(rows: &[__m512i; 16]) -> [__m512i; 16] {
    let zero = _mm512_setzero_si512();
    // Within each 128-bit quarter: 4 by 4 words of four neighbouring rows.
    let mut quads = [zero; 16];
    for i in (0..16).step_by(4) {
        let [a, b, c, d] = [rows[i], rows[i + 1], rows[i + 2], rows[i + 3]];
        let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        quads[i] = _mm512_unpacklo_epi64(ab_low, cd_low);
        quads[i + 1] = _mm512_unpackhi_epi64(ab_low, cd_low);
        quads[i + 2] = _mm512_unpacklo_epi64(ab_high, cd_high);
        quads[i + 3] = _mm512_unpackhi_epi64(ab_high, cd_high);
    }
    // Then 4 by 4 quarters.
    let mut words = [zero; 16];
    for i in 0..4 {
        let [a, b, c, d] = [quads[i], quads[i + 4], quads[i + 8], quads[i + 12]];
        let ab_even = _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b);
        let ab_odd = _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b);
        let cd_even = _mm512_shuffle_i32x4::<0b10_00_10_00>(c, d);
        let cd_odd = _mm512_shuffle_i32x4::<0b11_01_11_01>(c, d);
        words[i] = _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_even, cd_even);
        words[i + 4] = _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_odd, cd_odd);
        words[i + 8] = _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_even, cd_even);
        words[i + 12] = _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_odd, cd_odd);
    }
    words
}
