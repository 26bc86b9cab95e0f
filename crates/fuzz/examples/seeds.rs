// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes what the fuzzer begins with, one file for each kind of input: `seeds <corpus directory>`.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use lzma_rust2::{Lzma2Reader, XzOptions, XzWriter};
use sealroot::uki::{self, ImageSigner, MaySign};
use sealroot_delta::adjusted::{Adjusted, Renumbering};
use sealroot_delta::opened::{Side, open};
use sealroot_delta::{GroupWriter, Tolerance, find_covers, number};
use sealroot_testkit::cpio::Archive;
use sealroot_testkit::efi;

#[path = "../../sealroot/tests/ostree/encode.rs"]
#[expect(clippy::unwrap_used, reason = "it is part of a test")]
mod encode;
#[path = "../../delta/tests/module/mod.rs"]
mod module;
#[path = "../../delta/tests/program/mod.rs"]
mod program;
#[path = "../../sealroot/tests/uki/support.rs"]
#[expect(clippy::unwrap_used, dead_code, reason = "it is part of a test")]
mod uki_parts;

use encode::{Value, array, bytes, text, u32_be, u64_be};
use module::{Module, Relocation, Symbol};

fn main() {
    let directory = std::env::args_os().nth(1).expect("a directory");
    let seeds = Seeds(directory.into());
    seeds.packs();
    seeds.patches();
    seeds.objects();
    seeds.ostree();
    seeds.archives();
    seeds.bundles();
    seeds.images();
    seeds.firmware_keys();
    seeds.load_options();
    seeds.keyring();
}

/// Objects of the releases of `delta_apply`.
const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");

fn put(directory: impl AsRef<Path>, name: &str, bytes: impl AsRef<[u8]>) {
    let directory = directory.as_ref();
    std::fs::create_dir_all(directory).expect("a directory");
    std::fs::write(directory.join(name), bytes).expect("a file");
}

struct Seeds(PathBuf);

impl Seeds {
    fn put(&self, target: &str, name: &str, bytes: impl AsRef<[u8]>) {
        put(self.0.join(target), name, bytes);
    }

    fn firmware_keys(&self) {
        /// Kinds of signatures, as UEFI numbers them.
        const X509: [u8; 16] = *b"\xa1\x59\xc0\xa5\xe4\x94\xa7\x4a\x87\xb5\xab\x15\x5c\x2b\xf0\x72";
        const SHA256: [u8; 16] =
            *b"\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28";
        let certificate = std::fs::read(format!("{TESTDATA}/certificate.der"));
        let certificate = certificate.expect("a certificate");
        let list = |kind: [u8; 16], contents: &[&[u8]]| {
            let signature_bytes = 16 + contents[0].len();
            let lengths = [28 + signature_bytes * contents.len(), 0, signature_bytes];
            let lengths = lengths.map(|len| u32::try_from(len).expect("small").to_le_bytes());
            let signatures = contents.iter().map(|content| [&[7; 16], *content].concat());
            [
                kind.to_vec(),
                lengths.concat(),
                signatures.collect::<Vec<_>>().concat(),
            ]
            .concat()
        };
        let one = list(X509, &[&certificate]);
        let digests = list(SHA256, &[&[1; 32], &[2; 32]]);
        self.put("signature_lists", "certificate", &one);
        self.put("signature_lists", "digests", &digests);
        self.put("signature_lists", "both", [digests, one].concat());
    }

    fn keyring(&self) {
        let sequence = |len: u8| [&[0x30, len][..], &vec![7; usize::from(len)]].concat();
        let long = [&[0x30, 0x81, 200][..], &[7; 200]].concat();
        let row = [sequence(0), sequence(20), long].concat();
        self.put("verity_certificates", "three", row);
        let signature = |number: u8, len: u16| {
            let len_bytes = len.to_le_bytes();
            [&[number; 32][..], &len_bytes, &vec![9; usize::from(len)]].concat()
        };
        let group = [signature(1, 300), signature(2, 1), signature(4, 20)].concat();
        self.put("signature_group", "three", group);
        let mut head = b"sealroot osigns1".to_vec();
        head.extend(2_u32.to_le_bytes());
        for number in [8_u8, 3] {
            head.extend(u64::from(number).to_le_bytes());
            head.extend([4000_u32, 3000].map(u32::to_le_bytes).concat());
            head.extend([number; 32]);
        }
        self.put("signature_head", "two", head);
    }

