//! What patterns come to.

use std::os::unix::fs::symlink;

use super::*;

fn names(workspace: &Path, patterns: &[&str]) -> (Vec<String>, Vec<String>) {
    let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
    let resolved = resolve(workspace, &patterns, &Masker::default(), &CancellationToken::new());
    (resolved.files.into_iter().map(|kept| kept.name).collect(), resolved.refusals)
}

fn workspace() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for file in ["out.tgz", "a/one.txt", "a/b/two.txt", "a/b/three.log"] {
        let path = root.path().join("workspace").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    fs::write(root.path().join("secret"), "s").unwrap();
    root
}

#[test]
fn patterns_name_files_and_directories_of_the_workspace() {
    let root = workspace();
    let dir = root.path().join("workspace");
    assert_eq!(names(&dir, &["out.tgz", "./a/*.txt"]).0, ["a/one.txt", "out.tgz"]);
    assert_eq!(names(&dir, &["a"]).0, ["a/b/three.log", "a/b/two.txt", "a/one.txt"]);
    assert_eq!(names(&dir, &["**/*.txt", "a/one.txt"]).0, ["a/b/two.txt", "a/one.txt"]);
    assert_eq!(names(&dir, &["a/**"]).0.len(), 3);
    assert_eq!(names(&dir, &["a/*/t*o*t"]).0, ["a/b/two.txt"]);
}

#[test]
fn what_is_outside_the_workspace_is_refused_with_a_sentence() {
    let root = workspace();
    let dir = root.path().join("workspace");
    symlink("../secret", dir.join("link")).unwrap();
    symlink("..", dir.join("up")).unwrap();
    symlink("a/one.txt", dir.join("inside")).unwrap();
    for (pattern, sentence) in [
        ("../secret", "must be a path inside the workspace"),
        ("/etc/passwd", "must be a path inside the workspace"),
        ("a/../../secret", "must be a path inside the workspace"),
        ("link", "leads out of the workspace"),
        ("up/secret", "leads out of the workspace"),
        ("l*", "leads out of the workspace"),
        ("nothing*", "matches no file"),
    ] {
        let (files, refusals) = names(&dir, &[pattern]);
        assert!(files.is_empty(), "{pattern} kept {files:?}");
        assert!(refusals.iter().any(|refusal| refusal.contains(sentence)), "{pattern}: {refusals:?}");
    }
    assert_eq!(names(&dir, &["inside"]), (vec!["inside".to_owned()], Vec::new()));
}

