//! The layout of `target/site`, from which `server/build.rs` embeds: names with a content hash, each file compressed
//! ahead of time, and a manifest. What the files are is decided in `browser.rs`.
//!
//! `manifest.txt` has one line for each file, three words with a tab between: its role (`js`, `wasm`, `loader`,
//! `part:NAME,NAME` with the parts of the program that need it, `css`, `other`), its path below the folder, which is its
//! path in the URL too, and the hash of its content. Beside a file lie `FILE.br` and `FILE.gz` where they are smaller than
//! the file.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::failure::{Explain, Result};

/// Hex digits of SHA-256 in a name: 64 bits, and nobody chooses our contents to collide.
const HASH_DIGITS: usize = 16;
/// The best that brotli has; the time is spent once.
const BROTLI_QUALITY: u32 = 11;
/// 16 MiB, the largest window that every browser accepts.
const BROTLI_WINDOW_LOG2: u32 = 24;
/// The best that gzip has.
const GZIP_LEVEL: u32 = 9;

/// What a file is to the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// What a page begins with.
    Js,
    Wasm,
    /// Loads the parts.
    Loader,
    /// Loaded where one of these parts of the program is wanted.
    Part(Vec<String>),
    Css,
    /// Served under its own name, which stays the same when its content changes.
    Other,
}

impl Role {
    fn word(&self) -> String {
        match self {
            Role::Js => "js".to_owned(),
            Role::Wasm => "wasm".to_owned(),
            Role::Loader => "loader".to_owned(),
            Role::Part(parts) => format!("part:{}", parts.join(",")),
            Role::Css => "css".to_owned(),
            Role::Other => "other".to_owned(),
        }
    }
}

/// A file to be served.
pub(crate) struct File {
    role: Role,
    name: String,
    hash: String,
    bytes: Vec<u8>,
}

impl File {
    /// The hash of the content enters the name, before the last dot, unless the role says that the name stays.
    pub(crate) fn new(role: Role, name: String, bytes: Vec<u8>) -> File {
        let hash = short_hash(&bytes);
        let name = match (&role, name.rsplit_once('.')) {
            (Role::Other, _) | (_, None) => name,
            (_, Some((stem, extension))) => format!("{stem}-{hash}.{extension}"),
        };
        File { role, name, hash, bytes }
    }

    /// Files that name each other, so that none of them can carry the hash of its own content: they lie in a folder below
    /// `folder` that is named by the contents of all.
    pub(crate) fn set(folder: &str, files: Vec<(Role, String, Vec<u8>)>) -> Vec<File> {
        let mut all = Sha256::new();
        for (_, name, bytes) in &files {
            all.update((name.len() as u64).to_le_bytes());
            all.update(name);
            all.update((bytes.len() as u64).to_le_bytes());
            all.update(bytes);
        }
        let all = hex(&all.finalize()[..HASH_DIGITS / 2]);
        let placed = |(role, name, bytes): (Role, String, Vec<u8>)| {
            let (name, hash) = (format!("{folder}/{all}/{name}"), short_hash(&bytes));
            File { role, name, hash, bytes }
        };
        files.into_iter().map(placed).collect()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn manifest_line(&self) -> String {
        format!("{}\t{}\t{}\n", self.role.word(), self.name, self.hash)
    }
}

/// The folder that holds the package.
pub(crate) struct Bundle {
    folder: PathBuf,
}

impl Bundle {
    pub(crate) fn at(folder: PathBuf) -> Bundle {
        Bundle { folder }
    }

    /// Whether the manifest and each file that it names are there.
    pub(crate) fn is_complete(&self) -> bool {
        let Ok(manifest) = fs::read_to_string(self.manifest()) else { return false };
        manifest.lines().all(|line| line.split('\t').nth(1).is_some_and(|name| self.folder.join(name).is_file()))
    }

    fn manifest(&self) -> PathBuf {
        self.folder.join("manifest.txt")
    }

    /// Makes the folder hold these files and no others, the manifest last. Returns a line about the size of each.
    pub(crate) fn write(&self, mut files: Vec<File>) -> Result<Vec<String>> {
        files.sort_by(|one, other| one.name.cmp(&other.name));
        let mut keep = BTreeSet::from([self.manifest()]);
        let mut sizes = Vec::new();
        // The wasm takes nearly all of the time, with each method about as much: so the two run side by side.
        for file in &files {
            let (gzip, brotli) = std::thread::scope(|scope| {
                let brotli = scope.spawn(|| brotli(&file.bytes));
                (gzip(&file.bytes), brotli.join())
            });
            // A panic there is one of the library, and ends this process as it would have done here.
            let brotli = brotli.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let variants = [(".br", brotli), (".gz", gzip)].map(|(suffix, compressed)| {
                let compressed = compressed.explain(|| format!("{} cannot be compressed", file.name))?;
                Ok((suffix, (compressed.len() < file.bytes.len()).then_some(compressed)))
            });
            let mut size = format!("{:<40} {}", file.name, kilobytes(file.bytes.len()));
            keep.insert(self.put(&file.name, &file.bytes)?);
            for variant in variants {
                if let (suffix, Some(compressed)) = variant? {
                    keep.insert(self.put(&format!("{}{suffix}", file.name), &compressed)?);
                    size += &format!("  {} {}", &suffix[1..], kilobytes(compressed.len()));
                }
            }
            sizes.push(size);
        }
        let manifest: String = files.iter().map(File::manifest_line).collect();
        self.put("manifest.txt", manifest.as_bytes())?;
        remove_others(&self.folder, &keep)?;
        Ok(sizes)
    }

