// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/init` of an initramfs. It does nothing on a machine that is up already.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        sealroot_boot::run();
    }
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        b"sealroot-boot: this is /init of an initramfs and runs only as process 1\n",
    );
    ExitCode::from(2)
}
