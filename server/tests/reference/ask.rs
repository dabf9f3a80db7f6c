//! Requests word for word, and answers as they come.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::{
    document::Reference,
    support::{PATIENCE, Server},
};

/// What a server has answered.
pub(crate) struct Heard {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Heard {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.text()))
    }
}

/// Sends a request word for word, and reads the answer to its end.
pub(crate) fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Heard {
    let host = server.url.trim_start_matches("http://");
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(&[head.as_bytes(), body].concat()); // A server that refuses a long body does not read it all.
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer); // As above: what it said stands there.
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}"));
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let mut body = answer.split_off(end + 4);
    if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        body = unchunked(&body);
    }
    Heard { status, headers, body }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap().trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
    whole
}

/// Asks with authority, and holds every answer against the reference.
pub(crate) struct Reader {
    pub(crate) server: Server,
    pub(crate) reference: Reference,
}

impl Reader {
    /// `path` as it is in the document; each `to` takes the place of one of its parameters, or follows it as a query.
    pub(crate) fn ask(&self, method: &str, path: &str, to: &[&str], headers: &[(&str, &str)], body: &str) -> Heard {
        let bearer = format!("Bearer {}", self.server.token);
        let headers = [&[("authorization", &*bearer)][..], headers].concat();
        self.ask_as(method, path, to, &headers, body)
    }

    pub(crate) fn ask_as(&self, method: &str, path: &str, to: &[&str], headers: &[(&str, &str)], body: &str) -> Heard {
        let mut address = path.to_owned();
        for value in to {
            address = match (address.find('{'), address.find('}')) {
                (Some(from), Some(to)) => format!("{}{value}{}", &address[..from], &address[to + 1..]),
                _ => address + value,
            };
        }
        let base = if self.reference.document()["paths"][path]["servers"].is_array() { "" } else { "/api/v1" };
        let heard = ask(&self.server, method, &format!("{base}{address}"), headers, body.as_bytes());
        self.reference.assert_lists(method, path, &heard);
        heard
    }

    /// Asks for it, and gives it.
    pub(crate) fn get(&self, path: &str, to: &[&str]) -> Value {
        let heard = self.ask("GET", path, to, &[], "");
        assert_eq!(heard.status, 200, "{path}: {}", heard.text());
        if heard.headers["content-type"] == "application/json" { heard.json() } else { json!(heard.text()) }
    }

    /// The status of what is refused.
    pub(crate) fn refused(&self, method: &str, path: &str, to: &[&str], headers: &[(&str, &str)], body: &str) -> u16 {
        let heard = self.ask(method, path, to, headers, body);
        assert!(heard.status >= 400, "{method} {path} {to:?}: {}", heard.text());
        heard.status
    }
}
