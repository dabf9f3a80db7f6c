//! What the pages of the tests are made of: one pipeline with one failed build of two jobs, and what stands around it.

use std::collections::BTreeMap;

use app::api::{Backend, BoxFuture};
use wire::{
    BuildId, JobId, LogLine, Outcome, PipelineName, Position, Problem, Timestamp,
    account::{AccountView, InvitationView, OwnView, SignsIn, TokenView},
    audit::{Action, AuditEntry, AuditQuery},
    authority::{Grants, Role},
    command::BuildsQuery,
    dead_letter::{Cause, DeadLetterOrigin, DeadLetterState, DeadLetterView, DeadLettersPage},
    group::{GroupState, GroupView},
    hook::{HookView, Provider},
    log::RecordedLine,
    pipeline::OnSpec,
    search::{Found, SearchHit, SearchPage, SearchQuery},
    secret::{SecretView, SecretsView},
    statistics::{DayStats, Ends, StatsView},
    trigger::{HookEvent, Pushed, TriggeredBy},
    view::{
        BuildSummary, BuildView, ExecutorView, GatewayView, InstallationView, JobView, LogPage, PipelineSummary,
        PipelineView, RunningJob, State, StepView, WorkerView,
    },
};

pub(crate) const LINES: u64 = 2_500;

/// One pipeline with one failed build of two jobs; or nothing at all.
pub(crate) struct Record {
    pub(crate) is_empty: bool,
}

pub(crate) fn build_id() -> BuildId {
    BuildId(uuid::Uuid::from_u128(7))
}

pub(crate) fn summary() -> BuildSummary {
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
        triggered_by: Some("push to main".into()),
    }
}

fn pushed() -> Pushed {
    Pushed {
        provider: Provider::Github,
        event: HookEvent::Push,
        reference: "main".into(),
        commit: "0123456789abcdef0123456789abcdef01234567".into(),
        repository: "me/site".into(),
        pull_request: None,
        by: Some("octocat".into()),
    }
}

pub(crate) fn view() -> BuildView {
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
        image: None,
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
        trigger: Some(TriggeredBy::Hook(pushed())),
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

    fn accounts(&self) -> BoxFuture<'_, Result<Vec<AccountView>, Problem>> {
        let account = |n: u128, name: &str, grants, disabled| AccountView {
            id: wire::AccountId(uuid::Uuid::from_u128(n)),
            name: name.into(),
            grants,
            disabled,
            signs_in: SignsIn { password: true, provider: disabled },
            created_at: Timestamp(0),
            signed_in_at: None,
        };
        let site = Grants::in_pipelines(Role::Builder, ["site".parse().unwrap()]);
        let all = vec![account(1, "Ada <b>", Grants::everywhere(Role::Admin), false), account(2, "Eve", site, true)];
        Box::pin(async { Ok(all) })
    }

    fn invitations(&self) -> BoxFuture<'_, Result<Vec<InvitationView>, Problem>> {
        Box::pin(async { Ok(vec![invitation()]) })
    }

    fn tokens(&self) -> BoxFuture<'_, Result<Vec<TokenView>, Problem>> {
        let token = TokenView {
            id: "0123456789abcdef".into(),
            name: "ci <i>".into(),
            grants: Grants::everywhere(Role::Builder),
            account: None,
            created_by: None,
            created_at: None,
            expires_at: Some(Timestamp(1)),
            used_at: None,
        };
        Box::pin(async { Ok(vec![token]) })
    }

    fn secrets(&self, pipeline: Option<PipelineName>) -> BoxFuture<'_, Result<SecretsView, Problem>> {
        let secret = SecretView {
            name: "DEPLOY_KEY".parse().unwrap(),
            pipeline,
            allowed: Vec::new(),
            set_at: Timestamp(0),
            set_by: "Ada <b>".into(),
            used_by: vec!["site".parse().unwrap()],
        };
        let secrets = if self.is_empty { Vec::new() } else { vec![secret] };
        Box::pin(async { Ok(SecretsView { secrets, wanted: Vec::new() }) })
    }

    fn hooks(&self, _pipeline: PipelineName) -> BoxFuture<'_, Result<Vec<HookView>, Problem>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn built_on(&self, _pipeline: PipelineName) -> BoxFuture<'_, Result<Option<OnSpec>, Problem>> {
        Box::pin(async { Ok(None) })
    }

    fn audit(&self, query: AuditQuery) -> BoxFuture<'_, Result<Vec<AuditEntry>, Problem>> {
        let entry = AuditEntry {
            id: 7,
            at: Timestamp(0),
            action: query.action.unwrap_or(Action::RoleChanged),
            subject: "session:1".into(),
            name: query.name.unwrap_or("Ada <b>".into()),
            account: None,
            address: Some("127.0.0.1".into()),
            pipeline: Some("site".parse().unwrap()),
            build: None,
            detail: Some("Account <Eve>.".into()),
        };
        Box::pin(async { Ok(vec![entry; 100]) })
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

pub(crate) fn invitation() -> InvitationView {
    InvitationView {
        id: "0123456789abcdef".into(),
        note: "For <Grace>".into(),
        grants: Grants::in_pipelines(Role::Viewer, ["site".parse().unwrap()]),
        invited_by: "Ada <b>".into(),
        created_at: Timestamp(0),
        expires_at: Timestamp(1),
    }
}

/// What people call the provider that they can sign in by.
pub(crate) const PROVIDER: &str = "Te<am>";

/// An admin of everything.
pub(crate) fn own() -> OwnView {
    let grants = Grants::everywhere(Role::Admin);
    OwnView {
        account: None,
        name: "Ada <b>".into(),
        grants,
        is_person: true,
        signs_in: Some(SignsIn { password: true, provider: false }),
        provider: Some(PROVIDER.into()),
    }
}
