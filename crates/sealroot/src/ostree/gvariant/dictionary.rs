// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dictionaries of type `a{sv}`: a commit's metadata and what is kept detached from it.

use super::normal::{check_dictionary, split_entry, split_variant};
use super::{Array, NotNormal, append_offsets, string};

/// A dictionary of type `a{sv}` in normal form, in the order in which it was written.
///
/// Where a key stands twice, the first one counts, as for `GLib`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dictionary {
    /// Checked.
    bytes: Vec<u8>,
}

impl Dictionary {
    /// The alignment of an entry of type `{sv}`: that of the variant.
    const ENTRY_ALIGNMENT: usize = 8;

    /// Checks a serialized dictionary with all the values in it.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, NotNormal> {
        check_dictionary(&bytes)?;
        Ok(Self { bytes })
    }

    /// The serialized form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Each entry as it is serialized, with its key.
    fn entries(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let array = Array::new(&self.bytes, Self::ENTRY_ALIGNMENT).into_iter();
        array.flatten().filter_map(|entry| {
            let entry = entry.ok()?;
            let (key, _) = split_entry(entry).ok()?;
            Some((key, entry))
        })
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries().map(|(key, _)| key)
    }

    /// The serialized value under `key`, if it is of type `ty`.
    fn value(&self, key: &str, ty: &str) -> Option<&[u8]> {
        let (_, entry) = self.entries().find(|(name, _)| *name == key)?;
        let (_, variant) = split_entry(entry).ok()?;
        let (value, found) = split_variant(variant).ok()?;
        (found == ty.as_bytes()).then_some(value)
    }

    /// Whether there is anything under `key`.
    pub fn contains(&self, key: &str) -> bool {
        self.keys().any(|name| name == key)
    }

    /// The string under `key`; `None` also if there is something else than a string. So do all
    /// that follow.
    pub fn string(&self, key: &str) -> Option<&str> {
        string(self.value(key, "s")?).ok()
    }

    /// The boolean under `key`.
    pub fn boolean(&self, key: &str) -> Option<bool> {
        Some(self.value(key, "b")? == [1])
    }

    /// The bytes (`ay`) under `key`.
    pub fn bytes(&self, key: &str) -> Option<&[u8]> {
        self.value(key, "ay")
    }

    /// The list of strings (`as`) under `key`.
    pub fn strings(&self, key: &str) -> Option<Vec<&str>> {
        let array = Array::new(self.value(key, "as")?, 1).ok()?;
        array
            .map(|element| string(element?))
            .collect::<Result<_, _>>()
            .ok()
    }

    /// The list of byte strings (`aay`) under `key`.
    pub fn byte_strings(&self, key: &str) -> Option<Vec<&[u8]>> {
        let array = Array::new(self.value(key, "aay")?, 1).ok()?;
        array.collect::<Result<_, _>>().ok()
    }

    /// The same dictionary with these bytes (`ay`) under `key`, in the place of what stood there or
    /// at the end. All other entries stay as they are, byte for byte.
    ///
    /// `None` for a key with a NUL, which no string has.
    pub fn with_bytes(&self, key: &str, value: &[u8]) -> Option<Self> {
        if key.contains('\0') {
            return None;
        }
        let new = bytes_entry(key, value);
        let mut is_in = false;
        let mut kept: Vec<&[u8]> = Vec::new();
        for (name, entry) in self.entries() {
            if name != key {
                kept.push(entry);
            } else if !is_in {
                is_in = true;
                kept.push(&new);
            }
        }
        if !is_in {
            kept.push(&new);
        }
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for entry in kept {
            pad(&mut bytes, Self::ENTRY_ALIGNMENT);
            bytes.extend_from_slice(entry);
            ends.push(bytes.len());
        }
        append_offsets(&mut bytes, &ends);
        Some(Self { bytes })
    }
}

/// An entry `{sv}` with a variant of type `ay`.
fn bytes_entry(key: &str, value: &[u8]) -> Vec<u8> {
    let mut entry = [key.as_bytes(), b"\0"].concat();
    let key_end = entry.len();
    pad(&mut entry, Dictionary::ENTRY_ALIGNMENT);
    entry.extend_from_slice(value);
    entry.extend_from_slice(b"\0ay");
    append_offsets(&mut entry, &[key_end]);
    entry
}

fn pad(bytes: &mut Vec<u8>, alignment: usize) {
    let len = bytes.len().checked_next_multiple_of(alignment);
    bytes.resize(len.unwrap_or(bytes.len()), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_found_and_the_rest_stays() {
        let mut dictionary = Dictionary::default();
        // Lengths around the widths of framing offsets.
        for len in [0, 1, 7, 8, 200, 255, 256, 65_000, 65_536, 70_000] {
            let key = format!("key.{len}");
            let with = dictionary.with_bytes(&key, &vec![7; len]).unwrap();
            let parsed = Dictionary::parse(with.as_bytes().to_vec()).unwrap();
            assert_eq!(parsed, with);
            assert_eq!(with.bytes(&key), Some(&*vec![7; len]));
            for (key, entry) in dictionary.entries() {
                assert!(with.entries().any(|other| other == (key, entry)), "{key}");
            }
            dictionary = with;
        }
        assert_eq!(dictionary.keys().count(), 10);
        let order: Vec<String> = dictionary.keys().map(str::to_owned).collect();
        let replaced = dictionary.with_bytes("key.8", b"other").unwrap();
        assert_eq!(replaced.keys().collect::<Vec<_>>(), order);
        assert_eq!(replaced.bytes("key.8"), Some(&b"other"[..]));
        assert_eq!(replaced.bytes("key.7"), Some(&[7; 7][..]));
        let back = replaced.with_bytes("key.8", &[7; 8]).unwrap();
        assert_eq!(back, dictionary);
        assert_eq!(dictionary.with_bytes("a\0b", b""), None);
    }

    #[test]
    fn a_key_that_stands_twice_is_replaced_whole() {
        let one = Dictionary::default().with_bytes("a", b"1").unwrap();
        let (_, entry) = one.entries().next().unwrap();
        let mut twice = entry.to_vec();
        let first_end = twice.len();
        pad(&mut twice, 8);
        twice.extend_from_slice(&bytes_entry("a", b"2"));
        let ends = [first_end, twice.len()];
        append_offsets(&mut twice, &ends);
        let twice = Dictionary::parse(twice).unwrap();
        assert_eq!(twice.bytes("a"), Some(&b"1"[..]));
        let replaced = twice.with_bytes("a", b"3").unwrap();
        assert_eq!(
            replaced,
            Dictionary::default().with_bytes("a", b"3").unwrap()
        );
    }

    #[test]
    fn a_value_of_another_type_is_none() {
        let dictionary = Dictionary::default().with_bytes("k", b"x\0").unwrap();
        assert!(dictionary.contains("k"));
        assert_eq!(dictionary.string("k"), None);
        assert_eq!(dictionary.boolean("k"), None);
        assert_eq!(dictionary.byte_strings("k"), None);
        assert_eq!(dictionary.strings("k"), None);
        assert_eq!(dictionary.bytes("other"), None);
    }

    #[test]
    fn what_is_not_normal_is_refused() {
        let normal = Dictionary::default().with_bytes("k", b"value").unwrap();
        let normal = normal.as_bytes();
        for end in 1..normal.len() {
            let cut = normal.get(..end).unwrap().to_vec();
            assert!(Dictionary::parse(cut).is_err(), "{end}");
        }
        assert!(Dictionary::parse([normal, b"\0"].concat()).is_err());
        assert_eq!(Dictionary::parse(Vec::new()), Ok(Dictionary::default()));
    }
}
