// SPDX-License-Identifier: MIT OR Apache-2.0
//! A release made of one that is there, by a delta or by several that follow one another. Of the releases on
//! the way only what the last one is made of is fetched and made.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};

use sealroot::delta::{Application, Group, Needed, Outline, Release};
use sealroot::import::FoundStatement;
use sealroot::monitor::{Monitor, Unit};
use sealroot::store::TransactionSummary;
use sealroot_format::ErrorClass;
use sealroot_format::digest::VerityDigest;
use sealroot_format::sign::{ChannelDelta, Statement, Verified};
use sealroot_format::tree::Tree;

use super::{Puller, add};
use crate::error::RemoteError;
use crate::layout::Kind;
use crate::part::{Complete, Fetch, Piece};
use crate::source::SourceError;

/// A delta, and the release that it makes.
struct Link<'l> {
    fetch: Fetch<'l>,
    found: FoundStatement,
    outline: Outline,
    /// Which of its groups are there.
    groups: Vec<bool>,
    /// Its head, and these groups.
    content: File,
}

impl Link<'_> {
    /// Fetches what is not there of these groups.
    fn go_on(self, groups: Vec<bool>, monitor: &dyn Monitor) -> Result<Self, RemoteError> {
        let is_wanted = |number: usize, _: &Group| groups.get(number).copied().unwrap_or_default();
        let read_head = |head: &[u8]| read_head(head, &is_wanted);
        // It is locked until then.
        drop(self.content);
        let content = self.fetch.complete(&read_head, monitor)?.content;
        Ok(Self {
            groups,
            content,
            ..self
        })
    }

    /// What is there, from the beginning.
    fn rewound(&self) -> Result<&File, RemoteError> {
        let rewind = RemoteError::io("read what was fetched");
        (&self.content).seek(SeekFrom::Start(0)).map_err(rewind)?;
        Ok(&self.content)
    }
}

/// What a head says, and which of the pieces behind it are wanted.
fn read_head(
    head: &[u8],
    is_wanted: &dyn Fn(usize, &Group) -> bool,
) -> Result<(Outline, Vec<Piece>), RemoteError> {
    let outline = Outline::parse(head)?;
    let groups = outline.groups.iter().enumerate();
    let pieces = groups.map(|(number, group)| Piece {
        size_bytes: group.size_bytes,
        sha256: group.sha256,
        is_wanted: is_wanted(number, group),
    });
    let pieces = pieces.collect();
    Ok((outline, pieces))
}

/// A release as far as there is anything to patch: its pack, and the tree in it.
type Old<'o> = (VerityDigest, &'o Tree);

