//! The document as tests use it: which operations it lists, and whether an answer is what it says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::{ask::Heard, yaml};

/// The methods that a path can have in the document.
pub(crate) const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// What a schema is called while it is used.
const HERE: &str = "https://stepcast.test/schema.json";

/// The document.
pub(crate) struct Reference {
    document: Value,
    /// Its components, where an object has no member but those that are named.
    closed: Value,
}

impl Reference {
    pub(crate) fn read() -> Self {
        Self::of(yaml::read(include_str!("../../../docs/openapi.yaml")))
    }

    /// The other document, that of the socket and the broker, with the schemas that it takes from this one.
    pub(crate) fn of_messages() -> Self {
        let id = "00000000-0000-4000-8000-000000000001";
        let text = include_str!("../../../docs/asyncapi.yaml").replace("openapi.yaml#/", "#/");
        let text = text.replace("<uuid>", id).replace("<id>", id).replace("<instance>-<n>", "north-0");
        let (mut document, http) = (yaml::read(&text), Self::read().document);
        let schemas = document["components"]["schemas"].as_object_mut().unwrap();
        for (name, schema) in http["components"]["schemas"].as_object().unwrap() {
            assert!(schemas.insert(name.clone(), schema.clone()).is_none(), "{name} stands in both documents");
        }
        Self::of(document)
    }

    fn of(document: Value) -> Self {
        let mut closed = document["components"].clone();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        close(&mut closed, schemas);
        Self { document, closed }
    }

    pub(crate) fn document(&self) -> &Value {
        &self.document
    }

    /// Each path as it is asked for, with its methods in capitals.
    pub(crate) fn routes(&self) -> BTreeMap<String, BTreeSet<String>> {
        let base = self.document["servers"][0]["url"].as_str().unwrap();
        let paths = self.document["paths"].as_object().unwrap();
        let route = |(path, item): (&String, &Value)| {
            let base = item["servers"][0]["url"].as_str().unwrap_or(base).trim_end_matches('/');
            let methods = METHODS.iter().filter(|method| item.get(*method).is_some());
            (format!("{base}{path}"), methods.map(|method| method.to_uppercase()).collect())
        };
        paths.iter().map(route).collect()
    }

    /// What a `$ref` leads to, or the value itself.
    fn seen<'v>(&'v self, value: &'v Value) -> &'v Value {
        match value["$ref"].as_str() {
            Some(link) => self.document.pointer(link.trim_start_matches('#')).unwrap_or_else(|| panic!("{link}")),
            None => value,
        }
    }

    fn operation(&self, method: &str, path: &str) -> &Value {
        let item = &self.document["paths"][path];
        item.get(method.to_lowercase()).unwrap_or_else(|| panic!("{method} {path} is not in the reference"))
    }

    /// What is wrong with a value that is to be of a schema.
    pub(crate) fn faults(&self, schema: &Value, value: &Value) -> Vec<String> {
        let schema = json!({"allOf": [schema], "components": self.closed});
        let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
        compiler.enable_format_assertions();
        compiler.add_resource(HERE, schema).unwrap();
        let schema = compiler.compile(HERE, &mut schemas).unwrap_or_else(|fault| panic!("{fault:#}"));
        schemas.validate(value, schema).err().map(|fault| format!("{fault:#}")).into_iter().collect()
    }

    /// Fails unless a value is of the named schema, without a member more.
    pub(crate) fn assert_is(&self, schema: &str, value: &Value) {
        assert!(self.closed["schemas"].get(schema).is_some(), "no schema {schema}");
        let faults = self.faults(&json!({"$ref": format!("#/components/schemas/{schema}")}), value);
        assert!(faults.is_empty(), "{schema}: {faults:#?}\n{value:#}");
    }

    /// Fails unless an answer is one of those that the operation lists: status, headers, type and body.
    pub(crate) fn assert_lists(&self, method: &str, path: &str, heard: &Heard) {
        let what = format!("{method} {path} {}", heard.status);
        let answer = self.operation(method, path)["responses"].get(heard.status.to_string());
        let answer = self.seen(answer.unwrap_or_else(|| panic!("{what} is not in the reference: {}", heard.text())));
        for (name, header) in answer["headers"].as_object().into_iter().flatten() {
            let header = self.seen(header);
            let Some(value) = heard.headers.get(&name.to_lowercase()) else {
                assert!(header["required"] != true, "{what} has no header {name}");
                continue;
            };
            let plain = header["schema"]["type"] != "string" && header["schema"].get("const").is_none();
            let value = if plain { serde_json::from_str(value).unwrap() } else { json!(value) };
            let faults = self.faults(&header["schema"], &value);
            assert!(faults.is_empty(), "{what}, header {name}: {faults:#?}");
        }
        let Some(content) = answer["content"].as_object() else {
            assert!(heard.body.is_empty(), "{what} has a body: {}", heard.text());
            return;
        };
        let told = heard.headers.get("content-type").map(String::as_str).unwrap_or_default();
        let media = told.split(';').next().unwrap_or_default();
        let media = content.get(media).or(content.get("*/*"));
        let media = media.unwrap_or_else(|| panic!("{what} is {told:?}, which is not in the reference"));
        let values = match (media.get("x-item-schema"), told.contains("json")) {
            (Some(_), _) if told.contains("ndjson") => {
                heard.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
            }
            (None, true) => vec![heard.json()],
            _ => return,
        };
        let schema = media.get("x-item-schema").unwrap_or(&media["schema"]);
        for value in values {
            let faults = self.faults(schema, &value);
            assert!(faults.is_empty(), "{what}: {faults:#?}\n{value:#}");
        }
    }
}

/// Takes what `allOf` refers to into its place, and refuses members that are not named.
fn close(value: &mut Value, schemas: &Map<String, Value>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| close(item, schemas)),
        Value::Object(members) => {
            let base = members.get("allOf").and_then(|all| all[0]["$ref"].as_str()).map(str::to_owned);
            if let Some(base) = base.filter(|_| members.contains_key("properties")) {
                members.remove("allOf");
                let base = schemas[base.rsplit('/').next().unwrap()].clone();
                let (own, other) = (members["properties"].as_object_mut().unwrap(), &base["properties"]);
                own.extend(other.as_object().unwrap().clone());
                members["required"].as_array_mut().unwrap().extend(base["required"].as_array().unwrap().clone());
            }
            if members.get("properties").is_some_and(|inner| inner.get("properties").is_none()) {
                members.entry("additionalProperties").or_insert(json!(false));
            }
            members.values_mut().for_each(|member| close(member, schemas));
        }
        _ => {}
    }
}
