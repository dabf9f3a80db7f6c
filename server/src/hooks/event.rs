//! What a delivery tells, read from the three ways of saying it. Its sender is genuine, and still what stands in it was written
//! by whoever pushed: it is read into types that hold nothing else.

use serde::Deserialize;
use wire::{
    git::is_reference,
    pipeline::{OnSpec, matches_ref},
};

/// Bytes of a branch's or a tag's name, and of a repository's.
const NAME_BYTES_MAX: usize = 255;

/// Something that may be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Happened {
    /// What kind it is.
    pub(super) kind: Kind,
    /// The branch or the tag; of a pull request the branch that it comes from.
    pub(super) reference: String,
    /// 40 or 64 hexadecimal digits.
    pub(super) commit: String,
    /// `owner/name`.
    pub(super) repository: String,
    /// Who did it, by their name at the provider; none where it is not told, or is no name.
    pub(super) by: Option<String>,
}

/// A kind of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Commits of a branch.
    Branch,
    /// A tag.
    Tag,
    /// A pull request.
    PullRequest {
        /// Its number.
        number: u64,
        /// The branch that it is to be merged into.
        base: String,
    },
}

/// Why nothing is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Not {
    /// It is nothing to build. One sentence.
    Ignored(String),
    /// It is not what its sender sends. One sentence.
    Unreadable(String),
}

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    reference: String,
    after: String,
    #[serde(default)]
    deleted: bool,
    head_commit: Option<Commit>,
    repository: Repository,
    sender: Option<Sender>,
}

