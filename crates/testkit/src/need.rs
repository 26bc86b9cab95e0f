// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tools, rights and kernels a test cannot do without.
//!
//! A test that lacks one says so on standard error and returns early. Where `SEALROOT_REQUIRE` is
//! set, as continuous integration does, it fails instead: nothing is skipped in silence.

use std::env;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn repository() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    path.canonicalize().unwrap_or(path)
}

/// Where `cargo xtask setup` keeps what it fetches: `SEALROOT_CACHE`, or `.cache` in the
/// repository.
pub fn cache() -> PathBuf {
    env::var_os("SEALROOT_CACHE").map_or_else(|| repository().join(".cache"), PathBuf::from)
}

/// A program, looked for among the fetched ones first, then in `PATH` and the system's `sbin`.
pub fn find_tool(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    std::iter::once(cache().join("bin"))
        .chain(env::split_paths(&path))
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// Like [`find_tool`]; `None` after [`missing`] has been told.
pub fn tool(name: &str) -> Option<PathBuf> {
    let found = find_tool(name);
    if found.is_none() {
        missing(&format!("the program {name}"));
    }
    found
}

/// Whether this process is root; [`missing`] is told if not.
pub fn root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        missing("root rights");
    }
    is_root
}

/// Something a test needs is not there: fails where `SEALROOT_REQUIRE` is set, or says that the
/// test is skipped.
///
/// # Panics
/// If `SEALROOT_REQUIRE` is set and not empty.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn missing(what: &str) {
    let required = env::var_os("SEALROOT_REQUIRE").is_some_and(|value| !value.is_empty());
    assert!(
        !required,
        "{what} is missing and SEALROOT_REQUIRE is set; `cargo xtask setup` installs what tests need"
    );
    eprintln!("SKIP: {what} is missing");
}
