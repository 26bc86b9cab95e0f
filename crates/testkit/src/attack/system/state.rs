// SPDX-License-Identifier: MIT OR Apache-2.0
//! What root may leave in `/var`, and what it may do to a running sealed machine: A31 to A33, A44,
//! A45.

use super::Step;

/// Places below `/var` that some system runs things from, or looks for things in.
const PLACES: [&str; 14] = [
    "canary",
    "tmp/canary",
    "cache/canary",
    "lib/canary",
    "lib/systemd/system",
    "lib/extensions/canary/usr/bin",
    "lib/confexts/canary/etc",
    "lib/machines/canary/usr/bin",
    "lib/portables/canary/usr/bin",
    "opt/canary",
    "usrlocal/bin",
    "roothome/.local/bin",
    "home/canary/.config/systemd/user",
    "spool/cron/crontabs",
];

/// A canary of each kind at each place, and what comes of running it.
pub(super) fn canaries_in_var() -> Vec<Step> {
    let mut steps = Vec::new();
    for place in PLACES {
        let at = format!("/var/{place}");
        steps.push(Step::prepare(
            format!("canaries in {at}"),
            format!(
                "mkdir -p {at} && cd {at} && cp /bin/true binary && cp /usr/bin/id setuid && \
                 chmod 4755 setuid && cp /usr/lib/x86_64-linux-gnu/libpam.so.0 library.so && \
                 printf '#!/bin/sh\\necho ran\\n' > script && chmod 755 script && \
                 printf '[Service]\\nExecStart=/bin/sh\\n' > canary-var.service && \
                 ln -s /usr/bin/env link && echo planted"
            ),
            "planted",
        ));
        let denied = |kind: &str, command: String| {
            let shown = format!("{command} > /run/out 2>&1 && echo ran || echo denied");
            Step::probe("A44", format!("{kind} in {at}"), shown, "denied")
        };
        steps.push(denied("a program", format!("{at}/binary")));
        steps.push(denied("a script", format!("{at}/script")));
        steps.push(denied(
            "a setuid program",
            format!("setpriv --reuid 1 --clear-groups {at}/setuid"),
        ));
        steps.push(denied(
            "a program by its loader",
            format!("/lib64/ld-linux-x86-64.so.2 {at}/binary"),
        ));
        steps.push(denied(
            "a library to preload",
            format!("! LD_PRELOAD={at}/library.so /bin/true 2>&1 | grep 'cannot be preloaded'"),
        ));
        steps.push(Step::probe(
            "A44",
            format!("a script in {at} given to an interpreter: not stopped"),
            format!("sh {at}/script"),
            "ran",
        ));
    }
    steps.push(Step::probe(
        "A44",
        "units in /var".to_owned(),
        "systemctl cat canary-var.service > /dev/null 2>&1 && echo found || echo none".to_owned(),
        "none",
    ));
    steps.push(Step::probe(
        "A44",
        "an extension in /var".to_owned(),
        "[ -e /usr/bin/binary ] && echo merged || echo none".to_owned(),
        "none",
    ));
    steps
}

/// The physical root.
pub(super) fn physical_root() -> Vec<Step> {
    let probe = |name: &str, command: &str, expected| {
        Step::probe("A45", name.to_owned(), command.to_owned(), expected)
    };
    vec![
        Step::prepare(
            "marks on the physical root".to_owned(),
            "unshare -m sh -c 'mount -o remount,rw,bind /sysroot; mount -o remount,rw /sysroot; \
             cd /sysroot/ostree/deploy/test && mkdir -p .usr-ovl-upper/bin .usr-ovl-work/work && \
             cp /bin/true .usr-ovl-upper/bin/canary && touch .ostree-unlocked && \
             mkdir -p /sysroot/etc && echo canary > /sysroot/etc/fstab && cp /bin/true /sysroot/canary \
             && chmod 4755 /sysroot/canary && sync && echo planted'"
                .to_owned(),
            "planted",
        ),
        probe(
            "how it is mounted",
            "findmnt -no OPTIONS /sysroot | grep -ow -e ro -e nosuid -e nodev -e noexec | sort -u | \
             tr '\\n' ' '",
            "nodev noexec nosuid ro",
        ),
        probe(
            "a program there",
            "[ -u /sysroot/canary ] && { /sysroot/canary 2> /dev/null && echo ran || echo denied; }",
            "denied",
        ),
        probe(
            "an object run as a file",
            "o=$(find /sysroot/ostree/verity/objects -name '*.file' | head -n 1); chmod +x $o \
             2> /dev/null; $o 2> /dev/null && echo ran || echo denied",
            "denied",
        ),
        probe(
            "writing there",
            "touch /sysroot/evil 2> /dev/null && echo written || echo denied",
            "denied",
        ),
        probe(
            "a hotfix from before the reboot",
            "[ -e /usr/bin/canary ] && echo there || echo none",
            "none",
        ),
        probe(
            "writing to /usr",
            "touch /usr/bin/evil 2> /dev/null && echo written || echo denied",
            "denied",
        ),
    ]
}

