// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the sections of a kernel lie, and which address is where (ELF-64 Object File Format 1.5).

use std::io;
use std::ops::Range;

use sealroot_format::codec::Cursor;
use sealroot_format::erofs::ReadAt;

use super::edit;

/// `0x7f ELF`, 64 bits, little-endian.
const MAGIC: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];

/// `ET_EXEC` and `ET_DYN`; `EM_X86_64`.
const PROGRAMS: [u16; 2] = [2, 3];
const X86_64: u16 = 62;

const ELF_HEADER_BYTES: u64 = 64;
const HEADER_BYTES: usize = 64;

/// Kernels have some fifty.
const MAX_SECTIONS: u16 = 1024;
const MAX_NAMES_BYTES: u64 = 64 * 1024;

/// Longest type information, bytes: it is in memory whole.
const MAX_TYPES_BYTES: u64 = 16 << 20;

/// Longest list of relocations, bytes: it is in memory whole.
const MAX_RELOCATIONS_BYTES: u64 = 8 << 20;

/// `SHT_NOBITS`; `SHF_ALLOC` and `SHF_EXECINSTR`.
const NO_BITS: u32 = 8;
const ALLOCATED: u64 = 2;
const CODE: u64 = 4;

/// Where the kernel is mapped (the kernel's `Documentation/arch/x86/x86_64/mm.rst`). What has an address below is for
/// each processor apart.
const FIRST_ADDRESS: u64 = 0xffff_ffff_8000_0000;

/// Type information, and where the kernel's list of its symbols is.
const TYPES: &[u8] = b".BTF";
const CONSTANTS: &[u8] = b".rodata";

/// A table: in each entry of so many bytes the words that say places, counted from the word.
#[derive(Debug)]
pub(super) struct Table {
    name: &'static [u8],
    pub(super) entry_bytes: u64,
    pub(super) words: &'static [u64],
}

/// docs/format/kernel.md K3.
const TABLES: [Table; 13] = [
    table(b".altinstructions", 14, &[0, 4]),
    table(b".call_sites", 4, &[0]),
    table(b".ibt_endbr_seal", 4, &[0]),
    table(b".orc_unwind_ip", 4, &[0]),
    table(b".retpoline_sites", 4, &[0]),
    table(b".return_sites", 4, &[0]),
    table(b".smp_locks", 4, &[0]),
    table(b".static_call_sites", 8, &[0, 4]),
    table(b"__bug_table", 12, &[0, 4]),
    table(b"__ex_table", 12, &[0, 4]),
    table(b"__jump_table", 16, &[0, 4, 8]),
    table(b"__ksymtab", 12, &[0, 4, 8]),
    table(b"__ksymtab_gpl", 12, &[0, 4, 8]),
];

const fn table(name: &'static [u8], entry_bytes: u64, words: &'static [u64]) -> Table {
    Table {
        name,
        entry_bytes,
        words,
    }
}

/// A section that is mapped.
#[derive(Debug)]
pub(super) struct Section {
    /// Where it lies in the form.
    pub(super) range: Range<u64>,
    pub(super) address: u64,
    pub(super) is_code: bool,
    table: Option<&'static Table>,
}

impl Section {
    /// The address of a place in it.
    pub(super) fn address_of(&self, place: u64) -> u64 {
        self.address
            .wrapping_add(place.wrapping_sub(self.range.start))
    }

    /// Where an address in it is.
    pub(super) fn place_of(&self, address: u64) -> u64 {
        self.range
            .start
            .wrapping_add(address.wrapping_sub(self.address))
    }
}

/// Where the parts of a kernel lie in a form.
#[derive(Debug)]
pub(super) struct Layout {
    content: Range<u64>,
    /// By their addresses.
    sections: Vec<Section>,
    types: Option<Range<u64>>,
    constants: Option<Range<u64>>,
    relocations: Range<u64>,
}

impl Layout {
    /// `None` if it is no kernel, or its parts do not lie in it, or over one another.
    pub(super) fn read(form: &dyn ReadAt, content: Range<u64>) -> io::Result<Option<Self>> {
        let header = content.start..content.start.saturating_add(ELF_HEADER_BYTES);
        if header.end > content.end {
            return Ok(None);
        }
        let Some((offset, count, names)) = parse_header(&edit::read(form, &header)?) else {
            return Ok(None);
        };
        let Some(headers) = within(
            &content,
            offset,
            u64::from(count).saturating_mul(HEADER_BYTES as u64),
        ) else {
            return Ok(None);
        };
        let bytes = edit::read(form, &headers)?;
        let sections = bytes.chunks_exact(HEADER_BYTES);
        let parse = |header| Header::parse(header, &content);
        let Some(sections) = sections.map(parse).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let names = sections.get(usize::from(names));
        let names = names.filter(|names| length(&names.range) <= MAX_NAMES_BYTES);
        let Some(names) = names.map(|names| edit::read(form, &names.range)) else {
            return Ok(None);
        };
        Ok(Self::of(content, [header, headers], sections, &names?))
    }

