//! The references in `docs/` as JSON. The tests of the server read theirs with it too.

use saphyr_parser::{Event as Yaml, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// What a text of YAML says. Only what stands there plainly is taken for a number, a truth value or null.
pub(crate) fn read(text: &str) -> Value {
    let events = Parser::new_from_str(text).map(|event| event.unwrap().0);
    let mut events = events.skip_while(|event| !matches!(event, Yaml::MappingStart(..)));
    let first = events.next().unwrap();
    value(first, &mut events)
}

fn value<'t>(event: Yaml<'t>, rest: &mut impl Iterator<Item = Yaml<'t>>) -> Value {
    match event {
        Yaml::Scalar(text, ScalarStyle::Plain, ..) => {
            serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.into_owned()))
        }
        Yaml::Scalar(text, ..) => Value::String(text.into_owned()),
        Yaml::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match rest.next().unwrap() {
                    Yaml::SequenceEnd => return Value::Array(items),
                    item => items.push(value(item, rest)),
                }
            }
        }
        Yaml::MappingStart(..) => {
            let mut entries = Map::new();
            loop {
                let Yaml::Scalar(key, ..) = rest.next().unwrap() else { return Value::Object(entries) };
                let first = rest.next().unwrap();
                let former = entries.insert(key.to_string(), value(first, rest));
                assert!(former.is_none(), "{key} stands twice");
            }
        }
        other => panic!("{other:?}"),
    }
}
