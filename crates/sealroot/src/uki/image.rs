// SPDX-License-Identifier: MIT OR Apache-2.0
//! EFI applications as files: PE32+ images, taken apart by `object`.
//!
//! Bounds-checked, for the bytes come from outside. What is signed is looked at more closely: its
//! sections must follow one another without a gap, in the file and in memory, so that there is one
//! way to hash it and one way to load it (docs/format/uki.md 2).

use std::ops::Range;

use object::LittleEndian as LE;
use object::pe::{self, ImageDosHeader, ImageNtHeaders64, ImageSectionHeader};
use object::read::pe::ImageNtHeaders as _;
use sealroot_format::limits::{MAX_EFI_SECTIONS, MAX_EFI_SIGNATURES_BYTES};
use sha2::{Digest, Sha256};

use super::Fault;

/// Where fields are that change, from the headers' beginning: signature, file header, and what
/// stands before them in the optional header.
const CHECKSUM_AT: usize = 4 + 20 + 64;
pub(super) const CERTIFICATES_AT: usize =
    4 + 20 + 112 + pe::IMAGE_DIRECTORY_ENTRY_SECURITY * DIRECTORY_BYTES;
const CHECKSUM_BYTES: usize = 4;
const DIRECTORY_BYTES: usize = 8;

/// What tables of certificates begin at and end with a multiple of.
pub(super) const CERTIFICATES_ALIGNMENT: usize = 8;

/// A PE32+ image whose headers, sections and signatures lie inside the file.
pub(super) struct Image<'d> {
    pub(super) bytes: &'d [u8],
    pub(super) headers_at: usize,
    pub(super) headers: ImageNtHeaders64,
    table_at: usize,
    /// In the order of the section table.
    pub(super) sections: Vec<Section<'d>>,
    certificates: Range<usize>,
}

/// Filled up with zeros.
pub(super) type SectionName = [u8; 8];

/// A section of an image.
pub(super) struct Section<'d> {
    pub(super) header: ImageSectionHeader,
    raw: Range<usize>,
    /// What of it is in the file and is loaded.
    pub(super) content: &'d [u8],
}

impl Section<'_> {
    pub(super) const fn name(&self) -> SectionName {
        self.header.name
    }

    /// The name for people.
    pub(super) fn shown_name(&self) -> String {
        shown(self.header.name)
    }

    /// Where it is loaded.
    pub(super) fn memory(&self) -> Range<u64> {
        let start = u64::from(self.header.virtual_address.get(LE));
        let size = match self.header.virtual_size.get(LE) {
            0 => self.header.size_of_raw_data.get(LE),
            size => size,
        };
        start..start.saturating_add(size.into())
    }
}

/// A section's name without the zeros at its end, escaped.
pub(super) fn shown(name: SectionName) -> String {
    name.trim_ascii_end()
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default()
        .escape_ascii()
        .to_string()
}

impl<'d> Image<'d> {
    /// Reads the headers of an EFI application for machines of 64 bits.
    pub(super) fn parse(bytes: &'d [u8]) -> Result<Self, Fault> {
        const EXPECTED: &str = "an EFI application for 64 bits (PE32+)";
        let start = || bytes.get(..bytes.len().min(8)).unwrap_or_default();
        let other = |_| Fault::new("the file", EXPECTED, format!("{}", start().escape_ascii()));
        let broken = |error: object::read::Error| Fault::new("the headers", EXPECTED, error);
        let dos = ImageDosHeader::parse(bytes).map_err(other)?;
        let mut offset = u64::from(dos.nt_headers_offset());
        let headers_at = index(offset);
        let (headers, directories) = ImageNtHeaders64::parse(bytes, &mut offset).map_err(broken)?;
        let subsystem = headers.optional_header.subsystem.get(LE);
        if subsystem != pe::IMAGE_SUBSYSTEM_EFI_APPLICATION {
            return Err(Fault::new("the subsystem", EXPECTED, subsystem.0));
        }
        let table = headers.sections(bytes, offset).map_err(broken)?;
        if table.len() > MAX_EFI_SECTIONS {
            let expected = format!("at most {MAX_EFI_SECTIONS} sections");
            return Err(Fault::new("the section table", expected, table.len()));
        }
        let sections = table.iter().map(|header| section(bytes, header));
        // The one directory whose address is a place in the file.
        let mut directory = directories.iter().skip(pe::IMAGE_DIRECTORY_ENTRY_SECURITY);
        let Some(directory) = directory.next() else {
            let found = directories.len();
            return Err(Fault::new("the directories", "16 of them", found));
        };
        let certificates = certificates(bytes, directory.address_range())?;
        Ok(Self {
            bytes,
            headers_at,
            headers: *headers,
            table_at: index(offset),
            sections: sections.collect::<Result<_, _>>()?,
            certificates,
        })
    }

    /// The machine it is for, as the format numbers them.
    pub(super) fn machine(&self) -> u16 {
        self.headers.file_header.machine.get(LE).0
    }

