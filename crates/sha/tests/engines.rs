// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every engine of this CPU gives the digests of the `sha2` crate.

use sealroot_sha::{Digest, Engine};
use sha2::{Digest as _, Sha256};

/// Around the ends of a block and of its room for the length, and what fs-verity hashes.
const LENGTHS: [usize; 17] = [
    0, 1, 31, 55, 56, 63, 64, 65, 119, 120, 127, 128, 256, 1000, 4095, 4096, 4097,
];

/// More than two rounds of the widest engine, and every remainder.
const MAX_COUNT: usize = 40;

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

#[test]
fn all_engines_agree_with_sha2_for_all_counts_and_lengths() {
    let bytes = noise(MAX_COUNT * 4097);
    for engine in Engine::available() {
        for message_bytes in LENGTHS {
            let messages = &bytes[..MAX_COUNT * message_bytes];
            let expected: Vec<Digest> = (0..MAX_COUNT)
                .map(|i| Sha256::digest(&messages[i * message_bytes..][..message_bytes]).into())
                .collect();
            for count in 0..=MAX_COUNT {
                let mut out = vec![[0xaa; 32]; count];
                engine.hash_each(&messages[..count * message_bytes], message_bytes, &mut out);
                assert!(
                    out == expected[..count],
                    "{engine}: {count} messages of {message_bytes} bytes"
                );
            }
        }
    }
}

fn unhex(hex: &str) -> Digest {
    std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..][..2], 16).expect("hex"))
}

#[test]
fn the_vectors_of_the_standard_hold() {
    // FIPS 180-4 examples: "abc" and the 56-byte message that needs a second block.
    let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    for engine in Engine::available() {
        for (message, hex) in [
            (
                &b"abc"[..],
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                two_blocks,
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
        ] {
            let mut out = [[0; 32]; 20];
            engine.hash_each(&message.repeat(out.len()), message.len(), &mut out);
            for digest in out {
                assert_eq!(digest, unhex(hex), "{engine}");
            }
        }
    }
}

#[test]
fn unaligned_messages_are_read_as_they_lie() {
    let bytes = noise(17 * 4096 + 64);
    for engine in Engine::available() {
        for offset in 0..64 {
            let messages = &bytes[offset..][..17 * 4096];
            let mut out = [[0; 32]; 17];
            engine.hash_each(messages, 4096, &mut out);
            let expected: Digest = Sha256::digest(&messages[16 * 4096..]).into();
            assert_eq!(out[16], expected, "{engine} at offset {offset}");
        }
    }
}

#[test]
fn the_best_engine_is_available_and_stays_the_same() {
    let engines: Vec<Engine> = Engine::available().collect();
    assert!(engines.contains(&Engine::best()));
    assert_eq!(Engine::best(), Engine::best());
    let last = engines.last().expect("there is always one");
    assert_eq!(last.to_string(), "portable");
}

#[test]
#[should_panic(expected = "bytes of 2 messages of 4096 bytes")]
fn a_wrong_length_is_refused() {
    Engine::best().hash_each(&[0; 8191], 4096, &mut [[0; 32]; 2]);
}
