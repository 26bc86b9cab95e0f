// SPDX-License-Identifier: MIT OR Apache-2.0
//! A sealed machine that keeps some files of `/etc`: good ones are there, and nothing that root may
//! have left for the next boot does anything.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{CWD, FileType, Mode as FileMode, makedev, mknodat};
use sealroot_format::kept::{FILES, KEPT_DIRECTORY, KeptFile};
use sealroot_format::policy::{EtcMode, Mode};
use sealroot_testkit::binaries::Program;
use sealroot_testkit::guest::ProbeReport;
use sealroot_testkit::kernel::GuestKernel;
use sealroot_testkit::release::{Release, TREE, usual_kernel};
use sealroot_testkit::vm::{Vm, VmOutcome};
use sealroot_testkit::{etc_files, need, os_tree};

const TIME_OUT: Duration = Duration::from_secs(400);

const HASH: &str =
    "$6$saltsalt$0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef01234567";

/// What a release has in `/etc` besides.
const RELEASE: [(&str, u32, &str); 4] = [
    ("hostname", 0o644, "release\n"),
    (
        "passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/usr/sbin/nologin\nadmin:x:1000:1000::/home:/bin/sh\n",
    ),
    (
        "shadow",
        0o640,
        "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nadmin:!:19000:0:99999:7:::\n",
    ),
    ("ssh/sshd_config", 0o600, "# the release's\n"),
];

/// What root may have left where files are kept, which is no file that may be kept.
const TRICKS: [&str; 32] = [
    "systemd/system/evil.service",
    "systemd/system/multi-user.target.wants/evil.service",
    "systemd/system/sshd.service.d/evil.conf",
    "systemd/system-generators/evil",
    "systemd/system.conf.d/evil.conf",
    "ld.so.preload",
    "ld.so.conf.d/evil.conf",
    "ld.so.cache",
    "pam.d/sshd",
    "security/pam_env.conf",
    "udev/rules.d/00-evil.rules",
    "sudoers",
    "sudoers.d/evil",
    "crontab",
    "cron.d/evil",
    "profile",
    "profile.d/evil.sh",
    "environment",
    "nsswitch.conf",
    "passwd",
    "group",
    "rc.local",
    "inittab",
    "modprobe.d/evil.conf",
    "modules-load.d/evil.conf",
    "binfmt.d/evil.conf",
    "sysctl.d/evil.conf",
    "tmpfiles.d/evil.conf",
    "ssh/sshd_config",
    "ssh/sshd_config.d/evil.conf",
    "NetworkManager/dispatcher.d/evil",
    "selinux/config",
];

/// Content of the files that may be kept, each the work of root; `canary` is what must not show.
const HOSTILE: [(&str, &str); 14] = [
    ("machine-id", "0123456789abcdef0123456789abcdef\ncanary\n"),
    ("hostname", "canary\n127.0.0.1 update.example\n"),
    ("localtime", "../../../../var/canary\n"),
    ("timezone", "Europe/Canary\n"),
    ("locale.conf", "LANG=C\nLD_PRELOAD=/var/canary.so\n"),
    ("vconsole.conf", "KEYMAP=/var/canary.map\n"),
    ("adjtime", "0.0 0 0.0\n0\ncanary\n"),
    (
        "shadow",
        "root:*:19000:0:99999:7:::\ncanary::0:0:99999:7:::\n",
    ),
    (
        "ssh_host_rsa_key",
        "-----BEGIN RSA PRIVATE KEY-----\ncanary\n",
    ),
    ("ssh_host_rsa_key.pub", "command=\"canary\" ssh-rsa AAAA\n"),
    (
        "ssh_host_ecdsa_key",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\ncanary\n",
    ),
    ("ssh_host_ecdsa_key.pub", "ssh-ed25519 AAAA canary\n"),
    ("ssh_host_ed25519_key", "canary\0\n"),
    ("ssh_host_ed25519_key.pub", "ssh-ed25519 AAAA canary"),
];

