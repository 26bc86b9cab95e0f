// SPDX-License-Identifier: MIT OR Apache-2.0
//! What firmware makes of its variables and of the files of one partition, found out without the
//! library: the boot manager of the UEFI specification 2.10, 3.1.

use std::collections::BTreeMap;

use sealroot::boot_manager::Partition;

/// The firmware's variables, by name.
pub type VariableMap = BTreeMap<String, Vec<u8>>;

/// The partition of the tests.
pub const PARTITION: Partition = Partition {
    number: 1,
    first_block: 2048,
    blocks: 129_024,
    guid: *b"\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10",
};

/// What firmware starts of a disk that it knows nothing of.
pub const FALLBACK: &str = "/EFI/BOOT/BOOTX64.EFI";

const ACTIVE: u32 = 1;

/// What was started.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Started {
    /// A file of the partition, and what it was given.
    File {
        /// Its path.
        path: String,
        /// Its content.
        content: Vec<u8>,
        /// The optional data of the load option.
        data: Vec<u8>,
    },
    /// A load option of somebody else's, which is taken to work.
    Stranger(String),
    /// Nothing could be started.
    Nothing,
}

/// One start of a machine: what is to be started once is forgotten, whether it starts or not.
pub fn start(variables: &mut VariableMap, files: &BTreeMap<String, Vec<u8>>) -> Started {
    let numbers = |bytes: Vec<u8>| -> Vec<u16> {
        let units = bytes.chunks_exact(2);
        units
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
            .collect()
    };
    let next = variables
        .remove("BootNext")
        .map(numbers)
        .unwrap_or_default();
    let order = variables.get("BootOrder").cloned().map(numbers);
    for number in next.into_iter().take(1).chain(order.unwrap_or_default()) {
        let name = format!("Boot{number:04X}");
        if let Some(started) = variables
            .get(&name)
            .and_then(|option| load(&name, option, files))
        {
            return started;
        }
    }
    match files.get(FALLBACK) {
        Some(content) if content.starts_with(b"MZ") => Started::File {
            path: FALLBACK.to_owned(),
            content: content.clone(),
            data: Vec::new(),
        },
        _ => Started::Nothing,
    }
}

fn load(name: &str, option: &[u8], files: &BTreeMap<String, Vec<u8>>) -> Option<Started> {
    let (attributes, rest) = option.split_first_chunk::<4>()?;
    let (len_bytes, rest) = rest.split_first_chunk::<2>()?;
    let title_bytes = 2 + 2 * rest.chunks_exact(2).position(|unit| unit == [0, 0])?;
    let (paths, data) = rest
        .get(title_bytes..)?
        .split_at_checked(u16::from_le_bytes(*len_bytes).into())?;
    if u32::from_le_bytes(*attributes) & ACTIVE == 0 {
        return None;
    }
    let Some(path) = file_on_partition(paths) else {
        return Some(Started::Stranger(name.to_owned()));
    };
    let content = files.get(&path)?;
    content.starts_with(b"MZ").then(|| Started::File {
        path,
        content: content.clone(),
        data: data.to_vec(),
    })
}

fn file_on_partition(mut paths: &[u8]) -> Option<String> {
    let mut is_here = false;
    loop {
        let (head, _) = paths.split_first_chunk::<4>()?;
        let (node, rest) = paths.split_at_checked(u16::from_le_bytes([head[2], head[3]]).into())?;
        paths = rest;
        match (head[0], head[1]) {
            (4, 1) => is_here = node.get(24..40)? == PARTITION.guid,
            (4, 4) if is_here => {
                let units = node[4..].chunks_exact(2);
                let units: Vec<u16> = units
                    .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
                    .collect();
                let path = String::from_utf16(&units).ok()?;
                return Some(path.trim_end_matches('\0').replace('\\', "/"));
            }
            (0x7f, _) => return None,
            _ => {}
        }
    }
}

/// A load option of somebody else's: a file on another partition.
pub fn stranger(title: &str) -> Vec<u8> {
    let mut option = ACTIVE.to_le_bytes().to_vec();
    let file: Vec<u8> = "\\other.efi\0"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let mut paths = vec![4, 1, 42, 0];
    paths.extend([7; 36]);
    paths.extend([2, 2, 4, 4]);
    paths.extend(u16::try_from(file.len() + 4).expect("short").to_le_bytes());
    paths.extend(file);
    paths.extend([0x7f, 0xff, 4, 0]);
    option.extend(u16::try_from(paths.len()).expect("short").to_le_bytes());
    option.extend(title.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
    option.extend(paths);
    option.extend(b"what firmware marks its own by");
    option
}
