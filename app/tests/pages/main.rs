//! Pages as the server renders them: complete, in order, readable without scripts.
#![cfg(feature = "ssr")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod record;

use std::sync::Arc;

use app::{Assets, api::Backend, components::provider::Provider};
use leptos::prelude::*;
use leptos_router::location::RequestUrl;

use record::{Record, own};

/// The document that the server sends for a URL.
async fn page(url: &str, is_empty: bool) -> String {
    // The second test of the process finds it there.
    let _ = any_spawner::Executor::init_tokio();
    let owner = Owner::new_root(Some(Arc::new(hydration_context::SsrSharedContext::new())));
    let (meta, _output) = leptos_meta::ServerMetaContext::new();
    let url = url.to_owned();
    let rendered = reactive_graph::owner::Sandboxed::new({
        let owner = owner.clone();
        async move {
            let stream = owner.with(|| {
                let backend: Arc<dyn Backend> = Arc::new(Record { is_empty });
                provide_context(backend);
                provide_context(own());
                provide_context(Provider(record::PROVIDER.into()));
                provide_context(meta);
                provide_context(RequestUrl::new(&url));
                let assets =
                    Assets { js: "/a.js".into(), wasm: "/a.wasm".into(), parts: Vec::new(), css: "/a.css".into() };
                app::shell(assets).into_view().to_html_stream_in_order()
            });
            futures_util::StreamExt::collect::<Vec<String>>(stream).await.concat()
        }
    });
    let html = rendered.await;
    drop(owner);
    html
}

