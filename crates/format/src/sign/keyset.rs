// SPDX-License-Identifier: MIT OR Apache-2.0
//! The keyset: whose signatures count for what, and how many are needed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    Error, KeyId, PublicKey, Unverified, Verified,
    key::{ALGORITHM, PUBLIC_BASE64, decode},
};
use crate::{
    limits,
    text::{self, Lines, Value},
};

const WHAT: &str = "keyset";

/// Version of the keyset's format.
const FORMAT_VERSION: u32 = 1;

/// What keys may be trusted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Signs keysets. Kept offline.
    Root,
    /// Signs release statements.
    Release,
    /// Signs what is the newest release of a stream.
    Channel,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Release => "release",
            Self::Channel => "channel",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The keys of one role and how many of them must sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleKeys {
    threshold: usize,
    ids: BTreeSet<KeyId>,
}

impl RoleKeys {
    /// `threshold` of `ids`; whether that makes sense is checked by [`Keyset::new`].
    pub fn new(threshold: usize, ids: impl IntoIterator<Item = KeyId>) -> Self {
        Self {
            threshold,
            ids: ids.into_iter().collect(),
        }
    }

    /// How many distinct keys must sign.
    pub const fn threshold(&self) -> usize {
        self.threshold
    }

    /// The keys, ascending.
    pub const fn ids(&self) -> &BTreeSet<KeyId> {
        &self.ids
    }

    fn check(&self, role: Role, keys: &BTreeMap<KeyId, PublicKey>) -> Result<(), Error> {
        let (threshold, count) = (self.threshold, self.ids.len());
        if threshold == 0 || threshold > count {
            let reason = format!("expected a threshold of 1 to {count} keys, found {threshold}");
            return Err(Error::Role { role, reason });
        }
        match self.ids.iter().find(|id| !keys.contains_key(id)) {
            Some(id) => Err(Error::Role {
                role,
                reason: format!("its key {id} is not in the keyset"),
            }),
            None => Ok(()),
        }
    }
}

/// Keys, their roles and thresholds, numbered. Trusted only as `Verified<Keyset>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyset {
    version: u64,
    root: RoleKeys,
    release: RoleKeys,
    channel: RoleKeys,
    keys: BTreeMap<KeyId, PublicKey>,
}

impl Keyset {
    /// A keyset; refused unless each role's threshold is from 1 to the number of its keys, each
    /// of these is in `keys`, and each of `keys` has a role.
    pub fn new(
        version: u64,
        [root, release, channel]: [RoleKeys; 3],
        keys: impl IntoIterator<Item = PublicKey>,
    ) -> Result<Self, Error> {
        let keyset = Self {
            version,
            root,
            release,
            channel,
            keys: keys.into_iter().map(|key| (key.id(), key)).collect(),
        };
        keyset.check()?;
        Ok(keyset)
    }

    fn check(&self) -> Result<(), Error> {
        let refuse = |reason| Err(Error::Keyset { reason });
        if self.version == 0 {
            return refuse("expected a version from 1 on, found 0".to_owned());
        }
        let (limit, count) = (limits::MAX_KEYSET_KEYS, self.keys.len());
        if count > limit {
            return refuse(format!("expected at most {limit} keys, found {count}"));
        }
        for role in [Role::Root, Role::Release, Role::Channel] {
            self.role(role).check(role, &self.keys)?;
        }
        let roles = [&self.root, &self.release, &self.channel];
        let idle = |id: &&KeyId| !roles.iter().any(|role| role.ids.contains(id));
        match self.keys.keys().find(idle) {
            Some(id) => refuse(format!("the key {id} has no role")),
            None => Ok(()),
        }
    }

    /// The number of the keyset; each one is followed by the next number, without gaps.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The keys and the threshold of a role.
    pub const fn role(&self, role: Role) -> &RoleKeys {
        match role {
            Role::Root => &self.root,
            Role::Release => &self.release,
            Role::Channel => &self.channel,
        }
    }

