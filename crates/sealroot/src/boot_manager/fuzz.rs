// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzzer runs of this room: each panics where what must hold does not.

use sealroot_format::limits::{MAX_DEVICE_PATH_NODES, MAX_LOAD_OPTIONS};

use super::load_option::{LoadOption, name_of, number_in, parse_numbers, render, render_numbers};
use super::{Partition, device_path};

const PARTITION: Partition = Partition {
    number: 1,
    first_block: 2048,
    blocks: 131_072,
    guid: *b"sixteen bytes it",
};

/// A load option of the firmware: what is taken is written again to the byte, and what starts a file
/// starts the same one as we would write it.
pub fn load_option(data: &[u8]) {
    let Ok(option) = LoadOption::parse(data) else {
        return;
    };
    assert!(option.path.len() <= MAX_DEVICE_PATH_NODES);
    let mut paths = Vec::new();
    for node in &option.path {
        let len = u16::try_from(node.content.len() + 4).expect("it was parsed");
        paths.extend([node.kind.0, node.kind.1]);
        paths.extend(len.to_le_bytes());
        paths.extend(node.content);
    }
    paths.extend([0x7f, 0xff, 4, 0]);
    paths.extend(option.further_paths);
    let mut again = option.attributes.to_le_bytes().to_vec();
    again.extend(
        u16::try_from(paths.len())
            .expect("it was parsed")
            .to_le_bytes(),
    );
    again.extend(option.description.as_flattened());
    again.extend([0, 0]);
    again.extend(paths);
    again.extend(option.optional_data);
    assert_eq!(again, data, "another form");
    if let Some(path) = device_path::file_on(&option.path, &PARTITION) {
        let ours = render(&option.title(), &PARTITION, &path);
        let ours = LoadOption::parse(&ours).expect("what was written");
        assert_eq!(device_path::file_on(&ours.path, &PARTITION), Some(path));
        assert!(ours.optional_data.is_empty() && ours.is_started());
    }
}

/// `BootOrder`: what is taken is written again to the byte, and each number has one name.
pub fn boot_order(data: &[u8]) {
    if let Ok(name) = std::str::from_utf8(data)
        && let Some(number) = number_in(name)
    {
        assert_eq!(name_of(number), name);
    }
    let Ok(numbers) = parse_numbers(data) else {
        return;
    };
    assert!(numbers.len() <= MAX_LOAD_OPTIONS);
    assert_eq!(render_numbers(&numbers), data, "another form");
    for number in numbers {
        assert_eq!(number_in(&name_of(number)), Some(number));
    }
}
