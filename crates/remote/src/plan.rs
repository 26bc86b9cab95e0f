// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cheapest way from the releases that are there to one that is wanted.

use std::collections::{BTreeMap, BTreeSet};

use sealroot_format::sign::{
    Channel, ChannelDelta, ChannelImage, ChannelImageDelta, ChannelRelease, Name, RemoteFile,
};

use crate::error::RemoteError;

/// What a request costs, in bytes that could come instead.
pub(crate) const REQUEST_BYTES: u64 = 16 * 1024;

/// Requests of a step by a delta: the statement and the delta.
const DELTA_REQUESTS: u64 = 2;

/// Requests, at least, of a step by bundles: the statement, the head and the pack, and objects.
const BUNDLE_REQUESTS: u64 = 4;

/// One step on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A delta makes the release of one that is there.
    Delta(ChannelDelta),
    /// The pack, and the objects that are missing, come from bundles.
    Bundle {
        /// The release.
        release: ChannelRelease,
        /// At most so many bytes come.
        most_bytes: u64,
    },
}

impl Step {
    /// The index of the release that it leads to.
    pub fn to(&self) -> u64 {
        match self {
            Self::Delta(delta) => delta.to,
            Self::Bundle { release, .. } => release.index,
        }
    }

    /// The bytes that come, at most.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Delta(delta) => delta.file.size_bytes,
            Self::Bundle { most_bytes, .. } => *most_bytes,
        }
    }

    fn cost(&self) -> u64 {
        let requests = match self {
            Self::Delta(_) => DELTA_REQUESTS,
            Self::Bundle { .. } => BUNDLE_REQUESTS,
        };
        self.bytes().saturating_add(requests * REQUEST_BYTES)
    }
}

/// The image of a release, and how it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageStep {
    /// The image.
    pub image: ChannelImage,
    /// How it comes.
    pub by: ImageWay,
}

/// How an image comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageWay {
    /// It is there.
    Present,
    /// It is made of files of its release.
    Release,
    /// It is made of the image of another release, too.
    Delta(ChannelImageDelta),
}

impl ImageStep {
    /// The file that comes, if one does.
    pub fn file(&self) -> Option<&RemoteFile> {
        match &self.by {
            ImageWay::Present => None,
            ImageWay::Release => Some(&self.image.file),
            ImageWay::Delta(delta) => Some(&delta.file),
        }
    }

    /// The bytes that come.
    pub fn bytes(&self) -> u64 {
        self.file().map_or(0, |file| file.size_bytes)
    }
}

/// A way to a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The release.
    pub release: ChannelRelease,
    /// The steps; none if it is there.
    pub steps: Vec<Step>,
    /// Its image, if one is wanted.
    pub image: Option<ImageStep>,
}

impl Plan {
    /// The bytes that come, at most, statements left out.
    pub fn bytes(&self) -> u64 {
        let steps = self.steps.iter().map(Step::bytes);
        steps.chain(self.image.iter().map(ImageStep::bytes)).sum()
    }

    /// The same, and the image of this name, given the releases of which that is `present`.
    pub fn with_image(
        mut self,
        channel: &Channel,
        present: &BTreeSet<u64>,
        name: &Name,
    ) -> Result<Self, RemoteError> {
        let index = self.release.index;
        let of_release = channel.images.iter().filter(|image| image.index == index);
        let no_image = || RemoteError::NoImage {
            index,
            name: name.clone(),
            offered: of_release.map(|image| image.name.clone()).collect(),
        };
        let image = channel.image(index, name).ok_or_else(no_image)?;
        let deltas = (channel.image_deltas.iter()).filter(|delta| {
            delta.to == index && delta.name == *name && present.contains(&delta.from)
        });
        let cheapest = deltas.min_by_key(|delta| delta.file.size_bytes);
        let cheapest = cheapest.filter(|delta| delta.file.size_bytes < image.file.size_bytes);
        let by = match cheapest {
            _ if present.contains(&index) => ImageWay::Present,
            Some(delta) => ImageWay::Delta(delta.clone()),
            None => ImageWay::Release,
        };
        let image = image.clone();
        self.image = Some(ImageStep { image, by });
        Ok(self)
    }

