// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/init` of an initramfs, or with `--sysroot` a step in the initramfs of another maker. It does
//! nothing on a machine that is up already.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        sealroot_boot::run();
    }
    if std::env::args_os().skip(1).eq(["--sysroot"]) && sealroot_boot::is_initramfs() {
        sealroot_boot::run_for_another();
        return ExitCode::SUCCESS;
    }
    let notice = sealroot_format::policy::BOOT_PROGRAM_NOTICE;
    // Not `eprintln`, which panics where nobody listens.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), notice.as_bytes());
    let _ = std::io::Write::write_all(&mut std::io::stderr(), b"\n");
    ExitCode::from(2)
}