/// Good content, what it is in `/etc` and with which mode.
fn good() -> Vec<(&'static str, String, String)> {
    let of = |name, mode, content: &str| {
        let shown = format!("{mode} 0:0 {}", content.as_bytes().escape_ascii());
        (name, content.to_owned(), shown)
    };
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\nQUJD\n\
               -----END OPENSSH PRIVATE KEY-----\n";
    let (_, _, release) = RELEASE[2];
    let line = format!("admin:{HASH}:19500:0:99999:7:::");
    let merged = release.replace("admin:!:19000:0:99999:7:::", &line);
    // Of a user that the release does not have, and of one who cannot log in.
    let others = format!("canary:{HASH}:1::::::\ndaemon:{HASH}:1::::::\n");
    let zone = "Europe/Paris\n".to_owned();
    vec![
        of("machine-id", "444", "fedcba9876543210fedcba9876543210\n"),
        of("hostname", "644", "kept.example.org\n"),
        (
            "localtime",
            zone,
            "777 0:0 -> ../usr/share/zoneinfo/Europe/Paris".into(),
        ),
        of("timezone", "644", "Europe/Paris\n"),
        of("locale.conf", "644", "LANG=de_DE.UTF-8\nLC_TIME=C\n"),
        of("vconsole.conf", "644", "KEYMAP=de-nodeadkeys\n"),
        of("adjtime", "644", "0.0 0 0.0\n0\nLOCAL\n"),
        (
            "shadow",
            format!("{line}\n{others}"),
            format!("640 0:42 {}", merged.as_bytes().escape_ascii()),
        ),
        of("ssh_host_rsa_key", "600", key),
        of("ssh_host_rsa_key.pub", "644", "ssh-rsa QUJD root@kept\n"),
        of("ssh_host_ecdsa_key", "600", key),
        of(
            "ssh_host_ecdsa_key.pub",
            "644",
            "ecdsa-sha2-nistp256 QUJD\n",
        ),
        of("ssh_host_ed25519_key", "600", key),
        of("ssh_host_ed25519_key.pub", "644", "ssh-ed25519 QUJD\n"),
    ]
}

/// What may be in place of a file: anything but what it should be.
fn plant_other_kinds(kept: &Path, elsewhere: &Path) -> Result<()> {
    let at = |name: &str| kept.join(name);
    for (name, content, _) in good() {
        fs::write(elsewhere.join(name), content)?;
    }
    let node = |name: &str, kind, device| {
        mknodat(CWD, at(name), kind, FileMode::from_raw_mode(0o600), device)
    };
    symlink("../elsewhere/machine-id", at("machine-id"))?;
    fs::write(at("hostname"), "canary\n")?;
    chown(at("hostname"), Some(1000), Some(1000))?;
    symlink("/usr/share/zoneinfo/Europe/Paris", at("localtime"))?;
    fs::write(at("timezone"), "Europe/Paris\n")?;
    fs::set_permissions(at("timezone"), Permissions::from_mode(0o666))?;
    node("locale.conf", FileType::Fifo, 0)?;
    node("vconsole.conf", FileType::CharacterDevice, makedev(1, 5))?;
    fs::create_dir_all(at("adjtime/canary"))?;
    fs::write(at("shadow"), "x".repeat(1 << 20))?;
    drop(UnixListener::bind(at("ssh_host_rsa_key"))?);
    node(
        "ssh_host_rsa_key.pub",
        FileType::BlockDevice,
        makedev(254, 0),
    )?;
    fs::write(at("ssh_host_ecdsa_key"), "")?;
    fs::write(at("ssh_host_ecdsa_key.pub"), [0; 100])?;
    File::create(at("ssh_host_ed25519_key"))?.set_len(1 << 40)?;
    symlink("nowhere", at("ssh_host_ed25519_key.pub"))?;
    Ok(())
}

struct Scene {
    kernel: GuestKernel,
    release: Release,
}

impl Scene {
    fn new() -> Result<Option<Self>> {
        let (Some(kernel), true) = (usual_kernel(), need::root()) else {
            return Ok(None);
        };
        let directory = tempfile::tempdir()?;
        let tree = directory.path().join(TREE);
        fs::create_dir_all(&tree)?;
        os_tree::create(&tree, &Program::Guest.build()?)?;
        fs::create_dir_all(tree.join("usr/share/zoneinfo/Europe"))?;
        fs::write(tree.join("usr/share/zoneinfo/Europe/Paris"), "TZif")?;
        fs::create_dir(tree.join("etc/ssh"))?;
        for (name, mode, content) in RELEASE {
            let path = tree.join("etc").join(name);
            fs::write(&path, content)?;
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
        }
        chown(tree.join("etc/shadow"), Some(0), Some(42))?;
        let release = Release::of_tree(&kernel, directory, Mode::Sealed, 96, 160)?;
        Ok(Some(Self { kernel, release }))
    }

