// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a signed channel is to be believed: it must be the one that was asked for, not older than
//! what was seen before, and not expired (docs/format/channel.md 3).

use sealroot_format::limits;
use sealroot_format::sign::{Channel, SECONDS_OF_DAY};

use crate::layout::ChannelName;

/// Why a signed channel is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// It is another one.
    #[error("it is the channel {found}, expected {expected}")]
    OtherChannel {
        /// What was asked for.
        expected: String,
        /// What came.
        found: String,
    },
    /// An earlier edition than was seen before: somebody replays it.
    #[error("its {what} is {found}, and {seen} was seen before: an old channel is being served")]
    Older {
        /// What tells.
        what: &'static str,
        /// What was seen before.
        seen: u64,
        /// What came.
        found: u64,
    },
    /// Two editions have one number: one of them was made for somebody only.
    #[error("it is another edition with the version {version} that was seen before")]
    Equivocal {
        /// Their version.
        version: u64,
    },
    /// A number jumps so far that none may be left for what comes after it.
    #[error(
        "its {what} rises from {seen} to {found}, by more than {} at once",
        limits::MAX_CHANNEL_STEP
    )]
    Leap {
        /// What tells.
        what: &'static str,
        /// What was seen before.
        seen: u64,
        /// What came.
        found: u64,
    },
    /// It was made long after the present: one that was believed would make all honest ones older.
    #[error("it was made {} days from now, at most {} were expected: set the clock, if it is behind", (created - now) / SECONDS_OF_DAY, limits::MAX_CHANNEL_DAYS)]
    Ahead {
        /// When it was made, seconds since 1970.
        created: u64,
        /// What time it is, seconds since 1970.
        now: u64,
    },
    /// It is not believed any more: updates are being withheld, or the vendor publishes no more.
    #[error("it expired {} days ago: updates are withheld, or the vendor has stopped publishing", (now - expires) / SECONDS_OF_DAY)]
    Expired {
        /// Until when, seconds since 1970.
        expires: u64,
        /// What time it is, seconds since 1970.
        now: u64,
    },
}

/// How far a channel may lie ahead of the clock.
const MAX_AHEAD_SECONDS: u64 = limits::MAX_CHANNEL_DAYS * SECONDS_OF_DAY;

/// What decides whether a channel is believed.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'j> {
    /// The channel that is asked for.
    pub name: &'j ChannelName,
    /// The edition that was believed last.
    pub last: Option<&'j Channel>,
    /// The time, seconds since 1970. A clock that is behind what was seen before counts for
    /// nothing.
    pub now: u64,
}

impl Judge<'_> {
    /// That a channel, whose signatures were verified, is to be believed.
    pub fn judge(&self, channel: &Channel) -> Result<(), Distrust> {
        let found = ChannelName::of_channel(channel);
        if found != *self.name {
            return Err(Distrust::OtherChannel {
                expected: self.name.to_string(),
                found: found.to_string(),
            });
        }
        let mut now = self.now;
        if let Some(last) = self.last {
            let newest = |channel: &Channel| channel.newest().map_or(0, |release| release.index);
            rises("version", last.version, channel.version)?;
            if last.version == channel.version && last != channel {
                let version = last.version;
                return Err(Distrust::Equivocal { version });
            }
            let (what, seen, found) = ("time", last.created, channel.created);
            if found < seen {
                return Err(Distrust::Older { what, seen, found });
            }
            rises("newest release", newest(last), newest(channel))?;
            now = now.max(last.created);
        }
        let (created, expires) = (channel.created, channel.expires);
        if created.saturating_sub(now) > MAX_AHEAD_SECONDS {
            return Err(Distrust::Ahead { created, now });
        }
        if now >= expires {
            return Err(Distrust::Expired { expires, now });
        }
        Ok(())
    }
}

