// SPDX-License-Identifier: MIT OR Apache-2.0
//! The firmware's variables of the machine that has the disk: kept by the firmware, so a write is one change,
//! and durable when it returns.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use sealroot::boot_manager::Variables;

use super::{Effect, MemoryDisk, MemoryIo};

impl MemoryDisk {
    /// The firmware's variables, by name.
    pub fn variables(&self) -> BTreeMap<String, Vec<u8>> {
        self.disk().variables.clone()
    }

    /// Writes a variable, as somebody else does.
    pub fn plant_variable(&self, name: &str, content: &[u8]) {
        self.disk().variables.insert(name.into(), content.into());
    }

    /// Forgets what was to be started once, as firmware does when it starts it.
    pub fn lose_next(&self) {
        self.disk().variables.remove("BootNext");
    }

    /// Loses all variables, as firmware does whose battery is empty.
    pub fn lose_variables(&self) {
        self.disk().variables.clear();
    }
}

impl Variables for MemoryIo {
    fn location(&self) -> &Path {
        Path::new("/memory/variables")
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let disk = self.step("variable_names", Effect::Reads)?;
        Ok(disk.variables.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let disk = self.step("read_variable", Effect::Reads)?;
        Ok(disk.variables.get(name).cloned())
    }

    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut disk = self.step("write_variable", Effect::Changes)?;
        disk.variables.insert(name.into(), content.into());
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.step("remove_variable", Effect::Changes)?;
        disk.variables.remove(name);
        Ok(())
    }
}
