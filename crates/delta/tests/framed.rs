// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel images opened and closed: what zstd makes comes back bit for bit.

use std::collections::BTreeSet;
use std::io::Write as _;

use proptest::prelude::*;
use sealroot_delta::opened::{
    self, CloseError, MAX_FRAMED_BYTES, MAX_FRAMED_FORM_BYTES, MAX_OPENED_BYTES, Opened, Side,
};
use sealroot_delta::{GroupWriter, Tolerance, find_covers};
use zstd::zstd_safe::CParameter;

/// Where the payload of images made here begins.
const PAYLOAD: usize = 1024 + 100;

/// An image with this payload behind its setup header.
fn with_payload(payload: &[u8]) -> Vec<u8> {
    let mut image = noise(PAYLOAD, 7);
    image[0x1f1] = 1;
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&[0x0f, 2]);
    image[0x248..0x24c].copy_from_slice(&100_u32.to_le_bytes());
    let len = u32::try_from(payload.len()).expect("short");
    image[0x24c..0x250].copy_from_slice(&len.to_le_bytes());
    [&image, payload, b"what unpacks it"].concat()
}

/// An image with this frame, and the length of its content behind it.
fn image(frame: &[u8], content_len: usize) -> Vec<u8> {
    let len = u32::try_from(content_len).expect("short").to_le_bytes();
    with_payload(&[frame, &len].concat())
}

fn compress(content: &[u8], level: i32, parameters: &[CParameter]) -> Vec<u8> {
    let mut compressor = zstd::bulk::Compressor::new(level).expect("a level");
    for parameter in parameters {
        compressor.set_parameter(*parameter).expect("it has that");
    }
    compressor.compress(content).expect("memory")
}

/// Words in sentences that come again: `seed` says which.
fn text(seed: u32, sentences: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = |count: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % count
    };
    let words = [
        "mount", "the", "address", "of", "every", "page", "before", "it", "is", "freed",
    ];
    let mut out = Vec::new();
    for sentence in 0..sentences {
        for _ in 0..next(9) {
            write!(out, "{} ", words[next(words.len())]).expect("memory");
        }
        writeln!(out, "{} {:x}", sentence, next(1 << 20)).expect("memory");
    }
    out
}

fn noise(len: usize, mut state: u64) -> Vec<u8> {
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..len).map(next).collect()
}

/// Few letters, of which some are frequent.
fn letters(len: usize) -> Vec<u8> {
    let mut letters = noise(len, 3);
    for letter in &mut letters {
        *letter = b'a' + (*letter & *letter >> 3 & 31);
    }
    letters
}

/// The opened form of an image, as the new one; `None` if it is none.
fn open(object: &[u8]) -> Option<Vec<u8>> {
    open_as(Side::New, object)
}

fn open_as(side: Side, object: &[u8]) -> Option<Vec<u8>> {
    let opened = opened::open(&object.to_vec(), side, &mut || Ok(Vec::<u8>::new()));
    match opened.expect("memory")? {
        Opened::Framed { form, .. } => Some(form),
        Opened::Members { .. } => None,
    }
}

fn close(form: &[u8], size: usize) -> Result<Vec<u8>, CloseError> {
    let mut object = Vec::new();
    opened::close(&form.to_vec(), size as u64, &mut object)?;
    Ok(object)
}

fn round_trip(object: &[u8]) -> Vec<u8> {
    let form = open(object).expect("an image");
    assert!(
        close(&form, object.len()).expect("a form") == object,
        "it is another object"
    );
    form
}

/// Whatever the object is: if it is opened, it comes back.
fn comes_back(object: &[u8]) -> bool {
    let form = open(object);
    if let Some(form) = &form {
        assert!(
            close(form, object.len()).expect("a form") == object,
            "it is another object"
        );
    }
    form.is_some()
}

/// What of the format a frame uses.
fn features(frame: &[u8]) -> BTreeSet<&'static str> {
    let flags = frame[4];
    let is_single = usize::from(flags >> 5 & 1);
    let size_len = [is_single, 2, 4, 8][usize::from(flags >> 6)];
    let mut at = 5 + (1 - is_single) + size_len;
    let mut found = BTreeSet::new();
    if flags & 4 != 0 {
        found.insert("checksum");
    }
    if size_len > 0 {
        found.insert("size");
    }
    loop {
        let head = u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], 0]);
        let (kind, len) = (head >> 1 & 3, (head >> 3) as usize);
        let block = &frame[at + 3..];
        match kind {
            0 if len == 0 => found.insert("empty block"),
            0 => found.insert("raw block"),
            1 => found.insert("repeated block"),
            _ => {
                features_of_block(&block[..len], &mut found);
                true
            }
        };
        at += 3 + if kind == 1 { 1 } else { len };
        if head & 1 == 1 {
            return found;
        }
    }
}

