// SPDX-License-Identifier: MIT OR Apache-2.0
//! Leaves out of the linked boot program what it never uses: every byte of it is loaded and
//! measured at each boot.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=discard-unwinding.ld");
    println!("cargo:rerun-if-changed=build.rs");
    // A panic stops the machine, so nothing is ever unwound. Debuggers still may want to.
    if env::var("PROFILE").as_deref() == Ok("release") {
        let directory = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        for argument in [
            format!("-T,{directory}/discard-unwinding.ld"),
            "--no-eh-frame-hdr".to_owned(),
            "-z,pack-relative-relocs".to_owned(),
        ] {
            println!("cargo:rustc-link-arg-bins=-Wl,{argument}");
        }
    }
}
