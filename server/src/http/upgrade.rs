//! `GET /ws`: cookie → worker. The session remembers its worker for the affinity period; without a session the client's
//! address decides. What happens on the socket is the gateway's business.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::{
        ConnectInfo, State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use futures_util::{SinkExt as _, StreamExt as _, future::ready};
use gateway::{SocketIn, SocketOut};
use serde::{Deserialize, Serialize};
use tower_sessions::Session;
use wire::{CloseCode, Problem, SUBPROTOCOL, ServerId, frame::CLIENT_FRAME_BYTES_MAX};

use crate::http::{
    Site, address,
    problem::Rejection,
    who::{Shown, Who},
};

/// Where the session keeps its worker.
const PLACE: &str = "place";
/// A socket whose authority has ended may take so long to be closed well.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);
/// What the WebSocket library takes at most: above our own limit, so that we can say why we close.
const MESSAGE_BYTES_MAX: usize = 4 * CLIENT_FRAME_BYTES_MAX;
/// What is read from a socket at once. The library's own 128 KiB would be most of what an idle socket costs; clients say
/// little.
const READ_BYTES: usize = 4 * 1024;

/// The worker that a session was at, and when.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SessionPlace {
    server_id: ServerId,
    at_seconds: u64,
}

/// `GET /ws`
pub(crate) async fn upgrade(
    State(site): State<Site>,
    Who(who): Who,
    shown: Shown,
    session: Session,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(_) => {
            let sentence = "This address takes WebSocket upgrades only.";
            return Rejection(Problem::new(426, "Upgrade required", sentence)).into_response();
        }
    };
    let server_id = place(&site, &session, peer.ip(), &headers).await;
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
    let spoken = offered.is_none_or(|offered| offered.split(',').any(|name| name.trim() == SUBPROTOCOL));
    upgrade.protocols([SUBPROTOCOL]).max_message_size(MESSAGE_BYTES_MAX).read_buffer_size(READ_BYTES).on_upgrade(
        move |socket| async move {
            if !spoken {
                let mut socket = socket;
                let reason = format!("this server speaks {SUBPROTOCOL}");
                let _ = socket.send(close(CloseCode::Version, reason)).await; // It may have gone already.
                return;
            }
            let held = shown.hold(&site.core, &who);
            let subject = who.subject.clone();
            let serving = site.gateway.serve(&server_id, who, subject, frames(socket));
            tokio::pin!(serving);
            tokio::select! {
                () = &mut serving => return,
                () = held.ended.cancelled() => {}
            }
            // The gateway has closed it with the reason, unless it came between: then it is cut, and comes back.
            let _ = tokio::time::timeout(CLOSE_PATIENCE, serving).await;
        },
    )
}

/// The worker for this request: the session's, within the affinity period; else by the client's address.
async fn place(site: &Site, session: &Session, peer: IpAddr, headers: &HeaderMap) -> ServerId {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let kept: Option<SessionPlace> = session.get(PLACE).await.ok().flatten();
    let period = site.core.affinity.as_secs();
    let recent = kept.as_ref().filter(|place| place.at_seconds + period > now);
    let key = session
        .id()
        .map_or_else(|| address::of_client(&site.core.trusted_proxies, peer, headers).to_string(), |id| id.to_string());
    let server_id = site.gateway.place(recent.map(|place| &place.server_id), &key);
    // Written seldom: a place that is fresh enough stands.
    let fresh = recent.is_some_and(|place| place.server_id == server_id && place.at_seconds + period / 4 > now);
    if !fresh && session.id().is_some() {
        let place = SessionPlace { server_id: server_id.clone(), at_seconds: now };
        if let Err(failure) = session.insert(PLACE, place).await {
            tracing::warn!(%failure, "a session cannot keep its worker: the next socket may land at another one");
        }
    }
    server_id
}

fn close(code: CloseCode, reason: String) -> Message {
    Message::Close(Some(CloseFrame { code: code.number(), reason: reason.into() }))
}

/// The socket in the gateway's terms.
fn frames(
    socket: WebSocket,
) -> impl futures_util::Stream<Item = SocketIn> + futures_util::Sink<SocketOut, Error = axum::Error> + Send + Unpin + 'static
{
    let incoming = socket.map(|message| match message {
        Ok(Message::Text(text)) if text.len() > CLIENT_FRAME_BYTES_MAX => SocketIn::TooLarge,
        Ok(Message::Text(text)) => SocketIn::Text(text.as_str().to_owned()),
        Ok(Message::Binary(_)) => SocketIn::NotText,
        Ok(Message::Ping(_)) => SocketIn::Ping,
        Ok(Message::Pong(_)) => SocketIn::Pong,
        Ok(Message::Close(_)) => SocketIn::Closed,
        Err(failure) if failure.to_string().contains("too long") => SocketIn::TooLarge,
        Err(_) => SocketIn::Closed,
    });
    incoming.with(|frame: SocketOut| {
        ready(Ok(match frame {
            SocketOut::Text(text) => Message::Text((&*text).into()),
            SocketOut::Ping => Message::Ping(Vec::new().into()),
            SocketOut::Close(code, reason) => close(code, reason),
        }))
    })
}