    /// Boots with what `plant` leaves in the directory where files are kept, and in one beside it.
    fn boot(&self, plant: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<VmOutcome> {
        self.release.disk().mounted(|root| {
            let kept = root.join("ostree/deploy/test/var").join(KEPT_DIRECTORY);
            let parent = kept.parent().context("a parent")?;
            if parent.exists() {
                fs::remove_dir_all(parent)?;
            }
            let elsewhere = kept.with_file_name("elsewhere");
            for directory in [&kept, &elsewhere] {
                fs::create_dir_all(directory)?;
            }
            plant(&kept, &elsewhere)
        })?;
        let initramfs = (self.release).initramfs_with_etc(&self.kernel, EtcMode::Allowlist)?;
        Vm::new(&self.kernel)
            .initramfs(&initramfs)
            .arguments(&format!("sealroot={}", self.release.deployment()))
            .scratch_disk(Release::DISK_SERIAL, self.release.disk().path())
            .stop_at("sealroot: the machine powers off")
            .stop_at("Kernel panic")
            .run(TIME_OUT)
    }

    /// Boots with what must change nothing, and say so of `unused` files.
    fn boot_in_vain(
        &self,
        unused: &[&str],
        plant: impl FnOnce(&Path, &Path) -> Result<()>,
    ) -> Result<()> {
        let outcome = self.boot(plant)?;
        let report: ProbeReport = outcome.json()?;
        let expected = etc_files::read(&self.release.tree().join("etc"))?;
        assert_eq!(report.etc_files, expected, "{}", outcome.console_tail(40));
        for path in unused {
            let line = format!("sealroot: kept file NOT USED: {path}");
            ensure!(
                outcome.console.contains(&line),
                "{}",
                outcome.console_tail(40)
            );
        }
        let lines = outcome.console.matches("kept file NOT USED").count();
        assert_eq!(lines, unused.len(), "{}", outcome.console_tail(40));
        Ok(())
    }
}

// Rules: A1, A2, A3, A4, A10, A14, A15, P13
#[test]
#[ignore = "boots virtual machines: cargo xtask vm"]
fn kept_files_are_there_and_nothing_else_is() -> Result<()> {
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    let all = FILES.each_ref().map(KeptFile::path);

    let outcome = scene.boot(|kept, _| {
        (good().iter()).try_for_each(|(name, content, _)| Ok(fs::write(kept.join(name), content)?))
    })?;
    let report: ProbeReport = outcome.json()?;
    let mut expected: BTreeMap<_, _> = etc_files::read(&scene.release.tree().join("etc"))?;
    for (name, _, shown) in good() {
        let file = FILES.iter().find(|file| file.name() == name);
        let path = file.context("a file of the list")?.path_in_etc();
        expected.insert(path.to_owned(), shown);
    }
    assert_eq!(report.etc_files, expected, "{}", outcome.console_tail(40));
    let line = "NOT USED: lines of /etc/shadow: expected users of the release who can log in, \
                found 2 others";
    ensure!(
        outcome.console.contains(line),
        "{}",
        outcome.console_tail(40)
    );
    let booted = report.booted.context("a record of the boot")?;
    ensure!(
        booted.contains("\"etc\": \"allowlist\"") && !booted.contains("/etc"),
        "{booted}"
    );

    scene.boot_in_vain(&all, |kept, _| {
        for (name, content) in HOSTILE {
            fs::write(kept.join(name), content)?;
        }
        for trick in TRICKS {
            let path = kept.join(trick);
            fs::create_dir_all(path.parent().context("a parent")?)?;
            fs::write(&path, "#!/bin/sh\necho canary\n")?;
            fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        }
        Ok(())
    })?;
    scene.boot_in_vain(&all, plant_other_kinds)?;

    // Good files, but behind a symlink.
    scene.boot_in_vain(&["/var/lib/sealroot/etc"], |kept, elsewhere| {
        plant_other_kinds(kept, elsewhere)?;
        fs::remove_dir_all(kept)?;
        Ok(symlink("elsewhere", kept)?)
    })
}
