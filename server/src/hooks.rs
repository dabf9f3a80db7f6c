//! Hooks: made by the admins of a pipeline, called by GitHub, Gitea and Forgejo. A delivery has no authority but its signature.
//! It is judged from the cheapest to the dearest: its headers, one read, its body's length, one hash; only what is genuine is
//! read, and only what is built is written.

mod event;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use store::{
    audit::NewEntry,
    hooks::{Delivery, HOOKS_MAX, Hook},
};
use uuid::Uuid;
use wire::{
    Authority, HookId, PipelineName, Problem,
    audit::Action,
    authority::{Grants, Need, Role},
    command::Trigger,
    hook::{Delivered, HookView, NewHook, Provider, ShownHook},
    pipeline::{InputKind, PipelineSpec},
    trigger::{HookEvent, Pushed},
};

use self::event::{Happened, Kind, Not};
use crate::{
    backoff::network,
    commands,
    core::Core,
    queries::{not_found, store_problem},
    secret,
};

/// Bytes of a delivery.
pub(crate) const BODY_BYTES_MAX: usize = 5 * 1024 * 1024;
/// Bytes of a delivery's id: a UUID has 36.
const ID_BYTES_MAX: usize = 100;

/// Refusals of one hook to one network within [`REFUSALS_WITHIN`]; more are refused unseen.
const REFUSALS_MAX: u32 = 30;
const REFUSALS_WITHIN: Duration = Duration::from_secs(60);
/// A refusal of the same hook is noted in the audit log once in so long.
const NOTED_EVERY: Duration = Duration::from_secs(60);
/// Networks and hooks that are remembered at a time.
const REMEMBERED_MAX: usize = 10_000;

/// Who was refused lately, by hook and by network: all customers of a provider call from the same addresses, and what one of
/// them sends to a hook of its own is not to keep the others out. Each gateway counts for itself.
#[derive(Default)]
pub(crate) struct Refusals {
    // Std mutexes: held for a map operation.
    counted: Mutex<HashMap<(HookId, IpAddr), (u32, Instant)>>,
    noted: Mutex<HashMap<HookId, Instant>>,
}

impl Refusals {
    /// How long what comes to this hook from this address is not looked at.
    pub(crate) fn wait(&self, hook: HookId, address: IpAddr, now: Instant) -> Option<Duration> {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, since) = *counted.get(&(hook, network(address)))?;
        let left = (since + REFUSALS_WITHIN).checked_duration_since(now)?;
        (count >= REFUSALS_MAX).then_some(left)
    }

    fn refused(&self, hook: HookId, address: IpAddr, now: Instant) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (hook, network(address));
        if counted.len() >= REMEMBERED_MAX {
            counted.retain(|_, (_, since)| now.duration_since(*since) < REFUSALS_WITHIN);
        }
        // Of more than fit, those that are there are enough to remember.
        if counted.len() < REMEMBERED_MAX || counted.contains_key(&key) {
            let (count, since) = counted.entry(key).or_insert((0, now));
            if now.duration_since(*since) >= REFUSALS_WITHIN {
                (*count, *since) = (0, now);
            }
            *count += 1;
        }
    }

    fn is_to_be_noted(&self, hook: HookId, now: Instant) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.retain(|_, at| now.duration_since(*at) < NOTED_EVERY);
        noted.len() < REMEMBERED_MAX && noted.insert(hook, now).is_none()
    }
}

/// A hook as its pipeline's admins see it.
fn view(core: &Core, hook: Hook) -> HookView {
    let Hook { id, pipeline, provider, generation, created_at, created_by, last_built_at } = hook;
    let url = format!("{}/api/v1/hooks/{id}", core.public_url);
    HookView { id, pipeline, provider, url, generation, created_at, created_by, last_built_at }
}

fn shown(core: &Core, hook: Hook) -> ShownHook {
    let secret = core.key.hook_secret(hook.id, hook.generation);
    ShownHook { hook: view(core, hook), secret }
}

/// Makes a hook.
pub(crate) async fn create(
    core: &Core,
    who: &Authority,
    pipeline: &PipelineName,
    wanted: NewHook,
) -> Result<ShownHook, Problem> {
    who.need(Need::Change(pipeline))?;
    core.room.check()?;
    if core.store.pipeline(pipeline).await.map_err(store_problem)?.is_none() {
        return Err(not_found("pipeline", pipeline));
    }
    let id = HookId(Uuid::new_v4());
    let entry = entry(who, Action::HookCreated, pipeline, format!("hook {id} for {}", wanted.provider));
    let made = core.store.create_hook(id, pipeline, wanted.provider, entry).await.map_err(store_problem)?;
    let made = made.ok_or_else(|| {
        let sentence = format!("The pipeline {pipeline} has {HOOKS_MAX} hooks, which is as many as it may have.");
        Problem::new(409, "Not possible now", sentence)
    })?;
    Ok(shown(core, made))
}

