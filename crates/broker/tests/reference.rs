//! Every name in `topology.rs` stands in `docs/asyncapi.yaml`: as the address of a channel, or between backticks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;

/// A name with `*` in the place of each part that differs: `{id}` in the sources, `<id>` or `{id}` in the reference.
fn pattern(name: &str) -> String {
    let mut pattern = String::new();
    let mut depth = 0_u32;
    for c in name.chars() {
        match c {
            '{' | '<' => depth += 1,
            '}' | '>' if depth > 0 => {
                depth -= 1;
                pattern.push('*');
            }
            _ if depth > 0 => {}
            c => pattern.push(c),
        }
    }
    pattern
}

/// The literals that name something on the broker.
fn names(source: &str) -> BTreeSet<String> {
    let code: Vec<&str> = source.lines().map(str::trim).filter(|line| !line.starts_with("//")).collect();
    let literals = code.iter().filter_map(|line| {
        let names = (line.starts_with("pub const ") && line.contains(": &str"))
            || line.contains("format!(\"")
            || (line.starts_with("Exchange::") && line.contains("=> \""));
        names.then(|| line.split('"').nth(1)).flatten()
    });
    literals.filter(|literal| !literal.is_empty()).map(pattern).collect()
}

#[test]
fn every_exchange_queue_and_key_stands_in_the_reference() {
    let names = names(include_str!("../src/topology.rs"));
    for known in ["utils", "tasks", "events", "control", "gateway.*", "tasks.*", "watch.*.*", "*.exclusive"] {
        assert!(names.contains(known), "{known} is not read from the sources: {names:?}");
    }
    let reference = include_str!("../../../docs/asyncapi.yaml");
    let quoted = reference.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let addresses = reference.lines().filter_map(|line| line.trim().strip_prefix("address: "));
    let told: BTreeSet<String> =
        quoted.chain(addresses.map(|address| address.trim_matches('"'))).map(pattern).collect();
    let missing: Vec<_> = names.difference(&told).collect();
    assert!(missing.is_empty(), "docs/asyncapi.yaml does not name {missing:?}");
}