    fn load_options(&self) {
        let len = |bytes: usize| u16::try_from(bytes).expect("small").to_le_bytes();
        let node =
            |kind: [u8; 2], content: &[u8]| [&kind[..], &len(content.len() + 4), content].concat();
        let utf16 =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        // The partition that the target knows.
        let mut drive = 1_u32.to_le_bytes().to_vec();
        drive.extend(2048_u64.to_le_bytes());
        drive.extend(131_072_u64.to_le_bytes());
        drive.extend(b"sixteen bytes it\x02\x02");
        let file = utf16("\\sealroot\\x\\uki.efi\0");
        let end = node([0x7f, 0xff], &[]);
        let path = [node([4, 1], &drive), node([4, 4], &file), end].concat();
        let option = |paths: &[u8], data: &[u8]| {
            let title = utf16("Test OS\0");
            [&[1, 0, 0, 0][..], &len(paths.len()), &title, paths, data].concat()
        };
        self.put("load_option", "ours", option(&path, b""));
        self.put(
            "load_option",
            "data",
            option(&path, &utf16("init=/bin/sh\0")),
        );
        self.put("load_option", "two-paths", option(&path.repeat(2), b""));
        self.put("boot_order", "order", [7, 0, 1, 0, 1, 0x20]);
        self.put("boot_order", "name", "Boot00AB");
    }

    fn packs(&self) {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/v1/pack");
        for name in ["empty", "kinds"] {
            let read = |ending| std::fs::read(golden.join(format!("{name}.{ending}")));
            self.put("pack", name, read("pack").expect("a golden pack"));
            let dump = String::from_utf8(read("dump").expect("a golden dump"));
            let dump = dump.expect("ascii");
            let lines = dump.lines().map(|line| {
                let words = line.split(' ').map(|word| match word.len() {
                    64 => ".",
                    _ => word,
                });
                words.collect::<Vec<_>>().join(" ") + "\n"
            });
            let lines: String = lines.collect();
            self.put("tree_lines", name, &lines);
            self.put("tree_lines", &format!("{name}-dump"), &dump);
            self.put("delta_text", name, lines);
        }
        let line = "sealroot tree 1\n/ d 0755 0 0 0.000000000\n";
        let file = |name, size, word| format!("/{name} f 0644 0 0 0.000000000 {size} {word}\n");
        let files = [
            file("a", 1000, "="),
            file("b", 2000, "="),
            file("c", 500, "*"),
            file("d", 500, "*0"),
            file("e", 1000, "=0"),
            file("f", 9, "."),
        ];
        self.put("delta_text", "words", line.to_owned() + &files.concat());
    }

    fn patches(&self) {
        let base: Vec<u8> = (0..512_u32)
            .flat_map(|number| number.wrapping_mul(0x9E37_79B1).to_le_bytes())
            .collect();
        let mut new = base[100..400].to_vec();
        new[50] ^= 1;
        new.splice(200..200, *b"something new");
        let covers = find_covers(&base, &new, Tolerance::USUAL);
        let mut writer = GroupWriter::new();
        writer.push(&base, &new, &covers);
        let size = u16::try_from(new.len()).expect("short").to_le_bytes();
        self.put("patch", "one", [&[1][..], &size, &writer.finish()].concat());
        self.put(
            "patch_round_trip",
            "two",
            [&[128][..], &base[..200], &new[..200]].concat(),
        );
        self.put("numbers", "renumbering", [1, 3, 4, 1, 5, 6]);
        self.put("numbers", "moves", [2, 16, 32, 32, 15]);
        let mut numbers = Vec::new();
        for value in [0, 127, 128, u64::MAX] {
            number::push(&mut numbers, value);
        }
        self.put("numbers", "all", numbers);
        let delta = sealroot_fuzz::delta_seeds(lzma2);
        self.put("delta_apply", "delta", delta.apply);
        self.put("delta_head", "delta", delta.head);
        for (number, group) in delta.groups.iter().enumerate() {
            self.put("delta_group", &format!("delta-{number}"), group);
        }
    }

