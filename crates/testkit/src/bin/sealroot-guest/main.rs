// SPDX-License-Identifier: MIT OR Apache-2.0
//! The test program inside guests.
//!
//! As process 1 it is a worker where there is a job, as in an initramfs made for it, tries several
//! disks where there is a list of them, is the tracer of a boot where there is a boot program to
//! be traced, mounts an unverified root where it is told which, and is a probe otherwise (see [`sealroot_testkit::guest`]). As any other process it
//! is a handful of commands
//! for jobs.

#![forbid(unsafe_code)]

mod entries;
mod floor;
mod late;
mod load_options;
mod machine;
mod plain;
mod probe;
mod race;
mod release;
mod steps;
mod trace;
mod tries;
mod verity;
mod worker;

use std::path::Path;

use anyhow::{Result, bail};
use sealroot_testkit::guest::{JOB_PATH, PLAIN_BOOT_PATH, TRACED_BOOT_PATH, TRIES_PATH};
use sealroot_testkit::http_server::HttpServer;
use sealroot_testkit::manifest::{BareRoot, Manifest};

fn main() -> Result<()> {
    if rustix::process::getpid().is_init() {
        let result = if Path::new(JOB_PATH).exists() {
            worker::run()
        } else if Path::new(TRIES_PATH).exists() {
            tries::run()
        } else if Path::new(TRACED_BOOT_PATH).exists() {
            trace::run()
        } else if Path::new(PLAIN_BOOT_PATH).exists() {
            plain::run()
        } else {
            probe::run()
        };
        if let Err(error) = &result {
            println!("sealroot-guest: {error:#}");
        }
        machine::power_off();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["mount", serial, target, kind] => machine::mount_disk(serial, target, kind, false),
        ["mount-partition", serial, target, kind] => machine::mount_partition(serial, target, kind),
        ["mount-ro", serial, target, kind] => machine::mount_disk(serial, target, kind, true),
        ["umount", target] => machine::unmount(target),
        ["manifest", directory] => {
            let manifest = Manifest::read(Path::new(directory));
            println!("{}", serde_json::to_string(&manifest)?);
            Ok(())
        }
        ["race", mode, layer, directory, digest, attempts] => {
            race::run(mode, layer, directory, digest, attempts.parse()?)
        }
        ["try", serial] => tries::attempt(serial),
        ["tree-digest", directory] => {
            let root = BareRoot::of(Path::new(directory))?;
            println!("{}", probe::tree_digest(&root.path())?);
            Ok(())
        }
        ["boot-entries", directory, loader, changes] => {
            entries::change(directory, loader, changes.parse()?)
        }
        ["load-certificate", path] => verity::load_certificate(path),
        ["compare-signatures", objects] => verity::compare_signatures(Path::new(objects)),
        ["mount-variables"] => floor::mount_variables(),
        ["slip-in", words @ ..] => load_options::slip_in(&words.join(" ")),
        ["lose-load-options"] => load_options::lose(),
        ["show-load-options"] => load_options::show(),
        ["destroy-counter"] => floor::destroy_counter(false),
        ["replace-counter"] => floor::destroy_counter(true),
        ["refused", command @ ..] => floor::refused(command),
        ["report"] => worker::report(),
        ["release", tree, sysroot, mode] => release::make(tree, sysroot, mode),
        ["install", from, to, "verity"] => verity::install(Path::new(from), Path::new(to), true),
        ["install", from, to, "none"] => verity::install(Path::new(from), Path::new(to), false),
        ["enable-verity", directory] => verity::enable_below(Path::new(directory), None),
        ["enable-verity", directory, tool] => {
            verity::enable_below(Path::new(directory), Some(tool))
        }
        ["checksum", directory] => verity::checksum_below(Path::new(directory)),
        ["fail-unnamed", cause, directory] => late::fail_unnamed(cause, Path::new(directory)),
        ["fail-in-store", cause, directory] => late::fail_in_store(cause, Path::new(directory)),
        ["seal-slowly", directory] => late::seal_slowly(Path::new(directory)),
        ["store-slowly", location] => late::store_slowly(Path::new(location)),
        ["count-harmed", directory] => late::count_harmed(Path::new(directory)),
        ["serve", directory, port] => {
            let _server = HttpServer::serve_at(port.parse()?, Path::new(directory))?;
            loop {
                std::thread::park();
            }
        }
        ["steps"] => steps::run(),
        ["sync"] => {
            rustix::fs::sync();
            Ok(())
        }
        ["drop-caches"] => machine::drop_caches(),
        ["verity-sizes", directory] => verity::measure_sizes(directory),
        other => bail!("unknown command {other:?}"),
    }
}
