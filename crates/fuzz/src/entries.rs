// SPDX-License-Identifier: MIT OR Apache-2.0
//! The order of boot entries.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use sealroot::entry::{Entry, EntryId, Loader, Owner, Tries};

/// Three entries, each a line of a name, tries, a sort key and a version: every loader's order is one that can
/// be sorted by, or sorting panics.
pub fn entry_order(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.splitn(3, '\n').map(entry);
    let (Some(a), Some(b), Some(c)) = (lines.next(), lines.next(), lines.next()) else {
        return;
    };
    for loader in Loader::ALL {
        let compare = |left, right| loader.compare(left, right);
        for (left, right) in [(&a, &b), (&b, &c), (&a, &c)] {
            let there = compare(left, right);
            assert_eq!(there, compare(right, left).reverse(), "{loader:?}");
        }
        for [x, y, z] in [[&a, &b, &c], [&b, &c, &a], [&c, &a, &b]] {
            let (first, second, both) = (compare(x, y), compare(y, z), compare(x, z));
            if first == second || second == Ordering::Equal {
                assert_eq!(both, first, "{loader:?}: not transitive");
            }
        }
    }
}

fn entry(line: &str) -> Entry {
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let name = words.next().unwrap_or_default();
    let file_name = format!("{name}.conf");
    let tries = match words.next().and_then(|word| word.split_once('-')) {
        Some((left, done)) => {
            (left.parse().ok().zip(done.parse().ok())).map(|(left, done)| Tries { left, done })
        }
        None => EntryId::parse(file_name.as_bytes()).and_then(|(_, tries)| tries),
    };
    let mut word = || words.next().map(str::to_owned);
    Entry {
        file_name,
        tries,
        title: None,
        sort_key: word(),
        version: word(),
        machine_id: word(),
        linux: None,
        options: None,
        names: BTreeSet::new(),
        option: None,
        owner: Owner::Other,
    }
}
