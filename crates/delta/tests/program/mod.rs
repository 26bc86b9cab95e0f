// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels as linkers make them, small: functions that refer to one another in every way, and the tables of
//! places that a kernel has.

#![allow(dead_code, reason = "of several tests, each uses some of it")]

/// The address of the first section.
pub(crate) const BASE: u64 = 0xffff_ffff_8100_0000;

/// Where each section begins in the kernel; its address is as far from [`BASE`] as this from the first.
pub(crate) const CODE: usize = 0x1000;
pub(crate) const CONSTANTS: usize = 0xa000;
pub(crate) const DATA: usize = 0x1_0000;
pub(crate) const PLACES: usize = 0x1_1000;
pub(crate) const BUGS: usize = 0x1_2000;
pub(crate) const TYPES: usize = 0x1_3000;
pub(crate) const OF_EACH_CPU: usize = 0x1_4000;
pub(crate) const NAMES: usize = 0x1_5000;
pub(crate) const HEADERS: usize = 0x1_6000;

pub(crate) const FUNCTIONS: usize = 300;
pub(crate) const FUNCTION_BYTES: usize = 64;

/// In the new kernel so much comes in before this function.
pub(crate) const MOVED_FROM: usize = 100;
pub(crate) const MOVED_BYTES: usize = 64;

/// More symbols than functions, so that some have the same address.
const SYMBOLS: usize = 5000;

const BUG_BYTES: usize = 12;

/// Name, kind, flags, where it begins and its length.
const SECTIONS: [(&str, u32, u64, usize, usize); 10] = [
    ("", 0, 0, 0, 0),
    (".text", 1, 6, CODE, CONSTANTS - CODE),
    (".rodata", 1, 2, CONSTANTS, SYMBOLS * 4 + 16),
    (".data", 1, 3, DATA, FUNCTIONS * 8),
    (".orc_unwind_ip", 1, 2, PLACES, FUNCTIONS * 4),
    ("__bug_table", 1, 3, BUGS, 64 * BUG_BYTES),
    (".BTF", 1, 2, TYPES, 24 + 3 * 12 + 1),
    (".data..percpu", 1, 3, OF_EACH_CPU, 64),
    (".bss", 8, 3, HEADERS, 1 << 30),
    (".shstrtab", 3, 0, NAMES, 128),
];

/// A kernel, old or new, without an image around it.
pub(crate) struct Program {
    pub(crate) bytes: Vec<u8>,
    is_new: bool,
}

impl Program {
    pub(crate) fn new(is_new: bool) -> Self {
        let mut program = Self {
            bytes: vec![0; HEADERS],
            is_new,
        };
        program.fill();
        program.add_headers();
        program.add_relocations();
        program
    }

    /// Where a function is in the kernel.
    pub(crate) fn function(&self, number: usize) -> usize {
        let number = number % FUNCTIONS;
        let has_moved = self.is_new && number >= MOVED_FROM;
        CODE + number * FUNCTION_BYTES + if has_moved { MOVED_BYTES } else { 0 }
    }

