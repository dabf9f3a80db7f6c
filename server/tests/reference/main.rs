//! `docs/openapi.yaml` against the program: its routes and methods, what it answers and refuses, and the types that it
//! answers with. The members of frames and messages in `docs/asyncapi.yaml` are held against their examples.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod answers;
mod ask;
mod document;
mod refusals;
mod routes;
#[path = "../support/mod.rs"]
mod support;
mod types;
#[path = "../../../crates/wire/tests/support/yaml.rs"]
mod yaml;
