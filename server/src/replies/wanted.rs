//! What a trigger wants of its build's result, checked at the border: from here on its address is one.

use store::model::reply::NewReply;
use wire::{
    Authority, Problem, SocketMeta,
    command::{ReplyMode, Trigger},
    reply::{ReplyKind, SHORT_BYTES_MAX, host_of, is_reply_queue, origin_of},
    task::Reply,
};

use super::destination::Destinations;
use crate::commands::asker;

/// What is written with a build.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// The client that gets the build's events as they come.
    pub(crate) socket: Option<Reply>,
    /// How the result is told.
    pub(crate) told: Option<NewReply>,
}

/// What a trigger wants; status 422 where its address is none, or one that webhooks may not go to.
pub(crate) fn wanted(who: &Authority, trigger: &Trigger, destinations: &Destinations) -> Result<Wanted, Problem> {
    let told = |mode, address: &str, receiver: &str, correlation_id: Option<&String>| NewReply {
        mode,
        address: address.to_owned(),
        receiver: receiver.to_owned(),
        correlation_id: correlation_id.cloned(),
        asked_by: asker(who),
    };
    let at = |socket: &SocketMeta| Reply { server_id: socket.server_id.clone(), client_id: socket.client_id };
    match (&trigger.reply, &trigger.socket) {
        (Some(ReplyMode::None {}), _) | (None, None) => Ok(Wanted::default()),
        (None | Some(ReplyMode::Callback {}), Some(socket)) => {
            let client = socket.client_id.to_string();
            // Callbacks go to the broker, which takes them for anybody alike.
            let told = told(ReplyKind::Callback, &client, "callbacks", None);
            Ok(Wanted { socket: Some(at(socket)), told: Some(told) })
        }
        (Some(ReplyMode::Callback {}), None) => Err(Problem::new(
            422,
            "Reply without address",
            "`reply` asks for a callback but `socket` is missing: send the socket meta of the `hello` frame along.",
        )),
        (Some(ReplyMode::Webhook { url }), socket) => {
            let refused = |why: String| Problem::new(422, "Invalid reply", format!("{why}."));
            let host = host_of(url).map_err(refused)?.to_ascii_lowercase();
            let uri: ureq::http::Uri =
                url.parse().map_err(|failure| refused(format!("`url` is no address: {failure}")))?;
            origin_of(url).map_err(refused)?;
            destinations.check_literal(uri.host().unwrap_or_default()).map_err(refused)?;
            let told = told(ReplyKind::Webhook, url, &host, None);
            Ok(Wanted { socket: socket.as_ref().map(at), told: Some(told) })
        }
        (Some(ReplyMode::Queue { reply_to, correlation_id }), socket) => {
            queue(reply_to, correlation_id.as_deref())?;
            let told = told(ReplyKind::Queue, reply_to, reply_to, correlation_id.as_ref());
            Ok(Wanted { socket: socket.as_ref().map(at), told: Some(told) })
        }
    }
}

/// Whether a result may be published there.
fn queue(name: &str, correlation_id: Option<&str>) -> Result<(), Problem> {
    let refused = |sentence: String| Err(Problem::new(422, "Invalid reply", sentence));
    if !is_reply_queue(name) {
        return refused(
            "`reply_to` must be the name of a queue that begins with `reply.`, or a direct reply-to \
             (`amq.rabbitmq.reply-to.…`): results are published to no other queue."
                .to_owned(),
        );
    }
    for (what, text) in [("reply_to", name), ("correlation_id", correlation_id.unwrap_or_default())] {
        if text.len() > SHORT_BYTES_MAX || text.contains(char::is_control) {
            return refused(format!("`{what}` must have at most {SHORT_BYTES_MAX} bytes, without control characters."));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use wire::authority::{Grants, Role};

    use super::*;

    fn told(reply: Value) -> Result<Option<NewReply>, String> {
        let who = Authority::new("token:1", None, "ci", Grants::everywhere(Role::Admin));
        let trigger = serde_json::from_value(json!({ "reply": reply })).unwrap();
        wanted(&who, &trigger, &Destinations::default()).map(|wanted| wanted.told).map_err(|problem| {
            assert_eq!(problem.status, 422);
            problem.detail
        })
    }

    #[test]
    fn reply_to_a_queue_is_refused_where_it_would_be_written_into_others() {
        for name in ["control", "receipts", "events", "reply.", "Reply.x", "amq.rabbitmq.reply-to", ""] {
            let why = told(json!({"mode": "queue", "reply_to": name})).unwrap_err();
            assert!(why.starts_with("`reply_to` must be"), "{name}: {why}");
        }
        let long = format!("reply.{}", "x".repeat(SHORT_BYTES_MAX));
        assert!(told(json!({"mode": "queue", "reply_to": long})).unwrap_err().contains("at most 255 bytes"));
        for name in ["reply.mine", "amq.rabbitmq.reply-to.g1h2.a"] {
            let told = told(json!({"mode": "queue", "reply_to": name, "correlation_id": "7"})).unwrap().unwrap();
            assert_eq!((told.address.as_str(), told.correlation_id.as_deref()), (name, Some("7")));
        }
    }

    #[test]
    fn reply_by_webhook_is_refused_where_the_address_is_none() {
        for url in
            ["ftp://example.org", "example.org/hook", "http://", "http://exa mple.org", "http://example.org:port/"]
        {
            let why = told(json!({"mode": "webhook", "url": url})).unwrap_err();
            assert!(why.starts_with("`url` "), "{url}: {why}");
        }
        for url in ["http://127.0.0.1:9000/", "http://[::1]/", "http://localhost/", "http://169.254.169.254/latest/"] {
            let why = told(json!({"mode": "webhook", "url": url})).unwrap_err();
            assert!(why.contains("`--webhook-allow "), "{url}: {why}");
        }
        let told = told(json!({"mode": "webhook", "url": "https://Example.org:8443/hook?x=1"})).unwrap().unwrap();
        assert_eq!((told.mode, told.receiver.as_str()), (ReplyKind::Webhook, "example.org:8443"));
    }
}
