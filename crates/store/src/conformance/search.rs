//! The search index: every store finds the same of the same logs and builds.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;
use wire::{
    ArtifactId, BuildId, Event, JobId, LogLine, Outcome, Topic,
    search::{Found, SearchHit, SearchKind, SearchPage, SearchQuery},
};

use super::{
    Fixture,
    samples::{LONG, build, claim, create, granted, job, line, log, message, record, requeue},
};
use crate::{
    Store,
    model::{Announcement, Build, BuildState, JobState, retention::Deletion},
    search::{IndexBatch, wanted::Wanted},
};

/// A build whose one job runs.
struct Running {
    build: BuildId,
    job: JobId,
}

async fn running(store: &dyn Store, pipeline: &str, inputs: &[(&str, &str)]) -> Running {
    let mut new = build(pipeline, vec![job("check")]);
    new.build.inputs =
        inputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>();
    let build = create(store, new).await.id;
    let job = granted(store, &claim("linux", LONG)).await.job;
    Running { build, job }
}

/// Lines from `first` on, as the record has them and the index does not yet.
async fn print(store: &dyn Store, job: JobId, attempt: u32, (offset, first): (u64, u64), texts: &[&str]) {
    let lines = (first..).zip(texts).map(|(n, text)| line(n, text)).collect();
    let recording = record(store, 1, vec![log(job, attempt, offset, lines)]).await;
    assert!(recording.refused.is_empty(), "{recording:?}");
}

/// Tells the index of a build and an attempt of its job.
async fn index(store: &dyn Store, offset: u64, of: &Running, attempt: u32) {
    let (builds, attempts) = (BTreeSet::from([of.build]), BTreeSet::from([(of.job, attempt)]));
    let batch = IndexBatch { group: "search".to_owned(), incarnation: Uuid::nil(), offset, builds, attempts };
    store.index(batch).await.unwrap();
}

fn asked(q: &str) -> SearchQuery {
    SearchQuery { q: q.to_owned(), ..SearchQuery::default() }
}

async fn search(store: &dyn Store, query: &SearchQuery) -> SearchPage {
    let page = store
        .search(
            &Wanted::parse(&query.q).unwrap(),
            query,
            &wire::authority::Grants::everywhere(wire::authority::Role::Viewer),
        )
        .await
        .unwrap();
    assert!(!page.stopped);
    page
}

/// The numbers of the lines that are found, and where.
async fn found(store: &dyn Store, q: &str) -> Vec<u64> {
    search(store, &asked(q)).await.hits.iter().filter_map(n).collect()
}

fn n(hit: &SearchHit) -> Option<u64> {
    match hit.found {
        Found::Log { n, .. } => Some(n),
        Found::Build { .. } => None,
    }
}

