//! Pages as the server renders them: complete, in order, readable without scripts.
#![cfg(feature = "ssr")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{collections::BTreeMap, sync::Arc};

use app::{
    Assets,
    api::{Backend, BoxFuture},
};
use leptos::prelude::*;
use leptos_router::location::RequestUrl;
use wire::{
    BuildId, JobId, LogLine, Outcome, PipelineName, Position, Problem, Timestamp,
    command::BuildsQuery,
    dead_letter::{Cause, DeadLetterOrigin, DeadLetterState, DeadLetterView, DeadLettersPage},
    group::{GroupState, GroupView},
    log::RecordedLine,
    search::{Found, SearchHit, SearchPage, SearchQuery},
    statistics::{DayStats, Ends, StatsView},
    view::{
        BuildSummary, BuildView, ExecutorView, GatewayView, InstallationView, JobView, LogPage, PipelineSummary,
        PipelineView, RunningJob, State, StepView, WorkerView,
    },
};

const LINES: u64 = 2_500;

/// One pipeline with one failed build of two jobs; or nothing at all.
struct Record {
    is_empty: bool,
}

fn build_id() -> BuildId {
    BuildId(uuid::Uuid::from_u128(7))
}

fn summary() -> BuildSummary {
    BuildSummary {
        id: build_id(),
        number: 12,
        pipeline: "site".parse().unwrap(),
        state: State::Finished,
        outcome: Some(Outcome::Failed),
        queued_at: Timestamp(1_763_630_659_000_000),
        started_at: Some(Timestamp(1_763_630_660_000_000)),
        finished_at: Some(Timestamp(1_763_630_664_250_000)),
        jobs_finished: 2,
        jobs_total: 2,
    }
}

fn view() -> BuildView {
    let step = StepView {
        step: 0,
        name: "compile".into(),
        command: "cargo build\ncargo doc".into(),
        state: State::Finished,
        outcome: Some(Outcome::Failed),
        exit_code: Some(101),
        reason: None,
        started_at: Some(Timestamp(1)),
        finished_at: Some(Timestamp(85_001)),
        first_line: Some(0),
    };
    let job = |n: u128, name: &str, outcome, attempt: u32, steps| JobView {
        id: JobId(uuid::Uuid::from_u128(n)),
        name: name.into(),
        needs: Vec::new(),
        condition: wire::pipeline::Condition::Success,
        labels: wire::LabelSet::default(),
        state: State::Finished,
        outcome: Some(outcome),
        attempt,
        attempts: 1,
        priority: 0,
        lost_attempts: 3,
        lost: Vec::new(),
        waiting_for: None,
        reason: None,
        executor: Some("here".into()),
        isolation: None,
        queued_at: None,
        started_at: Some(Timestamp(0)),
        finished_at: Some(Timestamp(4_000_000)),
        position: Some(Position { epoch: attempt, offset: 9 }),
        lines: if attempt > 0 { LINES } else { 0 },
        sealed: true,
        unrecorded: 0,
        steps,
        artifacts: Vec::new(),
    };
    BuildView {
        summary: summary(),
        inputs: BTreeMap::from([("ref".into(), "main".into())]),
        cancelling: false,
        position: Position { epoch: 1, offset: 5 },
        jobs: vec![
            job(20, "lint", Outcome::Succeeded, 1, Vec::new()),
            job(21, "compile", Outcome::Failed, 2, vec![step]),
        ],
        reply: None,
    }
}