    /// The only section of this name, if there is one.
    pub(super) fn section(&self, name: SectionName) -> Result<Option<&Section<'d>>, Fault> {
        let mut found = self
            .sections
            .iter()
            .filter(|section| section.name() == name);
        let first = found.next();
        if found.next().is_some() {
            return Err(Fault::new(shown(name), "one such section", "several"));
        }
        Ok(first)
    }

    /// The table of signatures, empty if it is not signed.
    pub(super) fn certificates(&self) -> &'d [u8] {
        (self.bytes.get(self.certificates.clone())).unwrap_or_default()
    }

    /// Where what is signed ends.
    fn signed_end(&self) -> usize {
        if self.certificates.is_empty() {
            self.bytes.len()
        } else {
            self.certificates.start
        }
    }

    /// That headers, sections and signatures are all there is of the file, one behind the other, and
    /// that no section lies over another in memory.
    pub(super) fn check_covered(&self) -> Result<(), Fault> {
        let end = self.check_sections()?;
        if end != self.signed_end() {
            let expected = format!("the end or signatures at byte {end}");
            return Err(Fault::new(
                "behind the sections",
                expected,
                self.signed_end(),
            ));
        }
        if !self.certificates.is_empty() && self.certificates.end != self.bytes.len() {
            let expected = format!("the end at byte {}", self.certificates.end);
            return Err(Fault::new(
                "behind the signatures",
                expected,
                self.bytes.len(),
            ));
        }
        Ok(())
    }

    /// Where the last section ends in the file.
    pub(super) fn check_sections(&self) -> Result<usize, Fault> {
        let mut end = index(self.headers.optional_header.size_of_headers.get(LE).into());
        let table_end = self.table_end(self.sections.len());
        if end < table_end || end > self.bytes.len() {
            return Err(Fault::new(
                "the size of the headers",
                format!("at least {table_end}"),
                end,
            ));
        }
        let mut memory_end = end as u64;
        for section in &self.sections {
            let memory = section.memory();
            if memory.start < memory_end {
                let expected = format!("a place in memory from {memory_end:#x} on");
                return Err(Fault::new(
                    section.shown_name(),
                    expected,
                    format!("{:#x}", memory.start),
                ));
            }
            memory_end = memory.end;
            if section.raw.is_empty() {
                continue;
            }
            if section.raw.start != end {
                let expected = format!("its content at byte {end} of the file");
                return Err(Fault::new(
                    section.shown_name(),
                    expected,
                    section.raw.start,
                ));
            }
            end = section.raw.end;
        }
        Ok(end)
    }

    /// Where a table of so many sections ends.
    pub(super) fn table_end(&self, sections: usize) -> usize {
        let table_bytes = sections.saturating_mul(pe::IMAGE_SIZEOF_SECTION_HEADER);
        self.table_at.saturating_add(table_bytes)
    }

    /// The SHA-256 digest that a signature of it holds ("Windows Authenticode Portable Executable
    /// Signature Format", calculating the PE image hash): of all but the checksum, the place of the
    /// signatures, and these.
    pub(super) fn digest(&self) -> [u8; 32] {
        let end = self.signed_end();
        let checksum_at = self.headers_at.saturating_add(CHECKSUM_AT);
        let directory_at = self.headers_at.saturating_add(CERTIFICATES_AT);
        let parts = [
            0..checksum_at,
            checksum_at.saturating_add(CHECKSUM_BYTES)..directory_at,
            directory_at.saturating_add(DIRECTORY_BYTES)..end,
        ];
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(self.bytes.get(part).unwrap_or_default());
        }
        let padding = end
            .next_multiple_of(CERTIFICATES_ALIGNMENT)
            .saturating_sub(end);
        hasher.update(
            [0; CERTIFICATES_ALIGNMENT]
                .get(..padding)
                .unwrap_or_default(),
        );
        hasher.finalize().into()
    }
}

fn section<'d>(bytes: &'d [u8], header: &ImageSectionHeader) -> Result<Section<'d>, Fault> {
    let size = index(header.size_of_raw_data.get(LE).into());
    let start = match size {
        0 => 0,
        _ => index(header.pointer_to_raw_data.get(LE).into()),
    };
    let raw = start..start.saturating_add(size);
    let Some(content) = bytes.get(raw.clone()) else {
        let found = format!("bytes {} to {} of {}", raw.start, raw.end, bytes.len());
        return Err(Fault::new(
            shown(header.name),
            "its content inside the file",
            found,
        ));
    };
    let loaded = match index(header.virtual_size.get(LE).into()) {
        0 => content.len(),
        loaded => loaded.min(content.len()),
    };
    Ok(Section {
        header: *header,
        raw,
        content: content.get(..loaded).unwrap_or_default(),
    })
}

fn certificates(bytes: &[u8], (start, size): (u32, u32)) -> Result<Range<usize>, Fault> {
    let (start, size) = (index(start.into()), index(size.into()));
    let range = start..start.saturating_add(size);
    let fits = range.end <= bytes.len() && start.is_multiple_of(CERTIFICATES_ALIGNMENT);
    if size != 0 && (!fits || size > MAX_EFI_SIGNATURES_BYTES) {
        let expected = format!("at most {MAX_EFI_SIGNATURES_BYTES} bytes inside the file");
        let found = format!("bytes {start} to {} of {}", range.end, bytes.len());
        return Err(Fault::new("the signatures", expected, found));
    }
    Ok(if size == 0 { 0..0 } else { range })
}

/// A number of the format as an index; one that is none lies in no file.
pub(super) fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