fn features_of_block(block: &[u8], found: &mut BTreeSet<&'static str>) {
    let (kind, form) = (block[0] & 3, block[0] >> 2 & 3);
    let names = [
        "raw literals",
        "repeated literals",
        "literals",
        "treeless literals",
    ];
    found.insert(names[usize::from(kind)]);
    let mut head = [0; 8];
    head[..5.min(block.len())].copy_from_slice(&block[..5.min(block.len())]);
    let head = u64::from_le_bytes(head);
    let literals_len = if kind < 2 {
        let (len, shift) = [(1, 3), (2, 4), (1, 3), (3, 4)][usize::from(form)];
        let size = (head & ((1 << (8 * len)) - 1)) >> shift;
        len + if kind == 0 { size } else { 1 }
    } else {
        found.insert(if form == 0 {
            "one stream"
        } else {
            "four streams"
        });
        let (len, width) = [(3, 10), (3, 10), (4, 14), (5, 18)][usize::from(form)];
        len + (head >> (4 + width) & ((1 << width) - 1))
    };
    let sequences = &block[usize::try_from(literals_len).expect("short")..];
    let head_len = match sequences[0] {
        0 => {
            found.insert("no sequences");
            return;
        }
        1..=0x7f => 1,
        0xff => 3,
        _ => 2,
    };
    for shift in [2, 4, 6] {
        let names = ["default table", "single table", "table", "repeated table"];
        found.insert(names[usize::from(sequences[head_len] >> shift & 3)]);
    }
}

// Rules: O8, O10, O11, O12
#[test]
fn what_zstd_makes_comes_back() {
    let mut long_match = noise(90_000, 5);
    long_match.extend_from_within(..);
    let inputs = [
        Vec::new(),
        b"x".to_vec(),
        text(1, 3),
        text(2, 40),
        text(3, 8000),
        noise(140_000, 1),
        vec![0; 300_000],
        letters(150_000),
        letters(700),
        long_match,
        [vec![b'a'; 100], text(4, 2), vec![b'a'; 100]].concat(),
        [
            noise(140_000, 2),
            text(5, 3000),
            vec![1; 300_000],
            text(5, 3000),
        ]
        .concat(),
    ];
    let settings: [&[CParameter]; 4] = [
        &[],
        &[
            CParameter::ChecksumFlag(true),
            CParameter::ContentSizeFlag(false),
        ],
        &[CParameter::WindowLog(12)],
        &[CParameter::TargetLength(64), CParameter::MinMatch(3)],
    ];
    let mut found = BTreeSet::new();
    for input in &inputs {
        for (level, settings) in [
            (-5, &settings[..1]),
            (1, &settings[1..]),
            (3, &settings[..]),
            (19, &settings[..2]),
            (22, &settings[..1]),
        ] {
            for parameters in settings {
                let frame = compress(input, level, parameters);
                found.extend(features(&frame));
                round_trip(&frame);
                let form = round_trip(&image(&frame, input.len()));
                let start = form
                    .windows(input.len().max(1))
                    .position(|piece| piece == input);
                assert!(start.is_some() || input.is_empty());
            }
        }
    }
    let all = [
        "checksum",
        "default table",
        "empty block",
        "four streams",
        "literals",
        "no sequences",
        "one stream",
        "raw block",
        "raw literals",
        "repeated block",
        "repeated table",
        "single table",
        "size",
        "table",
        "treeless literals",
    ];
    let missing: Vec<_> = all.iter().filter(|one| !found.contains(*one)).collect();
    assert!(missing.is_empty(), "not tried: {missing:?}");
}

// Rules: O1, O17
#[test]
fn an_old_form_has_all_but_what_is_told() {
    let content = [letters(200_000), text(7, 4000)].concat();
    let object = image(&compress(&content, 19, &[]), content.len());
    let [old, new] = [Side::Old, Side::New].map(|side| open_as(side, &object).expect("an image"));
    let lengths = |form: &[u8]| -> Vec<usize> {
        let (foot, _) = form[form.len() - 28..].as_chunks::<4>();
        foot.iter()
            .map(|length| u32::from_le_bytes(*length) as usize)
            .collect()
    };
    let (of_old, of_new) = (lengths(&old), lengths(&new));
    assert_eq!(of_old[..5], of_new[..5]);
    assert_eq!(of_old[5..], [0, 0]);
    let (gaps, distances) = (of_new[5], of_new[6]);
    assert!(gaps > 0 && distances >= 4 * 20, "{gaps}, {distances}");
    let told = new.len() - 28 - gaps - distances;
    assert!(old[..old.len() - 28] == new[..told]);
    let closed = close(&old, object.len());
    assert!(closed.is_err() || closed.is_ok_and(|closed| closed != object));
}

