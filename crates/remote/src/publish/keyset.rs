// SPDX-License-Identifier: MIT OR Apache-2.0
//! The keyset that devices are to follow.

use sealroot_format::limits;
use sealroot_format::sign::{Keyset, Unverified};

use super::{Publishing, publish_error};
use crate::error::RemoteError;
use crate::layout::keyset_path;

impl Publishing<'_> {
    /// That devices which trust the keyset before will follow to this one.
    pub(super) fn check_keyset(&self, keyset: &Keyset) -> Result<(), RemoteError> {
        let version = keyset.version();
        let Some(before) = version.checked_sub(1).filter(|before| *before > 0) else {
            return Ok(());
        };
        let path = keyset_path(before);
        let most = limits::MAX_KEYSET_BYTES as u64;
        let Some(older) = self.destination.read(&path, most)? else {
            self.monitor.warn(format!(
                "keyset version {before} was never published here: devices that trust an older one than {version} cannot follow"
            ));
            return Ok(());
        };
        let unusable = RemoteError::document(self.destination.location(), &path);
        let older = Unverified::<Keyset>::parse(&older).map_err(&unusable)?;
        let older = older.verify_first().map_err(&unusable)?;
        let followed = self.vendor.keyset.verify_successor(&older);
        followed.map(drop).map_err(|error| {
            publish_error(format!(
                "devices that trust keyset version {before} would refuse version {version}: {error}"
            ))
        })
    }

    /// Puts the keyset, or its further signatures.
    pub(super) fn put_keyset(&self, keyset: &Keyset) -> Result<(), RemoteError> {
        let path = keyset_path(keyset.version());
        let mut document = self.vendor.keyset.clone();
        let most = limits::MAX_KEYSET_BYTES as u64;
        let Some(there) = self.destination.read(&path, most + 1)? else {
            let text = document.to_string();
            return self.put(path, text.len() as u64, &mut text.as_bytes());
        };
        // What is no keyset was damaged where it lies: no device takes it.
        if let Ok(same) = Unverified::<Keyset>::parse(&there)
            && document.merge(&same).is_err()
        {
            return Err(publish_error(format!(
                "another keyset of version {} was published: devices may have it already",
                keyset.version()
            )));
        }
        let text = document.to_string();
        if there != text.as_bytes() {
            let destination = self.destination;
            destination.replace(&path, Some(&there), text.as_bytes())?;
            self.note(path, text.len() as u64);
        }
        Ok(())
    }
}
