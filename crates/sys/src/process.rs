// SPDX-License-Identifier: MIT OR Apache-2.0
//! Becoming another program.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};

/// Replaces this process by a program, with these arguments (the first is its name) and this
/// environment: `execve`. Gives back only why that failed; `EINVAL` for a NUL inside.
///
/// The program finds `SIGPIPE` as the kernel gives it, not ignored as Rust's runtime has it.
pub fn execve(program: &OsStr, arguments: &[OsString], environment: &[OsString]) -> Errno {
    let texts = |texts: &[OsString]| -> Option<Vec<CString>> {
        texts.iter().map(|text| c_string(text)).collect()
    };
    let (Some(program), Some(arguments), Some(environment)) =
        (c_string(program), texts(arguments), texts(environment))
    else {
        return Errno::INVAL;
    };
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        let texts = texts.iter().map(|text| text.as_ptr());
        texts.chain([ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&arguments), pointers(&environment));
    // SAFETY: sighandler_t signal(int, sighandler_t): SIG_DFL is no function of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    // SAFETY: int execve(const char *, char *const[], char *const[]): all strings are
    // NUL-terminated and outlive the call, both arrays end with a null pointer.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    crate::mount::last_errno()
}

/// What a child ends with that could not become the program, as of a shell.
const NOT_STARTED: i32 = 127;

/// Runs a program as [`execve`] would start it, and waits until it has ended: `fork`, `waitpid`. One that
/// does not start ends with 127.
///
/// For a process with one thread, as the boot program is: the child takes memory before it becomes the
/// program, and a thread that holds the lock on it does not live on there.
pub fn run(
    program: &OsStr,
    arguments: &[OsString],
    environment: &[OsString],
) -> Result<WaitStatus, Errno> {
    // SAFETY: pid_t fork(void): the child is this thread alone, and ends below.
    let forked = unsafe { libc::fork() };
    if forked == 0 {
        execve(program, arguments, environment);
        // SAFETY: void _exit(int): it does not come back.
        unsafe { libc::_exit(NOT_STARTED) };
    }
    let Some(child) = Pid::from_raw(forked).filter(|_| forked > 0) else {
        return Err(crate::mount::last_errno());
    };
    loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Err(Errno::INTR) | Ok(None) => {}
            Err(errno) => return Err(errno),
            Ok(Some((_, status))) => return Ok(status),
        }
    }
}

/// Gives the calling thread, and threads and processes that it starts from then on, a copy of the
/// mount namespace: `unshare` with `CLONE_NEWNS`.
pub fn unshare_mount_namespace() -> Result<(), Errno> {
    // SAFETY: int unshare(int): no pointers; what the thread has open stays open.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0 {
        Ok(())
    } else {
        Err(crate::mount::last_errno())
    }
}

fn c_string(text: &OsStr) -> Option<CString> {
    CString::new(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_does_not_start() {
        let arguments = ["x".into()];
        assert_eq!(execve("/no/such".as_ref(), &arguments, &[]), Errno::NOENT);
        assert_eq!(execve("a\0b".as_ref(), &arguments, &[]), Errno::INVAL);
    }

    #[test]
    fn a_program_that_runs_says_how_it_ended() {
        let sh = |script: &str| {
            let arguments = ["sh", "-c", script].map(OsString::from);
            run("/bin/sh".as_ref(), &arguments, &["A=b".into()]).expect("it is waited for")
        };
        assert_eq!(sh("exit 3").exit_status(), Some(3));
        assert_eq!(sh("test \"$A\" = b -a -z \"$HOME\"").exit_status(), Some(0));
        assert_eq!(sh("kill -9 $$").terminating_signal(), Some(9));
        let none = run("/no/such".as_ref(), &["x".into()], &[]);
        assert_eq!(none.map(WaitStatus::exit_status), Ok(Some(127)));
    }
}