    fn of(
        content: Range<u64>,
        headers: [Range<u64>; 2],
        sections: Vec<Header>,
        names: &[u8],
    ) -> Option<Self> {
        let with_bytes = sections.iter().filter(|section| !section.range.is_empty());
        let mut ranges: Vec<_> = with_bytes.map(|section| section.range.clone()).collect();
        ranges.extend(headers);
        ranges.sort_by_key(|range| range.start);
        // So straightening changes nothing that says what is a table.
        let is_apart = ranges.is_sorted_by(|one, other| one.end <= other.start);
        let relocations = ranges.last()?.end..content.end;
        if !is_apart || length(&relocations) > MAX_RELOCATIONS_BYTES {
            return None;
        }
        let mut layout = Self {
            content,
            sections: Vec::new(),
            types: None,
            constants: None,
            relocations,
        };
        for section in sections {
            let name = names.get(section.name..)?;
            let name = name.split(|byte| *byte == 0).next()?;
            if section.range.is_empty() || section.flags & ALLOCATED == 0 {
                continue;
            }
            if name == TYPES && length(&section.range) <= MAX_TYPES_BYTES {
                layout.types = Some(section.range.clone());
            }
            if name == CONSTANTS {
                layout.constants = Some(section.range.clone());
            }
            if section.address >= FIRST_ADDRESS {
                layout.sections.push(Section {
                    range: section.range,
                    address: section.address,
                    is_code: section.flags & CODE != 0,
                    table: TABLES.iter().find(|table| table.name == name),
                });
            }
        }
        layout.sections.sort_by_key(|section| section.address);
        Some(layout)
    }

    pub(super) fn btf(&self) -> Option<&Range<u64>> {
        self.types.as_ref()
    }

    pub(super) fn constants(&self) -> Option<&Range<u64>> {
        self.constants.as_ref()
    }

    /// Behind all sections.
    pub(super) fn relocations(&self) -> &Range<u64> {
        &self.relocations
    }

    pub(super) fn code(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(|section| section.is_code)
    }

    /// All words of tables, in ascending order of each: their places and addresses.
    pub(super) fn table_words(&self) -> impl Iterator<Item = (u64, u64)> {
        let tables = self.sections.iter();
        let tables = tables.filter_map(|section| Some((section, section.table?)));
        tables.flat_map(|(section, table)| {
            let entries = length(&section.range).checked_div(table.entry_bytes);
            let entry = |number: u64| number.wrapping_mul(table.entry_bytes);
            let starts = (0..entries.unwrap_or(0))
                .map(move |number| section.range.start.wrapping_add(entry(number)));
            let words =
                starts.flat_map(|start| table.words.iter().map(move |at| start.wrapping_add(*at)));
            words.map(|place| (place, section.address_of(place)))
        })
    }

    /// The section in which an address is, or at whose end.
    pub(super) fn section_of(&self, address: u64) -> Option<&Section> {
        let after = self
            .sections
            .partition_point(|section| section.address <= address);
        let section = self.sections.get(after.checked_sub(1)?)?;
        let offset = address.wrapping_sub(section.address);
        (offset <= length(&section.range)).then_some(section)
    }

    /// Where in the form the kernel lies.
    pub(super) fn content(&self) -> &Range<u64> {
        &self.content
    }

    /// A place of the form, counted from where the kernel begins.
    pub(super) fn in_content(&self, place: u64) -> u64 {
        place.wrapping_sub(self.content.start)
    }
}

/// What of a section's header is read.
struct Header {
    /// Where its name begins.
    name: usize,
    flags: u64,
    address: u64,
    /// In the form; empty if it has no bytes there.
    range: Range<u64>,
}

impl Header {
    fn parse(header: &[u8], content: &Range<u64>) -> Option<Self> {
        let mut fields = Cursor::new(header);
        let (name, kind) = (fields.u32()?, fields.u32()?);
        let (flags, address) = (fields.u64()?, fields.u64()?);
        let (offset, len) = (fields.u64()?, fields.u64()?);
        let range = match (kind, len) {
            (NO_BITS, _) | (_, 0) => content.start..content.start,
            _ => within(content, offset, len)?,
        };
        Some(Self {
            name: usize::try_from(name).ok()?,
            flags,
            address,
            range,
        })
    }
}

/// Where section headers are in a kernel, how many, and which is of their names.
fn parse_header(header: &[u8]) -> Option<(u64, u16, u16)> {
    let mut fields = Cursor::new(header);
    if fields.array()? != MAGIC {
        return None;
    }
    fields.take(10)?;
    if !PROGRAMS.contains(&fields.u16()?) || fields.u16()? != X86_64 {
        return None;
    }
    fields.take(20)?;
    let offset = fields.u64()?;
    fields.take(10)?;
    let (entry_bytes, count, names) = (fields.u16()?, fields.u16()?, fields.u16()?);
    let is_usual = usize::from(entry_bytes) == HEADER_BYTES && (1..=MAX_SECTIONS).contains(&count);
    is_usual.then_some((offset, count, names))
}

/// A range of the content, as one of the form.
fn within(content: &Range<u64>, offset: u64, len: u64) -> Option<Range<u64>> {
    let start = content.start.checked_add(offset)?;
    let end = start.checked_add(len)?;
    (end <= content.end).then_some(start..end)
}

const fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// What a word means as an address: the upper half of all is set.
pub(super) fn extended(word: u32) -> u64 {
    i64::from(word.cast_signed()).cast_unsigned()
}

/// The word that stands for an address.
pub(super) fn low(address: u64) -> u32 {
    let [a, b, c, d, ..] = address.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
