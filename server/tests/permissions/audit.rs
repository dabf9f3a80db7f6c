//! What was done stands in the audit log with who did it.

use serde_json::{Value, json};

use crate::{
    people::{Browser, PASSWORD, account, person},
    support::Server,
};

/// No executor has this label: its builds wait until they are cancelled.
const WAITS: &str = "name: site\njobs: {a: {labels: [nobody], steps: [{run: echo}]}}\n";
const OTHER: &str = "four green kettles";

#[test]
fn what_changes_access_or_ends_work_is_found_in_the_audit_log_with_who_did_it() {
    let server = Server::start(&[]);
    server.apply("site", WAITS);
    let mut ada = person(&server, "Ada", "admin", &[]);
    let mut grace = person(&server, "Grace", "builder", &["site"]);
    account(server.data_dir(), "Eve", "viewer", &[]);
    let (_, accounts) = ada.get("/accounts");
    let id_of = |name: &str| {
        let found = accounts.as_array().unwrap().iter().find(|account| account["name"] == name).unwrap();
        found["id"].as_str().unwrap().to_owned()
    };
    let (ada_id, grace_id, eve_id) = (id_of("Ada"), id_of("Grace"), id_of("Eve"));

    let (status, build) = grace.json("POST", "/pipelines/site/builds", &json!({}));
    assert_eq!(status, 202, "{build}");
    let build = build["id"].as_str().unwrap().to_owned();
    assert_eq!(grace.json("POST", &format!("/builds/{build}/cancel"), &json!({})).0, 202);
    let grants = json!({"pipelines": {"site": "viewer"}});
    let (status, made) = grace.json("POST", "/tokens", &json!({"name": "nightly", "grants": grants}));
    assert_eq!(status, 201, "{made}");
    let (token, secret) = (made["token"]["id"].as_str().unwrap(), made["secret"].as_str().unwrap().to_owned());
    assert_eq!(grace.json("DELETE", &format!("/tokens/{token}"), &Value::Null).0, 204);
    assert_eq!(grace.json("PUT", "/account/password", &json!({"old": PASSWORD, "new": OTHER})).0, 204);
    assert_eq!(grace.form("/sign-out", &[]).status, 303);
    assert_eq!(grace.sign_in("Grace", OTHER).location, "/");
    assert_eq!(grace.form("/sign-out-everywhere", &[]).status, 303);

    let (status, made) = ada.json("POST", "/invitations", &json!({"note": "for Alan", "grants": grants}));
    assert_eq!(status, 201, "{made}");
    let invitation = made["invitation"]["id"].as_str().unwrap();
    let link = made["link"].as_str().unwrap().split_once("invitation=").unwrap().1.to_owned();
    assert_eq!(ada.json("DELETE", &format!("/invitations/{invitation}"), &Value::Null).0, 204);
    assert_eq!(ada.json("PATCH", &format!("/accounts/{grace_id}"), &json!({"grants": grants})).0, 200);
    assert_eq!(ada.json("PATCH", &format!("/accounts/{eve_id}"), &json!({"disabled": true})).0, 200);
    assert_eq!(ada.json("DELETE", &format!("/accounts/{eve_id}"), &Value::Null).0, 204);

    for (action, who, id, what) in [
        ("build_cancelled", "Grace", &grace_id, ""),
        ("token_created", "Grace", &grace_id, "nightly"),
        ("token_revoked", "Grace", &grace_id, "nightly"),
        ("password_changed", "Grace", &grace_id, ""),
        ("signed_out", "Grace", &grace_id, ""),
        ("signed_out_everywhere", "Grace", &grace_id, ""),
        ("invitation_revoked", "Ada", &ada_id, ""),
        ("role_changed", "Ada", &ada_id, "Grace"),
        ("account_disabled", "Ada", &ada_id, "Eve"),
        ("account_removed", "Ada", &ada_id, "Eve"),
    ] {
        let (status, entries) = ada.get(&format!("/audit?action={action}&name={who}"));
        let [entry] = <[Value; 1]>::try_from(entries.as_array().unwrap().clone())
            .unwrap_or_else(|entries| panic!("{action}: {status} {entries:?}"));
        assert_eq!((&entry["action"], &entry["name"]), (&json!(action), &json!(who)), "{entry}");
        assert_eq!(entry["account"], json!(id), "{entry}");
        assert!(entry["at"].as_i64().is_some_and(|at| at > 0), "{entry}");
        assert!(entry["subject"].as_str().is_some_and(|subject| !subject.is_empty()), "{entry}");
        assert!(entry["detail"].as_str().unwrap_or_default().contains(what), "{entry}");
        let (of_build, pipeline) = (json!(build), json!("site"));
        if action == "build_cancelled" {
            assert_eq!((&entry["build"], &entry["pipeline"]), (&of_build, &pipeline), "{entry}");
        }
    }
    let (_, all) = ada.get("/audit?limit=500");
    for secret in [PASSWORD, OTHER, &*secret, &*link] {
        assert!(!all.to_string().contains(secret), "a secret is in the log");
    }
    // Who may not read it does not.
    let mut grace = Browser::new(&server.url);
    assert_eq!(grace.sign_in("Grace", OTHER).location, "/");
    assert_eq!(grace.get("/audit").0, 403);
}