    fn objects(&self) {
        let words: Vec<u8> = (0..60_u32)
            .flat_map(|number| format!("word {} ", number * number % 97).into_bytes())
            .collect();
        let gzip = |level| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
            encoder.write_all(&words).expect("memory");
            encoder.finish().expect("memory")
        };
        put(TESTDATA, "words.gz", gzip(6));
        for (name, object) in [
            ("stored", gzip(0)),
            ("fast", gzip(1)),
            ("usual", gzip(6)),
            ("two", [gzip(9), b"between".to_vec(), gzip(6)].concat()),
        ] {
            self.opened(name, &object);
        }
        for level in [1, 3, 9, 19] {
            let frame = zstd::bulk::compress(&words, level).expect("memory");
            self.opened(&format!("image-{level}"), &image(&frame, words.len()));
        }
        // Matches of few letters come from many places, and not from the nearest.
        let letter = |state: &mut u32, _| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some(b'a' + (*state >> 30).to_le_bytes()[0])
        };
        let letters: Vec<u8> = (0..900).scan(7_u32, letter).collect();
        let frame = zstd::bulk::compress(&letters, 3).expect("memory");
        self.opened("letters", &frame);
        self.opened("kernel", &program::image(&small_kernel()));
        self.put("kernel", "small", small_kernel());
        let module = object_file();
        put(TESTDATA, "module.o", &module);
        let size = u16::try_from(module.len()).expect("short").to_le_bytes();
        let mut writer = GroupWriter::new();
        let adjusted =
            Adjusted::new(module.clone(), &Renumbering::default()).expect("an object file");
        for piece in adjusted.pieces() {
            let new = &module[piece];
            writer.push(&module, new, &find_covers(&module, new, Tolerance::STRICT));
        }
        self.put(
            "adjusted",
            "module",
            [&size[..], &module, &writer.finish()].concat(),
        );
    }

    fn opened(&self, name: &str, object: &[u8]) {
        self.put("opened", name, object);
        let opened = open(&object, Side::New, &mut || Ok(Vec::new())).expect("memory");
        let opened = opened.expect("a short object");
        let mut form =
            vec![0; usize::try_from(opened.form().size_bytes().expect("memory")).expect("short")];
        opened.form().read_exact_at(&mut form, 0).expect("memory");
        let size = u16::try_from(object.len().div_ceil(16)).expect("short");
        self.put("closed", name, [&size.to_le_bytes()[..], &form].concat());
    }

    fn ostree(&self) {
        let pair =
            |name: &str, value: &[u8]| Value::Tuple(vec![bytes(format!("{name}\0")), bytes(value)]);
        let xattrs = || array(1, vec![pair("user.b", b"2"), pair("user.a", b"")]);
        let digest = || bytes([7; 32]);
        let meta = Value::Tuple(vec![u32_be(0), u32_be(5), u32_be(0o040_755), xattrs()]);
        self.put("ostree_dirmeta", "meta", meta.encode());
        self.put("ostree_dirmeta", "xattrs", xattrs().encode());
        let file = |name| Value::Tuple(vec![text(name), digest()]);
        let directory = |name| Value::Tuple(vec![text(name), digest(), digest()]);
        let files = array(1, vec![file("a"), file("c")]);
        let directories = array(1, vec![directory("b"), directory("d")]);
        let tree = Value::Tuple(vec![files, directories]);
        self.put("ostree_dirtree", "tree", tree.encode());
        for (name, mode, target) in [("regular", 0o100_644, ""), ("link", 0o120_777, "target")] {
            let size = if target.is_empty() { 1000 } else { 0 };
            let members = vec![
                u64_be(size),
                u32_be(0),
                u32_be(0),
                u32_be(mode),
                u32_be(0),
                text(target),
                xattrs(),
            ];
            self.put("ostree_file", name, Value::Tuple(members).encode());
        }
        let entry = |key: &str, value: Value, ty: &str| {
            Value::Tuple(vec![text(key), Value::Variant(Box::new(value), ty.into())])
        };
        let signatures = array(1, vec![bytes([1; 64]), bytes([2; 64])]);
        let metadata = array(
            8,
            vec![
                entry("key", bytes("old"), "ay"),
                entry("text", text("of it"), "s"),
                entry("flag", Value::Number(vec![1]), "b"),
                entry("names", array(1, vec![text("x"), text("y")]), "as"),
                entry("ostree.sign.ed25519", signatures, "aay"),
                entry("pair", Value::Tuple(vec![u64_be(1), text("z")]), "(ts)"),
            ],
        );
        self.put("ostree_dictionary", "all", metadata.encode());
        let commit = Value::Tuple(vec![
            metadata,
            digest(),
            array(1, vec![Value::Tuple(vec![text("related"), digest()])]),
            text("a subject"),
            text("a body"),
            u64_be(1_700_000_000),
            digest(),
            digest(),
        ]);
        self.put("ostree_commit", "commit", commit.encode());
        let content = vec![b'x'; 300];
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&content).expect("memory");
        let deflated = encoder.finish().expect("memory");
        let claimed = 300_u16.to_le_bytes();
        self.put("ostree_content", "file", [&claimed[..], &deflated].concat());
    }

    fn archives(&self) {
        let mut archive = Archive::new();
        archive.file("usr/lib/sealroot/policy", 0o644, b"sealroot policy 1\n");
        archive.file("usr/lib/sealroot/keyset", 0o644, b"sealroot keyset 1\n");
        archive.file("init", 0o755, b"\x7fELF");
        let archive = archive.finish();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&archive).expect("memory");
        let gzip = gzip.finish().expect("memory");
        let zstd = zstd::bulk::compress(&archive, 3).expect("memory");
        let mut xz = XzWriter::new(Vec::new(), XzOptions::with_preset(0)).expect("options");
        xz.write_all(&archive).expect("memory");
        let xz = xz.finish().expect("memory");
        for (name, packed) in [("gzip", &gzip), ("zstd", &zstd), ("xz", &xz)] {
            self.put("initramfs", name, packed);
        }
        self.put("initramfs", "two", [&archive[..], &[0; 8], &gzip].concat());
        self.put("initramfs", "plain", archive);
        for (name, at, magic) in [
            ("ext4", 0x38, &[0x53, 0xef][..]),
            ("f2fs", 0, &[0x10, 0x20, 0xf5, 0xf2]),
            ("btrfs", 0x40, b"_BHRfS_M"),
        ] {
            let mut superblock = vec![b'u'; 700];
            superblock[at..at + magic.len()].copy_from_slice(magic);
            self.put("device_start", name, superblock);
        }
        let mut gpt = vec![2; 512];
        gpt.extend(b"EFI PART");
        gpt.resize(512 + 72, 0);
        gpt.extend(2_u64.to_le_bytes());
        gpt.extend([4_u32, 128].map(u32::to_le_bytes).concat());
        gpt.resize(2048, 7);
        self.put("device_start", "gpt", gpt);
        let mut dos = vec![2; 512];
        dos[510..].copy_from_slice(&[0x55, 0xaa]);
        self.put("device_start", "dos", dos);
    }

    fn bundles(&self) {
        let content = vec![b'p'; 5000];
        let frame = zstd::bulk::compress(&content, 3).expect("memory");
        let frame_bytes = u32::try_from(frame.len()).expect("short");
        let mut head = b"sealroot bundle1".to_vec();
        head.extend([7; 32]);
        head.extend(5000_u64.to_le_bytes());
        head.extend([1, 1, 2].map(u32::to_le_bytes).concat());
        head.extend(frame_bytes.to_le_bytes());
        head.extend([8; 32]);
        head.extend([9; 32]);
        for value in [0, 0, 100, 1, 8, 50] {
            number::push(&mut head, value);
        }
        self.put("bundle_head", "head", &head);
        let len = u16::try_from(head.len()).expect("short").to_le_bytes();
        self.put("bundle_pack", "whole", [&len[..], &head, &frame].concat());
    }

    fn images(&self) {
        let parts = uki_parts::Bench::new();
        let image = parts.image();
        let (key, certificate) = parts.certificate("signer", &["rsa:2048"]).expect("openssl");
        let signer = ImageSigner::with_key(&certificate, &key).expect("a key");
        let signed = uki::sign(&image, &signer, MaySign::SealedOnly).expect("an image of ours");
        let digest = uki::digest(&image).expect("an image of ours");
        let table = &signed[image.len().next_multiple_of(8)..];
        self.put("efi_signatures", "one", [&digest[..], table].concat());
        self.put("efi_image", "signed", signed);
        self.put("efi_image", "whole", image);
        self.put("efi_image", "stub", efi::stub());
        self.put("efi_image", "kernel", efi::linux());
    }
}

