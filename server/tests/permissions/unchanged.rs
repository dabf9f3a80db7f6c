//! That nothing is changed by looking: every GET of the table of routes and every page, asked by who may do everything, and
//! the database before and after.

use std::{collections::BTreeMap, path::Path};

use serde_json::json;
use sqlx::{ConnectOptions as _, Row as _, sqlite::SqliteConnectOptions};

use crate::{people::person, table::ROUTES, walk::filled, world::World};

/// What the program writes by itself while it runs, or that somebody was there: in these nothing is anybody's. What consumer
/// groups make of the stream (counts, words) is theirs, and comes when they come to it.
const BY_ITSELF: &[&str] = &[
    "analytics_*",
    "executors",
    "gateways",
    "group_members",
    "group_states",
    "groups",
    "journal_messages",
    "journal_meta",
    "journal_stream",
    "leases",
    "queues",
    "search_*",
];
/// When a session or a token was last of use.
const LAST_USE: [(&str, &str); 3] = [("sessions", "data"), ("sessions", "expires_at"), ("program_tokens", "used_at")];

/// The rows of all tables but those, as text.
fn rows(data_dir: &Path) -> BTreeMap<String, Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(data_dir.join("stepcast.db")).read_only(true);
        let mut connection = options.connect().await.unwrap();
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
        let tables = sqlx::query(tables).fetch_all(&mut connection).await.unwrap();
        let mut found = BTreeMap::new();
        for table in tables.iter().map(|row| row.get::<String, _>(0)) {
            let is = |own: &str| own.strip_suffix('*').map_or(table == own, |begins| table.starts_with(begins));
            if BY_ITSELF.iter().any(|own| is(own)) {
                continue;
            }
            let columns = format!("SELECT name FROM pragma_table_info('{table}')");
            let columns = sqlx::query(&columns).fetch_all(&mut connection).await.unwrap();
            let columns = columns.iter().map(|row| row.get::<String, _>(0));
            let columns = columns.filter(|column| !LAST_USE.contains(&(&*table, &**column)));
            let quoted: Vec<String> = columns.map(|column| format!("quote(\"{column}\")")).collect();
            let all = format!("SELECT {} FROM \"{table}\"", quoted.join(" || ', ' || "));
            let all = sqlx::query(&all).fetch_all(&mut connection).await.unwrap();
            let mut all: Vec<String> = all.iter().map(|row| row.get(0)).collect();
            // Whether it can be written to is found out by writing when (`/readyz`).
            all.retain(|row| table != "facts" || !row.starts_with("'checked'"));
            all.sort();
            found.insert(table, all);
        }
        found
    })
}

#[test]
fn no_get_and_no_page_changes_anything() {
    let world = World::new();
    let server = &world.server;
    let mut ada = person(server, "Ada", "admin", &[]);
    let invited = ada.json("POST", "/invitations", &json!({"note": "", "grants": {"everywhere": "viewer"}}));
    let link = invited.1["link"].as_str().unwrap().trim_start_matches(&server.url).to_owned();
    assert_eq!(server.put("/api/v1/secrets/KEY", "a long secret value").status / 100, 2);
    assert_eq!(ada.json("POST", "/pipelines/site/hooks", &json!({})).0, 201);
    let brought = server.post_with("/api/v1/payloads", "words", &[("content-type", "text/plain")]).json();
    let brought = brought["ref"].as_str().unwrap().to_owned();
    // What is recorded comes after the builds.
    crate::until(|| {
        let groups = server.get("/api/v1/groups").json();
        groups.as_array().unwrap().iter().all(|group| group["lag"] == 0)
    });
    server.until_whole(&world.build);
    server.until_whole(&world.other_build);
    crate::until(|| server.get("/metrics").text.contains("stepcast_outbox_waiting 0\n"));
    let before = rows(server.data_dir());
    assert!(before.len() > 20 && !before["builds"].is_empty() && !before["invitations"].is_empty());

    let mut asked = 0;
    let routes = ROUTES.iter().filter(|(method, _, _)| *method == "GET");
    let routes = routes.map(|(_, path, _)| match *path {
        "/welcome" => link.clone(),
        "/api/v1/payloads/{ref}" => format!("/api/v1/payloads/{brought}"),
        _ => {
            let query = match *path {
                "/api/v1/search" | "/api/v1/jobs/{id}/log/search" => "?q=words",
                "/api/v1/jobs/{id}/log/group" => "?line=0",
                "/api/v1/results" => "?received=false",
                "/api/v1/webhook-secret" => "?url=https://example.org",
                _ => "",
            };
            format!("{}{query}", filled(&world, "GET", path, ""))
        }
    });
    let pages = ["/", "/people", "/tokens", "/audit", "/account", "/dead-letters", "/groups", "/search?q=words"];
    let pages = pages.iter().map(|page| (*page).to_owned());
    let of_builds = ["/pipelines/site".to_owned(), format!("/builds/{}", world.build)];
    for address in routes.chain(pages).chain(of_builds) {
        let seen = ada.send("GET", &address, "", "");
        assert!(seen.status < 500, "{address}: {} {}", seen.status, seen.text);
        let now = rows(server.data_dir());
        for (table, rows) in &before {
            assert_eq!(rows, &now[table], "GET {address} changed {table}");
        }
        asked += 1;
    }
    assert!(asked > 40, "{asked}");
    // What is written would be seen.
    assert_eq!(ada.json("POST", "/pipelines/site/builds", &json!({})).0, 202);
    let now = rows(server.data_dir());
    assert!(now["builds"] != before["builds"] && now["audit_log"] != before["audit_log"]);
}
