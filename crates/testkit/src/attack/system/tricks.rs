// SPDX-License-Identifier: MIT OR Apache-2.0
//! What root may leave in `/etc` so that something of its own runs at the next boot: A42, A43.

/// One trick.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trick {
    pub(super) name: &'static str,
    /// The file, below `/etc`.
    pub(super) path: &'static str,
    /// Its mode.
    mode: &'static str,
    /// What it has, or has besides; `{run}` stands for what runs the canary.
    content: &'static str,
    /// What else it takes, for the shell.
    also: &'static str,
    /// What sets it off where a boot does not, for the shell.
    trigger: &'static str,
}

const fn trick(name: &'static str, path: &'static str, content: &'static str) -> Trick {
    Trick {
        name,
        path,
        mode: "644",
        content,
        also: "",
        trigger: "",
    }
}

impl Trick {
    const fn program(mut self) -> Self {
        self.mode = "755";
        self
    }

    const fn also(mut self, also: &'static str) -> Self {
        self.also = also;
        self
    }

    const fn set_off(mut self, trigger: &'static str) -> Self {
        self.trigger = trigger;
        self
    }

    /// What root does, in a directory that is or becomes `/etc`.
    pub(super) fn plant(&self, etc: &str) -> String {
        let Self {
            name,
            path,
            mode,
            also,
            ..
        } = self;
        let content = self.content.replace("{run}", &self.canary());
        format!(
            "mkdir -p {etc} && cd {etc} && mkdir -p \"$(dirname {path})\" && cat >> {path} <<'END'\n{content}\nEND\n\
             chmod {mode} {path}; {also}\ngrep -qi canary {path} && echo planted {name}"
        )
    }

    /// What tells whether the canary runs, and whether the file is there: two words, `ran` and
    /// `kept`, or `-`.
    pub(super) fn probe(&self) -> String {
        let Self { name, path, .. } = self;
        let trigger = self.trigger.replace("{run}", &self.canary());
        format!(
            "{{ :; {trigger}\n}} > /dev/null 2>&1; \
             if [ -e /run/canary-{name} ]; then echo -n 'ran '; else echo -n '- '; fi; \
             if grep -qsi canary /etc/{path}; then echo kept; else echo -; fi"
        )
    }

    fn canary(&self) -> String {
        format!("/bin/touch /run/canary-{}", self.name)
    }
}

