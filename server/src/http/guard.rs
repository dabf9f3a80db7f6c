//! The guard of all routes: what [`super::table`] says of a route is demanded before its handler runs. The handlers' commands
//! and queries demand it once more, for sockets and pages come to them by other ways; what names its pipeline in the body is
//! theirs alone.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts as _, MatchedPath, RawPathParams, Request, State},
    http::{Method, StatusCode, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use wire::{Authority, Problem, authority::Need};

use crate::{
    access::{Credential, Holder, SignedIn},
    core::Core,
    http::{
        files,
        problem::Rejection,
        table::{self, Needs, Of},
        who::{Shown, Who},
    },
    places::{need_of_build, pipeline_of},
    queries::{not_found, store_problem},
};

/// See the module. Addresses that match no route are pages, or not there.
pub(crate) async fn guard(State(core): State<Arc<Core>>, request: Request, next: Next) -> Response {
    let Some(path) = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()) else {
        return next.run(request).await;
    };
    let needs = match table::of_route(request.method().as_str(), &path) {
        Some(Some(needs)) => needs,
        // The router tells which methods there are, and nothing else.
        Some(None) if !has_handler(request.method()) => return next.run(request).await,
        Some(None) => return method_not_allowed(request, next).await,
        None => {
            tracing::error!(path, "a route is not in the table of needs: it is refused");
            return Rejection(Problem::new(500, "Internal error", "The server does not know who may do this."))
                .into_response();
        }
    };
    let (mut parts, body) = request.into_parts();
    match judge(&core, &mut parts, needs).await {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(problem) => Rejection(problem).into_response(),
    }
}

/// Methods that routes are made for.
fn has_handler(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method)
}

