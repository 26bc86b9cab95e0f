// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel modules, from the initramfs only, in the order of their names.

use std::fs::{self, File};
use std::io;

use rustix::io::Errno;
use sealroot_sys::mount::finit_module;

use crate::refusal::{Code, OrRefuse as _, Refusal};

const DIRECTORY: &str = "/usr/lib/sealroot/modules";

/// Loads every module of the initramfs. One that is loaded or built in already is fine; one for
/// hardware that is not there too.
pub(crate) fn load_all() -> Result<(), Refusal> {
    let mut names = Vec::new();
    match fs::read_dir(DIRECTORY) {
        Ok(entries) => {
            for entry in entries {
                let entry = entry.or_refuse(Code::Module, DIRECTORY, "a readable directory")?;
                names.push(entry.file_name());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).or_refuse(Code::Module, DIRECTORY, "a directory"),
    }
    names.sort_unstable();
    for name in names {
        let name = name.to_string_lossy();
        let path = format!("{DIRECTORY}/{name}");
        let file = File::open(&path).or_refuse(Code::Module, &*name, "a readable file")?;
        match finit_module(&file, !name.ends_with(".ko")) {
            Ok(()) | Err(Errno::EXIST | Errno::NODEV) => {}
            Err(errno) => return Err(errno).or_refuse(Code::Module, &*name, "a module that loads"),
        }
    }
    Ok(())
}
