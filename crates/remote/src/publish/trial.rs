// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publishing for a look.

use std::io::Read;

use super::destination::{Destination, Listed};
use crate::error::RemoteError;

/// Publishes to nowhere: what would be put is only counted.
#[derive(Debug)]
pub struct Trial(pub Box<dyn Destination>);

impl Destination for Trial {
    fn location(&self) -> String {
        self.0.location()
    }

    fn read(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, RemoteError> {
        self.0.read(path, max_bytes)
    }

    fn size_of(&self, path: &str) -> Result<Option<u64>, RemoteError> {
        self.0.size_of(path)
    }

    fn put(&self, _path: &str, _content: &mut dyn Read) -> Result<(), RemoteError> {
        Ok(())
    }

    fn replace(&self, _: &str, _: Option<&[u8]>, _: &[u8]) -> Result<(), RemoteError> {
        Ok(())
    }

    fn list(&self) -> Result<Vec<Listed>, RemoteError> {
        self.0.list()
    }

    fn remove(&self, _path: &str) -> Result<(), RemoteError> {
        Ok(())
    }
}