#[derive(Deserialize)]
struct Commit {
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Repository {
    id: u64,
    full_name: String,
}

#[derive(Deserialize)]
struct PullRequestEvent {
    action: String,
    pull_request: PullRequest,
    repository: Repository,
    sender: Option<Sender>,
}

/// Who has done what is told.
#[derive(Deserialize)]
struct Sender {
    #[serde(default)]
    login: String,
}

#[derive(Deserialize)]
struct PullRequest {
    number: u64,
    #[serde(default)]
    title: String,
    head: Side,
    base: Side,
}

#[derive(Deserialize)]
struct Side {
    #[serde(rename = "ref")]
    reference: String,
    sha: String,
    /// None where a fork was deleted.
    repo: Option<Repository>,
}

/// What an event of this name tells.
pub(super) fn read(event: &str, body: &[u8]) -> Result<Happened, Not> {
    let unreadable = |failure: serde_json::Error| {
        Not::Unreadable(format!("the body is not what an event `{event}` holds: {failure}"))
    };
    match event {
        "ping" => Err(Not::Ignored("the hook works: this was a ping".to_owned())),
        "push" => pushed(serde_json::from_slice(body).map_err(unreadable)?),
        "pull_request" | "pull_request_sync" => requested(serde_json::from_slice(body).map_err(unreadable)?),
        _ => Err(Not::Ignored("only push, pull_request and ping events are looked at".to_owned())),
    }
}

fn pushed(push: Push) -> Result<Happened, Not> {
    let ignored = |reason: &str| Err(Not::Ignored(reason.to_owned()));
    if push.deleted || (!push.after.is_empty() && push.after.bytes().all(|digit| digit == b'0')) {
        return ignored("a branch or a tag was deleted");
    }
    if push.head_commit.as_ref().is_some_and(|commit| says_skip(&commit.message)) {
        return ignored("the message of its last commit says so ([skip ci])");
    }
    let (kind, name) = match (push.reference.strip_prefix("refs/heads/"), push.reference.strip_prefix("refs/tags/")) {
        (Some(branch), _) => (Kind::Branch, branch),
        (None, Some(tag)) => (Kind::Tag, tag),
        (None, None) => return ignored("it is neither a branch nor a tag"),
    };
    happened(kind, name, push.after, push.repository, push.sender)
}

fn requested(event: PullRequestEvent) -> Result<Happened, Not> {
    let ignored = |reason: &str| Err(Not::Ignored(reason.to_owned()));
    if !matches!(event.action.as_str(), "opened" | "reopened" | "synchronize" | "synchronized") {
        return ignored("nothing of the pull request's commits has changed");
    }
    let PullRequest { number, title, head, base } = event.pull_request;
    let here = event.repository.id;
    let is_of = |side: &Side| side.repo.as_ref().is_some_and(|repository| repository.id == here);
    if !is_of(&head) || !is_of(&base) {
        return ignored("it comes from a fork: a stranger's code would run beside your secrets");
    }
    if says_skip(&title) {
        return ignored("the title of the pull request says so ([skip ci])");
    }
    check_name(&base.reference)?;
    let kind = Kind::PullRequest { number, base: base.reference };
    happened(kind, &head.reference, head.sha, event.repository, event.sender)
}

fn happened(
    kind: Kind,
    reference: &str,
    commit: String,
    repository: Repository,
    sender: Option<Sender>,
) -> Result<Happened, Not> {
    check_name(reference)?;
    check_name(&repository.full_name)?;
    let is_commit = matches!(commit.len(), 40 | 64) && commit.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !is_commit {
        return Err(Not::Unreadable("its commit is not 40 or 64 hexadecimal digits".to_owned()));
    }
    let by = sender.map(|sender| sender.login).filter(|login| check_name(login).is_ok());
    Ok(Happened { kind, reference: reference.to_owned(), commit, repository: repository.full_name, by })
}

fn check_name(name: &str) -> Result<(), Not> {
    if name.len() <= NAME_BYTES_MAX && is_reference(name) {
        return Ok(());
    }
    let sentence = format!(
        "a branch, a tag or a repository has a name that none can have, or one of more than {NAME_BYTES_MAX} bytes"
    );
    Err(Not::Unreadable(sentence))
}

fn says_skip(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["[skip ci]", "[ci skip]", "[no ci]"].iter().any(|words| message.contains(words))
}

/// Whether the pipeline is built by it; why not otherwise.
pub(super) fn wanted(on: Option<&OnSpec>, happened: &Happened) -> Result<(), String> {
    let Some(on) = on else {
        return Err(
            "the pipeline has no `on`: say there what builds it, such as `on: {push: {branches: [main]}}`".to_owned()
        );
    };
    let fits = |patterns: &[String], name: &str| patterns.iter().any(|pattern| matches_ref(pattern, name));
    let (is_wanted, what) = match (&happened.kind, &on.push, &on.pull_request) {
        (Kind::Branch, Some(push), _) => {
            let all = push.branches.is_empty() && push.tags.is_empty();
            (all || fits(&push.branches, &happened.reference), format!("the branch {}", happened.reference))
        }
        (Kind::Tag, Some(push), _) => {
            let all = push.branches.is_empty() && push.tags.is_empty();
            (all || fits(&push.tags, &happened.reference), format!("the tag {}", happened.reference))
        }
        (Kind::PullRequest { base, .. }, _, Some(wanted)) => {
            (wanted.branches.is_empty() || fits(&wanted.branches, base), format!("a pull request into {base}"))
        }
        (Kind::Branch | Kind::Tag, None, _) => (false, "a push".to_owned()),
        (Kind::PullRequest { .. }, _, None) => (false, "a pull request".to_owned()),
    };
    if is_wanted { Ok(()) } else { Err(format!("`on` of the pipeline does not name {what}")) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const COMMIT: &str = "0123456789012345678901234567890123456789";

    fn push(reference: &str, message: &str) -> Value {
        json!({"ref": reference, "before": COMMIT, "after": COMMIT, "head_commit": {"id": COMMIT, "message": message},
               "repository": {"id": 7, "full_name": "me/site"}, "pusher": {"name": "me"}})
    }

    fn read_of(event: &str, body: &Value) -> Result<Happened, Not> {
        read(event, body.to_string().as_bytes())
    }

    fn ignored(event: &str, body: &Value) -> String {
        let Err(Not::Ignored(reason)) = read_of(event, body) else { panic!("{body}") };
        reason
    }

    #[test]
    fn deletions_skips_forks_and_what_is_not_known_are_ignored_with_the_reason() {
        let mut gone = push("refs/heads/main", "");
        gone["after"] = json!("0".repeat(40));
        assert!(ignored("push", &gone).contains("deleted"));
        assert!(ignored("push", &push("refs/heads/main", "Fix it [Skip CI]")).contains("[skip ci]"));
        assert!(ignored("push", &push("refs/notes/x", "")).contains("neither a branch nor a tag"));
        assert!(ignored("issues", &json!({})).contains("only push"));
        assert!(ignored("ping", &json!({"zen": "x"})).contains("ping"));
        let side =
            |id: u64, name: &str| json!({"ref": name, "sha": COMMIT, "repo": {"id": id, "full_name": "me/site"}});
        let request = |action: &str, from: Value| {
            json!({"action": action, "number": 3, "repository": {"id": 7, "full_name": "me/site"},
                   "pull_request": {"number": 3, "title": "x", "head": from, "base": side(7, "main")}})
        };
        assert!(ignored("pull_request", &request("opened", side(8, "main"))).contains("fork"));
        let mut deleted = side(8, "main");
        deleted["repo"] = Value::Null;
        assert!(ignored("pull_request", &request("opened", deleted)).contains("fork"));
        assert!(ignored("pull_request", &request("closed", side(7, "x"))).contains("has changed"));
        for action in ["opened", "reopened", "synchronize", "synchronized"] {
            let kind = Kind::PullRequest { number: 3, base: "main".to_owned() };
            let happened = read_of("pull_request", &request(action, side(7, "topic"))).unwrap();
            assert_eq!((happened.kind, happened.reference.as_str()), (kind, "topic"));
        }
    }

    #[test]
    fn names_that_git_would_read_otherwise_are_refused() {
        for reference in
            ["refs/heads/--upload-pack=x", "refs/heads/a b", "refs/heads/", "refs/tags/a:b", "refs/heads/a\u{202e}b"]
        {
            assert!(matches!(read_of("push", &push(reference, "")), Err(Not::Unreadable(_))), "{reference}");
        }
        let mut odd = push("refs/heads/main", "");
        odd["after"] = json!("$(id)");
        assert!(matches!(read_of("push", &odd), Err(Not::Unreadable(_))));
        for body in ["", "[]", "{}", "{\"ref\": 1}", "[".repeat(100_000).as_str()] {
            assert!(matches!(read("push", body.as_bytes()), Err(Not::Unreadable(_))));
        }
    }

    #[test]
    fn on_says_what_is_built() {
        let on = |json: Value| serde_json::from_value::<OnSpec>(json).unwrap();
        let of = |reference: &str| read_of("push", &push(reference, "")).unwrap();
        let main = on(json!({"push": {"branches": ["main", "release/*"]}}));
        assert!(wanted(Some(&main), &of("refs/heads/release/1")).is_ok());
        assert_eq!(
            wanted(Some(&main), &of("refs/heads/x")).unwrap_err(),
            "`on` of the pipeline does not name the branch x"
        );
        assert!(wanted(Some(&main), &of("refs/tags/main")).is_err());
        assert!(wanted(Some(&on(json!({"push": {}}))), &of("refs/tags/v1")).is_ok());
        assert!(wanted(Some(&on(json!({"push": {"tags": ["v*"]}}))), &of("refs/tags/v1")).is_ok());
        assert!(wanted(Some(&on(json!({"pull_request": {}}))), &of("refs/heads/main")).is_err());
        assert!(wanted(None, &of("refs/heads/main")).unwrap_err().contains("has no `on`"));
    }
}
