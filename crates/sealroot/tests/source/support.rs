// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading directories in tests, and a sink that remembers.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use sealroot::monitor::Silent;
use sealroot::object::{Discard, ObjectContent, ObjectSink};
use sealroot::source::{Compressed, Devices, DirectoryOptions, SourceError, read_directory};
use sealroot::spool::Spool;
use sealroot_format::digest::VerityDigest;
use sealroot_format::tree::Tree;

pub(crate) const KEEP_DEVICES: DirectoryOptions = DirectoryOptions {
    threshold_bytes: 4096,
    devices: Devices::Keep,
    compressed: Compressed::Keep,
};

/// Reads on one thread, so that it is known what is read when.
pub(crate) fn read_in_order(
    root: &Path,
    options: DirectoryOptions,
    sink: &dyn ObjectSink,
) -> Result<Tree, SourceError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.expect("a thread").install(|| {
        read_directory(
            root,
            &options,
            &Spool::in_temporary_directory(),
            sink,
            &Silent,
        )
    })
}

pub(crate) fn read(root: &Path) -> Result<Tree, SourceError> {
    read_directory(
        root,
        &DirectoryOptions::default(),
        &Spool::in_temporary_directory(),
        &Discard,
        &Silent,
    )
}

/// The error of reading, with its causes, as the command prints it.
pub(crate) fn refusal(root: &Path) -> String {
    message(&read(root).expect_err("it is refused"), root)
}

/// An error with its causes; paths start at the root.
pub(crate) fn message(error: &SourceError, root: &Path) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message.replace(root.to_str().expect("a plain path"), "ROOT")
}

/// Has nothing at first and takes everything.
#[derive(Debug, Default)]
pub(crate) struct Remember {
    pub(crate) objects: Mutex<BTreeMap<VerityDigest, Stored>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) content: Vec<u8>,
    pub(crate) was_in_memory: bool,
}

impl ObjectSink for Remember {
    fn has(&self, digest: &VerityDigest, size_bytes: u64) -> io::Result<bool> {
        let objects = self.objects.lock().expect("no test panics with it");
        Ok(objects
            .get(digest)
            .is_some_and(|object| object.content.len() as u64 == size_bytes))
    }

    fn add(
        &self,
        digest: &VerityDigest,
        size_bytes: u64,
        content: ObjectContent<'_>,
    ) -> io::Result<()> {
        let stored = match content {
            ObjectContent::Hashed(bytes) => Stored {
                content: bytes.to_vec(),
                was_in_memory: true,
            },
            ObjectContent::Stream(reader) => {
                let mut content = Vec::new();
                reader.read_to_end(&mut content)?;
                Stored {
                    content,
                    was_in_memory: false,
                }
            }
        };
        assert_eq!(stored.content.len() as u64, size_bytes);
        let mut objects = self.objects.lock().expect("no test panics with it");
        objects.insert(*digest, stored);
        Ok(())
    }
}
