// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzzer runs of this room: each panics where what must hold does not.

use super::arguments::KernelArguments;
use super::name::EntryId;
use super::order::matches;
use super::search::{deployments_in, digests_in};
use super::text::{EntryText, Fields};

/// The first line as the name of a file, the rest as a boot entry in it.
pub fn boot_entry(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (name, bytes) = (parts.next().unwrap_or_default(), parts.next());
    let bytes = bytes.unwrap_or_default();
    let (names, files) = (deployments_in(bytes), digests_in(bytes));
    let id = EntryId::parse(name);
    if let Some((id, tries)) = &id {
        let again = EntryId::parse(id.file_name(*tries).as_bytes());
        assert_eq!(again, Some((*id, *tries)));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let fields = Fields::parse(text);
    for key in ["title", "linux", "options"] {
        let value = fields.get(key);
        assert!(value.is_none_or(|value| value.trim() == value));
    }
    let Some((id, _)) = id else {
        return;
    };
    for prefix in ["", "/boot"] {
        if let Ok(entry) = EntryText::parse(text, &id, prefix) {
            assert_eq!(entry.render(id.generation, prefix), text);
            assert!(names.contains(&entry.deployment), "a name was not found");
            assert!(files.contains(&entry.files), "a kernel was not found");
        }
    }
}

/// Kernel arguments, as they are typed and as they stand in entries.
pub fn kernel_arguments(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(arguments) = text.parse::<KernelArguments>() else {
        return;
    };
    let written = arguments.to_string();
    let again = written.parse::<KernelArguments>();
    assert_eq!(again.expect("what was written"), arguments);
    let _ = arguments.special_in_grub();
    let mut changed = arguments.clone();
    for argument in arguments.iter() {
        let before = changed.iter().count();
        if changed.delete(argument).is_ok() {
            assert_eq!(changed.iter().count() + 1, before, "not one is gone");
        }
    }
}

/// A pattern and a name, a line each.
pub fn name_pattern(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (pattern, name) = (parts.next().unwrap_or_default(), parts.next());
    let name = name.unwrap_or_default();
    assert_eq!(matches(pattern, name), matches_slowly(pattern, name));
}

/// The same by its definition: which places of the name each part of the pattern reaches.
fn matches_slowly(pattern: &[u8], name: &[u8]) -> bool {
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for part in pattern {
        let first = reached.iter().position(|is_reached| *is_reached);
        let is_next = |at: usize| match (part, at.checked_sub(1)) {
            (b'*', _) => first.is_some_and(|first| first <= at),
            (_, None) => false,
            (part, Some(before)) => reached[before] && (*part == b'?' || *part == name[before]),
        };
        reached = (0..=name.len()).map(is_next).collect();
    }
    reached[name.len()]
}
