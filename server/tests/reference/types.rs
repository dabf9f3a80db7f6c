//! Whatever a type of `wire` can hold stands in the document: a member that is added there is added here, or this does not
//! compile. The same of the examples of frames and messages.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use uuid::Uuid;
use wire::{
    AccountId, ArtifactId, BuildId, DeadLetterId, ExecutorId, HookId, JobId, LabelSet, LogLine, Outcome, Position,
    Problem, Timestamp,
    account::{
        AccountView, ChangeAccount, ChangePassword, InvitationView, MadeInvitation, MadeToken, NewInvitation, NewToken,
        OwnView, SignsIn, TokenView,
    },
    audit::{Action, AuditEntry},
    authority::{Grants, Role},
    dead_letter::{Cause, DeadLetterBody, DeadLetterOrigin, DeadLetterState, DeadLetterView},
    executor_now::{AttemptNow, ExecutorNow, StepNow},
    group::{GroupState, GroupView, Progress},
    hook::{Delivered, HookView, NewHook, Provider, ShownHook},
    log::RecordedLine,
    pipeline::{Condition, InputKind, InputSpec},
    reply::{ReplyKind, ReplyState, ReplyView},
    search::{Found, SearchHit, SearchPage},
    secret::{SecretFrom, SecretName, SecretView, SecretWanted, SecretsView},
    statistics::{DayStats, Ends, JobStats, Spread, StatsView, StepStats},
    task::LeaseRef,
    trigger::{HookEvent, Pushed, TriggeredBy},
    view::{
        ArtifactView, BuildSummary, BuildView, ExecutorView, GatewayView, JobView, LostAttempt, PipelineView,
        RunningJob, State, StepView, WorkerView,
    },
};

use crate::{document::Reference, yaml};

