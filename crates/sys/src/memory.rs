// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the C library takes memory from the kernel.

/// Lets all threads allocate from one arena that grows by 4 MiB at a time.
///
/// glibc gives each thread an arena of its own and lets it grow by single pages: a tenth of the
/// system calls of reading a tree. To be called before there are threads. Where the C library is
/// another one, nothing happens.
pub fn use_one_arena() {
    #[cfg(target_env = "gnu")]
    {
        const GROWTH_BYTES: libc::c_int = 4 << 20;
        for (parameter, value) in [(libc::M_ARENA_MAX, 1), (libc::M_TOP_PAD, GROWTH_BYTES)] {
            // SAFETY: mallopt takes numbers only and locks what it changes; where it refuses,
            // nothing has changed.
            unsafe { libc::mallopt(parameter, value) };
        }
    }
}