/// Those of a pipeline.
pub(crate) async fn list(core: &Core, who: &Authority, pipeline: &PipelineName) -> Result<Vec<HookView>, Problem> {
    who.need(Need::Change(pipeline))?;
    if core.store.pipeline(pipeline).await.map_err(store_problem)?.is_none() {
        return Err(not_found("pipeline", pipeline));
    }
    let hooks = core.store.hooks(pipeline).await.map_err(store_problem)?;
    Ok(hooks.into_iter().map(|hook| view(core, hook)).collect())
}

/// Gives a hook another secret; the former one is good no more.
pub(crate) async fn rotate(
    core: &Core,
    who: &Authority,
    pipeline: &PipelineName,
    id: HookId,
) -> Result<ShownHook, Problem> {
    who.need(Need::Change(pipeline))?;
    let entry = entry(who, Action::HookRotated, pipeline, format!("another secret for hook {id}"));
    let hook = core.store.rotate_hook(pipeline, id, entry).await.map_err(store_problem)?;
    Ok(shown(core, hook.ok_or_else(|| not_found("hook", id))?))
}

/// Deletes a hook.
pub(crate) async fn delete(core: &Core, who: &Authority, pipeline: &PipelineName, id: HookId) -> Result<(), Problem> {
    who.need(Need::Change(pipeline))?;
    let entry = entry(who, Action::HookDeleted, pipeline, format!("hook {id}"));
    let deleted = core.store.delete_hook(pipeline, id, entry).await.map_err(store_problem)?;
    if deleted { Ok(()) } else { Err(not_found("hook", id)) }
}

fn entry(who: &Authority, action: Action, pipeline: &PipelineName, detail: String) -> NewEntry {
    NewEntry { detail: Some(detail), ..NewEntry::by(who, action).pipeline(pipeline) }
}

/// What the headers of a delivery say, before its body is read.
pub(crate) struct Announced {
    hook: Hook,
    signature: [u8; 32],
    event: String,
    delivery: String,
}

/// What the headers say, for a hook that is there; `header` gives one by its name in lower case.
pub(crate) async fn announced<'h>(
    core: &Core,
    id: HookId,
    from: IpAddr,
    header: impl Fn(&'static str) -> Option<&'h str>,
) -> Result<Announced, Problem> {
    // A cheap look first: who brings no signature at all costs no read.
    if Provider::ALL.iter().all(|provider| header(provider.signature_header().0).is_none()) {
        return Err(refusal(
            "It has no signature: a hook is called by GitHub, Gitea or Forgejo, with the hook's secret.",
        ));
    }
    let Some(hook) = core.store.hook(id).await.map_err(store_problem)? else {
        return Err(Problem::new(404, "Not found", "There is no such hook: it may have been deleted."));
    };
    let provider = hook.provider;
    let (name, prefix) = provider.signature_header();
    let signature = header(name).and_then(|text| unhex(text.trim().strip_prefix(prefix)?));
    let (event, delivery) = (header(provider.event_header()), header(provider.delivery_header()));
    let (Some(signature), Some(event), Some(delivery)) = (signature, event, delivery) else {
        let sentence = format!(
            "This hook is for {provider}: its deliveries have the headers {name} ({prefix}64 hexadecimal digits), {} and {}.",
            provider.event_header(),
            provider.delivery_header()
        );
        return Err(refused(core, &hook, from, "the headers of its provider are missing", refusal(&sentence)).await);
    };
    if !(1..=ID_BYTES_MAX).contains(&delivery.len()) {
        let sentence = format!("The id of a delivery has 1 to {ID_BYTES_MAX} bytes.");
        return Err(Problem::new(400, "Invalid header", sentence));
    }
    Ok(Announced { signature, event: event.to_owned(), delivery: delivery.to_owned(), hook })
}

/// Does what a delivery is for.
pub(crate) async fn deliver(
    core: &Core,
    announced: Announced,
    from: IpAddr,
    body: &[u8],
) -> Result<Delivered, Problem> {
    let Announced { hook, signature, event, delivery } = announced;
    if !core.key.verify_hook(hook.id, hook.generation, body, &signature) {
        let problem = refusal("Its signature is not the one of the hook's secret.");
        return Err(refused(core, &hook, from, "its signature is another", problem).await);
    }
    let happened = match event::read(&event, body) {
        Ok(happened) => happened,
        Err(Not::Ignored(reason)) => return Ok(Delivered::Ignored { reason: format!("ignored: {reason}") }),
        Err(Not::Unreadable(reason)) => return Err(Problem::new(422, "Invalid body", format!("{reason}."))),
    };
    let found = core.store.pipeline(&hook.pipeline).await.map_err(store_problem)?;
    let (_, spec) = found.ok_or_else(|| not_found("pipeline", &hook.pipeline))?;
    if let Err(reason) = event::wanted(spec.on.as_ref(), &happened) {
        return Ok(Delivered::Ignored { reason: format!("ignored: {reason}") });
    }
    let grants = Grants::in_pipelines(Role::Builder, [hook.pipeline.clone()]);
    let who =
        Authority::new(format!("hook:{}", hook.id), None, format!("hook of {}", hook.provider), grants).at(Some(from));
    let trigger = Trigger { inputs: inputs(&spec, &happened), ..Trigger::default() };
    let digest = secret::hex(&{
        use sha2::Digest as _;
        sha2::Sha256::digest(signature)
    });
    let delivery = Delivery { hook: hook.id, generation: hook.generation, id: delivery, digest };
    let detail = format!("{} at {} of {}", told(&happened), happened.commit, happened.repository);
    let told = (delivery, pushed(hook.provider, happened));
    let (build, repeated) = commands::trigger_by_hook(core, &who, &hook.pipeline, &trigger, told, detail).await?;
    Ok(Delivered::Built { build, repeated })
}