/// The router's own answer, if it has no handler; were there one that the table lacks, it would be refused.
async fn method_not_allowed(request: Request, next: Next) -> Response {
    let mut headers = None;
    if request.method() != Method::HEAD {
        // Asked by a method that no handler takes, the router names those that there are.
        let mut asked = Request::new(axum::body::Body::empty());
        *asked.uri_mut() = request.uri().clone();
        *asked.method_mut() = Method::TRACE;
        headers = next.run(asked).await.headers().get(axum::http::header::ALLOW).cloned();
    }
    let mut response = files::no_such_method(request).await.into_response();
    if let Some(allow) = headers {
        response.headers_mut().insert(axum::http::header::ALLOW, allow);
    }
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

async fn judge(core: &Core, parts: &mut Parts, needs: Needs) -> Result<(), Problem> {
    if matches!(needs, Needs::Public | Needs::JobToken | Needs::Signature) {
        return Ok(());
    }
    let who = <Who as axum::extract::FromRequestParts<()>>::from_request_parts(parts, &()).await;
    let Who(who) = who.map_err(|Rejection(problem)| problem)?;
    match needs {
        Needs::Public | Needs::JobToken | Needs::Signature | Needs::SignedIn => Ok(()),
        Needs::Person => person(parts),
        Needs::SeeAll => who.need(Need::SeeAll),
        Needs::Run => who.need(Need::Run),
        Needs::See(of) => of_pipeline(core, &who, parts, of, |pipeline| Need::See(pipeline)).await,
        Needs::Build(of) => of_pipeline(core, &who, parts, of, |pipeline| Need::Build(pipeline)).await,
        Needs::Change(of) => of_pipeline(core, &who, parts, of, |pipeline| Need::Change(pipeline)).await,
    }
}

fn person(parts: &Parts) -> Result<(), Problem> {
    let credential = parts.extensions.get::<Shown>().map(Shown::credential);
    match credential {
        Some(Credential::Session(_, SignedIn { holder: Holder::Account { .. }, .. })) => Ok(()),
        _ => Err(Problem::new(403, "Not a person", "This is a person's: sign in by name and password.")),
    }
}

/// A parameter that is not what it must be is the handler's to refuse.
async fn of_pipeline(
    core: &Core,
    who: &Authority,
    parts: &mut Parts,
    of: Of,
    need: impl FnOnce(&wire::PipelineName) -> Need<'_>,
) -> Result<(), Problem> {
    let parameters = RawPathParams::from_request_parts(parts, &()).await.ok();
    let parameter = |name: &str| {
        let mut all = parameters.iter().flatten();
        all.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    };
    match of {
        Of::Pipeline => match parameter("name").and_then(|name| name.parse().ok()) {
            Some(name) => who.need(need(&name)),
            None => Ok(()),
        },
        Of::Build => match parameter("id").and_then(|id| id.parse().ok()) {
            Some(id) => need_of_build(core, who, id, need).await.map(drop),
            None => Ok(()),
        },
        Of::Job => match parameter("id").and_then(|id| id.parse().ok()) {
            Some(job) => {
                let found = pipeline_of(core, wire::Topic::Job(job)).await.map_err(store_problem)?;
                let seen = found.filter(|pipeline| who.sees(pipeline)).ok_or_else(|| not_found("job", job))?;
                who.need(need(&seen))
            }
            None => Ok(()),
        },
        // What these name is looked up by the handler, which demands it.
        Of::Artifact | Of::Topic | Of::Body => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// How a route begins there; put together, so that these words are no route themselves.
    const BEGIN: &str = concat!(".rou", "te(");

    /// How handlers of other methods than those that are read here begin, or of all of them; put together as above.
    const OTHERS: [&str; 8] = ["any", "on", "head", "options", "trace", "connect", "method_routing", "any_service"];

    /// Whether a source has handlers that [`written`] cannot read.
    fn has_others(source: &str) -> bool {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let words = source.split(|c: char| !is_word(c) && c != '(');
        let mut calls = words.flat_map(|word| word.split_inclusive('(')).filter_map(|word| word.strip_suffix('('));
        calls.any(|call| OTHERS.contains(&call) || (call.ends_with("_service") && call != "fallback_service"))
    }

    /// The methods and addresses of the routes in the source of the router.
    fn written() -> BTreeSet<(String, String)> {
        let source = include_str!("../http.rs");
        let (api, rest) = source.split_once(".fallback(files::no_such_address)").unwrap();
        let mut found = BTreeSet::new();
        assert!(!has_others(source), "a route whose methods are not named one by one");
        for (text, prefix) in [(api, "/api/v1"), (rest, "")] {
            for route in text.split(BEGIN).skip(1) {
                let (path, handlers) = route.trim_start().trim_start_matches('"').split_once('"').unwrap();
                let handlers = handlers.split_once('\n').map_or(handlers, |(line, _)| line);
                for method in ["get", "post", "put", "patch", "delete"] {
                    if handlers.contains(&format!(" {method}(")) || handlers.contains(&format!(".{method}(")) {
                        found.insert((method.to_uppercase(), format!("{prefix}{path}")));
                    }
                }
            }
        }
        found
    }

    #[test]
    fn every_route_stands_in_the_table_with_its_need_and_no_other_does() {
        let table: BTreeSet<(String, String)> =
            table::ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
        assert_eq!(table.len(), table::ROUTES.len(), "a route stands there twice");
        assert_eq!(written(), table);
        assert_eq!(table::of_route("HEAD", "/metrics"), Some(Some(Needs::SeeAll)));
        assert_eq!(table::of_route("DELETE", "/metrics"), Some(None));
        assert_eq!(table::of_route("GET", "/nowhere"), None);
        // What stands elsewhere is the browser package, which is everybody's.
        let files = include_str!("files.rs");
        assert_eq!((files.split(BEGIN).count() - 1, has_others(files.split("fn serve").next().unwrap())), (1, false));
    }

    #[test]
    fn a_route_for_any_method_would_be_seen() {
        assert!(has_others("x(\"/a\", any(b::c))") && has_others("get(a).on(F, b)") && has_others("any_service(s)"));
        assert!(has_others("nest_service(\"/a\", b)"));
        assert!(!has_others("get(many).post(upon::json).on_upgrade"));
    }

    #[test]
    fn every_frame_command_query_and_read_of_a_page_stands_in_the_table() {
        // What there is, by what is said of a name that nothing has.
        fn all<T: serde::de::DeserializeOwned>(unknown: serde_json::Value) -> BTreeSet<String> {
            let told = serde_json::from_value::<T>(unknown).err().unwrap().to_string();
            let (_, names) = told.split_once("expected one of ").unwrap();
            names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        }
        let rows = |frame: &str| -> BTreeSet<String> {
            let of_frame = table::FRAMES.iter().filter(|(one, ..)| *one == frame);
            of_frame.map(|(_, what, _)| (*what).to_owned()).collect()
        };
        let kinds: BTreeSet<String> = table::FRAMES.iter().map(|(kind, ..)| (*kind).to_owned()).collect();
        assert_eq!(all::<wire::ClientFrame>(serde_json::json!({"type": "none"})), kinds);
        assert_eq!(all::<wire::command::Command>(serde_json::json!({"none": {}})), rows("command"));
        assert_eq!(all::<wire::command::Query>(serde_json::json!({"none": {}})), rows("query"));
        // A kind of topic that is not known here does not compile: then the table needs it, too.
        let _ = |topic: wire::Topic| match topic {
            wire::Topic::Build(_) => "build",
            wire::Topic::Job(_) => "job",
        };
        assert_eq!(rows("subscribe"), ["build", "job"].map(str::to_owned).into());
        let pages = concat!(
            include_str!("../../../app/src/api.rs"),
            include_str!("../../../app/src/api/admin.rs"),
            include_str!("../../../app/src/api/people.rs")
        );
        let read: BTreeSet<&str> = pages
            .split("endpoint = \"")
            .skip(1)
            .filter_map(|rest| rest.split_once('"').map(|(name, _)| name))
            .collect();
        let known: BTreeSet<&str> = table::FUNCTIONS.iter().map(|(_, name, _)| *name).collect();
        assert_eq!(read, known);
    }
}
