//! Whether sandboxes work on this machine: one is really made, with a guard in it, and thrown away. What the system says on
//! the matter (namespaces, AppArmor, a container around this process) is only asked for advice when it fails.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{Sandbox, SandboxOptions};
use crate::host::{Guards, NoGuard};

/// So often one is tried to be made that failed for a reason which may pass.
const TRIES: u32 = 3;
/// Between two of them.
const PAUSE: Duration = Duration::from_secs(1);

/// Makes a sandbox in `work_dir` with a guard that holds `lock`.
///
/// # Errors
/// Why none works, and what to do about it; or why that could not be found out.
pub(crate) async fn works(sandbox: &Sandbox, program: &Path, lock: PathBuf, jobs_dir: PathBuf) -> Result<(), NoGuard> {
    let guards = Arc::new(Guards::new(program.to_owned(), lock, None, jobs_dir, Some(sandbox.clone()), None));
    // The network last: it takes one more right than the rest.
    for network in [true, false] {
        let mut tries = 1;
        let guard = loop {
            match guards.start(network).await {
                Ok(guard) => break guard,
                Err(NoGuard::Refused(reason)) => return Err(NoGuard::Refused(format!("{reason}{}", advice()))),
                Err(failed) if tries == TRIES => return Err(failed),
                Err(failed) => tracing::warn!(reason = failed.into_reason(), "a sandbox is tried again"),
            }
            tries += 1;
            tokio::time::sleep(PAUSE).await;
        };
        guard.gone().await;
    }
    Ok(())
}

fn advice() -> &'static str {
    let says = |name: &str, value: &str| {
        fs::read_to_string(format!("/proc/sys/{name}")).is_ok_and(|text| text.trim() == value)
    };
    if ["/.dockerenv", "/run/.containerenv"].iter().any(|file| Path::new(file).exists()) {
        "; this is a container, in which no sandbox can be made unless it is privileged"
    } else if says("kernel/apparmor_restrict_unprivileged_userns", "1") {
        "; AppArmor keeps common users from making namespaces: give bwrap a profile that allows `userns`, or run \
         `sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
    } else if says("kernel/unprivileged_userns_clone", "0") {
        "; common users may not make namespaces: run `sysctl kernel.unprivileged_userns_clone=1`"
    } else if says("user/max_user_namespaces", "0") {
        "; no user namespaces may be made: run `sysctl user.max_user_namespaces=10000`"
    } else {
        ""
    }
}

/// Whether sandboxes work here, for who asks without running an executor.
///
/// # Errors
/// Why not, and what to do about it.
pub async fn sandbox_works(options: SandboxOptions, guard_program: &Path) -> Result<(), String> {
    let folder = std::env::temp_dir().join(format!("stepcast-trial-{}", uuid::Uuid::new_v4()));
    let tried = async {
        let made = |error| NoGuard::Failed(format!("{} could not be made: {error}", folder.display()));
        fs::create_dir(&folder).map_err(made)?;
        let lock = folder.join("guards.lock");
        fs::write(&lock, "").map_err(made)?;
        let sandbox = Sandbox::new(options, &folder)?;
        works(&sandbox, guard_program, lock, folder.join("jobs")).await
    };
    let tried: Result<(), NoGuard> = tried.await;
    let _ = fs::remove_dir_all(&folder); // Nothing but empty folders.
    tried.map_err(NoGuard::into_reason)
}
