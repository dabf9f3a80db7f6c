//! The browser package and the files of `public/`, as `build.rs` embedded them: what there is under which path, and which
//! of its encodings suits a browser. Answering requests with it is the business of the HTTP part.

include!(concat!(env!("OUT_DIR"), "/assets_table.rs"));

/// A file that is served as it is.
#[derive(Debug)]
pub(crate) struct Asset {
    /// The path in the URL, from `/`.
    pub(crate) path: &'static str,
    /// For the header `Content-Type`.
    pub(crate) content_type: &'static str,
    /// The content itself.
    pub(crate) identity: &'static [u8],
    /// The content compressed by brotli, where that is smaller.
    pub(crate) brotli: Option<&'static [u8]>,
    /// The content compressed by gzip, where that is smaller.
    pub(crate) gzip: Option<&'static [u8]>,
    /// For the header `ETag`. It is weak, since all encodings share it (RFC 9110, 8.8.3.3).
    pub(crate) etag: &'static str,
    /// Whether the path has a hash of the content in it, so that it may be cached for ever.
    pub(crate) immutable: bool,
}

/// The paths in the URL that a page names to become live.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// The module whose default export is called with the address of the wasm.
    pub(crate) js: &'static str,
    /// The program itself.
    pub(crate) wasm: &'static str,
    /// The stylesheet.
    pub(crate) css: &'static str,
    /// Files of the program that are loaded only where one of its parts is wanted: the part's name, and the file.
    parts: &'static [(&'static str, &'static str)],
}

impl Manifest {
    /// The files that this part of the program needs.
    pub(crate) fn part(&self, name: &str) -> impl Iterator<Item = &'static str> {
        self.parts.iter().filter(move |(part, _)| *part == name).map(|(_, file)| *file)
    }
}

/// The paths of the browser package; `None` when the server was built without it, which `cargo xtask build` mends.
pub(crate) fn manifest() -> Option<&'static Manifest> {
    MANIFEST.as_ref()
}

/// Every embedded file, in the order of the paths, none of which comes twice.
pub(crate) fn all() -> &'static [Asset] {
    ASSETS
}

impl Asset {
    /// The body for a request with this `Accept-Encoding` (empty when it has none), and the `Content-Encoding` to name
    /// with it, `None` for the content itself. The answer varies by that header: say so with `Vary: Accept-Encoding`.
    pub(crate) fn choose(&self, accept_encoding: &str) -> (&'static [u8], Option<&'static str>) {
        // Ours in the order of size; the client's weights only say what it takes and what not, or what it likes better.
        let variants = [(self.brotli, "br"), (self.gzip, "gzip")];
        let mut best = (self.identity, None);
        let mut best_weight = 0;
        for (body, name) in variants {
            let weight = weight(accept_encoding, name);
            if let Some(body) = body
                && weight > best_weight
            {
                best = (body, Some(name));
                best_weight = weight;
            }
        }
        best
    }
}

/// The client's weight of a content coding in thousandths; 0 means that it does not take it.
fn weight(accept_encoding: &str, coding: &str) -> u16 {
    let mut any = 0;
    for entry in accept_encoding.split(',') {
        let mut parts = entry.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        // A weight that cannot be read takes the coding away: the content itself is understood by all.
        let weight = match parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="))) {
            None => 1000,
            Some(number) => match number.parse::<f32>() {
                Ok(number) if (0.0..=1.0).contains(&number) => (number * 1000.0).round() as u16,
                _ => 0,
            },
        };
        if name.eq_ignore_ascii_case(coding) || (coding == "gzip" && name.eq_ignore_ascii_case("x-gzip")) {
            return weight;
        }
        if name == "*" {
            any = weight;
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Asset = Asset {
        path: "/a.js",
        content_type: "text/javascript; charset=utf-8",
        identity: b"identity",
        brotli: Some(b"brotli"),
        gzip: Some(b"gzip"),
        etag: "W/\"0\"",
        immutable: true,
    };

    #[test]
    fn a_browser_gets_brotli() {
        assert_eq!(BOTH.choose("gzip, deflate, br, zstd"), (&b"brotli"[..], Some("br")));
        assert_eq!(BOTH.choose("*"), (&b"brotli"[..], Some("br")));
    }

    #[test]
    fn a_client_that_knows_only_gzip_gets_gzip() {
        assert_eq!(BOTH.choose("gzip"), (&b"gzip"[..], Some("gzip")));
        assert_eq!(BOTH.choose("br;q=0, *;q=0.5"), (&b"gzip"[..], Some("gzip")));
        assert_eq!(BOTH.choose("br; q=0.2, GZIP; q=0.8"), (&b"gzip"[..], Some("gzip")));
    }

    #[test]
    fn a_client_that_names_nothing_or_nonsense_gets_the_content_itself() {
        for header in ["", "identity", "deflate", "br;q=0, gzip;q=0", "br;q=much", "gzip;q=NaN", ";;,,"] {
            assert_eq!(BOTH.choose(header), (&b"identity"[..], None), "{header}");
        }
    }

    #[test]
    fn a_file_without_a_compressed_form_is_served_as_it_is() {
        let plain = Asset { brotli: None, gzip: None, ..BOTH };
        assert_eq!(plain.choose("gzip, br"), (&b"identity"[..], None));
    }

    #[test]
    fn the_manifest_names_files_that_are_there_and_may_be_cached_for_ever() {
        assert!(all().is_sorted_by(|one, next| one.path < next.path));
        let cached: Vec<_> = all().iter().filter(|asset| asset.immutable).map(|asset| asset.path).collect();
        let Some(manifest) = manifest() else { return assert!(cached.is_empty()) };
        for part in app::parts::Part::ALL {
            assert!(manifest.part(part.name()).next().is_some(), "{part:?}");
        }
        let parts = manifest.parts.iter().map(|(_, file)| *file);
        for named in [manifest.js, manifest.wasm, manifest.css].into_iter().chain(parts) {
            assert!(cached.contains(&named), "{named}");
        }
    }
}
