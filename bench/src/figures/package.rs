//! The browser package as it is sent.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{
    Setting,
    failure::{Explain as _, Result},
    report::Row,
};

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let manifest = setting.site.join("manifest.txt");
    let text = fs::read_to_string(&manifest).explain(|| format!("{} cannot be read", manifest.display()))?;
    let mut rows = Vec::new();
    // What every page needs, and what those of each part of the program need besides.
    let (mut first, mut parts) = (Sizes::default(), BTreeMap::<&str, Sizes>::new());
    for line in text.lines() {
        let mut words = line.split('\t');
        let (Some(role), Some(name)) = (words.next(), words.next()) else { continue };
        if let "js" | "wasm" | "loader" | "css" = role {
            let sizes = Sizes::of(&setting.site.join(name))?;
            rows.push(Row::detail(role, sizes.brotli(), sizes.others()));
            first = first.plus(sizes);
        } else if let Some(needed_by) = role.strip_prefix("part:") {
            let sizes = Sizes::of(&setting.site.join(name))?;
            for part in needed_by.split(',') {
                let sum = parts.entry(part).or_default();
                *sum = sum.plus(sizes);
            }
        }
    }
    for (part, sizes) in parts {
        let sizes = first.plus(sizes);
        rows.push(Row::detail(&format!("page of {part}"), sizes.brotli(), sizes.others()));
    }
    let peer = "a hydrated page with a router 96 kB";
    rows.insert(0, Row::figure("browser package, first page, brotli", first.brotli(), peer, "250 kB", first.others()));
    Ok(rows)
}

/// Bytes of a file as it is, and compressed.
#[derive(Clone, Copy, Default)]
struct Sizes {
    plain: u64,
    gzip: u64,
    brotli: u64,
}

impl Sizes {
    fn of(path: &Path) -> Result<Self> {
        let plain = fs::metadata(path).explain(|| format!("{} is missing", path.display()))?.len();
        // Where a method does not make a file smaller, the file is sent as it is.
        let compressed = |end: &str| fs::metadata(format!("{}{end}", path.display())).map_or(plain, |file| file.len());
        Ok(Self { plain, gzip: compressed(".gz"), brotli: compressed(".br") })
    }

    fn plus(self, other: Self) -> Self {
        Self { plain: self.plain + other.plain, gzip: self.gzip + other.gzip, brotli: self.brotli + other.brotli }
    }

    fn brotli(self) -> String {
        kilobytes(self.brotli)
    }

    fn others(self) -> String {
        format!("gzip {}, as it is {}", kilobytes(self.gzip), kilobytes(self.plain))
    }
}

fn kilobytes(bytes: u64) -> String {
    format!("{:.1} kB", bytes as f64 / 1e3)
}