    fn put(&mut self, at: usize, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// An instruction, a word that says where `target` is from `behind` bytes after the word, and how it ends.
    fn refer(&mut self, at: usize, operation: &[u8], target: usize, end: &[u8]) {
        let word = at + operation.len();
        let next = word + 4 + end.len();
        self.put(at, operation);
        self.put(word, word_between(next, target));
        self.put(word + 4, end);
    }

    fn fill(&mut self) {
        for number in 0..FUNCTIONS {
            let at = self.function(number);
            self.put(at, [0x90; FUNCTION_BYTES]);
            self.put(at, u16::try_from(number).expect("few").to_le_bytes());
            self.refer(at + 8, &[0xe8], self.function(number * 7 + 3), &[]);
            self.refer(at + 14, &[0x0f, 0x84], self.function(number + 1), &[]);
            self.refer(at + 21, &[0x48, 0x8d, 0x05], DATA + number * 8, &[]);
            self.refer(at + 29, &[0x83, 0x3d], DATA + number * 8, &[1]);
            self.refer(at + 37, &[0xc7, 0x05], DATA + number * 8, &[1, 0, 0, 0]);
            // A call out of the kernel is none.
            self.put(at + 48, [0xe8, 0, 0, 0, 0x40]);
            self.put(at + 56, [0x48, 0xc7, 0xc0]);
            let address = self.function(number * 11);
            self.put(at + 59, low_address(address));
            self.put(DATA + number * 8, address_of(address).to_le_bytes());
            let place = PLACES + number * 4;
            self.put(place, word_between(place, self.function(number)));
        }
        for symbol in 0..SYMBOLS {
            let of = self.function(symbol * FUNCTIONS / SYMBOLS) - CODE;
            let word = !u32::try_from(of).expect("small");
            self.put(CONSTANTS + 16 + symbol * 4, word.to_le_bytes());
        }
        for bug in 0..64 {
            let at = BUGS + bug * BUG_BYTES;
            self.put(at, word_between(at, self.function(bug * 5)));
            self.put(at + 4, word_between(at + 4, CONSTANTS));
            self.put(at + 8, [7, 0, 1, 0]);
        }
        // Three names for types.
        let number = |number: u32| number + if self.is_new && number >= 5 { 3 } else { 0 };
        let words = [
            [0, 8 << 24, number(4)],
            [0, 8 << 24, number(5)],
            [0, 8 << 24, number(900)],
        ];
        let types: Vec<u8> = words
            .iter()
            .flatten()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        let len = 36_u32;
        let head = [24, 0, len, len, 1].map(u32::to_le_bytes).concat();
        self.put(
            TYPES,
            [&[0x9f, 0xeb, 1, 0][..], &head, &types, &[0]].concat(),
        );
        // As addresses of the kernel, which they are not here.
        self.put(OF_EACH_CPU, [0xe8; 64]);
    }

    fn add_headers(&mut self) {
        let mut headers = Vec::new();
        let mut names = Vec::new();
        for (name, kind, flags, start, len) in SECTIONS {
            let address = match name {
                ".shstrtab" | "" | ".data..percpu" => 0,
                _ => address_of(start),
            };
            let name_at = u32::try_from(names.len()).expect("short");
            names.extend(name.as_bytes());
            names.push(0);
            headers.extend([name_at, kind].map(u32::to_le_bytes).concat());
            let long = [flags, address, start as u64, len as u64];
            headers.extend(long.map(u64::to_le_bytes).concat());
            headers.extend([0; 24]);
        }
        self.put(NAMES, &names);
        self.bytes.extend(headers);
        let header = [
            &[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &[2, 0, 62, 0, 1, 0, 0, 0],
            &[0; 16],
            &(HEADERS as u64).to_le_bytes(),
            &[0; 10],
            &[64, 0, 10, 0, 9, 0],
        ];
        self.put(0, header.concat());
    }

    /// The addresses of addresses, in lists that begin with 0.
    fn add_relocations(&mut self) {
        let data = (0..FUNCTIONS).map(|number| DATA + number * 8);
        let data: Vec<_> = data.collect();
        let code: Vec<_> = (0..FUNCTIONS)
            .map(|number| self.function(number) + 59)
            .collect();
        for list in [data, code] {
            self.bytes.extend([0; 4]);
            self.bytes.extend(list.into_iter().flat_map(low_address));
        }
    }

    /// Where the relocations begin.
    pub(crate) const fn relocations() -> usize {
        HEADERS + SECTIONS.len() * 64
    }
}

/// The address of what is there in the kernel.
pub(crate) const fn address_of(place: usize) -> u64 {
    BASE + (place - CODE) as u64
}

fn low_address(place: usize) -> [u8; 4] {
    let [a, b, c, d, ..] = address_of(place).to_le_bytes();
    [a, b, c, d]
}

fn word_between(from: usize, to: usize) -> [u8; 4] {
    let between = i64::try_from(to).expect("small") - i64::try_from(from).expect("small");
    i32::try_from(between).expect("small").to_le_bytes()
}

/// An image with this content as its payload, in blocks that are not compressed.
pub(crate) fn image(content: &[u8]) -> Vec<u8> {
    const PAYLOAD: usize = 1024;
    let size = u32::try_from(content.len()).expect("short");
    // A frame of one segment, whose size has four bytes.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    frame.extend(size.to_le_bytes());
    let mut blocks = content.chunks(128 * 1024).peekable();
    while let Some(block) = blocks.next() {
        let is_last = u32::from(blocks.peek().is_none());
        let head = u32::try_from(block.len()).expect("short") << 3 | is_last;
        frame.extend(&head.to_le_bytes()[..3]);
        frame.extend(block);
    }
    frame.extend(size.to_le_bytes());
    let mut image = vec![0x11; PAYLOAD];
    image[0x1f1] = 1;
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&[0x0f, 2]);
    image[0x248..0x24c].copy_from_slice(&0_u32.to_le_bytes());
    let len = u32::try_from(frame.len()).expect("short");
    image[0x24c..0x250].copy_from_slice(&len.to_le_bytes());
    [&image[..], &frame, b"what unpacks it"].concat()
}