    /// All keys, ascending by id.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.values()
    }

    /// The key `id`, if it has the role.
    pub(super) fn key_of(&self, role: Role, id: KeyId) -> Option<&PublicKey> {
        (self.role(role).ids.contains(&id))
            .then(|| self.keys.get(&id))
            .flatten()
    }

    /// Reads a keyset file that is trusted for where it was found: in an initramfs which Secure
    /// Boot has verified. Its signatures are not checked and may be missing, with or without the
    /// empty line.
    pub fn parse_trusted(file: &[u8]) -> Result<Verified<Self>, Error> {
        let signed = file.windows(2).any(|pair| pair == b"\n\n");
        let keyset = if signed {
            Self::parse(Unverified::<Self>::parse(file)?.body())?
        } else {
            Self::parse(file)?
        };
        Ok(Verified::new(keyset, Vec::new()))
    }

    /// Reads the body of a keyset file, of which nothing is verified.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut lines = Lines::new(WHAT, body, limits::MAX_KEYSET_BYTES)?;
        lines.header("keyset", FORMAT_VERSION)?;
        let version = lines.field("version")?.number()?;
        let mut role = |role: Role| parse_role(lines.field(role.name())?);
        let roles = [
            role(Role::Root)?,
            role(Role::Release)?,
            role(Role::Channel)?,
        ];
        let mut keys: Vec<PublicKey> = Vec::new();
        while !lines.is_at_end() {
            let (id, key) = parse_key(lines.field("key")?)?;
            let key = PublicKey::from_bytes(&key)?;
            if key.id() != id {
                let (expected, found) = (key.id(), id);
                let reason = format!("the key {key} has the id {expected}, found {found}");
                return Err(Error::Keyset { reason });
            }
            if keys.last().is_some_and(|previous| previous.id() >= id) {
                let expected = "a key id above the one of the line before";
                return Err(lines.error(expected, id.to_string()).into());
            }
            keys.push(key);
        }
        Self::new(version, roles, keys)
    }
}

fn parse_role(value: Value<'_>) -> Result<RoleKeys, text::Error> {
    value.parse("a threshold and ascending key ids", |text| {
        let mut words = text.split(' ');
        let threshold = text::number(words.next()?)?;
        let mut ids = BTreeSet::new();
        for word in words {
            let id = KeyId::from_hex(word)?;
            if ids.last().is_some_and(|previous| *previous >= id) {
                return None;
            }
            ids.insert(id);
        }
        Some(RoleKeys { threshold, ids })
    })
}

fn parse_key(value: Value<'_>) -> Result<(KeyId, [u8; 32]), text::Error> {
    let expected = format!("a key id, {ALGORITHM} and {PUBLIC_BASE64}");
    value.parse(&expected, |text| {
        let (id, rest) = text.split_once(' ')?;
        let (algorithm, key) = rest.split_once(' ')?;
        if algorithm != ALGORITHM {
            return None;
        }
        Some((KeyId::from_hex(id)?, decode(key)?))
    })
}

/// The canonical text, without signatures.
impl fmt::Display for Keyset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sealroot keyset {FORMAT_VERSION}")?;
        writeln!(f, "version {}", self.version)?;
        for role in [Role::Root, Role::Release, Role::Channel] {
            let RoleKeys { threshold, ids } = self.role(role);
            write!(f, "{role} {threshold}")?;
            ids.iter().try_for_each(|id| write!(f, " {id}"))?;
            writeln!(f)?;
        }
        self.keys
            .iter()
            .try_for_each(|(id, key)| writeln!(f, "key {id} {ALGORITHM} {key}"))
    }
}

impl Unverified<Keyset> {
    /// The keyset, if it follows `trusted`: its version is the next one, and enough root keys of
    /// both the trusted keyset and itself have signed it. Parsed only once the former have.
    pub fn verify_successor(&self, trusted: &Verified<Keyset>) -> Result<Verified<Keyset>, Error> {
        self.verify_after(trusted, |found, next| found == next)
    }

    /// The keyset, if its version is higher than that of `trusted`, and enough root keys of both
    /// have signed it. Versions between are for whoever follows them one by one
    /// ([`Self::verify_successor`]) and keeps the last.
    pub fn verify_later(&self, trusted: &Verified<Keyset>) -> Result<Verified<Keyset>, Error> {
        self.verify_after(trusted, |found, next| found >= next)
    }

    /// `is_after` judges its version by the one that comes next.
    fn verify_after(
        &self,
        trusted: &Verified<Keyset>,
        is_after: impl Fn(u64, u64) -> bool,
    ) -> Result<Verified<Keyset>, Error> {
        self.signers(trusted, Role::Root)?;
        let keyset = Keyset::parse(self.body())?;
        let expected = (trusted.version.checked_add(1)).ok_or(Error::LastVersion {
            version: trusted.version,
        })?;
        if !is_after(keyset.version, expected) {
            return Err(Error::NotTheSuccessor {
                expected,
                found: keyset.version,
            });
        }
        self.signed_by_itself(keyset)
    }

    /// The keyset, if enough of its own root keys have signed it.
    ///
    /// That says nothing on who made it: for a first keyset, which the caller trusts for where it
    /// comes from, it shows that the file is whole and the keys are held.
    pub fn verify_first(&self) -> Result<Verified<Keyset>, Error> {
        self.signed_by_itself(Keyset::parse(self.body())?)
    }

    fn signed_by_itself(&self, keyset: Keyset) -> Result<Verified<Keyset>, Error> {
        let signers = self.signers(&keyset, Role::Root)?;
        Ok(Verified::new(keyset, signers))
    }
}
