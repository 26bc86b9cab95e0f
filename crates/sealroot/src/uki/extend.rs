// SPDX-License-Identifier: MIT OR Apache-2.0
//! EFI applications with more in them: sections behind the last one, a table of signatures.

use object::LittleEndian as LE;
use object::pe::{self, ImageSectionHeader};
use object::pod::bytes_of;

use super::Fault;
use super::image::{CERTIFICATES_ALIGNMENT, CERTIFICATES_AT, Image, SectionName, index};

/// Pages of memory on every machine with UEFI.
const PAGE_BYTES: u32 = 4096;

/// A section to be added.
pub(super) struct NewSection<'n> {
    pub(super) name: SectionName,
    pub(super) content: &'n [u8],
    pub(super) holds: Holds,
}

/// What a section holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Data,
    Code,
}

impl Image<'_> {
    /// The same image with more sections, and each section that has a name of theirs under the name
    /// `retired`. A symbol table behind the last section is left out: nothing at boot reads it, and
    /// no signature would know where it belongs.
    pub(super) fn extended(
        &self,
        retired: SectionName,
        added: &[NewSection<'_>],
    ) -> Result<Vec<u8>, Fault> {
        let end = self.check_sections()?;
        let symbols_at = index(
            self.headers
                .file_header
                .pointer_to_symbol_table
                .get(LE)
                .into(),
        );
        if end != self.bytes.len() && !(end..self.bytes.len()).contains(&symbols_at) {
            let expected = format!("the end at byte {end}, or a symbol table");
            return Err(Fault::new(
                "behind the sections",
                expected,
                self.bytes.len(),
            ));
        }
        let mut table: Vec<_> = self.sections.iter().map(|section| section.header).collect();
        for header in &mut table {
            if added.iter().any(|new| new.name == header.name) {
                header.name = retired;
            }
        }
        let (file_alignment, memory_alignment) = self.alignments()?;
        let mut file = self.bytes.get(..end).unwrap_or_default().to_vec();
        let mut memory_end = self
            .sections
            .last()
            .map_or(self.headers_room() as u64, |section| section.memory().end);
        for new in added {
            file.resize(file.len().next_multiple_of(file_alignment), 0);
            let address = memory_end.next_multiple_of(memory_alignment.max(PAGE_BYTES).into());
            let header = header_of(new, file.len(), address, file_alignment)?;
            memory_end = address.saturating_add(new.content.len() as u64);
            table.push(header);
            file.extend_from_slice(new.content);
            file.resize(file.len().next_multiple_of(file_alignment), 0);
        }
        self.put_headers(&mut file, &table, memory_end)?;
        Ok(file)
    }

    /// Writes the headers of an image with these sections.
    fn put_headers(
        &self,
        file: &mut [u8],
        table: &[ImageSectionHeader],
        memory_end: u64,
    ) -> Result<(), Fault> {
        let (needed, room) = (self.table_end(table.len()), self.headers_room());
        if needed > room {
            let expected = format!("room for {} sections", table.len());
            let found = format!("headers of {room} bytes, not the {needed} it takes");
            return Err(Fault::new("the headers", expected, found));
        }
        let mut headers = self.headers;
        let count = u16::try_from(table.len()).map_err(|_| too_large())?;
        let (_, memory_alignment) = self.alignments()?;
        let memory_end = memory_end.next_multiple_of(memory_alignment.into());
        headers.file_header.number_of_sections.set(LE, count);
        headers.file_header.pointer_to_symbol_table.set(LE, 0);
        headers.file_header.number_of_symbols.set(LE, 0);
        let optional = &mut headers.optional_header;
        optional
            .size_of_image
            .set(LE, u32::try_from(memory_end).map_err(|_| too_large())?);
        optional.check_sum.set(LE, 0);
        put(file, self.headers_at, bytes_of(&headers));
        for (position, header) in table.iter().enumerate() {
            put(file, self.table_end(position), bytes_of(header));
        }
        Ok(())
    }

    /// Bytes from the file's beginning that headers may take.
    fn headers_room(&self) -> usize {
        index(self.headers.optional_header.size_of_headers.get(LE).into())
    }

    fn alignments(&self) -> Result<(usize, u32), Fault> {
        let optional = &self.headers.optional_header;
        let (file, memory) = (
            optional.file_alignment.get(LE),
            optional.section_alignment.get(LE),
        );
        for (which, alignment) in [("in the file", file), ("in memory", memory)] {
            // The format's own bounds (Microsoft's "PE Format", optional header).
            if !alignment.is_power_of_two() || !(512..=65_536).contains(&alignment) {
                let what = format!("the alignment {which}");
                return Err(Fault::new(
                    what,
                    "a power of two from 512 to 65536",
                    alignment,
                ));
            }
        }
        Ok((index(file.into()), memory))
    }

    /// The same image with this table of signatures, which must not have any yet.
    pub(super) fn with_certificates(&self, table: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut file = self.bytes.to_vec();
        file.resize(file.len().next_multiple_of(CERTIFICATES_ALIGNMENT), 0);
        let number = |value: usize| u32::try_from(value).map_err(|_| too_large());
        let (at, len) = (number(file.len())?, number(table.len())?);
        let directory_at = self.headers_at.saturating_add(CERTIFICATES_AT);
        put(
            &mut file,
            directory_at,
            &[at.to_le_bytes(), len.to_le_bytes()].concat(),
        );
        file.extend_from_slice(table);
        Ok(file)
    }
}

fn header_of(
    new: &NewSection<'_>,
    offset: usize,
    address: u64,
    file_alignment: usize,
) -> Result<ImageSectionHeader, Fault> {
    let mut header = ImageSectionHeader {
        name: new.name,
        ..ImageSectionHeader::default()
    };
    let raw_bytes = new.content.len().next_multiple_of(file_alignment);
    let number = |value: usize| u32::try_from(value).map_err(|_| too_large());
    header.virtual_size.set(LE, number(new.content.len())?);
    header.virtual_address.set(LE, number(index(address))?);
    header.size_of_raw_data.set(LE, number(raw_bytes)?);
    header.pointer_to_raw_data.set(LE, number(offset)?);
    // Old stubs run the kernel where it lies.
    let flags = match new.holds {
        Holds::Data => pe::IMAGE_SCN_CNT_INITIALIZED_DATA,
        Holds::Code => pe::IMAGE_SCN_CNT_CODE | pe::IMAGE_SCN_MEM_EXECUTE,
    };
    header
        .characteristics
        .set(LE, flags | pe::IMAGE_SCN_MEM_READ);
    Ok(header)
}

fn too_large() -> Fault {
    Fault::new("the whole", "at most 4 GiB", "more")
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = file.get_mut(at..at.saturating_add(bytes.len())) {
        place.copy_from_slice(bytes);
    }
}
