// SPDX-License-Identifier: MIT OR Apache-2.0
//! Object files as compilers make them, small.

#![allow(dead_code, reason = "of several tests, each uses some of it")]

/// An object file of 64 bits for x86-64 with the sections `.text` (1), `.BTF` (2), `.symtab` (3), `.strtab` (4),
/// `.rela.text` (5), `.shstrtab` (6) and `.bss` (7), in this order, and something behind it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Module {
    pub(crate) text: Vec<u8>,
    pub(crate) btf: Vec<u8>,
    pub(crate) symbols: Vec<Symbol>,
    pub(crate) relocations: Vec<Relocation>,
    pub(crate) tail: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Symbol {
    /// 2 for a function, 3 for a section.
    pub(crate) kind: u8,
    pub(crate) section: u16,
    pub(crate) value: u64,
    pub(crate) size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relocation {
    pub(crate) offset: u64,
    pub(crate) kind: u32,
    pub(crate) symbol: u32,
    pub(crate) added: i64,
}

pub(crate) const HEADER_BYTES: usize = 64;
pub(crate) const ENTRY_BYTES: usize = 24;

const NAMES: [&str; 8] = [
    "",
    ".text",
    ".BTF",
    ".symtab",
    ".strtab",
    ".rela.text",
    ".shstrtab",
    ".bss",
];

/// Kind, link and info of each section.
const KINDS: [(u32, u32, u32); 8] = [
    (0, 0, 0),
    (1, 0, 0),
    (1, 0, 0),
    (2, 4, 1),
    (3, 0, 0),
    (4, 3, 1),
    (3, 0, 0),
    (8, 0, 0),
];

impl Module {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let names: Vec<u8> = NAMES
            .iter()
            .flat_map(|name| [name.as_bytes(), &[0]].concat())
            .collect();
        let contents = [
            Vec::new(),
            self.text.clone(),
            self.btf.clone(),
            self.symbols.iter().flat_map(Symbol::bytes).collect(),
            b"\0names\0".to_vec(),
            self.relocations
                .iter()
                .flat_map(Relocation::bytes)
                .collect(),
            names,
        ];
        let headers_at = HEADER_BYTES + contents.iter().map(Vec::len).sum::<usize>();
        let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
        out.resize(16, 0);
        out.extend(1_u16.to_le_bytes());
        out.extend(62_u16.to_le_bytes());
        out.resize(40, 0);
        out.extend((headers_at as u64).to_le_bytes());
        out.resize(58, 0);
        for number in [64_u16, 8, 6] {
            out.extend(number.to_le_bytes());
        }
        let mut headers = Vec::new();
        let mut name = 0_u32;
        for (index, (kind, link, info)) in KINDS.into_iter().enumerate() {
            let content = contents.get(index).map_or(&[][..], Vec::as_slice);
            let size = if kind == 8 {
                1 << 40
            } else {
                content.len() as u64
            };
            headers.extend(name.to_le_bytes());
            headers.extend(kind.to_le_bytes());
            headers.extend([0; 16]);
            headers.extend((out.len() as u64).to_le_bytes());
            headers.extend(size.to_le_bytes());
            headers.extend(link.to_le_bytes());
            headers.extend(info.to_le_bytes());
            headers.extend([0; 16]);
            out.extend(content);
            name += u32::try_from(NAMES[index].len()).expect("short") + 1;
        }
        out.extend(headers);
        out.extend(&self.tail);
        out
    }

    pub(crate) fn btf_at(&self) -> usize {
        HEADER_BYTES + self.text.len()
    }

    pub(crate) fn symbols_at(&self) -> usize {
        self.btf_at() + self.btf.len()
    }

    pub(crate) fn relocations_at(&self) -> usize {
        self.symbols_at() + self.symbols.len() * ENTRY_BYTES + b"\0names\0".len()
    }

    /// What the symbols and relocations of a module like this one are in `bytes`.
    pub(crate) fn tables(&self, bytes: &[u8]) -> (Vec<Symbol>, Vec<Relocation>) {
        let entries = |at: usize, count: usize| bytes[at..].chunks(ENTRY_BYTES).take(count);
        let symbols = entries(self.symbols_at(), self.symbols.len());
        let relocations = entries(self.relocations_at(), self.relocations.len());
        (
            symbols.map(Symbol::parse).collect(),
            relocations.map(Relocation::parse).collect(),
        )
    }
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("so many bytes")
}

impl Symbol {
    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![1, 0, 0, 0, self.kind | 0x10, 0];
        out.extend(self.section.to_le_bytes());
        out.extend(self.value.to_le_bytes());
        out.extend(self.size.to_le_bytes());
        out
    }

    fn parse(bytes: &[u8]) -> Self {
        Self {
            kind: bytes[4] & 0xf,
            section: u16::from_le_bytes(word(bytes, 6)),
            value: u64::from_le_bytes(word(bytes, 8)),
            size: u64::from_le_bytes(word(bytes, 16)),
        }
    }
}

impl Relocation {
    fn bytes(&self) -> Vec<u8> {
        let mut out = self.offset.to_le_bytes().to_vec();
        out.extend(self.kind.to_le_bytes());
        out.extend(self.symbol.to_le_bytes());
        out.extend(self.added.to_le_bytes());
        out
    }

    fn parse(bytes: &[u8]) -> Self {
        Self {
            offset: u64::from_le_bytes(word(bytes, 0)),
            kind: u32::from_le_bytes(word(bytes, 8)),
            symbol: u32::from_le_bytes(word(bytes, 12)),
            added: i64::from_le_bytes(word(bytes, 16)),
        }
    }
}

/// Type information of a module: a name, and for each kind of type one that refers to these types and names.
pub(crate) fn btf(types: &[[u32; 3]], names: &[u8]) -> Vec<u8> {
    let types: Vec<u8> = types
        .iter()
        .flatten()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let mut out = vec![0x9f, 0xeb, 1, 0];
    let lens = [types.len(), types.len(), names.len()];
    let [types_len, names_at, names_len] = lens.map(|len| u32::try_from(len).expect("short"));
    for word in [24, 0, types_len, names_at, names_len] {
        out.extend(word.to_le_bytes());
    }
    out.extend(types);
    out.extend(names);
    out
}