    /// The way to the release with this index, or the newest, from those that are `present` whole.
    pub fn new(
        channel: &Channel,
        present: &BTreeSet<u64>,
        index: Option<u64>,
    ) -> Result<Self, RemoteError> {
        let release = match index {
            Some(index) => channel.release(index),
            None => channel.newest(),
        };
        let index = index.unwrap_or_default();
        let release = *release.ok_or(RemoteError::NoRelease { index })?;
        let mut plan = Self {
            release,
            steps: Vec::new(),
            image: None,
        };
        if present.contains(&release.index) {
            return Ok(plan);
        }
        let bundle = bundle(channel, present, &release);
        let deltas = cheapest_deltas(channel, present, release.index);
        let cost = |steps: &[Step]| steps.iter().map(Step::cost).fold(0, u64::saturating_add);
        plan.steps = match deltas {
            Some(deltas) if cost(&deltas) <= bundle.cost() => deltas,
            _ => vec![bundle],
        };
        Ok(plan)
    }

    /// The way by bundles alone.
    pub fn without_deltas(
        channel: &Channel,
        present: &BTreeSet<u64>,
        release: &ChannelRelease,
    ) -> Self {
        Self {
            release: *release,
            steps: vec![bundle(channel, present, release)],
            image: None,
        }
    }
}

/// What may come of bundles: those since the newest release that is there, or all.
fn bundle(channel: &Channel, present: &BTreeSet<u64>, release: &ChannelRelease) -> Step {
    let older = present.range(..release.index).next_back();
    let since = older.map_or(0, |older| older + 1);
    let bundles = channel.releases.iter();
    let bundles = bundles.filter(|other| (since..=release.index).contains(&other.index));
    let bytes = bundles.map(|other| other.bundle.size_bytes);
    Step::Bundle {
        release: *release,
        most_bytes: bytes.fold(0, u64::saturating_add),
    }
}

/// The cheapest chain of deltas: Dijkstra's algorithm.
fn cheapest_deltas(channel: &Channel, present: &BTreeSet<u64>, to: u64) -> Option<Vec<Step>> {
    let mut best: BTreeMap<u64, (u64, Option<ChannelDelta>)> =
        present.iter().map(|index| (*index, (0, None))).collect();
    let mut settled = BTreeSet::new();
    loop {
        let open = best.iter().filter(|(index, _)| !settled.contains(*index));
        let (&at, &(cost, _)) = open.min_by_key(|(_, (cost, _))| *cost)?;
        if at == to {
            break;
        }
        settled.insert(at);
        for delta in channel.deltas.iter().filter(|delta| delta.from == at) {
            let cost = cost.saturating_add(Step::Delta(*delta).cost());
            let known = best.get(&delta.to).map_or(u64::MAX, |(known, _)| *known);
            if cost < known {
                best.insert(delta.to, (cost, Some(*delta)));
            }
        }
    }
    let mut steps = Vec::new();
    let mut at = to;
    while let Some((_, Some(delta))) = best.get(&at) {
        steps.push(Step::Delta(*delta));
        at = delta.from;
    }
    steps.reverse();
    Some(steps)
}

#[cfg(test)]
mod tests {
    use sealroot_format::digest::{Sha256Digest, VerityDigest};
    use sealroot_format::sign::RemoteFile;

    use super::*;

    fn file(size_bytes: u64) -> RemoteFile {
        RemoteFile {
            head: Sha256Digest::from_bytes([1; 32]),
            head_bytes: 1,
            size_bytes,
        }
    }