fn rises(what: &'static str, seen: u64, found: u64) -> Result<(), Distrust> {
    match found.checked_sub(seen) {
        None => Err(Distrust::Older { what, seen, found }),
        Some(step) if step > limits::MAX_CHANNEL_STEP => Err(Distrust::Leap { what, seen, found }),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use sealroot_format::digest::{Sha256Digest, VerityDigest};
    use sealroot_format::sign::{ChannelRelease, RemoteFile};

    use super::*;

    const NOW: u64 = 1_000_000;

    fn channel(change: impl FnOnce(&mut Channel)) -> Channel {
        let name = |text: &str| text.parse().expect("a name");
        let file = RemoteFile {
            head: Sha256Digest::from_bytes([1; 32]),
            head_bytes: 1,
            size_bytes: 1,
        };
        let release = ChannelRelease {
            index: 42,
            epoch: 0,
            pack: VerityDigest::from_bytes([2; 32]),
            statement: file,
            bundle: file,
        };
        let mut channel = Channel {
            os: name("exampleos"),
            variant: None,
            stream: name("stable"),
            arch: name("x86_64"),
            version: 10,
            created: NOW - 100,
            expires: NOW + 100,
            keyset: 1,
            releases: vec![release],
            deltas: Vec::new(),
            images: Vec::new(),
            image_deltas: Vec::new(),
            signatures: Vec::new(),
        };
        change(&mut channel);
        channel
    }

    fn judge_at(now: u64, last: Option<&Channel>, channel: &Channel) -> Result<(), Distrust> {
        let name = ChannelName::of_channel(&self::channel(|_| {}));
        let name = &name;
        Judge { name, last, now }.judge(channel)
    }

    fn after(
        last: impl FnOnce(&mut Channel),
        next: impl FnOnce(&mut Channel),
    ) -> Result<(), Distrust> {
        judge_at(NOW, Some(&channel(last)), &channel(next))
    }

    // Rules: H6
    #[test]
    fn only_the_channel_that_was_asked_for_is_believed() {
        let name = |text: &str| text.parse().expect("a name");
        for other in [
            channel(|channel| channel.os = name("otheros")),
            channel(|channel| channel.variant = Some(name("server"))),
            channel(|channel| channel.stream = name("testing")),
            channel(|channel| channel.arch = name("aarch64")),
        ] {
            let refused = judge_at(NOW, None, &other);
            assert!(
                matches!(refused, Err(Distrust::OtherChannel { .. })),
                "{refused:?}"
            );
        }
        assert_eq!(judge_at(NOW, None, &channel(|_| {})), Ok(()));
    }

    // Rules: H7
    #[test]
    fn nothing_older_is_believed() {
        let older = |refused| matches!(refused, Err(Distrust::Older { .. }));
        assert!(older(after(|_| {}, |next| next.version = 9)));
        assert!(older(after(
            |_| {},
            |next| {
                (next.version, next.created) = (11, NOW - 101);
            }
        )));
        assert!(older(after(
            |_| {},
            |next| {
                (next.version, next.releases[0].index) = (11, 41);
            }
        )));
        assert_eq!(after(|_| {}, |_| {}), Ok(()), "the same again");
        assert_eq!(after(|_| {}, |next| next.version = 11), Ok(()));
        let equivocal = after(|_| {}, |next| next.expires += 1);
        assert_eq!(equivocal, Err(Distrust::Equivocal { version: 10 }));
    }

    // Rules: H8
    #[test]
    fn numbers_are_not_used_up() {
        let step = limits::MAX_CHANNEL_STEP;
        assert_eq!(after(|_| {}, |next| next.version += step), Ok(()));
        let leaps = |refused| matches!(refused, Err(Distrust::Leap { .. }));
        assert!(leaps(after(|_| {}, |next| next.version += step + 1)));
        assert!(leaps(after(
            |_| {},
            |next| {
                (next.version, next.releases[0].index) = (11, u64::MAX);
            }
        )));
        // Nothing is known of a channel that is seen for the first time.
        let first = channel(|channel| channel.releases[0].index = 20_261_128);
        assert_eq!(judge_at(NOW, None, &first), Ok(()));
    }

    // Rules: H16
    #[test]
    fn a_channel_from_far_ahead_is_not_believed() {
        let ahead = |seconds, last: Option<&Channel>| {
            let next = channel(|next| {
                next.version = 11;
                next.created = NOW + seconds;
                next.expires = next.created + 100;
            });
            judge_at(NOW, last, &next)
        };
        let most = MAX_AHEAD_SECONDS;
        let (created, now) = (NOW + most + 1, NOW);
        for last in [None, Some(&channel(|_| {}))] {
            assert_eq!(ahead(most, last), Ok(()));
            assert_eq!(ahead(most + 1, last), Err(Distrust::Ahead { created, now }));
        }
        // A clock that is behind what was seen counts as that time.
        let seen = channel(|last| last.created = NOW + 1);
        assert_eq!(ahead(most + 1, Some(&seen)), Ok(()));
        assert_eq!(
            judge_at(u64::MAX, None, &channel(|_| {})).err(),
            Some(Distrust::Expired {
                expires: NOW + 100,
                now: u64::MAX
            })
        );
    }

    // Rules: H9
    #[test]
    fn an_expired_channel_is_not_believed() {
        let fresh = channel(|_| {});
        let expired =
            |now, last| matches!(judge_at(now, last, &fresh), Err(Distrust::Expired { .. }));
        assert!(!expired(NOW + 99, None));
        assert!(expired(NOW + 100, None));
        assert!(expired(u64::MAX, None));
        // A clock that is behind is not believed either.
        let last = channel(|last| last.created = NOW - 200);
        assert!(!expired(0, Some(&last)));
        let frozen = channel(|channel| (channel.created, channel.expires) = (NOW, NOW + 1));
        let older = channel(|channel| (channel.created, channel.expires) = (NOW, NOW + 1));
        assert_eq!(judge_at(0, Some(&older), &frozen), Ok(()));
        assert!(matches!(
            judge_at(
                0,
                Some(&channel(|last| last.created = NOW + 100)),
                &channel(|next| {
                    (next.version, next.created) = (11, NOW + 100);
                })
            ),
            Err(Distrust::Expired { .. })
        ));
    }
}