#[test]
fn no_member_of_what_is_answered_is_missing_in_the_reference() {
    let reference = Reference::read();
    let is = |schema: &str, value: Value| reference.assert_is(schema, &value);
    let (id, at, text) = (Uuid::nil(), Timestamp(1), || "x".to_owned());
    let name: wire::PipelineName = "site".parse().unwrap();
    let labels = LabelSet::new(["linux".to_owned()]).unwrap();
    let position = Position { epoch: 1, offset: 2 };
    let artifact =
        ArtifactView { id: ArtifactId(id), job: JobId(id), attempt: 1, name: text(), size: 1, sha256: "0".repeat(64) };
    let step = StepView {
        step: 0,
        name: text(),
        command: text(),
        state: State::Finished,
        outcome: Some(Outcome::TimedOut),
        exit_code: Some(1),
        reason: Some(text()),
        started_at: Some(at),
        finished_at: Some(at),
        first_line: Some(0),
    };
    let job = JobView {
        id: JobId(id),
        name: text(),
        needs: vec![text()],
        condition: Condition::Always,
        labels: labels.clone(),
        state: State::Queued,
        outcome: Some(Outcome::Cancelled),
        attempt: 1,
        attempts: 1,
        priority: 1,
        lost_attempts: 1,
        lost: vec![LostAttempt { attempt: 1, executor: text(), reason: text() }],
        waiting_for: Some(text()),
        reason: Some(text()),
        executor: Some(text()),
        isolation: Some(wire::Isolation::Plain),
        image: Some("rust:1.95".parse().unwrap()),
        queued_at: Some(at),
        started_at: Some(at),
        finished_at: Some(at),
        position: Some(position),
        lines: 1,
        sealed: true,
        unrecorded: 1,
        steps: vec![step],
        artifacts: vec![artifact],
    };
    let summary = BuildSummary {
        id: BuildId(id),
        number: 1,
        pipeline: name.clone(),
        state: State::Running,
        outcome: Some(Outcome::Succeeded),
        queued_at: at,
        started_at: Some(at),
        finished_at: Some(at),
        jobs_finished: 1,
        jobs_total: 1,
        triggered_by: Some(text()),
    };
    let reply = ReplyView {
        mode: ReplyKind::Webhook,
        address: text(),
        state: ReplyState::Stopped,
        attempts: 1,
        last_error: Some(text()),
        next_at: Some(at),
        delivered_at: Some(at),
        received_at: Some(at),
    };
    let inputs = BTreeMap::from([(text(), text())]);
    let pushed = Pushed {
        provider: Provider::Gitea,
        event: HookEvent::PullRequest,
        reference: text(),
        commit: "0".repeat(40),
        repository: text(),
        pull_request: Some(1),
        by: Some(text()),
    };
    let person = TriggeredBy::Person { name: text() };
    let askers = [TriggeredBy::Hook(pushed), TriggeredBy::Token { name: text() }, person.clone()];
    askers.iter().for_each(|by| is("TriggeredBy", json!(by)));
    let (jobs, trigger, reply) = (vec![job], Some(person), Some(reply));
    let build = BuildView { summary, inputs, cancelling: true, position, jobs, trigger, reply };
    is("BuildView", json!(build));
    for mark in 0..5 {
        let [open, split, err, note, missing] = std::array::from_fn(|n| n == mark);
        let line =
            RecordedLine { step: 0, line: LogLine { n: 0, t: at, text: text(), open, split, err, note }, missing };
        is("RecordedLine", json!(line));
    }
    let letter = DeadLetterView {
        id: DeadLetterId(id),
        message_id: id,
        cause: Cause::NeverSettled,
        reason: text(),
        deaths: 1,
        first_at: at,
        died_at: at,
        origin: Some(DeadLetterOrigin { exchange: text(), key: text() }),
        content_type: text(),
        correlation_id: Some(text()),
        size: 1,
        build: Some(BuildId(id)),
        pipeline: Some(name.clone()),
        number: Some(1),
        job: Some(JobId(id)),
        state: DeadLetterState::Retried,
        settled_by: Some(text()),
        settled_at: Some(at),
        not_retriable: Some(text()),
    };
    is("DeadLetterBody", json!(DeadLetterBody { letter, body: Some(text()), body_base64: Some(text()), whole: false }));
    let running = RunningJob {
        id: JobId(id),
        name: text(),
        attempt: 1,
        started_at: at,
        build: BuildId(id),
        pipeline: name.clone(),
        number: 1,
    };
    let executor = ExecutorView {
        id: ExecutorId(id),
        name: text(),
        labels,
        slots: 1,
        isolation: wire::Isolation::Sandbox,
        heard_at: at,
        alive: true,
        running: vec![JobId(id)],
        jobs: vec![running],
    };
    is("ExecutorView", json!(executor));
    let running = vec![LeaseRef { job: JobId(id), attempt: 1 }];
    let attempt = AttemptNow {
        job: JobId(id),
        attempt: 1,
        build: BuildId(id),
        number: 1,
        pipeline: name.clone(),
        name: text(),
        since: at,
        step: Some(StepNow { step: 0, name: text(), since: at }),
        unconfirmed_events: 1,
        unconfirmed_lines: 1,
        lines: vec![text()],
    };
    let now = ExecutorNow {
        executor: ExecutorId(id),
        slots: 1,
        running,
        free_slots: Some(0),
        attempts: vec![attempt],
        disk_free: Some(1),
        load: Some(0.5),
        left_out: Some(text()),
    };
    is("ExecutorNow", json!(now));
    let server_id = wire::ServerId::new("north", 1).unwrap();
    let worker = WorkerView { server_id, sockets: 1, topics: 1, queue_length: 1, restarts: 1 };
    is("GatewayView", json!(GatewayView { instance: text(), workers: vec![worker], heard_at: at, alive: true }));
    let group = GroupView {
        name: text(),
        offset: Some(1),
        lag: 1,
        losses: 1,
        speed: 1,
        state: GroupState::Rebuilding,
        reason: Some(text()),
        progress: Some(Progress { done: 1, total: 2 }),
        active: Some(text()),
        members: vec![text()],
        can_rebuild: true,
    };
    is("GroupView", json!(group));
    let input = InputSpec { name: text(), kind: InputKind::File, default: Some(text()), description: text() };
    is("InputSpec", json!(input));
    let (spread, builds) = (Spread { count: 1, p50: Some(1), p90: Some(1), p99: Some(1) }, Ends::default());
    let stats = StatsView {
        days: vec![DayStats { day: "2026-11-28".to_owned(), builds, duration_micros: spread, queue_micros: spread }],
        builds,
        duration_micros: spread,
        queue_micros: spread,
        slowest_steps: vec![StepStats {
            pipeline: name.clone(),
            job: text(),
            step: text(),
            mean_micros: 1,
            duration_micros: spread,
        }],
        flaky_jobs: vec![JobStats {
            pipeline: name.clone(),
            job: text(),
            succeeded: 1,
            flaky: 1,
            failed_attempts: 1,
            lost_attempts: 1,
        }],
    };
    is("StatsView", json!(stats));
    let line = Found::Log { job: JobId(id), job_name: text(), attempt: 1, earlier: true, n: 0 };
    for found in [line, Found::Build { field: "outcome".to_owned() }] {
        let hit = SearchHit {
            build: BuildId(id),
            pipeline: name.clone(),
            number: 1,
            found,
            text: text(),
            ranges: vec![(0, 1)],
            url: text(),
        };
        let page =
            SearchPage { hits: vec![hit], next: Some("1.2".to_owned()), stopped: true, behind: 1, building: true };
        is("SearchPage", json!(page));
    }
    let grants = Grants { everywhere: Some(Role::Viewer), pipelines: [(name.clone(), Role::Admin)].into() };
    let account = AccountId(id);
    let view = AccountView {
        id: account,
        name: text(),
        grants: grants.clone(),
        disabled: false,
        signs_in: SignsIn { password: true, provider: true },
        created_at: at,
        signed_in_at: Some(at),
    };
    is("AccountView", json!(view));
    let own = OwnView {
        account: Some(account),
        name: text(),
        grants: grants.clone(),
        is_person: true,
        signs_in: Some(SignsIn { password: true, provider: true }),
        provider: Some(text()),
    };
    is("OwnView", json!(own));
    let invitation = InvitationView {
        id: text(),
        note: text(),
        grants: grants.clone(),
        invited_by: text(),
        created_at: at,
        expires_at: at,
    };
    is("MadeInvitation", json!(MadeInvitation { link: text(), invitation }));
    let hook = HookView {
        id: HookId(id),
        pipeline: name.clone(),
        provider: Provider::Forgejo,
        url: text(),
        generation: 1,
        created_at: at,
        created_by: text(),
        last_built_at: Some(at),
    };
    is("NewHook", json!(NewHook { provider: Provider::Gitea }));
    is("HookView", json!(hook));
    is("ShownHook", json!(ShownHook { hook, secret: text() }));
    is("Delivered", json!(Delivered::Built { build: BuildId(id), repeated: true }));
    is("Delivered", json!(Delivered::Ignored { reason: text() }));
    let token = TokenView {
        id: text(),
        name: text(),
        grants: grants.clone(),
        account: Some(account),
        created_by: Some(text()),
        created_at: Some(at),
        expires_at: Some(at),
        used_at: Some(at),
    };
    is("MadeToken", json!(MadeToken { secret: text(), token }));
    is("NewToken", json!(NewToken { name: text(), grants: grants.clone(), expires_in: Some(1) }));
    is("NewInvitation", json!(NewInvitation { note: text(), grants: grants.clone() }));
    is("ChangeAccount", json!(ChangeAccount { grants: Some(grants.clone()), disabled: Some(true), was: Some(grants) }));
    is("ChangePassword", json!(ChangePassword { old: text(), new: "twelve letters".to_owned() }));
    for action in Action::ALL {
        let entry = AuditEntry {
            id: 1,
            at,
            action: *action,
            subject: text(),
            name: text(),
            account: Some(account),
            address: Some(text()),
            pipeline: Some(name.clone()),
            build: Some(BuildId(id)),
            detail: Some(text()),
        };
        is("AuditEntry", json!(entry));
    }
    let pipeline = PipelineView {
        name: name.clone(),
        description: text(),
        revision: 1,
        inputs: Vec::new(),
        yaml: text(),
        updated_at: at,
        warnings: vec![text()],
    };
    is("PipelineView", json!(pipeline));
    let secret: SecretName = "TOKEN".parse().unwrap();
    let secrets = SecretsView {
        secrets: vec![SecretView {
            name: secret.clone(),
            pipeline: Some(name.clone()),
            allowed: vec![name.clone()],
            set_at: at,
            set_by: text(),
            used_by: vec![name.clone()],
        }],
        wanted: vec![SecretWanted {
            name: secret,
            jobs: vec![text()],
            from: Some(SecretFrom::Installation),
            problem: Some(text()),
        }],
    };
    is("SecretsView", json!(secrets));
    is("Problem", json!(Problem::new(422, "x", "x").at(1, 1)));
}

