// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sections of an object file (ELF-64 Object File Format, version 1.5).

use std::ops::Range;

use super::words::{array_at, u16_at, u32_at, u64_at};

/// `0x7f ELF`, 64 bits, little-endian.
const MAGIC: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];

/// `ET_REL`.
const RELOCATABLE: u16 = 1;

/// Length of a section's header.
const HEADER_BYTES: usize = 64;

/// Kinds of sections.
pub(super) const SYMBOLS: u32 = 2;
pub(super) const RELOCATIONS: u32 = 4;
const NO_BITS: u32 = 8;

/// Type information (the kernel's Documentation/bpf/btf.rst).
const BTF: &[u8] = b".BTF\0";

/// A section.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// Where it lies in the object; empty if it has no bytes there.
    pub(super) range: Range<usize>,
    pub(super) kind: u32,
    pub(super) link: u32,
    pub(super) info: u32,
}

/// Where the sections of an object file lie.
#[derive(Clone, Debug)]
pub(super) struct Elf {
    pub(super) machine: u16,
    pub(super) sections: Vec<Section>,
    btf: Option<Range<usize>>,
}

impl Elf {
    /// `None` if it is no relocatable file of 64 bits, little-endian, or its sections do not lie in it,
    /// or over one another.
    pub(super) fn parse(object: &[u8]) -> Option<Self> {
        if array_at(object, 0)? != MAGIC || u16_at(object, 16)? != RELOCATABLE {
            return None;
        }
        let headers = usize::try_from(u64_at(object, 40)?).ok()?;
        if usize::from(u16_at(object, 58)?) != HEADER_BYTES {
            return None;
        }
        let count = usize::from(u16_at(object, 60)?);
        let header = |index: usize| headers.checked_add(index.checked_mul(HEADER_BYTES)?);
        let mut sections = Vec::new();
        let mut left_bytes = object.len();
        for index in 0..count {
            let section = section(object, header(index)?)?;
            // Whoever goes through all of them goes through each byte once.
            left_bytes = left_bytes.checked_sub(section.range.len())?;
            sections.push(section);
        }
        let names = sections.get(usize::from(u16_at(object, 62)?))?;
        let names = object.get(names.range.clone())?;
        let is_btf = |index: &usize| {
            let name = header(*index).and_then(|header| u32_at(object, header));
            let name = name.and_then(|name| names.get(usize::try_from(name).ok()?..));
            name.is_some_and(|name| name.starts_with(BTF))
        };
        let btf = (0..count)
            .find(is_btf)
            .and_then(|index| sections.get(index));
        Some(Self {
            machine: u16_at(object, 18)?,
            btf: btf.map(|section| section.range.clone()),
            sections,
        })
    }

    /// Where the type information lies.
    pub(super) fn btf(&self) -> Option<Range<usize>> {
        self.btf.clone()
    }

    /// Those of a kind.
    pub(super) fn of_kind(&self, kind: u32) -> impl Iterator<Item = &Section> {
        let sections = self.sections.iter();
        sections.filter(move |section| section.kind == kind && !section.range.is_empty())
    }

    /// The section of this number, if it has bytes.
    pub(super) fn section(&self, number: u32) -> Option<&Section> {
        let section = self.sections.get(usize::try_from(number).ok()?)?;
        (!section.range.is_empty()).then_some(section)
    }

    /// All before symbols and relocations; what comes from the first symbols on; from the first relocations
    /// on.
    pub(super) fn pieces(&self, size: usize) -> [Range<usize>; 3] {
        let first = |kind| self.of_kind(kind).map(|section| section.range.start).min();
        let relocations = first(RELOCATIONS).unwrap_or(size);
        let symbols = first(SYMBOLS).unwrap_or(size).min(relocations);
        [0..symbols, symbols..relocations, relocations..size]
    }
}

fn section(object: &[u8], header: usize) -> Option<Section> {
    let field = |offset: usize| header.checked_add(offset);
    object.get(header..field(HEADER_BYTES)?)?;
    let kind = u32_at(object, field(4)?)?;
    let start = usize::try_from(u64_at(object, field(24)?)?).ok()?;
    let len = match kind {
        NO_BITS => 0,
        _ => usize::try_from(u64_at(object, field(32)?)?).ok()?,
    };
    let range = start..start.checked_add(len)?;
    if len > 0 {
        object.get(range.clone())?;
    }
    Some(Section {
        range,
        kind,
        link: u32_at(object, field(40)?)?,
        info: u32_at(object, field(44)?)?,
    })
}