/// Who sees some pipelines finds, and is led on, as if there were no others; who sees none finds nothing.
pub async fn search_tells_nothing_of_what_may_not_be_seen(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    for (offset, pipeline) in (0..).zip(["site", "other", "site", "other", "docs", "site"]) {
        let running = running(&*store, pipeline, &[]).await;
        print(&*store, running.job, 1, (0, 0), &["needle in it"]).await;
        index(&*store, offset, &running, 1).await;
    }
    let grants = |names: &[&str]| {
        let names = names.iter().map(|name| name.parse().unwrap());
        wire::authority::Grants::in_pipelines(wire::authority::Role::Viewer, names)
    };
    let all = wire::authority::Grants::everywhere(wire::authority::Role::Viewer);
    let look = async |seen_by: &wire::authority::Grants, pipeline: Option<&str>, before: Option<&str>| {
        let before = before.map(|before| before.parse().unwrap());
        let pipeline = pipeline.map(|name| name.parse().unwrap());
        let query = SearchQuery { pipeline, before, limit: Some(1), ..asked("needle") };
        let page = store.search(&Wanted::parse("needle").unwrap(), &query, seen_by).await.unwrap();
        let hits: Vec<String> = page.hits.iter().map(|hit| hit.pipeline.to_string()).collect();
        (hits, page.next, page.stopped)
    };
    // Page by page the same as who sees all is told of that pipeline alone.
    let (mut next, mut pages) = (None, 0);
    loop {
        let page = look(&grants(&["site"]), None, next.as_deref()).await;
        assert_eq!(page, look(&all, Some("site"), next.as_deref()).await);
        assert_eq!(page.0, ["site"]);
        pages += 1;
        next = page.1;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(pages, 3);
    assert_eq!(look(&grants(&["site", "docs"]), Some("docs"), None).await, (vec!["docs".to_owned()], None, false));
    assert_eq!(look(&grants(&["site", "nowhere"]), None, None).await, look(&all, Some("site"), None).await);
    for (seen_by, pipeline) in [(grants(&["site"]), Some("other")), (grants(&["nowhere"]), None), (grants(&[]), None)] {
        assert_eq!(look(&seen_by, pipeline, None).await, (Vec::new(), None, false), "{seen_by:?}");
    }
}

/// Lines of two builds, with colours, paths, names in camel case, letters of other scripts, and very long ones.
pub async fn search_finds_lines_by_words_phrases_and_prefixes(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let of = running(&*store, "site", &[]).await;
    let long = format!("{} beginning {} unreachable", "x".repeat(300), "y".repeat(5_000));
    let hash = "0123456789abcdef".repeat(4);
    let texts = [
        "\u{1b}[1;31mERROR\u{1b}[0m db: connection refused by 10.0.0.7:5432",
        "warning: unused variable `conn` in src/net/pool.rs:12",
        "java.net.SocketTimeoutException: größeÄnderung",
        "再構築しました",
        long.as_str(),
        hash.as_str(),
        "it's a 'quoted' \\word & \"more\" | !not <-> 100% $1 ?1",
        "connection accepted; nothing refused: no ERROR here",
        "nul \0 in it",
    ];
    print(&*store, of.job, 1, (0, 0), &texts).await;
    index(&*store, 1, &of, 1).await;
    for (q, lines) in [
        ("error", vec![7, 0]),
        ("ERROR refused", vec![7, 0]),
        ("\"connection refused\"", vec![0]),
        ("conn", vec![1]),
        ("conn*", vec![7, 1, 0]),
        ("src/net/pool.rs", vec![1]),
        ("pool", vec![1]),
        ("31m", vec![]),
        ("1", vec![6]),
        ("timeout", vec![2]),
        ("sockettimeoutexception", vec![2]),
        ("änderung", vec![2]),
        ("GRÖS*", vec![]),
        ("grö*", vec![2]),
        ("構築", vec![3]),
        ("beginning", vec![4]),
        ("unreachable", vec![]),
        (hash.as_str(), vec![5]),
        ("0123456789ab*", vec![5]),
        ("\"it's a quoted\"", vec![6]),
        ("'quoted'", vec![6]),
        ("nul in", vec![8]),
        ("refused by nobody", vec![]),
        ("error pool", vec![]),
    ] {
        assert_eq!(found(&*store, q).await, lines, "{q}");
    }
    let hits = search(&*store, &asked("error")).await.hits;
    let first = &hits[1];
    assert_eq!(first.text, "ERROR db: connection refused by 10.0.0.7:5432");
    assert_eq!((first.ranges.as_slice(), first.number, first.pipeline.as_str()), (&[(0, 5)][..], 1, "site"));
    assert_eq!(first.url, format!("/builds/{}?job={}#L1", of.build, of.job));
    let Found::Log { job_name, attempt: 1, earlier: false, .. } = &first.found else { panic!("{first:?}") };
    assert_eq!(job_name, "check");
    let long = &search(&*store, &asked("beginning")).await.hits[0];
    assert_eq!((long.text.chars().count(), long.ranges.as_slice()), (256, &[(64, 73)][..]));
    // Of another pipeline, or kind, there is none.
    let other = SearchQuery { pipeline: Some("other".parse().unwrap()), ..asked("error") };
    assert_eq!(search(&*store, &other).await, SearchPage::default());
    let builds = SearchQuery { kind: Some(SearchKind::Build), ..asked("error") };
    assert_eq!(search(&*store, &builds).await, SearchPage::default());
    let own = SearchQuery { pipeline: Some("site".parse().unwrap()), kind: Some(SearchKind::Log), ..asked("error") };
    assert_eq!(search(&*store, &own).await.hits.len(), 2);
}

/// Pipeline, number, inputs, jobs, artifacts and outcome.
pub async fn search_finds_builds_by_what_is_known_of_them(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let of = running(&*store, "web-site", &[("ref", "feature/log-search")]).await;
    index(&*store, 1, &of, 1).await;
    let fields = async |q: &str| -> Vec<(String, String)> {
        let hits = search(&*store, &asked(q)).await.hits;
        hits.into_iter()
            .filter_map(|hit| match hit.found {
                Found::Build { field } => Some((field, hit.text)),
                Found::Log { .. } => None,
            })
            .collect()
    };
    let one = |field: &str, text: &str| vec![(field.to_owned(), text.to_owned())];
    assert_eq!(fields("web-site").await, one("pipeline", "web-site"));
    assert_eq!(fields("feature/log-search").await, one("input", "ref=feature/log-search"));
    assert_eq!(fields("#1").await, one("number", "#1"));
    assert_eq!(fields("check").await, one("job", "check"));
    assert_eq!(fields("failed").await, [], "it runs");
    end(&*store, &of, Outcome::Failed).await;
    let event = Event::Artifact {
        artifact: ArtifactId(Uuid::now_v7()),
        name: "dist/site.tgz".to_owned(),
        size: 1,
        sha256: "s".to_owned(),
    };
    record(&*store, 2, vec![message(Topic::Job(of.job), 1, 0, &event)]).await;
    index(&*store, 2, &of, 1).await;
    assert_eq!(fields("failed").await, one("outcome", "failed"));
    assert_eq!(fields("site.tgz").await, one("artifact", "dist/site.tgz"));
    let both = search(&*store, &asked("site failed")).await.hits;
    assert_eq!(both.len(), 3, "the pipeline, the outcome and the artifact: {both:?}");
    assert_eq!(both[0].url, format!("/builds/{}", of.build));
    assert_eq!(fields("site succeeded").await, []);
}

async fn end(store: &dyn Store, of: &Running, outcome: Outcome) {
    let job = of.job;
    let end = move |build: &mut Build, now| {
        build.state = BuildState::Finished { outcome, since: None, until: now };
        build.jobs[0].state =
            JobState::Finished { outcome, executor: None, since: None, until: now, reason: None, last_offset: None };
        let attempt = build.jobs[0].attempt;
        let event = Event::JobFinished { job, attempt, outcome, last_offset: None, reason: None };
        Ok(vec![Announcement::Event(event)])
    };
    store.change_build(of.build, Box::new(end)).await.unwrap();
}

/// Newest first; what is printed while someone reads on stands on none of the pages behind.
pub async fn search_tells_pages_that_new_builds_do_not_move(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let (one, other) = (running(&*store, "p", &[]).await, running(&*store, "p", &[]).await);
    let texts: Vec<String> = (0..150).map(|n| format!("needle {n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    print(&*store, one.job, 1, (0, 0), &texts).await;
    index(&*store, 1, &one, 1).await;
    print(&*store, other.job, 1, (0, 0), &texts[..10]).await;
    index(&*store, 2, &other, 1).await;
    let (mut told, mut query) = (Vec::new(), SearchQuery { limit: Some(7), ..asked("needle") });
    loop {
        let page = search(&*store, &query).await;
        assert!(page.hits.len() <= 7);
        told.extend(page.hits.iter().map(|hit| (hit.build, n(hit).unwrap())));
        let Some(next) = page.next else { break };
        assert_eq!(page.hits.len(), 7);
        query.before = Some(next.parse().unwrap());
        let newer = running(&*store, "p", &[]).await;
        print(&*store, newer.job, 1, (0, 0), &["needle of a newer build"]).await;
        index(&*store, 3, &newer, 1).await;
    }
    let expected: Vec<_> =
        (0..10).rev().map(|n| (other.build, n)).chain((0..150).rev().map(|n| (one.build, n))).collect();
    assert_eq!(told, expected);
}

/// Those that are over are marked, for their page shows the last one.
pub async fn search_finds_all_attempts_of_a_job(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let of = running(&*store, "p", &[]).await;
    print(&*store, of.job, 1, (0, 0), &["needle one"]).await;
    index(&*store, 1, &of, 1).await;
    requeue(&*store, of.build, of.job).await;
    assert_eq!(granted(&*store, &claim("linux", LONG)).await.job, of.job);
    print(&*store, of.job, 2, (0, 0), &["nothing", "needle two"]).await;
    index(&*store, 2, &of, 2).await;
    let hits = search(&*store, &asked("needle")).await.hits;
    let marks: Vec<_> = hits
        .iter()
        .map(|hit| match &hit.found {
            Found::Log { attempt, earlier, n, .. } => (*attempt, *earlier, *n, hit.url.clone()),
            Found::Build { .. } => panic!("{hit:?}"),
        })
        .collect();
    let last = format!("/builds/{}?job={}#L2", of.build, of.job);
    let first = format!("/api/v1/jobs/{}/log.txt?attempt=1", of.job);
    assert_eq!(marks, [(2, false, 1, last), (1, true, 0, first)]);
}

/// A line without an end is not searched, and what stands behind it waits for it; not for ever.
pub async fn search_finds_a_line_once_it_has_its_end(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let of = running(&*store, "p", &[]).await;
    let open = |text: &str| LogLine { open: true, ..line(1, text) };
    record(&*store, 1, vec![log(of.job, 1, 0, vec![line(0, "needle"), open("needle 50%"), line(2, "needle")])]).await;
    index(&*store, 1, &of, 1).await;
    assert_eq!(found(&*store, "needle").await, [0]);
    record(&*store, 2, vec![log(of.job, 1, 1, vec![line(1, "needle 100%")])]).await;
    index(&*store, 2, &of, 1).await;
    assert_eq!(found(&*store, "needle").await, [2, 1, 0]);
    let open = LogLine { open: true, ..line(3, "a prompt that stays") };
    let many: Vec<LogLine> = (4..1_200).map(|n| line(n, if n == 1_100 { "haystack" } else { "x" })).collect();
    record(&*store, 3, vec![log(of.job, 1, 2, [vec![open], many].concat())]).await;
    index(&*store, 3, &of, 1).await;
    assert_eq!(found(&*store, "haystack").await, [1_100]);
    assert_eq!(found(&*store, "prompt").await, [3]);
}

/// Lines come in many small batches, each told twice, before and after a kill: each is found once, at its number, and the
/// group's place is kept with them.
pub async fn p5_what_is_indexed_again_is_found_once(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let of = running(&*store, "p", &[]).await;
    for batch in 0..40_u64 {
        let texts: Vec<String> = (0..5).map(|n| format!("needle{} common", batch * 5 + n)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        print(&*store, of.job, 1, (batch, batch * 5), &texts).await;
        if batch != 7 {
            index(&*store, batch, &of, 1).await;
        }
    }
    assert_eq!(store.group_place("search").await.unwrap(), Some((Uuid::nil(), 39)));
    let store = fixture.after_kill().await;
    index(&*store, 39, &of, 1).await;
    assert_eq!(store.group_place("search").await.unwrap(), Some((Uuid::nil(), 39)));
    for n in 0..200 {
        assert_eq!(found(&*store, &format!("needle{n} common")).await, [n]);
    }
    let all = search(&*store, &SearchQuery { limit: Some(200), ..asked("common") }).await;
    assert_eq!(all.hits.iter().filter_map(n).collect::<Vec<_>>(), (0..200).rev().collect::<Vec<_>>());
    // A batch of a build that is not there, and of an attempt that never was.
    let nowhere = Running { build: BuildId(Uuid::now_v7()), job: JobId(Uuid::now_v7()) };
    index(&*store, 40, &nowhere, 3).await;
    assert_eq!(store.group_place("search").await.unwrap(), Some((Uuid::nil(), 40)));
}

/// At once, and what it leaves in the index is swept with the rest; what comes late brings nothing back.
pub async fn search_finds_nothing_of_a_deleted_build(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let (gone, stays) = (running(&*store, "p", &[]).await, running(&*store, "p", &[]).await);
    let texts = vec!["needle in a haystack"; 20_000];
    print(&*store, gone.job, 1, (0, 0), &texts).await;
    print(&*store, stays.job, 1, (0, 0), &["needle"]).await;
    for of in [&gone, &stays] {
        index(&*store, 1, of, 1).await;
    }
    assert_eq!(found(&*store, "needle haystack").await.len(), 50);
    end(&*store, &gone, Outcome::Failed).await;
    let done =
        Event::JobFinished { job: gone.job, attempt: 1, outcome: Outcome::Failed, last_offset: Some(0), reason: None };
    record(&*store, 2, (0..3).map(|offset| message(Topic::Build(gone.build), 1, offset, &done)).collect()).await;
    assert_eq!(store.delete_build(gone.build, None).await.unwrap(), Deletion::Done);
    assert_eq!(found(&*store, "needle").await, [0]);
    let mut steps = 0;
    while store.sweep().await.unwrap().more {
        steps += 1;
    }
    assert!(steps > 2, "{steps} steps for 313 blocks");
    index(&*store, 3, &gone, 1).await;
    assert_eq!(search(&*store, &asked("needle")).await.hits.len(), 1);
    let of_build = SearchQuery { kind: Some(SearchKind::Build), ..asked("p") };
    assert_eq!(search(&*store, &of_build).await.hits.iter().map(|hit| hit.build).collect::<Vec<_>>(), [stays.build]);
}

/// Emptied in steps and made of the record, also where both were broken off; builds from the oldest to the newest.
pub async fn an_index_made_of_the_record_finds_the_same(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    assert!(!store.index_is_whole().await.unwrap(), "a new one, and one of a former Stepcast");
    let mut all = Vec::new();
    for number in 0..20_u64 {
        let of = running(&*store, "p", &[("ref", &format!("branch{number}"))]).await;
        let texts: Vec<String> = (0..200).map(|n| format!("needle of {number} at {n}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        print(&*store, of.job, 1, (0, 0), &texts).await;
        all.push(of);
    }
    let told = async |store: &dyn Store| {
        let mut told = Vec::new();
        for q in ["at 150", "\"needle of 3 at 7\"", "branch11", "needle of 19 at 199", "p 7"] {
            told.push(search(store, &asked(q)).await.hits);
        }
        told
    };
    for of in &all {
        index(&*store, 1, of, 1).await;
    }
    store.index_made_whole().await.unwrap();
    let before = told(&*store).await;
    assert_eq!(before.iter().map(Vec::len).collect::<Vec<_>>(), [20, 1, 1, 1, 2]);
    assert!(store.empty_index().await.unwrap());
    assert!(!store.index_is_whole().await.unwrap());
    while store.empty_index().await.unwrap() {}
    assert_eq!(found(&*store, "needle").await, [0; 0]);
    let after = store.index_record(None).await.unwrap().expect("there are builds");
    let store = fixture.after_kill().await;
    assert!(!store.index_is_whole().await.unwrap());
    // It is not known any more how far it came.
    assert_eq!(store.index_record(None).await.unwrap(), Some(after));
    let mut after = Some(after);
    while let Some((place, _)) = after {
        after = store.index_record(Some(place)).await.unwrap();
    }
    store.index_made_whole().await.unwrap();
    assert!(store.index_is_whole().await.unwrap());
    assert_eq!(told(&*store).await, before);
}