/// What LZMA2 of a group decompresses to.
fn lzma2(encoded: &[u8], decoded_bytes: usize) -> Vec<u8> {
    let mut group = Vec::new();
    let mut reader = Lzma2Reader::new(encoded, 1 << 20, None);
    reader.read_to_end(&mut group).expect("a group");
    assert_eq!(group.len(), decoded_bytes);
    group
}

/// A kernel image with this frame of zstd.
fn image(frame: &[u8], content_len: usize) -> Vec<u8> {
    let payload = program::image(&[]);
    let mut image = payload[..1024].to_vec();
    let len = u32::try_from(frame.len() + 4).expect("short");
    image[0x24c..0x250].copy_from_slice(&len.to_le_bytes());
    let content_len = u32::try_from(content_len).expect("short").to_le_bytes();
    [&image[..], frame, &content_len, b"what unpacks it"].concat()
}

fn object_file() -> Vec<u8> {
    let symbol = |kind, section, value, size| Symbol {
        kind,
        section,
        value,
        size,
    };
    let relocation = |offset, kind, symbol, added| Relocation {
        offset,
        kind,
        symbol,
        added,
    };
    let types = [
        [1, 1 << 24, 4],
        [2, 2 << 24, 3],
        [3, 8 << 24, 5],
        [4, 12 << 24, 6],
    ];
    Module {
        text: (0..=255).collect(),
        btf: module::btf(&types, b"\0abc\0def\0"),
        symbols: vec![
            symbol(0, 0, 0, 0),
            symbol(3, 1, 0, 0),
            symbol(2, 1, 40, 40),
            symbol(2, 1, 100, 30),
            symbol(2, 7, 8, 8),
        ],
        relocations: vec![
            relocation(50, 1, 3, 7),
            relocation(110, 2, 1, 46),
            relocation(120, 4, 1, -5),
        ],
        tail: b"tail".to_vec(),
    }
    .bytes()
}