/// A frame of one compressed block, and of content of so many bytes.
fn framed(block: &[u8], content_len: u8) -> Vec<u8> {
    let head = u32::try_from(block.len()).expect("short") << 3 | 2 << 1 | 1;
    let header = [0x28, 0xb5, 0x2f, 0xfd, 0x20, content_len];
    [&header[..], &head.to_le_bytes()[..3], block].concat()
}

// Rules: O12
#[test]
fn literals_of_one_byte_come_back() {
    for head in [
        &[20 << 3 | 1][..],
        &[(20 << 4 & 0xf0) | 1 << 2 | 1, 20 >> 4],
    ] {
        let frame = framed(&[head, b"z", &[0]].concat(), 20);
        assert!(features(&frame).contains("repeated literals"));
        round_trip(&image(&frame, 20));
    }
}

#[test]
fn a_stream_of_flushed_blocks_comes_back() {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).expect("a level");
    let content = text(6, 900);
    for piece in content.chunks(700) {
        encoder.write_all(piece).expect("memory");
        encoder.flush().expect("memory");
    }
    let frame = encoder.finish().expect("memory");
    assert!(features(&frame).contains("empty block"));
    round_trip(&image(&frame, content.len()));
}

// Rules: O8
#[test]
fn a_frame_alone_is_opened_if_it_is_the_whole_object() {
    let content = text(8, 300);
    let frame = compress(&content, 19, &[CParameter::ChecksumFlag(true)]);
    let form = round_trip(&frame);
    let found = opened::framed_content(&form).expect("memory");
    let found = found.expect("it has content");
    let [start, end] =
        [found.start, found.end].map(|at| usize::try_from(at).expect("memory has as much"));
    assert!(form[start..end] == content);
    let skipped = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
    let mut with_dictionary = frame.clone();
    with_dictionary[4] |= 1;
    for (what, object) in [
        ("a byte behind it", [&frame[..], &[0]].concat()),
        ("another frame behind it", [&frame[..], &frame].concat()),
        ("a skipped frame behind it", [&frame[..], &skipped].concat()),
        ("a skipped frame before it", [&skipped[..], &frame].concat()),
        ("no checksum", frame[..frame.len() - 4].to_vec()),
        ("a dictionary", with_dictionary),
    ] {
        assert_eq!(open(&object), None, "{what}");
    }
}

// Rules: O8
#[test]
fn what_is_no_image_is_not_opened() {
    let content = text(7, 200);
    let frame = compress(&content, 3, &[]);
    let good = image(&frame, content.len());
    round_trip(&good);
    let changed = |at: usize, byte: u8| {
        let mut object = good.clone();
        object[at] = byte;
        object
    };
    let len = content.len();
    let short = with_payload(&frame);
    let framed_twice = [&frame[..], &frame].concat();
    for (what, object) in [
        ("another magic number", changed(0x203, b'x')),
        (
            "an old version",
            [&good[..0x206], &[7, 2], &good[0x208..]].concat(),
        ),
        ("a payload elsewhere", changed(0x248, 101)),
        ("more sectors", changed(0x1f1, 2)),
        ("a payload beyond the end", changed(0x24f, 1)),
        ("another length behind it", image(&frame, len + 1)),
        ("no length behind it", short),
        ("a dictionary", changed(PAYLOAD + 4, frame[4] | 1)),
        ("a reserved flag", changed(PAYLOAD + 4, frame[4] | 8)),
        ("more than a frame", image(&framed_twice, len)),
        ("a frame of the kind that is skipped", {
            image(
                &[&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0][..], &frame].concat(),
                len,
            )
        }),
    ] {
        assert_eq!(open(&object), None, "{what}");
    }
    for len in [0, 1, 0x24f, 0x250, PAYLOAD, good.len() - 20] {
        assert_eq!(open(&good[..len]), None, "cut to {len}");
    }
}

// Rules: O9
#[test]
fn a_frame_that_is_damaged_stays_closed_or_comes_back() {
    let content = [text(8, 20), noise(60, 4), vec![0; 300]].concat();
    let mut opened = 0;
    for level in [1, 19] {
        let good = image(&compress(&content, level, &[]), content.len());
        for at in PAYLOAD..good.len() {
            for bit in [0x01, 0x10] {
                let mut object = good.clone();
                object[at] ^= bit;
                opened += usize::from(comes_back(&object));
            }
        }
    }
    assert!(opened > 0, "some only change literals");
}

