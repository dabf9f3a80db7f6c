//! The browser package as it is sent.

use std::{fs, path::Path};

use crate::{
    Setting,
    failure::{Explain as _, Result},
    report::Row,
};

pub(crate) fn measure(setting: &Setting) -> Result<Vec<Row>> {
    let manifest = setting.site.join("manifest.txt");
    let text = fs::read_to_string(&manifest).explain(|| format!("{} cannot be read", manifest.display()))?;
    let mut rows = Vec::new();
    let mut all = Sizes::default();
    for line in text.lines() {
        let mut words = line.split('\t');
        let (Some(role @ ("js" | "wasm" | "css")), Some(name)) = (words.next(), words.next()) else { continue };
        let sizes = Sizes::of(&setting.site.join(name))?;
        rows.push(Row::detail(role, sizes.brotli(), sizes.others()));
        all = all.plus(sizes);
    }
    let peer = "a hydrated page with a router 96 kB";
    rows.insert(0, Row::figure("browser package, brotli", all.brotli(), peer, "250 kB", all.others()));
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