/// A kernel of a few instructions and what refers to them: its sections have the addresses that their places say.
fn small_kernel() -> Vec<u8> {
    const TEXT: u64 = 64;
    let mut code = vec![0x90; 64];
    for (at, instruction) in [
        (0, &[0xe8, 20, 0, 0, 0][..]),
        (8, &[0x0f, 0x84, 16, 0, 0, 0]),
        (16, &[0x48, 0x8d, 0x05, 60, 0, 0, 0]),
        (32, &[0x48, 0xc7, 0xc0, 8, 0, 0, 0x81]),
    ] {
        code[at..at + instruction.len()].copy_from_slice(instruction);
    }
    let list = (0..12_u32).flat_map(|symbol| (!(symbol * 4)).to_le_bytes());
    let places = [-128_i32, -100, -90].map(i32::to_le_bytes).concat();
    let types = module::btf(&[[1, 8 << 24, 4], [2, 8 << 24, 5]], b"\0a\0");
    let contents = [
        ("", 0, 0, Vec::new()),
        (".text", 1, 6, code),
        (".rodata", 1, 2, list.collect()),
        (".orc_unwind_ip", 1, 2, places),
        ("__bug_table", 1, 3, vec![0xf0; 24]),
        (".BTF", 1, 2, types),
        (".shstrtab", 3, 0, Vec::new()),
    ];
    let names: Vec<u8> = (contents.iter())
        .flat_map(|(name, ..)| [name.as_bytes(), &[0]].concat())
        .collect();
    let (mut body, mut headers, mut name_at) = (vec![0; 64], Vec::new(), 0_u32);
    for (name, kind, flags, mut content) in contents {
        if name == ".shstrtab" {
            content.clone_from(&names);
        }
        let start = body.len() as u64;
        let address = if flags == 0 {
            0
        } else {
            program::BASE + start - TEXT
        };
        headers.extend([name_at, kind].map(u32::to_le_bytes).concat());
        let long = [flags, address, start, content.len() as u64];
        headers.extend(long.map(u64::to_le_bytes).concat());
        headers.extend([0; 24]);
        body.extend(content);
        name_at += u32::try_from(name.len() + 1).expect("short");
    }
    let header = [
        &[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &[2, 0, 62, 0, 1, 0, 0, 0],
        &[0; 16],
        &(body.len() as u64).to_le_bytes(),
        &[0; 10],
        &[64, 0, 7, 0, 6, 0],
    ];
    body[..64].copy_from_slice(&header.concat());
    body.extend(headers);
    for address in [0, 0x8100_0023, 0, 0x8100_0040_u32] {
        body.extend(address.to_le_bytes());
    }
    body
}
