//! Turns the browser package in `target/site` into a table that is compiled into the server. The package is made by
//! `cargo xtask`; without it the table is empty, and the server still builds. What the table means is in `src/assets.rs`.

use std::env;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of another package, instead of `target/site`.
const SITE_DIR: &str = "STEPCAST_SITE_DIR";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={SITE_DIR}");
    let site = site_dir()?;
    let manifest = site.join("manifest.txt");
    let table = if manifest.is_file() {
        // Written anew whenever a file changes, as it holds the hash of each. Cargo itself watches the embedded files.
        println!("cargo::rerun-if-changed={}", manifest.display());
        table(&site, &fs::read_to_string(&manifest)?)?
    } else {
        // The folder is watched for the package to come. It must exist: cargo takes a missing path for changed, always.
        println!("cargo::rerun-if-changed={}", site.display());
        table(&site, "")?
    };
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("assets_table.rs"), table)?;
    Ok(())
}

fn site_dir() -> Result<PathBuf, Box<dyn Error>> {
    if let Some(chosen) = env::var_os(SITE_DIR) {
        let chosen = PathBuf::from(chosen);
        return match chosen.canonicalize() {
            Ok(folder) if folder.is_dir() => Ok(folder),
            _ => Err(format!("{SITE_DIR} names {}, which is no folder", chosen.display()).into()),
        };
    }
    let site = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../target/site");
    fs::create_dir_all(&site)?;
    Ok(site.canonicalize()?)
}

/// The Rust source of the table: one line of the manifest (`role<TAB>path<TAB>hash`), one entry.
fn table(site: &Path, manifest: &str) -> Result<String, Box<dyn Error>> {
    let mut entries = Vec::new();
    let (mut js, mut wasm, mut css) = (None, None, None);
    let mut parts = Vec::new();
    for line in manifest.lines() {
        let [role, name, hash] = line.split('\t').collect::<Vec<_>>()[..] else {
            return Err(format!("{}/manifest.txt: `{line}` is not role, path and hash", site.display()).into());
        };
        let path = format!("/{name}");
        let file = site.join(name);
        let immutable = role != "other";
        let entry = format!(
            "    Asset {{ path: {path:?}, content_type: {:?}, identity: include_bytes!({file:?}), brotli: {}, gzip: {}, \
             etag: {:?}, immutable: {immutable} }},\n",
            content_type(name),
            variant(&file, "br"),
            variant(&file, "gz"),
            format!("W/\"{hash}\""),
        );
        entries.push((path.clone(), entry));
        match role {
            "js" => js = Some(path),
            "wasm" => wasm = Some(path),
            "css" => css = Some(path),
            _ => {
                let needed_by = role.strip_prefix("part:").into_iter().flat_map(|names| names.split(','));
                parts.extend(needed_by.map(|name| (name.to_owned(), path.clone())));
            }
        }
    }
    entries.sort();
    let mut source = String::from("// Sorted by path.\nstatic ASSETS: &[Asset] = &[\n");
    for (_, entry) in entries {
        source.push_str(&entry);
    }
    source.push_str("];\n\nstatic MANIFEST: Option<Manifest> = ");
    match (js, wasm, css) {
        (Some(js), Some(wasm), Some(css)) => {
            writeln!(source, "Some(Manifest {{ js: {js:?}, wasm: {wasm:?}, css: {css:?}, parts: &{parts:?} }});")?;
        }
        (None, None, None) => source.push_str("None;\n"),
        _ => return Err(format!("{}/manifest.txt lacks one of js, wasm and css", site.display()).into()),
    }
    Ok(source)
}

/// The source of the compressed form that lies beside the file, if there is one.
fn variant(file: &Path, suffix: &str) -> String {
    let mut compressed = file.as_os_str().to_owned();
    compressed.push(".");
    compressed.push(suffix);
    let compressed = PathBuf::from(compressed);
    if compressed.is_file() { format!("Some(include_bytes!({compressed:?}))") } else { "None".to_owned() }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        // Exactly so: browsers compile it while it arrives only under this type.
        Some("wasm") => "application/wasm",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        Some("json") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        _ => "application/octet-stream",
    }
}