#[test]
fn what_is_no_regular_file_or_has_a_name_that_leads_elsewhere_is_refused() {
    let root = workspace();
    let dir = root.path().join("workspace");
    rustix::fs::mknodat(rustix::fs::CWD, dir.join("pipe"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    symlink("/dev/zero", dir.join("zero")).unwrap();
    for (pattern, sentence) in
        [("pipe", "no regular file"), ("socket", "no regular file"), ("zero", "leads out of the workspace")]
    {
        let (files, refusals) = names(&dir, &[pattern]);
        assert!(files.is_empty() && refusals.iter().any(|refusal| refusal.contains(sentence)), "{refusals:?}");
    }
    fs::create_dir(dir.join("odd")).unwrap();
    for name in ["..\\up", "new\nline", "\u{202e}gpj.exe", "\u{1b}[2J"] {
        fs::write(dir.join("odd").join(name), "x").unwrap();
    }
    let (files, refusals) = names(&dir, &["odd"]);
    assert!(files.is_empty() && refusals.len() == 4, "{files:?} {refusals:?}");
    assert!(refusals.iter().all(|refusal| refusal.contains("must be a relative path")), "{refusals:?}");
}

#[test]
fn what_was_found_is_not_opened_once_a_link_stands_in_its_place() {
    let root = workspace();
    let dir = root.path().join("workspace");
    symlink("a/one.txt", dir.join("inside")).unwrap();
    let found = resolve(
        &dir,
        &["a/one.txt", "a/b/two.txt", "inside"].map(str::to_owned),
        &Masker::default(),
        &CancellationToken::new(),
    )
    .files;
    let read = |kept: &Kept| kept.open().and_then(io::read_to_string).map_err(|error| error.to_string());
    assert_eq!(
        found.iter().map(|kept| read(kept).unwrap()).collect::<Vec<_>>(),
        ["a/b/two.txt", "a/one.txt", "a/one.txt"]
    );
    // A file becomes a link, a folder on the way becomes one, and so does the whole workspace.
    fs::create_dir_all(root.path().join("outside/b")).unwrap();
    for secret in ["outside/one.txt", "outside/b/two.txt"] {
        fs::write(root.path().join(secret), "secret").unwrap();
    }
    fs::rename(dir.join("a/b"), dir.join("a/moved")).unwrap();
    symlink("../../outside/b", dir.join("a/b")).unwrap();
    fs::remove_file(dir.join("a/one.txt")).unwrap();
    symlink("../../outside/one.txt", dir.join("a/one.txt")).unwrap();
    for kept in &found {
        assert!(read(kept).is_err(), "{}", kept.name);
    }
    fs::remove_file(dir.join("a/one.txt")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, dir.join("a/one.txt"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert!(read(&found[1]).unwrap_err().contains("no regular file"), "a pipe without a writer is not waited for");
    fs::rename(&dir, root.path().join("gone")).unwrap();
    symlink("outside", &dir).unwrap();
    assert!(resolve(&dir, &["one.txt".to_owned()], &Masker::default(), &CancellationToken::new()).files.is_empty());
}

#[test]
fn a_link_out_of_the_workspace_does_not_tell_what_is_there() {
    let root = workspace();
    let dir = root.path().join("workspace");
    let targets = ["../secret", "../none", "/etc/passwd", "/none", "a/../../none/x", "up/none", "/none/../etc"];
    symlink("..", dir.join("up")).unwrap();
    for target in targets {
        let link = dir.join("link");
        symlink(target, &link).unwrap();
        for pattern in ["link", "l*", "link/x", "**/link"] {
            let (files, refusals) = names(&dir, &[pattern]);
            let sentence = "artifact \"link\" is a link that leads out of the workspace";
            assert_eq!((files.len(), refusals), (0, vec![sentence.to_owned()]), "{pattern} to {target}");
        }
        fs::remove_file(link).unwrap();
    }
    // What stays inside is followed, by any way, or leads nowhere.
    let dir = dir.canonicalize().unwrap();
    symlink(dir.join("a/b"), dir.join("folder")).unwrap();
    symlink("folder/../one.txt", dir.join("way")).unwrap();
    symlink("none/../../none", dir.join("nowhere")).unwrap();
    symlink("circle", dir.join("circle")).unwrap();
    assert_eq!(names(&dir, &["way", "folder/two.txt"]), (vec!["folder/two.txt".into(), "way".into()], vec![]));
    for pattern in ["nowhere", "circle"] {
        assert_eq!(names(&dir, &[pattern]).1, [format!("artifact {pattern:?} matches no file")]);
    }
}

#[test]
fn what_cannot_be_read_is_refused_and_not_left_out() {
    // Its path is longer than the system takes.
    let (root, folder) = (tempfile::tempdir().unwrap(), "f".repeat(200));
    let mut below = rustix::fs::open(root.path(), OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..30 {
        rustix::fs::mkdirat(&below, &folder, Mode::RWXU).unwrap();
        below = openat(&below, &folder, OFlags::PATH, Mode::empty()).unwrap();
    }
    openat(&below, "result.txt", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    for pattern in ["**", "*", "**/result.txt", &format!("**/{folder}/result.txt"), &folder] {
        let (files, refusals) = names(root.path(), &[pattern, "**"]);
        let is_refused = refusals.iter().any(|refusal| {
            refusal.starts_with("\"fff") && refusal.contains("could not be read for artifacts: File name too long")
        });
        assert!(files.is_empty() && is_refused && refusals.len() <= 4, "{pattern}: {refusals:?}");
    }
    let stop = CancellationToken::new();
    let mut search = Search {
        root: root.path().to_owned(),
        files: BTreeMap::new(),
        refusals: Vec::new(),
        matched: false,
        visits: 0,
        visits_max: 10,
        stop: &stop,
    };
    search.keep_all(&root.path().join("f".repeat(300)), "folder");
    search.keep_all(&root.path().join("none"), "none");
    assert_eq!(search.refusals, ["\"folder\" could not be read for artifacts: File name too long (os error 36)"]);
}

/// A folder in a folder, so many times, all of one name.
fn deep(depth: usize) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join(vec!["a"; depth].join("/"))).unwrap();
    root
}

#[test]
fn a_pattern_that_names_a_deep_tree_in_many_ways_ends() {
    let root = deep(36);
    // They have millions of ways through it.
    let tried = |patterns: &[&str]| {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        resolve_within(10_000, root.path(), &patterns, &Masker::default(), &CancellationToken::new())
    };
    let found = tried(&["**/**/**/**/**/**/x"]);
    assert_eq!((found.files.len(), &found.refusals[0][..]), (0, "artifact \"**/**/**/**/**/**/x\" matches no file"));
    let found = tried(&["nothing", "**/a/**/a/**/a/**/a/**/a/**/x", "never"]);
    assert!(found.files.is_empty() && found.refusals.len() == 1, "{:?}", found.refusals);
    assert!(found.refusals[0].contains("more than 10000 files and folders to look at"), "{:?}", found.refusals);
}

#[test]
fn a_tree_of_a_thousand_folders_in_each_other_is_searched() {
    let root = deep(1000);
    for pattern in ["**/x", "a"] {
        assert!(names(root.path(), &[pattern]).0.is_empty());
    }
}

#[test]
fn a_search_that_is_stopped_looks_no_further_and_what_is_refused_is_kept_to_a_number() {
    let root = workspace();
    let dir = root.path().join("workspace");
    let stop = CancellationToken::new();
    stop.cancel();
    assert!(resolve(&dir, &["**".to_owned()], &Masker::default(), &stop).files.is_empty());
    for n in 0..150 {
        symlink("/etc/passwd", dir.join(format!("link-{n}"))).unwrap();
    }
    let (files, refusals) = names(&dir, &["**"]);
    assert_eq!((files.len(), refusals.len()), (4, 100));
}
