// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's own keyrings: finding one, adding keys to it, and closing it (`keyrings(7)`).

use std::ffi::{CStr, c_long};

use rustix::io::Errno;

/// The keyring of the certificates by which the kernel verifies built-in signatures of fs-verity.
pub const FS_VERITY: &str = ".fs-verity";

/// The type of a key made of an X.509 certificate in DER.
pub const ASYMMETRIC: &CStr = c"asymmetric";

/// `KEYCTL_RESTRICT_KEYRING` of `linux/keyctl.h`.
const KEYCTL_RESTRICT_KEYRING: c_long = 29;

/// The serial number of a key or keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySerial(i32);

/// The one keyring with this name in the text of `/proc/keys`; `None` if there is none, or more than
/// one.
pub fn find_keyring(keys: &str, name: &str) -> Option<KeySerial> {
    let line = find_line(keys, name)?;
    let serial = u32::from_str_radix(line.split_ascii_whitespace().next()?, 16).ok()?;
    i32::try_from(serial).ok().map(KeySerial)
}

/// How many keys that keyring has.
pub fn count_keys(keys: &str, name: &str) -> Option<u64> {
    let count = find_line(keys, name)?.split_ascii_whitespace().nth(9)?;
    match count {
        "empty" => Some(0),
        count => count.parse().ok(),
    }
}

/// Its line: serial number, flags, uses, time-out, permissions, owner, group, type, name, keys.
fn find_line<'k>(keys: &'k str, name: &str) -> Option<&'k str> {
    let is_named = |line: &&str| {
        let mut words = line.split_ascii_whitespace().skip(7);
        let is_keyring = words.next() == Some("keyring");
        is_keyring && words.next().and_then(|word| word.strip_suffix(':')) == Some(name)
    };
    let mut found = keys.lines().filter(is_named);
    let (line, None) = (found.next()?, found.next()) else {
        return None;
    };
    Some(line)
}

/// Makes a key of a type from `payload` and puts it into a keyring: `add_key`.
///
/// # Errors
///
/// `EPERM` for a keyring that is closed, `EBADMSG` for what is no key of that type, `ENOPKG` for one
/// with an algorithm that the kernel lacks.
pub fn add_key(
    kind: &CStr,
    description: &CStr,
    payload: &[u8],
    keyring: KeySerial,
) -> Result<KeySerial, Errno> {
    // SAFETY: key_serial_t add_key(const char *, const char *, const void *, size_t, key_serial_t):
    // both strings are NUL-terminated, the payload has so many bytes, and all outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            kind.as_ptr(),
            description.as_ptr(),
            payload.as_ptr(),
            payload.len(),
            keyring.0,
        )
    };
    match i32::try_from(result) {
        Ok(serial) if serial > 0 => Ok(KeySerial(serial)),
        _ => Err(crate::mount::last_errno()),
    }
}

/// Has a keyring take no more keys, from anybody, until the machine restarts: `keyctl` with
/// `KEYCTL_RESTRICT_KEYRING` and no type. `EEXIST` if it has a restriction already.
pub fn keyctl_restrict_keyring(keyring: KeySerial) -> Result<(), Errno> {
    let no_type: *const libc::c_char = std::ptr::null();
    let no_restriction: *const libc::c_char = std::ptr::null();
    // SAFETY: long keyctl(int, key_serial_t, const char *, const char *): both strings may be null.
    let result = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_RESTRICT_KEYRING,
            keyring.0,
            no_type,
            no_restriction,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(crate::mount::last_errno())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = "\
01a2b3c4 I------     1 perm 1f0b0000     0     0 keyring   .builtin_trusted_keys: 3
0d0e0f10 I------     1 perm 1f0f0000     0     0 keyring   .fs-verity: empty
11111111 I--Q---     4 perm 3f030000     0     0 user      .fs-verity: 5
22222222 I--Q---     1 perm 1f3f0000     0 65534 keyring   _uid.0: empty
";

    #[test]
    fn a_keyring_is_found_by_its_name_and_type() {
        assert_eq!(find_keyring(KEYS, FS_VERITY), Some(KeySerial(0x0d0e_0f10)));
        assert_eq!(find_keyring(KEYS, "_uid.0"), Some(KeySerial(0x2222_2222)));
        assert_eq!(find_keyring(KEYS, ".fs"), None);
        assert_eq!(find_keyring("", FS_VERITY), None);
        assert_eq!(count_keys(KEYS, FS_VERITY), Some(0));
        assert_eq!(count_keys(KEYS, ".builtin_trusted_keys"), Some(3));
        assert_eq!(count_keys(KEYS, ".ima"), None);
    }

    #[test]
    fn of_two_with_one_name_none_is_taken() {
        assert_eq!(find_keyring(&format!("{KEYS}{KEYS}"), FS_VERITY), None);
    }

    #[test]
    fn a_keyring_that_is_not_there_takes_nothing() {
        let missing = KeySerial(i32::MAX);
        let key = add_key(c"keyring", c"sealroot", &[], missing);
        assert!(key.is_err_and(|errno| errno == Errno::NOKEY || errno == Errno::NOSYS));
        assert!(keyctl_restrict_keyring(missing).is_err());
    }
}
