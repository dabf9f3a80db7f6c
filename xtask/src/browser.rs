//! The browser package: `frontend` compiled for wasm, cut into parts (`app/src/parts.rs` says where), its JavaScript made
//! by wasm-bindgen, each part made small by wasm-opt, and `style/` and `public/` beside it; esbuild takes out of scripts
//! and styles what only people read. How the files are named, compressed and laid out is in `bundle.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sha2::{Digest, Sha256};
use wasm_bindgen_cli_support::Bindgen;

use crate::bundle::{Bundle, File, Role};
use crate::failure::{Explain, Failure, Result};
use crate::process::{cargo, command, output, root, run, say};
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
const WASM_FOR_BROTLI: [&str; 8] = [
    "-Oz",
    "--one-caller-inline-max-function-size=0",
    "--flexible-inline-max-function-size=0",
    "--always-inline-max-function-size=0",
    "--reorder-functions-by-name",
    "--strip-debug",
    "--strip-producers",
    "--strip-target-features",
];

/// A change of how the package is made changes the package.
const RECIPE: [&str; 2] = [include_str!("browser.rs"), include_str!("bundle.rs")];

/// Leaves the package in `target/site`. Does little when nothing has changed.
pub(crate) fn package() -> Result<()> {
    say("browser package: compiling");
    run(cargo().args([
        "rustc",
        "--package",
        "frontend",
        "--target",
        "wasm32-unknown-unknown",
        "--profile",
        "browser",
        "--crate-type",
        "cdylib",
        "--",
        // What refers to what, without which nothing can be cut apart.
        "-Clink-args=--emit-relocs",
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
    let mut files = program(&wasm, &work)?;
    let whole = work.join("stepcast.css");
    write(&whole, &css)?;
    files.push(File::new(Role::Css, "assets/stepcast.css".to_owned(), minified(&whole)?));
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

/// The scripts and the parts of the wasm. They refer to each other by their names, in circles: so they are named and
/// cached as one.
fn program(wasm: &[u8], work: &Path) -> Result<Vec<File>> {
    let cut = cut(wasm, work)?;
    let bound = bind(&cut.main, work)?;
    say("browser package: wasm-opt");
    let mut files = vec![
        (Role::Js, "stepcast.js".to_owned(), minified(&bound.join("stepcast.js"))?),
        (Role::Wasm, "stepcast.wasm".to_owned(), optimised(&bound.join("stepcast_bg.wasm"), work)?),
        (Role::Loader, LOADER.to_owned(), minified(&cut.folder.join(LOADER))?),
    ];
    for (name, parts) in cut.parts {
        let file = format!("{name}.wasm");
        let small = optimised(&cut.folder.join(&file), work)?;
        files.push((Role::Part(parts), file, small));
    }
    Ok(File::set("assets", files))
}

/// The script that loads the parts. Also the name of the module from which the main part imports the loading of them.
const LOADER: &str = "parts.js";

/// The program in pieces.
struct Cut {
    folder: PathBuf,
    /// The piece that wasm-bindgen works on.
    main: PathBuf,
    /// The stem of each other piece, with the parts of the program that need it.
    parts: BTreeMap<String, Vec<String>>,
}

fn cut(wasm: &[u8], work: &Path) -> Result<Cut> {
    say("browser package: cutting it into parts");
    let folder = work.join("parts");
    let main = folder.join("main.wasm");
    let link = format!("./{LOADER}");
    let mut options = wasm_split_cli_support::Options::new(wasm);
    options.output_dir = &folder;
    options.main_out_path = &main;
    options.link_name = &link;
    options.main_module = "./stepcast.js";
    let pieces = wasm_split_cli_support::transform(options)
        .map_err(|error| Failure(format!("the wasm that rustc made cannot be cut into parts: {error:#}")))?;
    let mut parts = BTreeMap::<_, Vec<_>>::new();
    for (part, files) in pieces.prefetch_map {
        for file in files {
            parts.entry(file).or_default().push(part.clone());
        }
    }
    for needed_by in parts.values_mut() {
        needed_by.sort();
    }
    Ok(Cut { folder, main, parts })
}

/// The folder in which wasm-bindgen leaves the script and the main part.
fn bind(main: &Path, work: &Path) -> Result<PathBuf> {
    say("browser package: wasm-bindgen");
    let bound = work.join("bound");
    let mut bindgen = Bindgen::new();
    bindgen.input_bytes("stepcast", read(main)?).remove_name_section(false).remove_producers_section(true);
    // The other parts import what the linker exported.
    bindgen.keep_lld_exports(true).demangle(false);
    // The page names the wasm file, whose name has a hash; the script must not.
    bindgen.omit_default_module_path(true).typescript(false);
    bindgen
        .web(true)
        .and_then(|bindgen| bindgen.generate(&bound))
        .explain(|| "wasm-bindgen refuses the wasm that rustc made".to_owned())?;
    if let Some((snippet, _)) = files_below(&bound.join("snippets"))?.first() {
        // They would be imported by a name without a hash, which could not be cached beside a script that can.
        return Err(Failure(format!(
            "a crate brings JavaScript of its own ({snippet}); say it in Rust, through web-sys"
        )));
    }
    Ok(bound)
}

/// A script or a stylesheet without what only people read.
fn minified(file: &Path) -> Result<Vec<u8>> {
    let mut minify = command(root().join("end2end/node_modules/.bin/esbuild"));
    Ok(output(minify.arg(file).args(["--minify", "--log-level=error"]))?.into_bytes())
}

/// What wasm-opt makes of a file.
fn optimised(wasm: &Path, work: &Path) -> Result<Vec<u8>> {
    let small = work.join("small.wasm");
    let mut optimise = command(root().join("end2end/node_modules/.bin/wasm-opt"));
    run(optimise.arg(wasm).args(WASM_FOR_BROTLI).args(WASM_FEATURES).arg("-o").arg(&small))?;
    read(&small)
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
