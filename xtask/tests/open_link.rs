//! The helper of `cargo xtask run`: what the server prints stays on the terminal, and the first link to sign in is opened.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

#[test]
fn the_first_sign_in_link_is_opened_on_the_desktop_and_every_line_stays_on_the_terminal() {
    let folder = std::env::temp_dir().join(format!("stepcast-open-link-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    // What a desktop brings: it is given an address.
    let (opener, opened) = (folder.join("xdg-open"), folder.join("opened"));
    fs::write(&opener, format!("#!/bin/sh\necho \"$@\" >> '{}'\n", opened.display())).unwrap();
    fs::set_permissions(&opener, fs::Permissions::from_mode(0o755)).unwrap();
    let mut path = vec![folder.clone()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));

    let printed = "Listening on http://127.0.0.1:3000\nSign in: http://127.0.0.1:3000/welcome?link=one\n\
        Sign in: http://127.0.0.1:3000/welcome?link=two\nthe last line\n";
    let mut helper = Command::new(env!("CARGO_BIN_EXE_xtask"));
    helper.arg("open-link").env("PATH", std::env::join_paths(path).unwrap());
    let mut helper = helper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    helper.stdin.take().unwrap().write_all(printed.as_bytes()).unwrap();
    let output = helper.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), printed);
    assert_eq!(fs::read_to_string(&opened).unwrap(), "http://127.0.0.1:3000/welcome?link=one\n");
    fs::remove_dir_all(&folder).unwrap();
}
