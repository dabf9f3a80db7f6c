//! `GET /ws`: cookie → worker. The session remembers its worker for the affinity period; without a session the client's
//! address decides. What happens on the socket is the gateway's business.

use std::{
    net::{IpAddr, SocketAddr},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::{
        ConnectInfo, State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse as _, Response},
};
use futures_util::{SinkExt as _, StreamExt as _, future::ready};
use gateway::{SocketIn, SocketOut};
use serde::{Deserialize, Serialize};
use tower_sessions::Session;
use wire::{CloseCode, Problem, SUBPROTOCOL, ServerId, frame::CLIENT_FRAME_BYTES_MAX};

use crate::{
    core::Core,
    http::{Site, problem::Rejection, who::Who},
};

/// Where the session keeps its worker.
const PLACE: &str = "place";
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
            let subject = who.subject.clone();
            site.gateway.serve(&server_id, who, subject, frames(socket)).await;
        },
    )
}

/// The worker for this request: the session's, within the affinity period; else by the client's address.
async fn place(site: &Site, session: &Session, peer: IpAddr, headers: &HeaderMap) -> ServerId {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let kept: Option<SessionPlace> = session.get(PLACE).await.ok().flatten();
    let period = site.core.affinity.as_secs();
    let recent = kept.as_ref().filter(|place| place.at_seconds + period > now);
    let key = session.id().map_or_else(|| client_address(&site.core, peer, headers).to_string(), |id| id.to_string());
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

/// The client's address: the peer's, or what a trusted proxy says of it.
fn client_address(core: &Core, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if !core.trusted_proxies.contains(&peer) {
        return peer;
    }
    let header = |name: &'static str| {
        let values = headers.get_all(HeaderName::from_static(name)).into_iter();
        values.filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",")
    };
    let forwarded = header("forwarded");
    let named = forwarded.split([',', ';']).filter_map(|part| part.trim().strip_prefix("for=")).map(bare_address);
    let plain = header("x-forwarded-for");
    let plain = plain.split(',').map(str::trim).map(bare_address);
    // The nearest entry that is no trusted proxy was written by one of ours; what stands before it may be invented.
    let chain: Vec<IpAddr> = named.chain(plain).flatten().collect();
    chain.into_iter().rev().find(|address| !core.trusted_proxies.contains(address)).unwrap_or(peer)
}

/// An address as headers write it: perhaps quoted, in brackets, with a port.
fn bare_address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    text.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| text.strip_prefix('[')?.split(']').next()?.parse().ok())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (text, address) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("\"[2001:db8::1]\"", "2001:db8::1"),
        ] {
            assert_eq!(bare_address(text), address.parse().ok(), "{text}");
        }
        assert_eq!(bare_address("unknown"), None);
    }
}
