//! What a guard does before it says `ready` when a sandbox stands around it: it becomes the user of jobs, where the executor
//! is root, and nothing of the job may look into it.

use std::{fs, io};

use rustix::{
    process::{DumpableBehavior, Gid, Uid, set_dumpable_behavior},
    thread::{
        CapabilitySet, CapabilitySets, UnshareFlags, set_capabilities, set_thread_groups, set_thread_res_gid,
        set_thread_res_uid,
    },
};

/// Becomes the user and the group `id` for good. This process has one thread, so what is the thread's is the process's.
///
/// # Errors
/// When it may not; then no step may run.
pub(super) fn become_user(id: u32) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    count_apart(id);
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    if set_thread_res_uid(Uid::ROOT, None, None).is_ok() {
        return Err(io::Error::other("it could become root again"));
    }
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Nothing of the job may trace this process or open its pipes, though it has the same user.
pub(super) fn close() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Takes a user namespace of its own, in which the kernel counts processes for this job alone. Where it may not, they are
/// counted for all jobs of this machine's executors together.
fn count_apart(id: u32) {
    // Since the change of user this process's own files in /proc are root's.
    if set_dumpable_behavior(DumpableBehavior::Dumpable).is_err() {
        return;
    }
    #[allow(unsafe_code, reason = "of a process with one thread; no descriptor and no memory is shared with another")]
    let unshared = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) };
    if unshared.is_ok() {
        let map = format!("{id} {id} 1\n");
        let written = fs::write("/proc/self/uid_map", &map)
            .and_then(|()| fs::write("/proc/self/setgroups", "deny"))
            .and_then(|()| fs::write("/proc/self/gid_map", &map));
        // It goes on as the same user, whom this namespace has no name for.
        drop(written);
    }
}
