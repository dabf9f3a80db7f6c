//! The session keyring of a job. Processes inherit it, and no namespace stands around it: without one of its own, what one
//! job puts into it the next one finds.

use std::io;

/// The kernel's numbers (`linux/keyctl.h`).
const GET_KEYRING_ID: libc::c_long = 0;
const JOIN_SESSION_KEYRING: libc::c_long = 1;
const SESSION_KEYRING: libc::c_long = -3;

/// Leaves the executor's session keyring for a new and empty one, which ends with the job's last process.
///
/// # Errors
/// When it may not, though keyrings can be reached. Where the kernel has none, or a filter of system calls keeps all of
/// them away, steps cannot reach any either.
pub(super) fn leave() -> io::Result<()> {
    let Err(error) = call(JOIN_SESSION_KEYRING, 0) else { return Ok(()) };
    match error.raw_os_error() {
        Some(libc::ENOSYS) => Ok(()),
        Some(libc::EPERM) if is_out_of_reach() => Ok(()),
        _ => Err(error),
    }
}

/// Whether not even the number of the own keyring is told, which the kernel itself never refuses so.
fn is_out_of_reach() -> bool {
    call(GET_KEYRING_ID, SESSION_KEYRING).is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
}

fn call(what: libc::c_long, which: libc::c_long) -> io::Result<()> {
    let nothing: libc::c_long = 0;
    #[allow(unsafe_code, reason = "rustix has no call for it; these two take numbers, and a null for a name")]
    let answer = unsafe { libc::syscall(libc::SYS_keyctl, what, which, nothing, nothing, nothing) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
