//! JSON as the pages read it. Each source that types are read from (a text, bytes, a value) is code of its own for each
//! of the types; here is one source for all of them: what arrives becomes a [`Value`] first, and types are read from that.

use leptos::{
    server::codee::{Decoder, Encoder},
    server_fn::{
        Bytes, ContentType, Decodes, Encodes, Format, FormatType,
        codec::{JsonEncoding, Post},
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Error, Value};

/// Reads a type.
///
/// # Errors
/// When the text is not JSON, or not of that type.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_value(value(text.as_bytes())?)
}

fn value(text: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(text)
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
        serde_json::from_value(value(&bytes)?)
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