#[test]
fn every_frame_and_message_has_the_members_that_the_reference_says() {
    let reference = Reference::of_messages();
    let messages = reference.document()["components"]["messages"].as_object().unwrap();
    for (name, message) in messages {
        assert_eq!(message["payload"]["$ref"], format!("#/components/schemas/{name}"), "the payload of {name}");
        for example in message["examples"].as_array().unwrap() {
            reference.assert_is(name, &example["payload"]);
        }
    }
    let used: BTreeSet<&str> = reference.document()["channels"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|channel| channel["messages"].as_object().unwrap().keys().map(String::as_str))
        .collect();
    assert_eq!(used, messages.keys().map(String::as_str).collect(), "each message has a channel");
}

#[test]
fn every_kind_of_event_stands_in_the_reference() {
    let reference = Reference::read();
    let sockets = yaml::read(include_str!("../../../docs/asyncapi.yaml"));
    let mut kinds = BTreeSet::new();
    for message in ["job_event", "build_event"] {
        for example in sockets["components"]["messages"][message]["examples"].as_array().unwrap() {
            reference.assert_is("EventMessage", &example["payload"]);
            kinds.insert(example["payload"]["event"]["kind"].as_str().unwrap().to_owned());
        }
    }
    let told = reference.document()["components"]["schemas"]["Event"]["oneOf"].as_array().unwrap();
    let told: BTreeSet<String> =
        told.iter().map(|one| one["properties"]["kind"]["const"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, kinds);
}
