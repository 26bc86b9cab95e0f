// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deltas that follow one another, applied without what the last release does not need.

use sealroot::delta::{self, DeltaError, Needed, Outline, Release};
use sealroot::monitor::Silent;
use sealroot_format::digest::VerityDigest;
use sealroot_format::sign::Statement;
use sealroot_format::tree::Tree;

use crate::support::{Files, Place, Released, applying, bytes, verified};

/// A kernel that comes anew with each release, a library that changes a little, and files that are added in
/// the second release: one of them stays, one serves as base, one is gone again.
fn files(number: u64) -> Files {
    let mut library = bytes(1, 200_000);
    let at = 1000 * usize::try_from(number).expect("small");
    library.splice(at..at + 10, *b"changes here");
    let mut files = Files::from([
        ("boot/vmlinuz", bytes(1000 + number, 1_500_000)),
        ("usr/bin/same", bytes(2, 50_000)),
        ("usr/lib/library", library),
        ("usr/small", number.to_string().into_bytes()),
    ]);
    if number >= 2 {
        files.insert("usr/bin/stays", bytes(3, 20_000));
        let mut base = bytes(4, 60_000);
        base[5] ^= u8::try_from(number).expect("small");
        files.insert("usr/bin/base", base);
    }
    if number == 2 {
        files.insert("usr/bin/gone", bytes(5, 1_200_000));
    }
    files
}

/// A device with the first of several releases, and the deltas to the others, one after another.
struct Chain {
    device: Place,
    releases: Vec<Released>,
    deltas: Vec<Vec<u8>>,
}

impl Chain {
    fn new(last: u64) -> Self {
        let (vendor, device) = (Place::new(), Place::new());
        device.build(&files(1));
        let releases: Vec<_> = (1..=last)
            .map(|number| vendor.build(&files(number)))
            .collect();
        let pairs = releases.iter().zip(&releases[1..]);
        let deltas = pairs.map(|(from, to)| vendor.delta(from, to).0).collect();
        Self {
            device,
            releases,
            deltas,
        }
    }

    fn statement(&self, number: usize) -> &Statement {
        &self.releases[number + 1].statement
    }

    /// Which groups of each delta are needed.
    fn needed(&self) -> Result<Vec<Vec<bool>>, DeltaError> {
        let mut trees: Vec<Tree> = vec![self.releases[0].tree.clone()];
        for (number, delta) in self.deltas.iter().enumerate() {
            let from = self.from(number, &trees[number]);
            let only_pack = with_groups(delta, &|_, of_pack| of_pack);
            let statement = verified(self.statement(number));
            let tree = applying(&from, &statement).sketch(&mut &only_pack[..])?;
            trees.push(tree);
        }
        let mut needed = Needed::by(&trees[self.deltas.len()]);
        let mut all = Vec::new();
        for (number, delta) in self.deltas.iter().enumerate().rev() {
            let groups = needed.groups(&outline(delta));
            let there = with_groups(delta, &|number, _| groups[number]);
            needed.add_bases((&mut &there[..], &groups), &trees[number])?;
            all.push(groups);
        }
        all.reverse();
        Ok(all)
    }

    fn from<'f>(&'f self, number: usize, tree: &'f Tree) -> Release<'f> {
        Release {
            store: &self.device.store,
            pack: self.releases[number].statement.pack_digest,
            tree,
        }
    }

    /// Applies these groups of each delta.
    fn apply(&self, groups: &[Vec<bool>]) -> Result<(), DeltaError> {
        let mut tree = self.releases[0].tree.clone();
        for (number, delta) in self.deltas.iter().enumerate() {
            let transaction = self.device.store.begin(&Silent).expect("begun");
            let from = self.from(number, &tree);
            let statement = verified(self.statement(number));
            let groups = &groups[number];
            let there = with_groups(delta, &|number, _| groups[number]);
            let mut there = &there[..];
            let application = applying(&from, &statement);
            let made = if number + 1 == self.deltas.len() {
                application.apply(&transaction, &mut there)
            } else {
                application.apply_partly(&transaction, (&mut there, groups))
            };
            tree = made?;
            transaction.finish().expect("finished");
        }
        Ok(())
    }

    fn has(&self, object: (VerityDigest, u64)) -> bool {
        self.device.store.open_object(&object.0, object.1).is_ok()
    }
}

fn outline(delta: &[u8]) -> Outline {
    let (head, _) = delta.split_at(head_len(delta));
    Outline::parse(head).expect("a head")
}

fn head_len(delta: &[u8]) -> usize {
    use crate::support::{ENTRY, TABLE};
    let count: [u8; 4] = delta[TABLE - 4..TABLE].try_into().expect("four bytes");
    TABLE + ENTRY * u32::from_le_bytes(count) as usize
}

/// A delta without the groups that are not wanted, by number and whether they make the pack.
fn with_groups(delta: &[u8], is_wanted: &dyn Fn(usize, bool) -> bool) -> Vec<u8> {
    let mut at = head_len(delta);
    let mut with = delta[..at].to_vec();
    for (number, group) in outline(delta).groups.iter().enumerate() {
        let end = at + usize::try_from(group.size_bytes).expect("small");
        if is_wanted(number, group.objects.is_none()) {
            with.extend(&delta[at..end]);
        }
        at = end;
    }
    with
}

// Rules: D13, D15
#[test]
fn what_the_last_release_needs_is_made_and_nothing_else() {
    for last in [3, 4] {
        let chain = Chain::new(last);
        let needed = chain.needed().expect("known");
        // Kernels of releases on the way, and what is gone again.
        let left_out = needed.iter().flatten().filter(|needed| !**needed).count();
        assert_eq!(left_out, usize::try_from(last).expect("small") - 1);
        chain.apply(&needed).expect("applied");
        let newest = &chain.releases[chain.deltas.len()];
        let missing = delta::objects_in_order(&newest.tree);
        assert!(missing.into_iter().all(|object| chain.has(object)));
        let kernel = |release: &Released| {
            let objects = delta::objects_in_order(&release.tree).into_iter();
            let mut kernels = objects.filter(|(_, size_bytes)| *size_bytes == 1_500_000);
            kernels.next().expect("a kernel")
        };
        for release in &chain.releases[1..chain.deltas.len()] {
            assert!(!chain.has(kernel(release)));
        }
        assert!(chain.has(kernel(newest)));
    }
}

// Rules: D14
#[test]
fn with_too_little_the_last_release_is_refused() {
    let chain = Chain::new(3);
    let needed = chain.needed().expect("known");
    let mut refused = 0;
    for number in 0..needed[0].len() {
        if outline(&chain.deltas[0]).groups[number].objects.is_none() || !needed[0][number] {
            continue;
        }
        let mut fewer = needed.clone();
        fewer[0][number] = false;
        let error = chain.apply(&fewer).expect_err("refused");
        let is_told = matches!(
            error,
            DeltaError::Invalid { .. } | DeltaError::Differs { .. }
        );
        assert!(is_told, "{error}");
        refused += 1;
    }
    assert!(refused > 0);
    chain.apply(&needed).expect("applied");
}
