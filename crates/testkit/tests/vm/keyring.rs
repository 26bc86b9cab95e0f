// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's keyring for fs-verity: objects get their signatures when they come, and open where the
//! image has the certificate, and nowhere else.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sealroot::keyring::read_certificates;
use sealroot::uki::ImageSigner;
use sealroot_testkit::attack::{Verdict, judge};
use sealroot_testkit::kernel::GuestKernel;
use sealroot_testkit::os_tree::TARGETS;
use sealroot_testkit::release::{Layer, Release, usual_kernel};
use sealroot_testkit::{efi, need};

const TIME_OUT: Duration = Duration::from_secs(180);

// Rules: P20, P21
#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn signed_objects_open_where_the_image_has_their_certificate() -> Result<()> {
    let (Some(kernel), true) = (usual_kernel(), need::root()) else {
        return Ok(());
    };
    let directory = tempfile::tempdir()?;
    let pair = |name| efi::key_and_certificate(directory.path(), name, &["rsa:2048"]);
    let (Some((key, certificate)), Some((_, other))) = (pair("objects"), pair("other")) else {
        return Ok(());
    };
    let signer = ImageSigner::with_key(&certificate, &key)?;
    let [own, other] = [certificate, other].map(|path| read_certificates(&[path]));
    let (own, other) = (own?, other?);
    let release = Release::create_signed(&kernel, &signer, &own, None)?;

    // The second stays in the image when the key changes.
    let both = [&other[..], &own].concat();
    let verdict = boot(&release, &kernel, "both", &both)?;
    ensure!(verdict == Verdict::SameTree, "with both: {verdict:?}");
    for (name, certificates) in [("other", &other[..]), ("none", &[])] {
        let verdict = boot(&release, &kernel, name, certificates)?;
        let Verdict::Refused { code, line } = &verdict else {
            anyhow::bail!("with {name}: {verdict:?}");
        };
        println!("with {name}: {line}");
        ensure!(code == "init", "with {name}: {line}");
    }
    let verdict = boot(&release, &kernel, "broken", b"\x30\x01x")?;
    println!("with what is none: {verdict:?}");
    let is_refused = matches!(&verdict, Verdict::Refused { code, .. } if code == "kernel");
    ensure!(is_refused, "with what is none: {verdict:?}");

    // What the kernel refuses does no harm, to no file.
    let release = Release::create_signed(&kernel, &signer, &own, Some(TARGETS[0]))?;
    let verdict = boot(&release, &kernel, "refused", &both)?;
    ensure!(verdict == Verdict::SameTree, "after a refusal: {verdict:?}");
    Ok(())
}

fn boot(
    release: &Release,
    kernel: &GuestKernel,
    name: &str,
    certificates: &[u8],
) -> Result<Verdict> {
    let initramfs = release.initramfs_with_certificates(kernel, name, certificates)?;
    let deployment = release.deployment();
    let vm = release.machine(kernel, Layer::Erofs, release.disk(), &deployment)?;
    let outcome = vm.initramfs(&initramfs).run(TIME_OUT);
    let outcome = outcome.context(name.to_owned())?;
    let verdict = judge(&outcome, release);
    if matches!(verdict, Verdict::Unreadable(_)) {
        println!("with {name}:\n{}", outcome.console_tail(30));
    }
    Ok(verdict)
}
