//! What can be seen in real sandboxes around folders that a test makes.

use std::{os::unix::fs::symlink, process::Command};

use super::*;
use crate::host::sandbox::{SandboxOptions, found};

/// What a script prints in a sandbox of its own; none where none can be made on this machine, which is said.
fn seen(home: &Path, options: SandboxOptions, script: &str) -> Option<Vec<String>> {
    let Some(bwrap) = found("bwrap") else { return skipped("bubblewrap is not installed") };
    let jobs = tempfile::tempdir().unwrap();
    let lock = jobs.path().join("guards.lock");
    fs::write(&lock, "").unwrap();
    let run = |options: SandboxOptions, number: u64, script: &str| {
        let workspace = Workspace::make(jobs.path(), number, None).unwrap();
        let sandbox = Sandbox {
            bwrap: bwrap.clone(),
            options,
            covered: Vec::new(),
            account: None,
            home: home.to_owned(),
            lists: jobs.path().to_owned(),
        };
        let mut words = sandbox.command(Path::new("/bin/true"), &lock, &workspace, false);
        words.truncate(words.iter().rposition(|word| word == "--").unwrap() + 1);
        words.extend(["/bin/bash", "-c", script].map(OsString::from));
        Command::new(&words[0]).args(&words[1..]).output().unwrap()
    };
    let trial = run(SandboxOptions::default(), 1, "true");
    if !trial.status.success() {
        return skipped(&String::from_utf8_lossy(&trial.stderr));
    }
    let out = run(options, 2, script);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect())
}

fn skipped(reason: &str) -> Option<Vec<String>> {
    assert!(std::env::var_os("STEPCAST_TEST_SANDBOX_REQUIRED").is_none(), "no sandbox works: {reason}");
    eprintln!("skipped: {reason}");
    None
}

/// A folder with files, each of which holds its own name.
fn folder(files: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    for file in files {
        let file = path.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, format!("{}\n", file.file_name().unwrap().display())).unwrap();
    }
    (folder, path)
}

#[test]
fn a_link_that_is_let_in_leads_to_what_it_names_and_never_to_what_is_hidden() {
    let (_folder, path) = folder(&["data/secret", "real/file", "real/deep/below", "home/x"]);
    let at = |name: &str| path.join(name);
    for (target, link) in [("data", "to-data"), ("real", "to-real"), ("../..", "real/deep/up")] {
        symlink(target, at(link)).unwrap();
    }
    fs::create_dir_all(at("home/.local")).unwrap();
    symlink(at("data"), at("home/.local/bin")).unwrap();
    let let_in = |names: &[&str]| SandboxOptions {
        read: names.iter().map(|name| at(name)).collect(),
        hidden: vec![at("data")],
        ..SandboxOptions::default()
    };
    let script = format!(
        "cd {}; cat to-real/file real/file; cat to-real/deep/below
         cat data/* to-data/* real/deep/up/data/* ~/.local/bin/* {}/.local/bin/* 2>/dev/null || echo hidden",
        path.display(),
        at("home").display()
    );
    let expected = Some(["file", "file", "below", "hidden"].map(str::to_owned).to_vec());
    for names in [&["to-data", "to-real"][..], &["to-real", "real/deep/up", "to-real/deep", "to-real"]] {
        let lines = seen(&at("home"), let_in(names), &script);
        assert!(lines.is_none() || lines == expected, "{names:?}: {lines:?}");
    }
}

#[test]
fn tools_of_the_home_are_shown_and_what_keeps_their_passwords_is_not() {
    let (_folder, path) = folder(&[
        ".local/share/uv/python/bin/python",
        ".local/share/uv/tools/ruff/ruff",
        ".local/share/uv/credentials/credentials.toml",
        ".cargo/bin/cargo",
        ".cargo/credentials.toml",
    ]);
    let script = format!("cd {} && find . -type f | sort", path.display());
    let lines = seen(&path, SandboxOptions::default(), &script);
    let shown = ["./.cargo/bin/cargo", "./.local/share/uv/python/bin/python", "./.local/share/uv/tools/ruff/ruff"];
    assert!(lines.is_none() || lines == Some(shown.map(str::to_owned).to_vec()), "{lines:?}");
}

#[test]
fn of_the_resolver_the_file_is_shown_and_not_the_folder_with_its_socket() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().canonicalize().unwrap().join(name);
    for name in ["etc", "run"] {
        fs::create_dir(at(name)).unwrap();
    }
    let _socket = std::os::unix::net::UnixListener::bind(at("run/io.systemd.Resolve")).unwrap();
    fs::write(at("run/stub-resolv.conf"), "nameserver 127.0.0.53\n").unwrap();
    let list = at("etc/resolv.conf");
    let led_to = |target: &str| {
        symlink(target, &list).unwrap();
        let led_to = resolver(&list, &at("etc"));
        fs::remove_file(&list).unwrap();
        led_to
    };
    assert_eq!(led_to("../run/stub-resolv.conf"), Some(at("run/stub-resolv.conf")));
    assert_eq!(led_to("../run/io.systemd.Resolve"), None);
    assert_eq!(led_to("../run"), None);
    fs::write(at("etc/own"), "").unwrap();
    assert_eq!(led_to("own"), None, "it is shown with /etc");
    assert_eq!(resolver(&list, &at("etc")), None);
}
