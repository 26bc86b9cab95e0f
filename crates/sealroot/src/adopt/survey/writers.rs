// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who has files open for writing: fs-verity cannot be enabled on those.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Descriptors that can write, of all processes that may be looked at, and those of them that were
/// asked about.
#[derive(Debug, Default)]
pub(super) struct Writers {
    by_file: HashMap<(u64, u64), String>,
    found: Vec<String>,
}

impl Writers {
    /// Looks through `/proc`. What ends meanwhile, or is not ours to see, is passed over: enabling
    /// fs-verity tells for sure.
    pub(super) fn find() -> Self {
        let mut writers = Self::default();
        let Ok(processes) = fs::read_dir("/proc") else {
            return writers;
        };
        for process in processes.flatten() {
            let name = process.file_name();
            let number = name.to_str().and_then(|name| name.parse::<u32>().ok());
            if let Some(number) = number {
                writers.look_at(number, &process.path());
            }
        }
        writers
    }

    fn look_at(&mut self, process: u32, path: &Path) {
        let Ok(descriptors) = fs::read_dir(path.join("fd")) else {
            return;
        };
        for descriptor in descriptors.flatten() {
            let Ok(file) = fs::metadata(descriptor.path()) else {
                continue;
            };
            let info = path.join("fdinfo").join(descriptor.file_name());
            if file.is_file() && can_write(&fs::read_to_string(info).unwrap_or_default()) {
                let program = fs::read_to_string(path.join("comm")).unwrap_or_default();
                let who = format!("process {process} ({})", program.trim_end());
                self.by_file.insert((file.dev(), file.ino()), who);
            }
        }
    }

    /// Whether this file is open for writing.
    pub(super) fn ask_about(&mut self, device: u64, inode: u64) {
        self.found.extend(self.by_file.remove(&(device, inode)));
    }

    /// Who has files open that were asked about.
    pub(super) fn into_found(mut self) -> Vec<String> {
        self.found.sort_unstable();
        self.found.dedup();
        self.found
    }
}

/// Whether the flags in `fdinfo`, octal, are those of a descriptor that can write.
fn can_write(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|text| u32::from_str_radix(text.trim(), 8).ok());
    flags.is_some_and(|flags| flags & 0o3 != 0)
}
