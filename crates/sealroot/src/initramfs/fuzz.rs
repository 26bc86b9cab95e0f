// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzzer runs of this room: each panics where what must hold does not.

use std::io;
use std::path::PathBuf;

use sealroot_format::limits::{MAX_KEYSET_BYTES, MAX_POLICY_BYTES};

use super::modules::{KernelModules, ModuleFiles, default_modules};
use super::scan::scan;

/// An initramfs: archives, some of them compressed.
pub fn initramfs(data: &[u8]) {
    let Ok(found) = scan(&mut &*data) else {
        return;
    };
    assert!(
        found
            .policy
            .is_none_or(|policy| policy.len() <= MAX_POLICY_BYTES)
    );
    assert!(
        found
            .keyset
            .is_none_or(|keyset| keyset.len() <= MAX_KEYSET_BYTES)
    );
}

/// The list of a kernel's modules.
pub fn module_list(data: &[u8]) {
    let files = List(data);
    let Ok(modules) = KernelModules::open(&files) else {
        return;
    };
    let mut requests = default_modules();
    for request in &mut requests {
        request.required = false;
    }
    let Ok(order) = modules.load_order(&requests) else {
        return;
    };
    for (position, file) in order.iter().enumerate() {
        assert!(!order[..position].contains(file), "{file} is loaded twice");
        let _ = modules.read(position, file);
    }
}

/// A directory with nothing but this `modules.dep`.
struct List<'l>(&'l [u8]);

impl ModuleFiles for List<'_> {
    fn location(&self) -> PathBuf {
        "modules".into()
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        match path {
            "modules.dep" => Ok(self.0.to_vec()),
            _ => Ok(Vec::new()),
        }
    }
}