/// The inputs that the pipeline has of those that a delivery gives.
fn inputs(spec: &PipelineSpec, happened: &Happened) -> BTreeMap<String, String> {
    let (event, number) = match &happened.kind {
        Kind::Branch | Kind::Tag => ("push", String::new()),
        Kind::PullRequest { number, .. } => ("pull_request", number.to_string()),
    };
    let given = [
        ("ref", happened.reference.clone()),
        ("commit", happened.commit.clone()),
        ("event", event.to_owned()),
        ("repository", happened.repository.clone()),
        ("pull_request", number),
    ];
    let has = |name: &str| spec.inputs.iter().any(|input| input.name == name && input.kind == InputKind::Text);
    given.into_iter().filter(|(name, _)| has(name)).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What its build keeps of it.
fn pushed(provider: Provider, happened: Happened) -> Pushed {
    let Happened { kind, reference, commit, repository, by } = happened;
    let (event, pull_request) = match kind {
        Kind::Branch => (HookEvent::Push, None),
        Kind::Tag => (HookEvent::Tag, None),
        Kind::PullRequest { number, .. } => (HookEvent::PullRequest, Some(number)),
    };
    Pushed { provider, event, reference, commit, repository, pull_request, by }
}

fn told(happened: &Happened) -> String {
    match &happened.kind {
        Kind::Branch => format!("push to {}", happened.reference),
        Kind::Tag => format!("push of the tag {}", happened.reference),
        Kind::PullRequest { number, base } => format!("pull request {number} into {base}"),
    }
}

fn refusal(sentence: &str) -> Problem {
    Problem::new(401, "Not signed", sentence)
}

/// Counts a refusal, and notes it now and then.
async fn refused(core: &Core, hook: &Hook, from: IpAddr, why: &str, problem: Problem) -> Problem {
    let now = Instant::now();
    core.hook_refusals.refused(hook.id, from, now);
    if core.hook_refusals.is_to_be_noted(hook.id, now) {
        let subject = format!("hook:{}", hook.id);
        let new = NewEntry::new(Action::HookRefused, subject, format!("hook of {}", hook.provider)).from(Some(from));
        let entry = NewEntry { detail: Some(format!("a delivery was refused: {why}")), ..new.pipeline(&hook.pipeline) };
        if let Err(failure) = core.store.note(entry).await {
            tracing::warn!(hook = %hook.id, %failure, "a refused delivery could not be noted");
        }
    }
    problem
}

/// 64 hexadecimal digits.
fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_64_digits_and_nothing_else() {
        assert_eq!(unhex(&"fF".repeat(32)), Some([255; 32]));
        for wrong in ["", "ff", &"g".repeat(64), &"ff".repeat(33), &format!("+1{}", "ff".repeat(31)), &"é".repeat(32)]
        {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_hook_that_refuses_a_network_too_often_waits_and_no_other_hook_or_network_does() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let (hook, other) = (HookId(Uuid::nil()), HookId(Uuid::max()));
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for n in 0..REFUSALS_MAX {
            let one = address(&format!("2001:db8::{n:x}"));
            assert_eq!(refusals.wait(hook, one, now), None);
            refusals.refused(hook, one, now);
        }
        let one = address("2001:db8::ffff");
        assert_eq!(refusals.wait(hook, one, now), Some(REFUSALS_WITHIN));
        assert_eq!(refusals.wait(other, one, now), None, "another hook");
        assert_eq!(refusals.wait(hook, address("2001:db8:0:1::1"), now), None, "another network");
        assert!(refusals.wait(hook, one, now + REFUSALS_WITHIN).is_none_or(|left| left.is_zero()));
        assert!(refusals.is_to_be_noted(hook, now) && !refusals.is_to_be_noted(hook, now));
        assert!(refusals.is_to_be_noted(hook, now + NOTED_EVERY));
    }
}
