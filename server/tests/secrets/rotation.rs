//! Keys that are replaced while the server runs.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Output},
};

use super::{Field, NAMES_IT, ended, support::STEPCAST};

fn rotate(data_dir: &Path, more: &[&str]) -> Output {
    Command::new(STEPCAST).args(["secret", "rotate", "--data-dir"]).arg(data_dir).args(more).output().unwrap()
}

#[test]
fn secrets_are_encrypted_anew_while_the_server_runs() {
    let field = Field::alone();
    let data_dir = field.server.data_dir().to_owned();
    field.server.apply("site", NAMES_IT);
    field.set(&["TOKEN", "--pipeline", "site"], b"s3cret");
    let key = data_dir.join("secrets.key");
    let former = fs::read_to_string(&key).unwrap();
    let rotated = rotate(&data_dir, &[]);
    let told = String::from_utf8(rotated.stdout).unwrap();
    assert!(rotated.status.success() && told.contains("1 of 1 secrets were put under key"), "{told}");
    assert!(told.contains("no secret needs the former keys any more"), "{told}");
    assert_eq!(ended(&field.server).0, "succeeded");
    // Without the former key, too.
    let keys = fs::read_to_string(&key).unwrap();
    let lines: Vec<&str> = keys.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!((lines.len(), lines[1]), (2, former.lines().last().unwrap()));
    fs::write(&key, format!("{}\n", lines[0])).unwrap();
    assert_eq!(ended(&field.server).0, "succeeded");
    // And with the former one alone no more.
    fs::write(&key, &former).unwrap();
    let (outcome, reason) = ended(&field.server);
    assert!(outcome == "failed" && reason.contains("secret TOKEN of pipeline site cannot be decrypted"), "{reason}");
    fs::remove_file(&key).unwrap();
    let (outcome, reason) = ended(&field.server);
    assert!(outcome == "failed" && reason.contains("secrets.key is not there"), "{reason}");
    assert_eq!(field.server.get("/healthz").status, 200);
    let refused = rotate(&data_dir, &[]);
    assert!(!refused.status.success() && String::from_utf8(refused.stderr).unwrap().contains("is not there"));
    // Where no store answers, no key is made.
    fs::write(&key, &former).unwrap();
    let nowhere =
        ["--store", "postgres://nobody@127.0.0.1:1/none", "--one-host", "--secrets-key-file", key.to_str().unwrap()];
    assert!(!rotate(&data_dir, &nowhere).status.success());
    assert_eq!(fs::read_to_string(&key).unwrap(), former);
}

#[test]
fn a_rotation_that_is_told_of_another_one_adds_no_key() {
    let field = Field::alone();
    let data_dir = field.server.data_dir().to_owned();
    field.server.apply("site", NAMES_IT);
    field.set(&["TOKEN", "--pipeline", "site"], b"s3cret");
    let key = data_dir.join("secrets.key");
    let former = fs::read_to_string(&key).unwrap();
    let folder = File::open(&data_dir).unwrap();
    folder.lock().unwrap();
    for more in [&[][..], &["--no-new-key"]] {
        let refused = rotate(&data_dir, more);
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && told.contains("another `stepcast secret rotate` works on"), "{told}");
    }
    assert_eq!(fs::read_to_string(&key).unwrap(), former);
    folder.unlock().unwrap();
    assert!(rotate(&data_dir, &[]).status.success());
    assert_eq!(ended(&field.server).0, "succeeded");
}

#[test]
fn with_postgresql_a_key_is_made_on_the_only_host_alone() {
    let field = Field::apart();
    let Some(cluster) = &field.cluster else { panic!("PostgreSQL is not part of it") };
    field.set(&["TOKEN"], b"s3cret");
    let key = field.folder.path().join("key");
    let former = fs::read_to_string(&key).unwrap();
    let options = |more: &str| {
        let data_dir = cluster.data_dir("nobody");
        rotate(&data_dir, &["--store", &cluster.store, "--secrets-key-file", key.to_str().unwrap(), more])
    };
    let refused =
        rotate(&cluster.data_dir("nobody"), &["--store", &cluster.store, "--secrets-key-file", key.to_str().unwrap()]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains("--one-host") && told.contains("--no-new-key"), "{told}");
    assert_eq!(fs::read_to_string(&key).unwrap(), former);
    let told = String::from_utf8(options("--no-new-key").stdout).unwrap();
    assert!(told.contains("0 of 1 secrets were put under key") && !told.contains("former"), "{told}");
    let told = String::from_utf8(options("--one-host").stdout).unwrap();
    assert!(
        told.contains("1 of 1 secrets were put under key") && told.contains("no secret needs the former"),
        "{told}"
    );
    assert!(fs::read_to_string(&key).unwrap().ends_with(&former));
}
