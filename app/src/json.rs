//! JSON as the pages read it. Each source that types are read from (a text, bytes, a value) is code of its own for each
//! of the types; here is one source for all of them: what arrives becomes a [`serde_json::Value`] first, and types are
//! read from that.

use leptos::{
    server::codee::{Decoder, Encoder},
    server_fn::{
        Bytes, ContentType, Decodes, Encodes, Format, FormatType,
        codec::{JsonEncoding, Post},
    },
};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, Error as _},
};
use serde_json::Error;

/// Reads a type.
///
/// # Errors
/// When the text is not JSON, or not of that type.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_value(serde_json::from_str(text)?)
}

/// How data goes into a page, and how a server function answers.
pub struct Json;

/// The answer of a server function.
pub type JsonAnswer = Post<Json>;

impl ContentType for Json {
    const CONTENT_TYPE: &'static str = JsonEncoding::CONTENT_TYPE;
}

impl FormatType for Json {
    const FORMAT_TYPE: Format = Format::Text;
}

impl<T: Serialize> Encodes<T> for Json {
    type Error = Error;

    fn encode(data: &T) -> Result<Bytes, Error> {
        JsonEncoding::encode(data)
    }
}

impl<T: DeserializeOwned> Decodes<T> for Json {
    type Error = Error;

    fn decode(bytes: Bytes) -> Result<T, Error> {
        read(str::from_utf8(&bytes).map_err(Error::custom)?)
    }
}

impl<T: Serialize> Encoder<T> for Json {
    type Error = Error;
    type Encoded = String;

    fn encode(data: &T) -> Result<String, Error> {
        serde_json::to_string(data)
    }
}

impl<T: for<'de> Deserialize<'de>> Decoder<T> for Json {
    type Error = Error;
    type Encoded = str;

    fn decode(text: &str) -> Result<T, Error> {
        read(text)
    }
}

#[cfg(test)]
mod tests {
    use wire::{event::Event, view::BuildView};

    use super::*;
    use crate::live::sample;

    #[test]
    fn what_is_written_is_read() {
        let build = sample::build(3);
        assert_eq!(read::<BuildView>(&serde_json::to_string(&build).unwrap()).unwrap(), build);
        let bytes = <Json as Encodes<_>>::encode(&vec![build.clone()]).unwrap();
        assert_eq!(<Json as Decodes<Vec<BuildView>>>::decode(bytes).unwrap(), [build]);
        assert_eq!(read::<(u64, i64, f64, Option<bool>)>("[18446744073709551615,-1,1,null]").unwrap().0, u64::MAX);
    }

    #[test]
    fn what_is_not_of_the_type_is_refused() {
        assert!(read::<u64>("\"1\"").is_err());
        assert!(read::<u64>("").is_err());
        assert!(read::<u64>("1 1").is_err());
        assert!(read::<Event>("{}").is_err());
        assert!(<Json as Decodes<u64>>::decode(Bytes::from_static(&[0xff])).is_err());
    }
}