// Rules: O9
#[test]
fn what_another_encoder_would_write_otherwise_stays_closed() {
    // 9 literals without sequences, their length in one byte, and in two.
    let one = framed(&[&[9 << 3][..], b"nine char", &[0]].concat(), 9);
    let two = framed(
        &[&[(9 << 4 & 0xf0) | 1 << 2, 0][..], b"nine char", &[0]].concat(),
        9,
    );
    for frame in [&one, &two] {
        round_trip(&image(frame, 9));
    }
    // The number of sequences, 0, in two bytes.
    let long = framed(&[&[9 << 3][..], b"nine char", &[0x80, 0]].concat(), 9);
    assert_eq!(open(&image(&long, 9)), None);
}

// Rules: O15
#[test]
fn what_is_too_long_is_not_opened() {
    let content = text(9, 50);
    let mut object = image(&compress(&content, 3, &[]), content.len());
    let most = usize::try_from(MAX_FRAMED_BYTES).expect("memory has as much");
    object.resize(most + 1, 0);
    assert_eq!(open(&object), None);
    object.pop();
    round_trip(&object);

    // A frame of nothing but repeated bytes.
    let block_len = 128 << 10;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x88];
    let blocks = usize::try_from(MAX_FRAMED_FORM_BYTES).expect("memory has as much") / block_len;
    for number in 1..=blocks {
        let head =
            u32::try_from(block_len).expect("short") << 3 | 1 << 1 | u32::from(number == blocks);
        frame.extend(&head.to_le_bytes()[..3]);
        frame.push(0);
    }
    assert_eq!(open(&image(&frame, blocks * block_len)), None);
}

// Rules: O16
#[test]
fn forms_that_are_cut_are_refused() {
    let content = [text(10, 20), noise(30, 6)].concat();
    let object = image(&compress(&content, 19, &[]), content.len());
    let form = round_trip(&object);
    for len in 0..form.len() {
        let cut = form[..len].to_vec();
        assert!(close(&cut, object.len()).is_err(), "cut to {len}");
    }
    for size in [0, object.len() - 1, object.len() + 1] {
        let mut out = Vec::new();
        opened::close(&form, size as u64, &mut out).expect_err("another size");
        assert!(out.len() <= size);
    }
    let long = vec![0; usize::try_from(MAX_OPENED_BYTES).expect("memory has as much") + 1];
    close(&long, 10).expect_err("too long for gzip members");
}

#[test]
fn the_next_kernel_is_small() {
    let old = text(11, 8000);
    let new = [
        b"something new\n",
        &old[..70_000],
        b"and here",
        &old[70_000..],
    ]
    .concat();
    let [old, new] = [&old, &new].map(|content| image(&compress(content, 19, &[]), content.len()));
    let patch_bytes = |old: &[u8], new: &[u8]| {
        let mut group = GroupWriter::new();
        group.push(old, new, &find_covers(old, new, Tolerance::USUAL));
        group.finish().len()
    };
    let closed = patch_bytes(&old, &new);
    let old_form = open_as(Side::Old, &old).expect("an image");
    let opened = patch_bytes(&old_form, &round_trip(&new));
    assert!(
        opened * 4 < closed * 3,
        "{opened} bytes opened, {closed} closed"
    );
}

fn changed() -> impl Strategy<Value = (Vec<u8>, usize)> {
    let content = [text(12, 60), noise(300, 8), vec![0; 200]].concat();
    let object = image(&compress(&content, 19, &[]), content.len());
    let form = round_trip(&object);
    // The choices are at the end.
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    let start = form.len() / 2;
    changes.prop_map(move |changes| {
        let mut form = form.clone();
        for (at, byte) in changes {
            let at = start + at.index(form.len() - start);
            form[at] = byte;
        }
        (form, object.len())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_payload_comes_back(
        blocks in prop::collection::vec(any::<u8>(), 0..400),
        kind in 0..3_u8,
        len in 0..300_u32,
    ) {
        let head = len << 3 | u32::from(kind) << 1 | 1;
        let head = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 9, head.to_le_bytes()[0], head.to_le_bytes()[1], 0];
        comes_back(&image(&[&head, &blocks[..]].concat(), 9));
    }

    // Rules: O16
    #[test]
    fn a_form_that_nobody_made_is_refused_or_has_the_size((form, size) in changed()) {
        if let Ok(object) = close(&form, size) {
            prop_assert_eq!(object.len(), size);
        }
    }
}
