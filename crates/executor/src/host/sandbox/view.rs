//! What of the file system there is in a sandbox: a list of what is let in, not of what is kept out. It is told as arguments
//! of bubblewrap, which works them off in order, so a later one covers what an earlier one let in.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use super::{
    Account, GUARD, LOCK, Sandbox,
    granted::{self, Granted},
    unreadable::{self, Covered},
};
use crate::workspace::Workspace;

/// Folders of the system, read-only. What is not there on this machine is left out.
const SYSTEM: [&str; 10] = ["/usr", "/etc", "/opt", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix"];
/// Of these, what others may not read is covered, down to a depth: it may be the executor's user who owns it.
const COVERED: [(&str, usize); 3] = [("/etc", 16), ("/usr/local/etc", 16), ("/opt", 3)];
/// What a home holds that is there to be run, read-only: toolchains, and nothing that knows a password.
const TOOLS: [&str; 20] = [
    ".cargo/bin",
    ".rustup",
    ".local/bin",
    ".local/lib",
    ".local/pipx",
    ".local/share/mise",
    ".local/share/pnpm",
    ".local/share/uv/python",
    ".local/share/uv/tools",
    ".asdf",
    ".bun/bin",
    ".deno/bin",
    ".ghcup",
    ".nvm",
    ".pyenv",
    ".rbenv",
    ".sdkman",
    ".volta",
    ".nix-profile",
    "go/bin",
];
/// Where the daemon of Nix listens, which builds outside of the sandbox whatever it is asked to.
const NIX_DAEMON: &str = "/nix/var/nix/daemon-socket";
/// Bytes of `/dev/shm`, which is memory.
const SHARED_MEMORY_BYTES: u64 = 256 << 20;

/// Arguments under construction.
#[derive(Default)]
struct Words(Vec<OsString>);

impl Words {
    fn add(&mut self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) {
        self.0.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
    }

    /// By the same path, read-only.
    fn read(&mut self, path: &Path) {
        self.add([OsStr::new("--ro-bind"), path.as_os_str(), path.as_os_str()]);
    }

    /// As `read`, if it is there when the sandbox is made.
    fn read_if_there(&mut self, path: &Path) {
        self.add([OsStr::new("--ro-bind-try"), path.as_os_str(), path.as_os_str()]);
    }

    fn bind(&mut self, from: &Path, to: &Path) {
        self.add([OsStr::new("--bind"), from.as_os_str(), to.as_os_str()]);
    }

    /// Makes the way to a path, open to whoever steps run as: bubblewrap of itself makes it for the executor's user alone.
    fn way_to(&mut self, path: &Path) {
        if let Some(folder) = path.parent().filter(|folder| folder.parent().is_some()) {
            self.add([OsStr::new("--perms"), OsStr::new("0755"), OsStr::new("--dir"), folder.as_os_str()]);
        }
    }

    fn empty(&mut self, folder: &Path) {
        self.add([OsStr::new("--perms"), OsStr::new("0555"), OsStr::new("--tmpfs"), folder.as_os_str()]);
    }

    /// By a file that cannot be opened, if it is there.
    fn cover(&mut self, file: &Path) {
        if file.exists() {
            self.add([OsStr::new("--ro-bind"), OsStr::new("/dev/null"), file.as_os_str()]);
        }
    }

    /// Nothing more is mounted in it.
    fn close(&mut self, folder: &Path) {
        self.add([OsStr::new("--remount-ro"), folder.as_os_str()]);
    }
}

/// What bubblewrap is told.
pub(super) fn arguments(
    sandbox: &Sandbox,
    guard: &Path,
    lock: &Path,
    workspace: &Workspace,
    network: bool,
) -> Vec<OsString> {
    let mut words = Words::default();
    system(&mut words, network);
    if sandbox.account.is_some() {
        for list in ["passwd", "group"] {
            let from = sandbox.lists.join(list);
            words.add([OsStr::new("--ro-bind"), from.as_os_str(), Path::new("/etc").join(list).as_os_str()]);
        }
    }
    for (temporary, path) in workspace.temporary().iter().zip(["/tmp", "/var/tmp"]) {
        words.way_to(Path::new(path));
        words.bind(temporary, Path::new(path));
    }
    let home = sandbox.home.as_path();
    let is_in_home = |path: &Path| path.starts_with(home);
    let all = granted::all(&sandbox.options, is_of_system);
    let_in(&mut words, &all, |path| !is_in_home(path));
    for hidden in &sandbox.options.hidden {
        words.empty(hidden);
    }
    for file in sandbox.covered.iter().filter(|file| !is_in_home(file)) {
        words.cover(file);
    }
    words.way_to(home);
    words.bind(&workspace.home(), home);
    let tools = || TOOLS.iter().map(|tool| home.join(tool)).filter(|tool| !leads_to_hidden(sandbox, tool));
    for tool in tools() {
        words.read_if_there(&tool);
    }
    let_in(&mut words, &all, is_in_home);
    // Not those that hold the home: it would be gone.
    for hidden in sandbox.options.hidden.iter().filter(|hidden| !home.starts_with(hidden)) {
        words.empty(hidden);
    }
    for file in sandbox.covered.iter().filter(|file| is_in_home(file)) {
        words.cover(file);
    }
    let is_shown = |path: &Path| is_of_system(path) || tools().any(|tool| path.starts_with(tool));
    for (link, target) in granted::links(&all, is_shown) {
        words.way_to(&link);
        words.add([OsStr::new("--symlink"), target.as_os_str(), link.as_os_str()]);
    }
    words.way_to(&workspace.path);
    words.bind(&workspace.path, &workspace.path);
    words.read(&workspace.private());
    words.read(&workspace.inputs());
    words.way_to(Path::new(GUARD));
    words.add([OsStr::new("--ro-bind"), guard.as_os_str(), OsStr::new(GUARD)]);
    words.add([OsStr::new("--ro-bind"), lock.as_os_str(), OsStr::new(LOCK)]);
    // Memory that anybody could fill, were it left writable.
    for hidden in sandbox.options.hidden.iter().filter(|hidden| *hidden != home) {
        words.close(hidden);
    }
    words.close(Path::new("/dev"));
    words.close(Path::new("/"));
    words.0
}

fn system(words: &mut Words, network: bool) {
    for path in SYSTEM.map(Path::new) {
        match (fs::read_link(path), path.exists()) {
            (Ok(target), true) => words.add([OsStr::new("--symlink"), target.as_os_str(), path.as_os_str()]),
            (Err(_), true) => words.read(path),
            (_, false) => {}
        }
    }
    for (folder, depth) in COVERED {
        for covered in unreadable::below(Path::new(folder), depth) {
            match covered {
                Covered::Folder(path) => {
                    words.empty(&path);
                    words.close(&path);
                }
                Covered::File(path) => words.cover(&path),
            }
        }
    }
    // The programs of NixOS.
    words.read_if_there(Path::new("/run/current-system"));
    if let Some(resolver) = resolver(Path::new("/etc/resolv.conf"), Path::new("/etc")).filter(|_| network) {
        words.way_to(&resolver);
        words.read_if_there(&resolver);
    }
    if Path::new(NIX_DAEMON).exists() {
        words.empty(Path::new(NIX_DAEMON));
        words.close(Path::new(NIX_DAEMON));
    }
    words.add(["--proc", "/proc", "--dev", "/dev"]);
    let bytes = SHARED_MEMORY_BYTES.to_string();
    words.add(["--perms", "1777", "--size", &bytes, "--tmpfs", "/dev/shm"]);
}

/// The file that says where names are looked up, when `list` leads out of `settings`. Never its folder: systemd's holds a
/// socket as well. It is written anew by a rename, so a sandbox keeps the one of when it was made.
fn resolver(list: &Path, settings: &Path) -> Option<PathBuf> {
    let file = fs::canonicalize(list).ok()?;
    (file.is_file() && !file.starts_with(settings)).then_some(file)
}

fn is_of_system(path: &Path) -> bool {
    SYSTEM.iter().any(|system| path.starts_with(system))
}

/// The home, and what is let in besides the system's folders; links are told by both their ends.
pub(super) fn shown(sandbox: &Sandbox) -> Vec<PathBuf> {
    let tools = TOOLS.iter().map(|tool| sandbox.home.join(tool)).filter(|tool| tool.exists());
    let mut shown: Vec<PathBuf> = tools.chain([sandbox.home.clone()]).collect();
    let real: Vec<PathBuf> = shown.iter().filter_map(|path| path.canonicalize().ok()).collect();
    shown.extend(real);
    for granted in granted::all(&sandbox.options, is_of_system) {
        shown.extend([granted.named, granted.real]);
    }
    shown
}

/// Whether a sandbox shows this file of the machine, unless it is covered. The home is the job's own.
pub(super) fn shows(sandbox: &Sandbox, file: &Path) -> bool {
    let homes = [Some(sandbox.home.clone()), sandbox.home.canonicalize().ok()];
    let shown = shown(sandbox).into_iter().filter(|path| !homes.contains(&Some(path.clone())));
    is_of_system(file) || shown.into_iter().any(|path| file.starts_with(path))
}

/// What the executor's owner and its environment let in, of the paths that `which` takes.
fn let_in(words: &mut Words, all: &[Granted], which: impl Fn(&Path) -> bool) {
    for Granted { real, is_written, is_optional, .. } in all.iter().filter(|granted| which(&granted.real)) {
        words.way_to(real);
        match (is_written, is_optional) {
            (true, _) => words.bind(real, real),
            (false, true) => words.read_if_there(real),
            (false, false) => words.read(real),
        }
    }
}

/// Whether a tool of the home is a link that would show what is hidden by another name.
fn leads_to_hidden(sandbox: &Sandbox, tool: &Path) -> bool {
    let Ok(real) = tool.canonicalize() else { return false };
    let meets = |hidden: &PathBuf| hidden.starts_with(&real) || real.starts_with(hidden);
    real != tool && (sandbox.options.hidden.iter().any(meets) || sandbox.covered.iter().any(meets))
}

/// Makes in a job's home what its tools are mounted in: bubblewrap would make it for the executor's user, and steps could
/// keep nothing beside them. Where steps run as another user, Git is told to trust what it is let see.
///
/// # Errors
/// When the disk does not take it.
pub(super) fn furnish(sandbox: &Sandbox, workspace: &Workspace) -> io::Result<()> {
    let Some(Account { id }) = sandbox.account else { return Ok(()) };
    let home = workspace.home();
    for tool in TOOLS.map(Path::new).into_iter().filter(|tool| sandbox.home.join(tool).exists()) {
        let mut above: Vec<&Path> = tool.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()).collect();
        above.reverse();
        for folder in above.into_iter().map(|above| home.join(above)).filter(|folder| !folder.exists()) {
            fs::create_dir(&folder)?;
            chown(&folder, Some(id), Some(id))?;
        }
    }
    let settings = home.join(".gitconfig");
    fs::write(&settings, "[safe]\n\tdirectory = *\n")?;
    chown(&settings, Some(id), Some(id))
}

#[cfg(test)]
mod tests;