    /// Releases 1 to 4 with bundles of 100 MB, and deltas of so many MB.
    fn channel(deltas: &[(u64, u64, u64)]) -> Channel {
        let name = |text: &str| text.parse().expect("a name");
        let release = |index| ChannelRelease {
            index,
            epoch: 0,
            pack: VerityDigest::from_bytes([0; 32]),
            statement: file(1),
            bundle: file(100_000_000),
        };
        let delta = |&(from, to, megabytes): &(u64, u64, u64)| ChannelDelta {
            from,
            to,
            file: file(megabytes * 1_000_000),
        };
        Channel {
            os: name("exampleos"),
            variant: None,
            stream: name("stable"),
            arch: name("x86_64"),
            version: 1,
            created: 0,
            expires: 1,
            keyset: 1,
            releases: (1..=4).map(release).collect(),
            deltas: deltas.iter().map(delta).collect(),
            images: Vec::new(),
            image_deltas: Vec::new(),
            signatures: Vec::new(),
        }
    }

    fn way(deltas: &[(u64, u64, u64)], present: &[u64], to: u64) -> Vec<u64> {
        let present = present.iter().copied().collect();
        let plan = Plan::new(&channel(deltas), &present, Some(to)).expect("a plan");
        let number = |step: &Step| match step {
            Step::Delta(delta) => delta.from * 10 + delta.to,
            Step::Bundle { release, .. } => release.index,
        };
        plan.steps.iter().map(number).collect()
    }

    #[test]
    fn the_cheaper_of_direct_and_chained_deltas_is_taken() {
        assert_eq!(way(&[(1, 4, 30), (1, 2, 5), (2, 4, 20)], &[1], 4), [12, 24]);
        assert_eq!(way(&[(1, 4, 20), (1, 2, 5), (2, 4, 20)], &[1], 4), [14]);
        assert_eq!(way(&[(1, 4, 20), (1, 2, 5), (2, 4, 20)], &[1, 2], 4), [14]);
        assert_eq!(way(&[(1, 2, 5), (2, 3, 5), (3, 4, 5)], &[1, 3], 4), [34]);
    }

    #[test]
    fn an_image_comes_by_the_smallest_file_that_does() {
        let name: Name = "default".parse().expect("a name");
        let mut channel = channel(&[]);
        channel.images = [(2, 700), (3, 700), (4, 700)]
            .map(|(index, bytes)| ChannelImage {
                index,
                name: name.clone(),
                digest: VerityDigest::from_bytes([9; 32]),
                size_bytes: 20_000_000,
                file: file(bytes),
            })
            .into();
        channel.image_deltas = [(2, 4, 90), (3, 4, 20), (4, 3, 800)]
            .map(|(from, to, bytes)| ChannelImageDelta {
                from,
                to,
                name: name.clone(),
                file: file(bytes),
            })
            .into();
        let bytes = |present: &[u64], to| {
            let plan = Plan::new(&channel, &[to].into(), Some(to)).expect("a plan");
            let present = present.iter().copied().collect();
            let plan = plan.with_image(&channel, &present, &name);
            plan.map(|plan| plan.bytes())
                .map_err(|error| error.to_string())
        };
        assert_eq!(bytes(&[], 4), Ok(700));
        assert_eq!(bytes(&[2], 4), Ok(90));
        assert_eq!(bytes(&[2, 3], 4), Ok(20));
        assert_eq!(bytes(&[2, 3, 4], 4), Ok(0));
        assert_eq!(bytes(&[4], 3), Ok(700));
        let none = bytes(&[4], 1).expect_err("it has none");
        assert!(
            none.contains("no unified kernel image default for release 1"),
            "{none}"
        );
    }

    #[test]
    fn bundles_are_taken_where_no_delta_leads_or_pays() {
        assert_eq!(way(&[(2, 4, 5)], &[1], 4), [4]);
        assert_eq!(way(&[(1, 2, 150)], &[1], 2), [2]);
        assert_eq!(way(&[], &[], 4), [4]);
        assert_eq!(way(&[(1, 4, 5)], &[1, 4], 4), [0; 0]);
    }
}
