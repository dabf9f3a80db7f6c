//! Who may depend on whom: the table of the architecture, and what cargo says is there. Nothing is looked at but the
//! manifests; what files contain is in `text.rs`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::failure::{Explain, Failure, Result};

/// For each member, the members that it may use. Nobody may use `server`.
const MAY_USE: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("broker", &["wire"]),
    ("broker-rabbitmq", &["broker", "wire"]),
    ("store", &["wire"]),
    ("gateway", &["broker", "wire"]),
    ("vault", &["wire"]),
    ("executor", &["broker", "vault", "wire"]),
    ("control", &["broker", "store", "vault", "wire"]),
    ("projections", &["broker", "store", "wire"]),
    ("cli", &["wire"]),
    ("app", &["wire"]),
    ("frontend", &["app"]),
    (
        "server",
        &[
            "app",
            "broker",
            "broker-rabbitmq",
            "cli",
            "control",
            "executor",
            "gateway",
            "projections",
            "store",
            "vault",
            "wire",
        ],
    ),
    // Its test drives the pure parts of all of them; nobody uses it.
    ("simulation", &["app", "broker", "control", "executor", "gateway", "store", "wire"]),
    ("bench", &["wire"]),
    ("chaos", &["wire"]),
    ("xtask", &[]),
];

/// Libraries that only these members may use.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("axum", &["server"]),
    ("leptos_axum", &["server"]),
    ("tower-http", &["server"]),
    // In the product; bench measures the gateway by a loop that is nothing but lapin and a socket.
    ("lapin", &["broker-rabbitmq", "bench"]),
    ("sqlx", &["store"]),
];

/// What tests of a member may use beyond that, with a reason for each.
const TESTS_MAY: [(&str, &str); 1] = [
    // The tests of a cluster make a database for each.
    ("server", "sqlx"),
];

/// A member of the workspace as its manifest describes it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    /// Of every kind: what tests lean on is an arrow as well.
    pub(super) uses: BTreeSet<String>,
    /// Those of them that only tests lean on.
    pub(super) only_tests_use: BTreeSet<String>,
}

/// Reads the answer of `cargo metadata --no-deps`.
pub(super) fn members(metadata: &str) -> Result<Vec<Member>> {
    let metadata: Value =
        serde_json::from_str(metadata).explain(|| "the answer of cargo metadata is no JSON".to_owned())?;
    let packages = metadata["packages"].as_array();
    let packages = packages.ok_or_else(|| Failure("the answer of cargo metadata has no packages".to_owned()))?;
    let name_of = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let member = |package: &Value| {
        let all = || package["dependencies"].as_array().into_iter().flatten();
        let is_for_tests = |used: &&Value| used["kind"] == "dev";
        let uses: BTreeSet<String> = all().map(name_of).collect();
        let mut only_tests_use: BTreeSet<String> = all().filter(is_for_tests).map(name_of).collect();
        for used in all().filter(|used| !is_for_tests(used)) {
            only_tests_use.remove(&name_of(used));
        }
        Member { name: name_of(package), uses, only_tests_use }
    };
    Ok(packages.iter().map(member).collect())
}

/// One sentence for each arrow that the table does not have.
pub(super) fn check(members: &[Member]) -> Vec<String> {
    let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let mut findings = Vec::new();
    for member in members {
        let name = member.name.as_str();
        let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| *known == name) else {
            findings.push(format!("xtask/src/tidy/arrows.rs:1: the member `{name}` has no row; say what it may use"));
            continue;
        };
        for used in &member.uses {
            let used = used.as_str();
            if used == name {
                continue;
            }
            if names.contains(used) && !allowed.contains(&used) {
                findings.push(format!(
                    "{name}/Cargo.toml:1: `{name}` must not know `{used}`; it may use {}",
                    list(allowed)
                ));
            }
            if let Some((_, only)) = ONLY_IN.iter().find(|(library, _)| *library == used)
                && !only.contains(&name)
                && !(TESTS_MAY.contains(&(name, used)) && member.only_tests_use.contains(used))
            {
                findings.push(format!("{name}/Cargo.toml:1: `{name}` must not use `{used}`; only {} may", list(only)));
            }
        }
    }
    findings
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "no other member".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn member(name: &str, uses: &[&str]) -> Member {
        let uses = uses.iter().map(|name| (*name).to_owned()).collect();
        Member { name: name.to_owned(), uses, only_tests_use: BTreeSet::new() }
    }

    #[test]
    fn what_tests_may_use_the_rest_may_not() {
        let mut server = member("server", &["sqlx"]);
        assert_eq!(check(std::slice::from_ref(&server)).len(), 1);
        server.only_tests_use = server.uses.clone();
        assert_eq!(check(&[server]), Vec::<String>::new());
    }

    #[test]
    fn allowed_arrows_and_foreign_libraries_pass() {
        let members =
            [member("wire", &["serde"]), member("broker", &["wire", "tokio"]), member("server", &["broker", "axum"])];
        assert_eq!(check(&members), Vec::<String>::new());
    }

    #[test]
    fn the_gateway_must_not_know_the_store() {
        let findings = check(&[member("store", &["wire"]), member("wire", &[]), member("gateway", &["store", "wire"])]);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].contains("`gateway` must not know `store`"), "{}", findings[0]);
    }

    #[test]
    fn nobody_may_know_the_server_and_wire_knows_nobody() {
        assert!(MAY_USE.iter().all(|(_, allowed)| !allowed.contains(&"server")));
        let findings = check(&[member("wire", &["broker"]), member("broker", &[])]);
        assert!(findings[0].contains("it may use no other member"), "{}", findings[0]);
    }

    #[test]
    fn axum_stays_in_the_server() {
        let findings = check(&[member("gateway", &["axum"])]);
        assert!(findings[0].contains("must not use `axum`; only server may"), "{}", findings[0]);
    }

    #[test]
    fn a_member_without_a_row_is_a_finding() {
        assert!(check(&[member("helper", &[])])[0].contains("`helper` has no row"));
    }

    #[test]
    fn the_members_and_what_they_use_are_read_from_the_metadata() {
        let metadata = r#"{"packages":[{"name":"broker","dependencies":[{"name":"wire","kind":null},{"name":"tempfile","kind":"dev"}]}]}"#;
        let members = members(metadata).unwrap();
        assert_eq!(members[0].name, "broker");
        assert!(members[0].uses.contains("wire") && members[0].uses.contains("tempfile"));
    }
}
