//! The image whose containers the steps of a job run in.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The label of executors that run steps in containers. Jobs with an image ask for it by themselves.
pub const CONTAINERS_LABEL: &str = "has-containers";

/// Bytes of a reference, its digest not counted.
const NAME_BYTES_MAX: usize = 255;
/// Bytes of a tag.
const TAG_BYTES_MAX: usize = 128;

/// A reference to an image as engines write it: `[registry/]name[:tag][@sha256:digest]`. Nothing in it is read as an
/// option, a path of its own or a part of an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(String);

impl ImageName {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// With the tag that engines add by themselves where there is neither tag nor digest: else some fetch every tag.
    #[must_use]
    pub fn with_tag(&self) -> String {
        let last = self.0.rsplit('/').next().unwrap_or_default();
        if last.contains([':', '@']) { self.0.clone() } else { format!("{}:latest", self.0) }
    }
}

impl FromStr for ImageName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_reference(text) {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(100).collect();
        Err(format!(
            "image {shown:?} must be a name such as `rust:1.95`, `ghcr.io/team/tools:2` or `name@sha256:<64 hex digits>`, in small letters"
        ))
    }
}

fn is_reference(text: &str) -> bool {
    let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    // A colon after the last slash begins a tag; before it, the port of a registry.
    let after_slash = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[after_slash..].find(':') {
        Some(colon) => (&rest[..after_slash + colon], Some(&rest[after_slash + colon + 1..])),
        None => (rest, None),
    };
    // What looks like a host before the first slash is one.
    let (registry, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), path),
        _ => (None, name),
    };
    name.len() <= NAME_BYTES_MAX
        && registry.is_none_or(is_registry)
        && path.split('/').all(is_part)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(|digest| digest.strip_prefix("sha256:").is_some_and(is_sha256))
}

fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        !bytes.is_empty()
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
            && bytes[0] != b'-'
            && bytes[bytes.len() - 1] != b'-'
    };
    host.split('.').all(is_label) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn is_part(part: &str) -> bool {
    let bytes = part.as_bytes();
    let is_plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.first().is_some_and(is_plain)
        && bytes.last().is_some_and(is_plain)
        && bytes.iter().all(|b| is_plain(b) || b"-_.".contains(b))
        && !part.contains("..")
}

fn is_tag(tag: &str) -> bool {
    let bytes = tag.as_bytes();
    (1..=TAG_BYTES_MAX).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
        && !b"-.".contains(&bytes[0])
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl TryFrom<String> for ImageName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> String {
        name.0
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_as_engines_write_it() {
        let digest = format!("alpine@sha256:{}", "0a".repeat(32));
        for good in
            ["alpine", "rust:1.95", "ghcr.io/team/tools:2", "localhost:5000/a/b_c:v1.0-rc_1", "a/b", digest.as_str()]
        {
            assert_eq!(good.parse::<ImageName>().map(String::from), Ok(good.to_owned()));
        }
    }

    #[test]
    fn nothing_that_could_be_an_option_or_another_address_is_an_image() {
        let long = "a".repeat(256);
        for bad in [
            "",
            "-v",
            "--privileged",
            "Alpine",
            "a b",
            "a/../b",
            "../a",
            "/a",
            "a/",
            "a//b",
            "a:",
            "a:-x",
            "a:.x",
            "a@",
            "a@sha256:0",
            "a?x=1",
            "a#b",
            "a%2e",
            "a\nb",
            "é",
            "h:x/a",
            "h:0/a",
            "-h.io/a",
            "${{ inputs.image }}",
            long.as_str(),
        ] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn an_engine_is_asked_for_one_tag() {
        let tagged = |text: &str| text.parse::<ImageName>().unwrap().with_tag();
        assert_eq!([tagged("a"), tagged("h:5000/a"), tagged("a:1")], ["a:latest", "h:5000/a:latest", "a:1"]);
    }
}
