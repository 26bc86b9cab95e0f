// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kept passwords and those of the release.

use sealroot_format::kept::{Kept, Merged, select_shadow};

use crate::types::{HASH, file};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh
daemon:x:1:1::/:/usr/sbin/nologin
nobody:x:65534:65534::/:/bin/false
bare:x:5:5::/:
relative:x:6:6::/:sh
cut:x:7:7
admin:x:1000:1000::/home/admin:/bin/bash";

const RELEASE: &str = "root:*:1:0:99999:7:::
daemon:*:1:0:99999:7:::
nobody:*:1:::::::
bare:*:1::::::
relative:*:1::::::
cut:*:1::::::
admin:!:1:0:99999:7:::
";

fn merge(kept: &str) -> Merged {
    match file("/etc/shadow").parse(kept.as_bytes()) {
        Ok(Kept::Shadow(shadow)) => shadow.merge(RELEASE.as_bytes(), PASSWD.as_bytes()),
        other => panic!("{other:?}"),
    }
}

// Rules: A14
#[test]
fn only_users_of_the_release_with_a_shell_get_a_password() {
    let line = |user: &str| format!("{user}:{HASH}:2::::::\n");
    let all = [
        "root", "daemon", "nobody", "bare", "relative", "cut", "admin", "evil",
    ];
    let merged = merge(&all.map(line).concat());
    let expected = RELEASE
        .replace("root:*:1:0:99999:7:::\n", &line("root"))
        .replace("admin:!:1:0:99999:7:::\n", &line("admin"));
    assert_eq!(String::from_utf8(merged.bytes).unwrap(), expected);
    assert_eq!(merged.ignored, 6);
}

// Rules: A14
#[test]
fn a_user_without_a_line_in_the_release_gets_none() {
    let Ok(Kept::Shadow(shadow)) = file("/etc/shadow").parse(b"admin:!:1::::::\n") else {
        panic!("a good file");
    };
    let merged = shadow.merge(b"root:*:1::::::", PASSWD.as_bytes());
    assert_eq!(merged.bytes, b"root:*:1::::::\n");
    assert_eq!(merged.ignored, 1);
}

// Rules: A13
#[test]
fn what_is_kept_of_a_shadow_is_what_can_be_used() {
    let selected = select_shadow(RELEASE.as_bytes(), PASSWD.as_bytes()).unwrap();
    let text = "root:*:1:0:99999:7:::\nadmin:!:1:0:99999:7:::\n";
    assert_eq!(String::from_utf8(selected).unwrap(), text);
    let twice = format!("{RELEASE}admin:*:2:0:99999:7:::\n");
    let selected = select_shadow(twice.as_bytes(), PASSWD.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(selected).unwrap(), text);
    let empty = RELEASE.replace("admin:!", "admin:");
    let error = select_shadow(empty.as_bytes(), PASSWD.as_bytes()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/etc/shadow, line 7: expected a user once"),
        "{error}"
    );
    let error = select_shadow(b"", b"").unwrap_err().to_string();
    assert!(error.ends_with("found 0 bytes of their lines"), "{error}");
}
