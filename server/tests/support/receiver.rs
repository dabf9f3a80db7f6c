//! A receiver of webhooks: an HTTP server of its own that answers as it is told and hands over what it was sent.
#![allow(dead_code, reason = "each test binary uses its part of this")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::Duration,
};

/// Nothing here takes longer unless it never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was posted.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    /// A header that must be there.
    pub(crate) fn header(&self, wanted: &str) -> &str {
        let found = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        &found.unwrap_or_else(|| panic!("{wanted} is missing: {:?}", self.headers)).1
    }
}

/// An address that posts can be sent to.
pub(crate) struct Receiver {
    address: String,
    requests: mpsc::Receiver<Request>,
}

impl Receiver {
    /// Answers with these statuses, one after the other, the last one for good.
    pub(crate) fn answering(statuses: &[u16]) -> Self {
        let mut statuses = statuses.to_vec();
        Self::start(move || {
            let status = if statuses.len() > 1 { statuses.remove(0) } else { statuses[0] };
            Some(format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"))
        })
    }

    /// Takes what comes and never answers.
    pub(crate) fn silent() -> Self {
        Self::start(|| None)
    }

    /// Says that it is found elsewhere.
    pub(crate) fn redirecting(to: &str) -> Self {
        let to = to.to_owned();
        Self::start(move || {
            Some(format!("HTTP/1.1 302 x\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"))
        })
    }

    /// An address where nobody listens.
    pub(crate) fn nobody() -> String {
        format!("http://{}/", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
    }

    /// Whether no request has come that [`Self::next`] did not give.
    pub(crate) fn has_heard_nothing(&self) -> bool {
        self.requests.try_recv().is_err()
    }

    fn start(mut answer: impl FnMut() -> Option<String> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (taken, requests) = mpsc::channel();
        std::thread::spawn(move || {
            // Held open: who waits for an answer must not take a closed connection for one.
            let mut unanswered = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = read(&stream) else { continue };
                match answer() {
                    Some(answer) => {
                        // The sender may have been killed meanwhile.
                        let _ = stream.write_all(answer.as_bytes());
                    }
                    None => unanswered.push(stream),
                }
                if taken.send(request).is_err() {
                    return;
                }
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next request; fails when none comes.
    pub(crate) fn next(&self) -> Request {
        self.requests.recv_timeout(PATIENCE).expect("nothing was posted")
    }
}

/// One request; none when its sender goes before its end.
fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let line = lines.remove(0);
    let headers: Vec<(String, String)> =
        lines.iter().filter_map(|line| line.split_once(": ")).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?.1.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { line, headers, body: String::from_utf8(body).ok()? })
}
