//! Settings of the C library's allocator, which it takes from the environment alone, and before `main`.
//!
//! Pages of 4 MB and blocks of about one are made and dropped all the time, by several threads. As glibc is set by itself, each
//! thread has a heap of its own, and what is dropped goes back to the kernel: the next page then costs a thousand page faults.

use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

const NAME: &str = "GLIBC_TUNABLES";

/// One heap, that is kept, grows in large steps, and consists of huge pages where the kernel leaves that to programs.
const TUNABLES: &str = "glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=33554432:\
                        glibc.malloc.top_pad=16777216:glibc.malloc.trim_threshold=268435456";

/// Begins this program anew, as the same process, with the settings; comes back only where that cannot be done. Where there are
/// such settings already, they count.
pub fn settle() {
    if cfg!(target_env = "gnu") && env::var_os(NAME).is_none() {
        // Without them everything works, at a higher price.
        if let Err(error) = begin_anew() {
            eprintln!("the allocator stays as it is: {error}");
        }
    }
}

fn begin_anew() -> io::Result<()> {
    let mut arguments = env::args_os();
    let mut anew = Command::new(env::current_exe()?);
    if let Some(name) = arguments.next() {
        anew.arg0(name);
    }
    Err(anew.args(arguments).env(NAME, TUNABLES).exec())
}