/// Mounts and mappings that others would make of what is there.
pub(super) fn foreign_mounts() -> Vec<Step> {
    let probe = |id, name: &str, command: &str, expected| {
        Step::probe(id, name.to_owned(), command.to_owned(), expected)
    };
    vec![
        probe(
            "A31",
            "partitions typed home, srv and usr",
            "for m in /home /srv /usr /var/tmp; do findmnt -no SOURCE $m; done | grep . || echo none",
            "none",
        ),
        probe(
            "A31",
            "nothing over the root but what the boot program mounts",
            "findmnt -rno TARGET -t ext4,btrfs,f2fs,vfat | sort | tr '\\n' ' '",
            "/sysroot /var",
        ),
        probe(
            "A32",
            "a partition typed swap, and a hibernated system",
            "wc -l < /proc/swaps",
            "1",
        ),
        probe(
            "A32",
            "hibernating",
            "echo disk 2> /dev/null > /sys/power/state && echo done || echo denied",
            "denied",
        ),
        probe(
            "A32",
            "resuming from a disk",
            "n=$(cat /sys/block/vd?/dev | head -n 1); echo $n 2> /dev/null > /sys/power/resume; echo runs on",
            "runs on",
        ),
    ]
}

/// Another kernel, or other code in this one. Numbers are those of system calls, and of errors.
pub(super) fn kernel() -> Vec<Step> {
    let call = |name: &str, script: &str, expected| {
        let command = format!("perl -e '{script}'");
        Step::probe("A33", name.to_owned(), command, expected)
    };
    vec![
        Step::probe(
            "A33",
            "the kernel is there".to_owned(),
            "d=$(grep -l kernel /sys/block/vd?/serial | cut -d/ -f4); dd if=/dev/$d of=/run/kernel bs=1M \
             2> /dev/null; d=$(grep -l modules /sys/block/vd?/serial | cut -d/ -f4); \
             mkdir -p /run/modules; tar xf /dev/$d -C /run/modules; ls /run/modules | tr '\\n' ' '"
                .to_owned(),
            "signed.ko unsigned.ko",
        ),
        call(
            "kexec -l of an unsigned kernel",
            "open F, \"<\", \"/run/kernel\"; $a = \"\\0\"; \
             syscall(320, fileno F, -1, 1, $a, 4) < 0 and print $! + 0",
            "61",
        ),
        call(
            "kexec by the older call",
            "$a = \"\\0\" x 64; syscall(246, 0, 1, $a, 0) < 0 and print $! + 0",
            "13",
        ),
        call(
            "insmod of a module whose signature is gone",
            "open F, \"<\", \"/run/modules/unsigned.ko\"; $a = \"\\0\"; \
             syscall(313, fileno F, $a, 0) < 0 and print $! + 0",
            "129",
        ),
        call(
            "insmod of a signed module: allowed",
            "open F, \"<\", \"/run/modules/signed.ko\"; $a = \"\\0\"; \
             print syscall(313, fileno F, $a, 0)",
            "0",
        ),
        call(
            "access to all ports",
            "syscall(172, 3) < 0 and print $! + 0",
            "1",
        ),
        call(
            "the memory, by /dev/mem",
            "open(F, \"+<\", \"/dev/mem\") or print $! + 0",
            "1",
        ),
        Step::probe(
            "A33",
            "lockdown lowered".to_owned(),
            "echo none 2> /dev/null > /sys/kernel/security/lockdown; cat /sys/kernel/security/lockdown"
                .to_owned(),
            "none [integrity] confidentiality",
        ),
        Step::probe(
            "A36",
            "a certificate added to the firmware without its owner".to_owned(),
            "cd /sys/firmware/efi/efivars && ls db-* PK-* KEK-* | wc -l; for v in db-* PK-* KEK-*; do \
             chattr -i $v; cat $v > /run/variable; cat /run/variable > $v && echo written; done \
             2> /dev/null | wc -l"
                .to_owned(),
            "3 0",
        ),
    ]
}