impl Puller<'_> {
    /// Goes from release to release, by deltas of which each begins where the one before it ends.
    pub(super) fn pull_deltas(
        &self,
        deltas: &[ChannelDelta],
        monitor: &dyn Monitor,
    ) -> Result<(Verified<Statement>, TransactionSummary), RemoteError> {
        let first = deltas.first().map_or(0, |delta| delta.from);
        let base = self.base(first)?;
        let mut links = Vec::new();
        for (number, delta) in deltas.iter().enumerate() {
            let is_last = number + 1 == deltas.len();
            links.push(self.begin(delta, is_last, monitor)?);
        }
        let made = self.make(links, &base, monitor);
        if made.as_ref().is_err_and(is_fault_of_delta) {
            for delta in deltas {
                self.store.remove_part(&delta.file.head)?;
            }
        }
        made
    }

    /// Fetches a delta, or what of it makes the pack.
    fn begin(
        &self,
        delta: &ChannelDelta,
        is_whole: bool,
        monitor: &dyn Monitor,
    ) -> Result<Link<'_>, RemoteError> {
        let found = self.statement(self.offered(delta.to)?)?;
        let fetch = Fetch {
            is_whole,
            ..self.fetch(Kind::Delta, delta.file, &found.statement)
        };
        monitor.start("fetching", Unit::Bytes, Some(delta.file.size_bytes));
        let is_wanted = |_: usize, group: &Group| is_whole || group.objects.is_none();
        let read_head = |head: &[u8]| read_head(head, &is_wanted);
        let Complete { head, content } = fetch.complete(&read_head, monitor)?;
        let groups = head.groups.iter().map(|group| is_wanted(0, group));
        Ok(Link {
            groups: groups.collect(),
            fetch,
            found,
            outline: head,
            content,
        })
    }

    /// Fetches what the last release needs of those before it.
    fn fetch_needed<'l>(
        &self,
        links: Vec<Link<'l>>,
        (mut pack, base): Old<'_>,
        monitor: &dyn Monitor,
    ) -> Result<Vec<Link<'l>>, RemoteError> {
        let mut sketches: Vec<Tree> = Vec::new();
        for link in &links {
            let application = Application {
                from: &Release {
                    store: self.store,
                    pack,
                    tree: sketches.last().unwrap_or(base),
                },
                statement: &link.found.statement,
                scratch: &|| self.store.create_scratch(),
                monitor,
            };
            sketches.push(application.sketch(&mut link.rewound()?)?);
            pack = link.found.statement.pack_digest;
        }
        let mut needed = Needed::by(sketches.last().unwrap_or(base));
        let mut complete = Vec::new();
        for (number, mut link) in links.into_iter().enumerate().rev() {
            if !link.fetch.is_whole {
                let groups = needed.groups(&link.outline);
                link = link.go_on(groups, monitor)?;
            }
            let old = number.checked_sub(1);
            let old = old.map_or(base, |before| &sketches[before]);
            needed.add_bases((&mut link.rewound()?, &link.groups), old)?;
            complete.push(link);
        }
        complete.reverse();
        Ok(complete)
    }

    /// Makes one release of the other, up to the last one.
    fn make(
        &self,
        mut links: Vec<Link<'_>>,
        base: &Statement,
        monitor: &dyn Monitor,
    ) -> Result<(Verified<Statement>, TransactionSummary), RemoteError> {
        let mut pack = base.pack_digest;
        let mut tree = self.tree(base)?;
        if links.len() > 1 {
            links = self.fetch_needed(links, (pack, &tree), monitor)?;
        }
        let mut objects = TransactionSummary::default();
        let mut last = None;
        for link in links {
            let application = Application {
                from: &Release {
                    store: self.store,
                    pack,
                    tree: &tree,
                },
                statement: &link.found.statement,
                scratch: &|| self.store.create_scratch(),
                monitor,
            };
            let transaction = self.store.begin(monitor)?;
            let mut content = link.rewound()?;
            let made = if link.fetch.is_whole {
                application.apply(&transaction, &mut content)
            } else {
                application.apply_partly(&transaction, (&mut content, &link.groups))
            };
            let needed = link.fetch.beside_bytes;
            tree = made.map_err(|error| RemoteError::from(error).needing(self.store, needed))?;
            pack = link.found.statement.pack_digest;
            if link.fetch.is_whole {
                last = Some((transaction, link.found));
            } else {
                add(&mut objects, transaction.finish()?);
            }
        }
        let (transaction, found) = last.ok_or(RemoteError::NoRelease { index: base.index })?;
        let (statement, more) = self.finish(transaction, tree, found)?;
        add(&mut objects, more);
        Ok((statement, objects))
    }
}

/// Whether bundles may do where a delta did not.
pub(super) fn is_fault_of_delta(error: &RemoteError) -> bool {
    match error {
        RemoteError::Delta(error) => {
            matches!(
                error.class(),
                ErrorClass::Corrupt | ErrorClass::Untrusted | ErrorClass::Usage
            )
        }
        RemoteError::Mismatch { .. } => true,
        // Of one that is only late, the rest is worth waiting for; who cannot be reached has no bundles either.
        RemoteError::Source { source, .. } => !matches!(
            source,
            SourceError::Unavailable { .. } | SourceError::Unreachable { .. }
        ),
        _ => false,
    }
}