/// The tricks; the last ones need a program that the test's OS does not have, so there only the file
/// is looked for.
pub(super) const TRICKS: [Trick; 36] = [
    trick(
        "unit",
        "systemd/system/canary-unit.service",
        "[Service]\nType=oneshot\nExecStart={run}",
    )
    .also(
        "mkdir -p systemd/system/multi-user.target.wants; \
         ln -s ../canary-unit.service systemd/system/multi-user.target.wants/",
    ),
    trick(
        "drop-in",
        "systemd/system/sealroot-report.service.d/canary.conf",
        "[Service]\nExecStartPre={run}",
    ),
    trick(
        "timer",
        "systemd/system/canary-timer.timer",
        "[Timer]\nOnActiveSec=0\nUnit=canary-timer.service",
    )
    .also(
        "mkdir -p systemd/system/timers.target.wants; \
         ln -s ../canary-timer.timer systemd/system/timers.target.wants/; \
         printf '[Service]\\nType=oneshot\\nExecStart=/bin/touch /run/canary-timer\\n' \
         > systemd/system/canary-timer.service",
    ),
    trick(
        "generator",
        "systemd/system-generators/canary",
        "#!/bin/sh\n{run}",
    )
    .program(),
    trick(
        "environment-generator",
        "systemd/system-environment-generators/canary",
        "#!/bin/sh\n{run}",
    )
    .program(),
    trick(
        "manager",
        "systemd/system.conf.d/canary.conf",
        "[Manager]\nDefaultEnvironment=CANARY=1",
    )
    .set_off("[ \"$CANARY\" ] && {run}"),
    trick(
        "udev",
        "udev/rules.d/00-canary.rules",
        "SUBSYSTEM==\"block\", RUN+=\"/bin/touch /run/canary-udev\"",
    )
    .set_off("udevadm trigger --settle --subsystem-match=block"),
    trick(
        "tmpfiles",
        "tmpfiles.d/canary.conf",
        "f /run/canary-tmpfiles 0644 - - -",
    ),
    trick("sysctl", "sysctl.d/canary.conf", "kernel.domainname=canary")
        .set_off("grep canary /proc/sys/kernel/domainname && {run}"),
    trick(
        "core-pattern",
        "sysctl.d/canary-core.conf",
        "kernel.core_pattern=|{run}",
    )
    .set_off("sh -c 'kill -SEGV $$'; sleep 1"),
    trick("modprobe", "modprobe.d/canary.conf", "install canary {run}").set_off("modprobe canary"),
    trick("modules-load", "modules-load.d/canary.conf", "canary-load").also(
        "echo 'install canary-load /bin/touch /run/canary-modules-load' \
         > modprobe.d/canary-load.conf",
    ),
    trick("rc-local", "rc.local", "#!/bin/sh\n{run}").program(),
    trick(
        "sysv",
        "init.d/canary",
        "#!/bin/sh\n### BEGIN INIT INFO\n# Provides: canary\n# Default-Start: 2 3 4 5\n\
         ### END INIT INFO\n{run}",
    )
    .program()
    .also("mkdir -p rc3.d; ln -s ../init.d/canary rc3.d/S99canary"),
    trick("preload", "ld.so.preload", "/etc/canary.so")
        .set_off("/bin/true 2>&1 | grep canary.so && {run}"),
    trick(
        "libraries",
        "ld.so.conf.d/00-canary.conf",
        "/etc/canary-lib",
    )
    .also("mkdir canary-lib; cp /usr/lib/x86_64-linux-gnu/libpam.so.0 canary-lib/; ldconfig")
    .set_off("ldconfig -p | grep canary-lib && {run}"),
    trick(
        "pam",
        "pam.d/common-session",
        "session optional pam_exec.so {run}",
    )
    .set_off("su root -c true"),
    trick(
        "pam-environment",
        "security/pam_env.conf",
        "CANARY_PAM DEFAULT=1",
    )
    .set_off("su - root -c env | grep CANARY_PAM && {run}"),
    trick("environment", "environment", "CANARY_ENV=1")
        .set_off("su - root -c env | grep CANARY_ENV && {run}"),
    trick("profile", "profile", "{run}").set_off("HOME=/root sh -lc true"),
    trick("profile-d", "profile.d/canary.sh", "{run}").set_off("HOME=/root sh -lc true"),
    trick("bashrc", "bash.bashrc", "{run}").set_off("HOME=/root bash -ic true"),
    trick("passwd", "passwd", "canary::0:0::/:/bin/sh").set_off("su canary -c '{run}'"),
    trick("group", "group", "canary:x:0:daemon").set_off("getent group canary && {run}"),
    trick("nsswitch", "nsswitch.conf", "canary: files")
        .set_off("grep canary /etc/nsswitch.conf && {run}"),
    trick("fstab", "fstab", "canary /srv tmpfs size=1m 0 0").set_off("findmnt /srv && {run}"),
    trick("crypttab", "crypttab", "canary /dev/vdz none noauto")
        .set_off("[ -e /run/systemd/generator/systemd-cryptsetup@canary.service ] && {run}"),
    trick("hostname", "hostname", "canary").set_off("hostname | grep canary && {run}"),
    trick("inittab", "inittab", "canary:2345:once:{run}"),
    trick("shadow", "shadow", "canary::19000:0:99999:7:::"),
    trick(
        "sudoers",
        "sudoers.d/canary",
        "canary ALL=(ALL) NOPASSWD: ALL",
    ),
    trick("cron", "cron.d/canary", "@reboot root {run}"),
    trick("crontab", "crontab", "@reboot root {run}"),
    trick(
        "sshd",
        "ssh/sshd_config.d/canary.conf",
        "PermitRootLogin yes # canary",
    ),
    trick(
        "network-manager",
        "NetworkManager/dispatcher.d/canary",
        "#!/bin/sh\n{run}",
    )
    .program(),
    trick(
        "binfmt",
        "binfmt.d/canary.conf",
        ":canary:M::CANARY::/bin/sh:",
    ),
];

/// Switching mandatory access control off (A43).
pub(super) const SELINUX: Trick = trick("selinux", "selinux/config", "SELINUX=permissive # canary");
