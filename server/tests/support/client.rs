//! A client of the socket, as a program is one: it reads frame by frame and fails when none comes.
#![allow(dead_code, reason = "each test binary uses its part of this")]

use std::{
    net::{Ipv4Addr, TcpStream},
    time::Instant,
};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, client::IntoClientRequest as _, protocol::CloseFrame};

use crate::support::{PATIENCE, Server};

/// A client with its socket meta.
pub(crate) struct Client {
    pub(crate) socket: WebSocket<TcpStream>,
    pub(crate) hello: Value,
}

/// Who connects.
#[derive(Clone, Copy)]
pub(crate) enum As<'a> {
    Token(&'a str),
    Cookie(&'a str),
}

pub(crate) fn connect(server: &Server, who: As<'_>, origin: Option<&str>) -> Result<Client, u16> {
    connect_with(server, who, origin, TcpStream::connect(server.url.trim_start_matches("http://")).unwrap())
}

/// Connects from another address of this machine.
pub(crate) fn connect_from(server: &Server, from: Ipv4Addr) -> Client {
    connect_with(server, As::Token(&server.token), None, stream_from(server, from)).unwrap()
}

/// A connection to a server from another address of this machine.
pub(crate) fn stream_from(server: &Server, from: Ipv4Addr) -> TcpStream {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &std::net::SocketAddr::from((from, 0))).unwrap();
    let to: std::net::SocketAddr = server.url.trim_start_matches("http://").parse().unwrap();
    rustix::net::connect(&socket, &to).unwrap();
    socket.into()
}

pub(crate) fn connect_with(
    server: &Server,
    who: As<'_>,
    origin: Option<&str>,
    stream: TcpStream,
) -> Result<Client, u16> {
    let host = server.url.trim_start_matches("http://").to_owned();
    let mut request = format!("ws://{host}/ws").into_client_request().unwrap();
    let headers = request.headers_mut();
    match who {
        As::Token(token) => headers.insert("authorization", format!("Bearer {token}").parse().unwrap()),
        As::Cookie(cookie) => headers.insert("cookie", cookie.parse().unwrap()),
    };
    headers.insert("sec-websocket-protocol", "stepcast.v1".parse().unwrap());
    if let Some(origin) = origin {
        headers.insert("origin", origin.parse().unwrap());
    }
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let socket = match tungstenite::client(request, stream) {
        Ok((socket, _)) => socket,
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            return Err(response.status().as_u16());
        }
        Err(failure) => panic!("{failure}"),
    };
    let mut client = Client { socket, hello: Value::Null };
    client.hello = client.frame();
    assert_eq!(client.hello["type"], "hello");
    Ok(client)
}

impl Client {
    /// What comes next. The server's pings keep a connection busy on which nothing else comes any more.
    fn message(&mut self, begun: Instant) -> Message {
        assert!(begun.elapsed() < PATIENCE, "nothing comes but pings");
        self.socket.read().unwrap()
    }

    pub(crate) fn frame(&mut self) -> Value {
        let begun = Instant::now();
        loop {
            match self.message(begun) {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    pub(crate) fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let frame = self.frame();
            if wanted(&frame) {
                return frame;
            }
        }
    }

    pub(crate) fn closed(mut self) -> u16 {
        let begun = Instant::now();
        loop {
            if let Message::Close(frame) = self.message(begun) {
                return frame.map(|CloseFrame { code, .. }| code.into()).unwrap_or_default();
            }
        }
    }

    /// Says that it is still there: the server closes a socket of which it hears nothing for two of its pings, and who waits
    /// for its turn to read answers none. Nothing comes back. One that is closed already is told so when it reads.
    pub(crate) fn pong(&mut self) {
        let _ = self.socket.send(Message::Pong(tungstenite::Bytes::new()));
    }

    pub(crate) fn send(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).unwrap();
    }

    pub(crate) fn meta(&self) -> Value {
        json!({"client_id": self.hello["client_id"], "server_id": self.hello["server_id"]})
    }
}

pub(crate) fn lines(frame: &Value) -> Vec<String> {
    let lines = frame["event"]["lines"].as_array().cloned().unwrap_or_default();
    lines.iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

/// Signs in as a person does and gives the cookie.
pub(crate) fn sign_in(server: &Server) -> String {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
    let request = agent.post(format!("{}/sign-in", server.url)).header("origin", &server.url);
    let answer = request.send_form([("token", server.token.as_str())]).unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()), (303, "/"));
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}
