// SPDX-License-Identifier: MIT OR Apache-2.0
//! The signatures of a release's objects, which must be there before the objects are.

use std::io::{self, Seek as _, SeekFrom};

use sealroot::monitor::{Monitor, Unit};
use sealroot::store::{SignatureKeyring, StoreIo as _, object_path};
use sealroot_format::digest::VerityDigest;
use sealroot_format::sign::ChannelRelease;

use super::Puller;
use crate::error::RemoteError;
use crate::layout::Kind;
use crate::part::Fetch;
use crate::signatures::{Head, Signature};

impl Puller<'_> {
    /// Fetches the signatures of those objects that a release brings, where they are offered and the kernel has a
    /// certificate to verify any by. Then a release does not come without them: there is no second time.
    pub(super) fn fetch_signatures(
        &self,
        release: &ChannelRelease,
        monitor: &dyn Monitor,
    ) -> Result<(), RemoteError> {
        let Some(file) = self.channel()?.signatures(release.index) else {
            return Ok(());
        };
        match self.keyring {
            SignatureKeyring::Absent => return Ok(()),
            SignatureKeyring::Empty => {
                monitor.note(
                    "the release has signatures of its files for the kernel's keyring, which has no \
                     certificate here: they are not fetched, and its files get none"
                        .into(),
                );
                return Ok(());
            }
            SignatureKeyring::Filled => {}
        }
        let newest = self.present()?.range(..release.index).next_back().copied();
        let fetch = Fetch {
            store: self.store,
            fetcher: self.fetcher,
            kind: Kind::Signatures,
            file,
            is_whole: false,
            beside_bytes: file.size_bytes,
        };
        monitor.start("fetching signatures", Unit::Bytes, Some(file.size_bytes));
        let read_head = |bytes: &[u8]| {
            let head = Head::parse(bytes)?;
            let pieces = head.pieces(newest);
            Ok((head, pieces))
        };
        let mut complete = fetch.complete(&read_head, monitor)?;
        let behind_head = SeekFrom::Start(file.head_bytes);
        let seek = RemoteError::io("read what was fetched");
        complete.content.seek(behind_head).map_err(seek)?;
        for group in &complete.head.groups {
            if group.is_wanted(newest) {
                self.keep_signatures(group.read(&mut complete.content)?, monitor)?;
            }
        }
        Ok(())
    }

    /// Keeps those of objects that are not there.
    fn keep_signatures(
        &self,
        mut signatures: Vec<Signature>,
        monitor: &dyn Monitor,
    ) -> Result<(), RemoteError> {
        let is_missing = |digest: &VerityDigest| {
            let found = self.store.io().usage(&object_path(digest));
            found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        signatures.retain(|(digest, _)| is_missing(digest));
        let transaction = self.store.begin(monitor)?;
        transaction.write_object_signatures(&signatures)?;
        transaction.finish()?;
        Ok(())
    }
}