    /// Leaves a file alone that is right already: cargo looks at the time of its last change.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.folder.join(name);
        if fs::read(&path).is_ok_and(|present| present == bytes) {
            return Ok(path);
        }
        let parent = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(parent).explain(|| format!("{} cannot be made", parent.display()))?;
        fs::write(&path, bytes).explain(|| format!("{} cannot be written", path.display()))?;
        Ok(path)
    }
}

fn remove_others(folder: &Path, keep: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).explain(|| format!("{} cannot be listed", folder.display()))? {
        let path = entry.explain(|| format!("{} cannot be listed", folder.display()))?.path();
        if path.is_dir() {
            remove_others(&path, keep)?;
        } else if !keep.contains(&path) {
            fs::remove_file(&path).explain(|| format!("{} cannot be removed", path.display()))?;
        }
    }
    Ok(())
}

fn brotli(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 64 * 1024, BROTLI_QUALITY, BROTLI_WINDOW_LOG2);
    encoder.write_all(bytes)?;
    encoder.flush()?;
    Ok(encoder.into_inner())
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL));
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn kilobytes(bytes: usize) -> String {
    format!("{:.1} kB", bytes as f64 / 1e3)
}

fn short_hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)[..HASH_DIGITS / 2])
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Read;

    use super::*;

    /// A folder of this test alone, gone when it ends.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let folder = std::env::temp_dir().join(format!("stepcast-bundle-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            Folder(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_name_follows_the_content_unless_it_must_stay() {
        let one = File::new(Role::Js, "assets/stepcast.js".to_owned(), b"one".to_vec());
        let two = File::new(Role::Js, "assets/stepcast.js".to_owned(), b"two".to_vec());
        assert_ne!(one.name(), two.name());
        assert!(one.name().starts_with("assets/stepcast-") && one.name().ends_with(".js"));
        let other = File::new(Role::Other, "favicon.svg".to_owned(), b"one".to_vec());
        assert_eq!(other.name(), "favicon.svg");
    }

    #[test]
    fn a_set_moves_to_another_folder_when_one_of_its_files_changes() {
        let set = |part: &str| {
            let script = (Role::Js, "stepcast.js".to_owned(), b"import './parts.js'".to_vec());
            let part = (Role::Part(vec!["build".to_owned()]), "split_build.wasm".to_owned(), part.as_bytes().to_vec());
            File::set("assets", vec![script, part])
        };
        let names = |set: &[File]| set.iter().map(|file| file.name().to_owned()).collect::<Vec<_>>();
        let (one, two) = (set("one"), set("two"));
        assert_eq!(names(&one), names(&set("one")));
        assert!(names(&one).iter().all(|name| !names(&two).contains(name)));
        assert!(one[1].manifest_line().starts_with("part:build\tassets/"), "{}", one[1].manifest_line());
        assert!(one[1].name().ends_with("/split_build.wasm"));
    }

    #[test]
    fn what_is_compressed_is_the_file_again_when_it_is_unpacked() {
        let text = b"a line that repeats\n".repeat(5_000);
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&gzip(&text).unwrap()[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, text);
        unpacked.clear();
        brotli::Decompressor::new(&brotli(&text).unwrap()[..], 4096).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, text);
    }

    #[test]
    fn the_folder_holds_the_last_package_and_nothing_of_the_former() {
        let folder = Folder::new("replace");
        let bundle = Bundle::at(folder.0.clone());
        assert!(!bundle.is_complete());
        let css = |text: &str| File::new(Role::Css, "assets/stepcast.css".to_owned(), text.repeat(100).into_bytes());
        let (former, last) = (css("a{}").name().to_owned(), css("b{}").name().to_owned());
        bundle.write(vec![css("a{}")]).unwrap();
        assert!(folder.0.join(&former).is_file());
        bundle.write(vec![css("b{}")]).unwrap();
        assert!(bundle.is_complete());
        assert!(!folder.0.join(&former).exists() && !folder.0.join(format!("{former}.br")).exists());
        assert!(folder.0.join(format!("{last}.br")).is_file() && folder.0.join(format!("{last}.gz")).is_file());
        let manifest = fs::read_to_string(folder.0.join("manifest.txt")).unwrap();
        assert!(manifest.starts_with(&format!("css\t{last}\t")), "{manifest}");
        fs::remove_file(folder.0.join(&last)).unwrap();
        assert!(!bundle.is_complete());
    }

    #[test]
    fn a_variant_that_is_not_smaller_is_left_out() {
        let folder = Folder::new("small");
        Bundle::at(folder.0.clone()).write(vec![File::new(Role::Other, "x".to_owned(), vec![7])]).unwrap();
        assert!(folder.0.join("x").is_file());
        assert!(!folder.0.join("x.br").exists() && !folder.0.join("x.gz").exists());
    }
}