impl Backend for Record {
    fn pipelines(&self) -> BoxFuture<'_, Result<Vec<PipelineSummary>, Problem>> {
        let site = PipelineSummary {
            name: "site".parse().unwrap(),
            description: "Build <the> site".into(),
            needs_inputs: false,
            builds: vec![summary()],
        };
        let all = if self.is_empty { Vec::new() } else { vec![site] };
        Box::pin(async { Ok(all) })
    }

    fn pipeline(&self, name: PipelineName) -> BoxFuture<'_, Result<Option<PipelineView>, Problem>> {
        let yaml = "name: site\n# </textarea><script>alert(1)</script> &amp;\n".to_owned();
        let input = wire::pipeline::InputSpec {
            name: "ref".into(),
            kind: Default::default(),
            default: None,
            description: "What to build".into(),
        };
        let (description, updated_at) = ("Build the site".into(), Timestamp(0));
        let known = name.as_str() == "site";
        let view = PipelineView {
            name,
            description,
            revision: 1,
            inputs: vec![input],
            yaml,
            updated_at,
            warnings: Vec::new(),
        };
        Box::pin(async move { Ok(known.then_some(view)) })
    }

    fn builds(&self, query: BuildsQuery) -> BoxFuture<'_, Result<Vec<BuildSummary>, Problem>> {
        let is_other = query.state.is_some() || query.before.is_some() || query.after.is_some();
        let all = if is_other { Vec::new() } else { vec![summary()] };
        Box::pin(async { Ok(all) })
    }

    fn not_received(&self) -> BoxFuture<'_, Result<Vec<BuildSummary>, Problem>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn build(&self, id: BuildId) -> BoxFuture<'_, Result<Option<BuildView>, Problem>> {
        Box::pin(async move { Ok((id == build_id()).then(view)) })
    }

    fn log(&self, _: JobId, attempt: Option<u32>, from: u64, limit: u32) -> BoxFuture<'_, Result<LogPage, Problem>> {
        let line = |n: u64| {
            let text = format!("\u{1b}[31mline-{n}\u{1b}[0m <b>not bold</b>");
            RecordedLine {
                step: 0,
                line: LogLine { n, t: Timestamp(0), text, open: false, split: false, err: false, note: false },
                missing: false,
            }
        };
        let lines = (from..LINES.min(from + u64::from(limit))).map(line).collect();
        let attempt = attempt.unwrap_or(1);
        let position = Some(Position { epoch: attempt, offset: 9 });
        Box::pin(async move { Ok(LogPage { attempt, total: LINES, position, sealed: true, lines }) })
    }

    fn statistics(&self, _: PipelineName) -> BoxFuture<'_, Result<StatsView, Problem>> {
        let builds = Ends { succeeded: 3, failed: 1, ..Ends::default() };
        let day = DayStats { day: "2026-11-28".into(), builds, ..DayStats::default() };
        let stats = StatsView { days: vec![day], builds, ..StatsView::default() };
        Box::pin(async move { Ok(if self.is_empty { StatsView::default() } else { stats }) })
    }

    fn groups(&self) -> BoxFuture<'_, Result<Vec<GroupView>, Problem>> {
        let group = |name: &str, can_rebuild| GroupView {
            name: name.into(),
            offset: Some(1_234),
            lag: 56,
            active: Some("north".into()),
            members: vec!["north".into(), "south".into()],
            can_rebuild,
            ..GroupView::default()
        };
        let failing = GroupView {
            state: GroupState::Failing,
            reason: Some("it cannot <be> read".into()),
            ..group("analytics", true)
        };
        let groups = vec![failing, group("recorder", false)];
        Box::pin(async { Ok(groups) })
    }

    fn search(&self, query: SearchQuery) -> BoxFuture<'_, Result<SearchPage, Problem>> {
        let found = Found::Log {
            job: JobId(uuid::Uuid::from_u128(20)),
            job_name: "lint".into(),
            attempt: 1,
            earlier: false,
            n: 119,
        };
        let hit = SearchHit {
            build: build_id(),
            pipeline: "site".parse().unwrap(),
            number: 12,
            found,
            text: format!("a <{}> here", query.q),
            ranges: vec![(3, 9)],
            url: "/builds/7?job=20#L120".into(),
        };
        let hits = if self.is_empty { Vec::new() } else { vec![hit] };
        Box::pin(async { Ok(SearchPage { hits, behind: 1_200, ..SearchPage::default() }) })
    }

    fn dead_letters(&self) -> BoxFuture<'_, Result<DeadLettersPage, Problem>> {
        let letter = |n: u128, cause, state| DeadLetterView {
            id: wire::DeadLetterId(uuid::Uuid::from_u128(n)),
            message_id: uuid::Uuid::from_u128(n + 100),
            cause,
            reason: format!("reason <{n}>"),
            deaths: 2,
            first_at: Timestamp(1_763_630_659_000_000),
            died_at: Timestamp(1_763_630_659_000_000),
            origin: (cause != Cause::JobLost)
                .then(|| DeadLetterOrigin { exchange: String::new(), key: "control".into() }),
            content_type: "text/plain".into(),
            correlation_id: None,
            size: 8,
            build: (cause == Cause::JobLost).then(build_id),
            pipeline: (cause == Cause::JobLost).then(|| "site".parse().unwrap()),
            number: (cause == Cause::JobLost).then_some(12),
            job: None,
            state,
            settled_by: (state != DeadLetterState::Open).then(|| "token:a".into()),
            settled_at: (state != DeadLetterState::Open).then_some(Timestamp(1_763_630_660_000_000)),
            not_retriable: None,
        };
        let open =
            vec![letter(1, Cause::NotJson, DeadLetterState::Open), letter(2, Cause::JobLost, DeadLetterState::Open)];
        let settled = vec![letter(3, Cause::Refused, DeadLetterState::Discarded)];
        let page = DeadLettersPage { open_total: 2, open, settled };
        Box::pin(async move { Ok(if self.is_empty { DeadLettersPage::default() } else { page }) })
    }

    fn installation(&self) -> BoxFuture<'_, Result<InstallationView, Problem>> {
        let job = JobId(uuid::Uuid::from_u128(20));
        let executor = |n: u128, name: &str, alive: bool, jobs: Vec<RunningJob>| ExecutorView {
            id: wire::ExecutorId(uuid::Uuid::from_u128(n)),
            name: name.into(),
            labels: wire::LabelSet::new(["gpu".to_owned(), "linux".to_owned()]).unwrap(),
            slots: 4,
            isolation: wire::Isolation::Plain,
            heard_at: Timestamp(1_763_630_659_000_000),
            alive,
            running: jobs.iter().map(|job| job.id).collect(),
            jobs,
        };
        let runs = RunningJob {
            id: job,
            name: "check <unit>".into(),
            attempt: 2,
            started_at: Timestamp(0),
            build: build_id(),
            pipeline: "site".parse().unwrap(),
            number: 12,
        };
        let executors = vec![executor(1, "here", true, vec![runs]), executor(2, "left", false, Vec::new())];
        let executors = if self.is_empty { Vec::new() } else { executors };
        let worker = |n: usize| WorkerView {
            server_id: wire::ServerId::new("north", n).unwrap(),
            sockets: 1_000,
            topics: 3,
            queue_length: 0,
            restarts: 0,
        };
        let (workers, heard_at) = (vec![worker(0), worker(1)], Timestamp(1_763_630_659_000_000));
        let gateway = GatewayView { instance: "north".into(), workers, heard_at, alive: true };
        let gone = GatewayView { instance: "south".into(), workers: Vec::new(), heard_at, alive: false };
        Box::pin(async { Ok(InstallationView { executors, gateways: vec![gateway, gone] }) })
    }
}

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
