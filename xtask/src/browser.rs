//! The browser package: `frontend` compiled for wasm, its JavaScript made by wasm-bindgen, the wasm made small by
//! wasm-opt, and `style/` and `public/` beside it. How its files are named, compressed and laid out is in `bundle.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sha2::{Digest, Sha256};
use wasm_bindgen_cli_support::Bindgen;

use crate::bundle::{Bundle, File, Role};
use crate::failure::{Explain, Failure, Result};
use crate::process::{cargo, command, root, run, say};
use crate::release::target_dir;

/// What rustc makes use of on wasm32; wasm-opt must know it, for the section that says so does not survive wasm-bindgen.
const WASM_FEATURES: [&str; 7] = [
    "--enable-bulk-memory",
    "--enable-bulk-memory-opt",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
];

/// What counts is the size in brotli, not that of the wasm. A function that stands many times, each for another type, costs
/// little there as long as its copies are alike and near to each other: so they are not inlined into their callers, and
/// are sorted by their names, which are of use for nothing else.
const WASM_FOR_BROTLI: [&str; 6] = [
    "-Oz",
    "--one-caller-inline-max-function-size=0",
    "--flexible-inline-max-function-size=0",
    "--always-inline-max-function-size=0",
    "--reorder-functions-by-name",
    "--strip-debug",
];

/// A change of how the package is made changes the package.
const RECIPE: [&str; 2] = [include_str!("browser.rs"), include_str!("bundle.rs")];

/// Leaves the package in `target/site`. Does little when nothing has changed.
pub(crate) fn package() -> Result<()> {
    say("browser package: compiling");
    run(cargo().args([
        "build",
        "--package",
        "frontend",
        "--target",
        "wasm32-unknown-unknown",
        "--profile",
        "browser",
    ]))?;
    let wasm = read(&target_dir().join("wasm32-unknown-unknown/browser/frontend.wasm"))?;
    let css = stylesheet()?;
    let public = public_files()?;

    let fingerprint = fingerprint(&wasm, &css, &public)?;
    let work = root().join("target/browser-package");
    let bundle = Bundle::at(root().join("target/site"));
    if bundle.is_complete() && fs::read_to_string(work.join("fingerprint")).is_ok_and(|former| former == fingerprint) {
        say("browser package: nothing has changed");
        return Ok(());
    }

    let started = Instant::now();
    let _ = fs::remove_dir_all(&work);
    let mut files = Vec::from(bind(&wasm, &work)?);
    files.push(File::new(Role::Css, "assets/stepcast.css".to_owned(), css));
    files.extend(public);
    say("browser package: compressing");
    let sizes = bundle.write(files)?;
    write(&work.join("fingerprint"), fingerprint.as_bytes())?;
    say(&format!("browser package: done in {:.1} s", started.elapsed().as_secs_f32()));
    for size in sizes {
        println!("    {size}");
    }
    Ok(())
}

/// wasm-bindgen and wasm-opt: the script and the wasm.
fn bind(wasm: &[u8], work: &Path) -> Result<[File; 2]> {
    say("browser package: wasm-bindgen");
    let bound = work.join("bound");
    let mut bindgen = Bindgen::new();
    bindgen.input_bytes("stepcast", wasm.to_vec()).remove_name_section(false).remove_producers_section(true);
    // The page names the wasm file, whose name has a hash; the script must not.
    bindgen.omit_default_module_path(true).typescript(false);
    bindgen
        .web(true)
        .and_then(|bindgen| bindgen.generate(&bound))
        .explain(|| "wasm-bindgen refuses the wasm that rustc made".to_owned())?;

    say("browser package: wasm-opt");
    let small = work.join("small.wasm");
    let mut optimise = command(root().join("end2end/node_modules/.bin/wasm-opt"));
    run(optimise.arg(bound.join("stepcast_bg.wasm")).args(WASM_FOR_BROTLI).args(WASM_FEATURES).arg("-o").arg(&small))?;

    if let Some((snippet, _)) = files_below(&bound.join("snippets"))?.first() {
        // They would be imported by a name without a hash, which could not be cached beside a script that can.
        return Err(Failure(format!(
            "a crate brings JavaScript of its own ({snippet}); say it in Rust, through web-sys"
        )));
    }
    Ok([
        File::new(Role::Js, "assets/stepcast.js".to_owned(), read(&bound.join("stepcast.js"))?),
        File::new(Role::Wasm, "assets/stepcast.wasm".to_owned(), read(&small)?),
    ])
}

/// All of `style/*.css` in the order of the names.
fn stylesheet() -> Result<Vec<u8>> {
    let mut css = Vec::new();
    for (name, path) in files_below(&root().join("style"))? {
        if name.ends_with(".css") {
            css.extend(read(&path)?);
            css.push(b'\n');
        }
    }
    Ok(css)
}

/// All of `public/`, to be served under its own names.
fn public_files() -> Result<Vec<File>> {
    let found = files_below(&root().join("public"))?;
    found.into_iter().map(|(name, path)| Ok(File::new(Role::Other, name, read(&path)?))).collect()
}

/// The files of a folder and its subfolders, by their path in it with `/`, in order. Hidden ones are left out; a folder
/// that does not exist is an empty one.
fn files_below(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut folders = vec![(String::new(), folder.to_path_buf())];
    while let Some((prefix, folder)) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let entry = entry.explain(|| format!("{} cannot be listed", folder.display()))?;
            let name = entry.file_name().into_string().map_err(|name| {
                Failure(format!("{}: the name of this file is not UTF-8; rename it", folder.join(name).display()))
            })?;
            if name.starts_with('.') {
                continue;
            }
            let path = entry.path();
            if path.is_dir() {
                folders.push((format!("{prefix}{name}/"), path));
            } else {
                found.push((format!("{prefix}{name}"), path));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Equal for equal packages: everything that the package is made of, and how.
fn fingerprint(wasm: &[u8], css: &[u8], public: &[File]) -> Result<String> {
    let lock = read(&root().join("end2end/package-lock.json"))?;
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(wasm);
    part(css);
    part(&lock);
    for recipe in RECIPE {
        part(recipe.as_bytes());
    }
    for file in public {
        part(file.name().as_bytes());
        part(file.bytes());
    }
    Ok(crate::bundle::hex(&hash.finalize()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).explain(|| format!("{} cannot be read", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).explain(|| format!("{} cannot be written", path.display()))
}
