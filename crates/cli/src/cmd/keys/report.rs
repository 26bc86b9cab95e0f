// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a keyset says, and how many of those who must sign it have.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context as _;
use sealroot_format::sign::{Error, KeyId, Keyset, Role, SignatureState, Unverified, Verified};
use serde::Serialize;

use crate::name::AnyName;
use crate::output::{Report, counted};

#[derive(Serialize)]
pub(super) struct KeysetReport {
    file: AnyName,
    version: u64,
    roles: Vec<RoleReport>,
    /// Whose root keys must sign: those of the keyset before, if that is known, and its own.
    signatures: Vec<SignaturesReport>,
    /// Keys that have signed and are root keys of neither.
    ignored: Vec<String>,
    /// Whether enough have signed; `null` if that takes the keyset before, which was not named.
    is_complete: Option<bool>,
}

#[derive(Serialize)]
struct RoleReport {
    role: String,
    threshold: usize,
    keys: Vec<String>,
}

/// The signatures by the root keys of one keyset.
#[derive(Serialize)]
struct SignaturesReport {
    /// Its version.
    keyset: u64,
    threshold: usize,
    root_keys: Vec<String>,
    good: Vec<String>,
    wrong: Vec<String>,
}

impl SignaturesReport {
    fn new(document: &Unverified<Keyset>, keyset: &Keyset) -> Self {
        let in_state = |wanted| {
            let inspected = document.inspect(keyset, Role::Root);
            let wanted = inspected.filter(move |(_, state)| *state == wanted);
            wanted.map(|(key, _)| key.to_string()).collect()
        };
        let root = keyset.role(Role::Root);
        Self {
            keyset: keyset.version(),
            threshold: root.threshold(),
            root_keys: root.ids().iter().map(ToString::to_string).collect(),
            good: in_state(SignatureState::Good),
            wrong: in_state(SignatureState::Wrong),
        }
    }
}

impl KeysetReport {
    /// What `document`, which lies in `file`, says. Fails if it cannot be the one after `before`.
    pub(super) fn new(
        file: &Path,
        document: &Unverified<Keyset>,
        before: Option<&Verified<Keyset>>,
    ) -> anyhow::Result<Self> {
        let cannot_be_used = || format!("{} cannot be used", file.display());
        let keyset = Keyset::parse(document.body()).with_context(cannot_be_used)?;
        let found = keyset.version();
        let is_complete = match before {
            None if found > 1 => None,
            None => Some(document.verify_first().is_ok()),
            Some(before) => {
                let expected = before.version().saturating_add(1);
                if found != expected {
                    let error = Error::NotTheSuccessor { expected, found };
                    return Err(error).with_context(cannot_be_used);
                }
                Some(document.verify_successor(before).is_ok())
            }
        };
        let before = before.map(|before| &**before);
        let must_sign = before.into_iter().chain([&keyset]);
        let signatures: Vec<_> = must_sign
            .map(|keyset| SignaturesReport::new(document, keyset))
            .collect();
        let signed = document.signatures().iter();
        let ignored = signed
            .map(|signature| signature.key.to_string())
            .filter(|key| !signatures.iter().any(|by| by.root_keys.contains(key)));
        let roles = [Role::Root, Role::Release, Role::Channel].map(|role| RoleReport {
            role: role.to_string(),
            threshold: keyset.role(role).threshold(),
            keys: (keyset.role(role).ids().iter())
                .map(ToString::to_string)
                .collect(),
        });
        Ok(Self {
            file: file.into(),
            version: found,
            roles: roles.into(),
            ignored: ignored.collect(),
            signatures,
            is_complete,
        })
    }

    /// Whether a signature by that key may count, as far as is known.
    pub(super) fn may_count(&self, key: KeyId) -> bool {
        let key = key.to_string();
        self.is_complete.is_none() || self.signatures.iter().any(|by| by.root_keys.contains(&key))
    }
}

impl Report for KeysetReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let file = &self.file;
        writeln!(out, "{file}: keyset version {}", self.version)?;
        for RoleReport {
            role,
            threshold,
            keys,
        } in &self.roles
        {
            writeln!(out, "  {role:8} {threshold} of {}", keys.join(", "))?;
        }
        for SignaturesReport {
            keyset,
            threshold,
            good,
            wrong,
            ..
        } in &self.signatures
        {
            let signatures = counted(good.len() as u64, "root signature");
            let of = if *keyset == 1 && self.version == 1 {
                String::new()
            } else {
                format!(" of version {keyset}")
            };
            if good.len() >= *threshold {
                writeln!(out, "  {signatures}{of}, enough")?;
            } else {
                let sign = "`keys sign` adds one";
                writeln!(
                    out,
                    "  {signatures}{of}, not enough: {threshold} needed; {sign}"
                )?;
            }
            for key in wrong {
                writeln!(
                    out,
                    "  WRONG signature by {key}: the keyset or the signature was changed"
                )?;
            }
        }
        for key in &self.ignored {
            let whose = match &*self.signatures {
                [own] => format!("version {}", own.keyset),
                _ => "either version".to_owned(),
            };
            writeln!(
                out,
                "  not counted: the signature by {key}, no root key of {whose}"
            )?;
        }
        if self.is_complete.is_none() {
            let before = self.version.saturating_sub(1);
            writeln!(
                out,
                "  enough root keys of version {before} must have signed too: see \
                 `keys show --after KEYSET`"
            )?;
        }
        Ok(())
    }
}