#[tokio::test]
async fn the_home_page_lists_pipelines_with_their_builds() {
    let html = page("http://x/", false).await;
    assert!(html.contains("Build &lt;the&gt; site"), "{html}");
    assert!(html.contains("#12 failed, 4.2 s") && html.contains("Nothing runs at the moment"));
    assert!(html.contains(r#"href="/builds/00000000-0000-0000-0000-000000000007""#));
}

#[tokio::test]
async fn an_empty_installation_shows_the_sample_and_one_button() {
    let html = page("http://x/", true).await;
    assert!(html.contains("Run the sample pipeline") && html.contains("name: sample"), "{html}");
    assert_eq!(html.matches("class=\"primary large").count(), 1);
}

#[tokio::test]
async fn a_pipeline_shows_its_form_and_its_text_as_text() {
    let html = page("http://x/pipelines/site", false).await;
    assert!(html.contains("What to build") && html.contains("required"), "{html}");
    assert!(!html.contains("<script>alert") && html.contains("&lt;script>alert(1)"), "{html}");
    assert!(html.contains("&amp;amp;"));
}

#[tokio::test]
async fn the_address_of_a_pipeline_says_which_builds_it_lists() {
    let html = page("http://x/pipelines/site?state=failed", false).await;
    assert!(
        html.contains("#12")
            && html.contains(r#"<a href="/pipelines/site?state=failed" data-noscroll aria-current="true""#),
        "{html}"
    );
    let html = page("http://x/pipelines/site?state=running", false).await;
    assert!(!html.contains("#12") && html.contains("No build of it runs at the moment."), "{html}");
}

#[tokio::test]
async fn a_build_reads_without_scripts_to_the_last_line_of_the_job_that_failed() {
    let html = page("http://x/builds/00000000-0000-0000-0000-000000000007", false).await;
    assert!(html.contains("exit code 101") && html.contains("85 ms"), "{html}");
    assert!(html.contains("20 Nov, 09:24:19 UTC") && html.contains("4.2 s"));
    assert!(html.contains("line-2499") && html.contains("line-2300") && !html.contains("line-2299"));
    assert!(html.contains("Lines 1 to 2,300 are in the raw log.") && html.contains("log.txt?attempt=2"));
    assert!(html.contains("&lt;b&gt;not bold&lt;/b&gt;") && html.contains(r#"class="f1""#));
}

#[tokio::test]
async fn the_log_of_a_job_that_went_well_reads_from_its_begin() {
    let html =
        page("http://x/builds/00000000-0000-0000-0000-000000000007?job=00000000-0000-0000-0000-000000000014", false)
            .await;
    assert!(html.contains("line-0") && html.contains("line-199") && !html.contains("line-200"));
    assert!(html.contains("Lines 201 to 2,500 are in the raw log."));
}

#[tokio::test]
async fn what_is_not_there_says_so() {
    let no_build = "builds/00000000-0000-0000-0000-000000000001";
    for path in ["nowhere", "pipelines/other", "pipelines/a%20b", "builds/12", no_build] {
        assert!(page(&format!("http://x/{path}"), false).await.contains("There is nothing here"), "{path}");
    }
}

#[tokio::test]
async fn signing_in_needs_no_scripts() {
    let html = page("http://x/sign-in", false).await;
    assert!(html.contains(r#"action="/sign-in""#) && html.contains(r#"name="token""#), "{html}");
    let html = page("http://x/sign-in?next=%2Fbuilds%2Fx%3Fjob%3D%22y", false).await;
    assert!(html.contains(r#"name="next" value="/builds/x?job=&quot;y""#), "{html}");
    assert!(html.contains(r#"name="name""#) && html.contains(r#"name="password""#), "{html}");
    let html = page("http://x/welcome?link=secret&wrong=taken&name=Ada%22", false).await;
    assert!(html.contains(r#"action="/welcome""#) && html.contains(r#"name="link" value="secret""#), "{html}");
    assert!(html.contains("Another account has this name") && html.contains(r#"value="Ada&quot;""#), "{html}");
}

#[tokio::test]
async fn the_way_to_the_provider_is_a_link_that_stands_first() {
    let html = page("http://x/sign-in?next=%2Fbuilds%2Fx%3Fjob%3D%22y", false).await;
    let (before, after) = html.split_once("Sign in with Te&lt;am&gt;").unwrap();
    assert!(before.contains(r#"href="/sign-in/openid?next=%2Fbuilds%2Fx%3Fjob%3D%22y""#), "{html}");
    assert!(!before.contains("<form class=\"sign-in\"") && after.contains(r#"name="password""#), "{html}");
    let html = page("http://x/sign-in?openid=stranger", false).await;
    assert!(html.contains("Te&lt;am&gt; knows you, but you have no account here"), "{html}");
    let html = page("http://x/sign-in?openid=not_now&reason=%3Cb%3E", false).await;
    assert!(html.contains("Te&lt;am&gt; could not sign you in.") && !html.contains("Its reason"), "{html}");
    let html = page("http://x/welcome?invitation=a%26b", false).await;
    assert!(html.contains(r#"href="/sign-in/openid?invitation=a%26b""#), "{html}");
    assert!(html.contains("Accept with Te&lt;am&gt;"), "{html}");
    let html = page("http://x/account?openid=password", false).await;
    assert!(html.contains("Link Te&lt;am&gt;") && html.contains(r#"action="/account/openid""#), "{html}");
    assert!(html.contains("The password is not right."), "{html}");
    let html = page("http://x/people", false).await;
    assert!(html.contains(", by password or Te&lt;am&gt;"), "{html}");
}

#[tokio::test]
async fn executors_are_shown_with_what_they_run_and_those_that_are_gone_apart() {
    let html = page("http://x/executors", false).await;
    assert!(html.contains("1 of 4 in use") && html.contains("1 of 4 slots in use"), "{html}");
    assert!(html.contains("site #12 · check &lt;unit&gt;") && html.contains("attempt 2"), "{html}");
    let job = "/builds/00000000-0000-0000-0000-000000000007?job=00000000-0000-0000-0000-000000000014";
    assert!(html.contains(job) && html.contains("<li>gpu</li>"), "{html}");
    let (_, gone) = html.split_once("Not heard any more").unwrap();
    let (gone, _) = gone.split_once("Start one").unwrap();
    assert!(gone.contains("left") && gone.contains("20 Nov, 09:24:19 UTC") && !gone.contains("here"), "{gone}");
}

#[tokio::test]
async fn without_executors_the_page_says_how_one_is_started() {
    let html = page("http://x/executors", true).await;
    assert!(html.contains("No executor is running") && html.contains("--roles executor --broker"), "{html}");
    assert!(html.contains("gone absent"));
}

#[tokio::test]
async fn gateways_are_shown_with_their_workers_and_the_sums() {
    let html = page("http://x/gateways", false).await;
    assert!(html.contains("2,000 sockets, 6 topics") && html.contains("north-1"), "{html}");
    assert!(html.contains("alive") && html.contains("last heard"), "{html}");
}

#[tokio::test]
async fn a_pipeline_shows_its_statistics_or_that_there_are_none() {
    let html = page("http://x/pipelines/site", false).await;
    assert!(html.contains("4 builds in the last 1 days: 75 % succeeded") && html.contains("<svg viewBox"), "{html}");
    let html = page("http://x/pipelines/site", true).await;
    assert!(html.contains("No finished builds yet.") && !html.contains("<svg viewBox=\"0 0 600"), "{html}");
}

#[tokio::test]
async fn consumer_groups_are_shown_with_who_reads_for_them() {
    let html = page("http://x/groups", false).await;
    let (analytics, recorder) = html.split_once(">recorder<").unwrap();
    assert!(
        analytics.contains("failing: it cannot &lt;be&gt; read") && analytics.contains("Rebuild: analytics"),
        "{html}"
    );
    assert!(recorder.contains("1,234") && recorder.contains("Read by north; south may take over."), "{recorder}");
    assert!(recorder.contains("Pause: recorder") && !recorder.contains("Rebuild"), "{recorder}");
}

#[tokio::test]
async fn hits_of_a_search_are_shown_with_their_matches_and_lead_to_their_lines() {
    let html = page("http://x/search?q=needle", false).await;
    assert!(html.contains("<mark>needle</mark>") && html.contains(r##"href="/builds/7?job=20#L120""##), "{html}");
    assert!(html.contains("a &lt;") && html.contains("1,200 events behind"), "{html}");
    let html = page("http://x/search?q=needle", true).await;
    assert!(!html.contains("<mark>"), "{html}");
}

#[tokio::test]
async fn dead_letters_are_shown_with_their_reasons_and_those_that_were_decided_on_apart() {
    let html = page("http://x/dead-letters", false).await;
    let (open, settled) = html.split_once("Decided on").unwrap();
    assert!(open.contains("Not JSON") && open.contains("from the queue control") && open.contains("2 open"), "{open}");
    assert!(
        open.contains("reason &lt;1&gt;") && open.contains("2 times") && open.contains("Message, 8 bytes"),
        "{open}"
    );
    assert!(open.contains("Job given up") && open.contains("site #12"), "{open}");
    assert!(settled.contains("reason &lt;3&gt;") && settled.contains("Discarded "), "{settled}");
    assert!(open.contains("Retry: Not JSON") && !settled.contains("Retry: "), "{settled}");
    let empty = page("http://x/dead-letters", true).await;
    assert!(empty.contains("There are none."), "{empty}");
}

#[tokio::test]
async fn people_tokens_and_the_audit_log_are_told_in_words_and_names_are_text() {
    let html = page("http://x/people", false).await;
    assert!(
        html.contains("admin everywhere") && html.contains("builder of site") && html.contains("For &lt;Grace&gt;"),
        "{html}"
    );
    let html = page("http://x/tokens", false).await;
    assert!(
        html.contains("ci &lt;i&gt;") && html.contains("made without an account") && html.contains("ended<"),
        "{html}"
    );
    let html = page("http://x/audit?name=Ada+L&action=build_cancelled", false).await;
    assert!(html.contains("<b>build cancelled</b>") && html.contains("Account &lt;Eve&gt;."), "{html}");
    assert!(html.contains("/audit?name=Ada%20L&amp;action=build_cancelled&amp;before=7"), "{html}");
    assert!(
        html.contains("/api/v1/audit?name=Ada%20L&amp;action=build_cancelled&amp;limit=1000&amp;format=ndjson"),
        "{html}"
    );
    let html = page("http://x/audit?action=nonsense", false).await;
    assert!(html.contains("The action in the address is not one"), "{html}");
    for name in ["people", "tokens", "audit", "account"] {
        let html = page(&format!("http://x/{name}"), false).await;
        assert!(!html.contains("Ada <b>") && !html.contains("<i>"), "{name}: {html}");
    }
}
