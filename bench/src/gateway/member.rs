//! One connection of a client to one of those that are measured, until somebody reads it for many: see `fleet.rs`.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
};

use rustix::net::{AddressFamily, SocketType};
use serde_json::Value;

use crate::{
    failure::{Explain as _, Failure, Result},
    gateway::web_socket::{Frame, TEXT, masked, request},
    socket::PATIENCE,
};

/// So many addresses of this machine are used as those of clients: a gateway places clients by their address.
const ADDRESSES: usize = 40;
/// What is read at once while a connection is made.
const READ_BYTES: usize = 4096;

/// Where clients come in.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    /// Of a Stepcast.
    pub(crate) token: Option<String>,
}

/// An open socket and what its `hello` said.
pub(crate) struct Member {
    pub(crate) stream: TcpStream,
    pub(crate) client_id: String,
    pub(crate) server_id: String,
    /// Of a Stepcast: the token to come back with.
    pub(crate) resume: Option<String>,
    /// What was read behind the last frame.
    pub(crate) rest: Vec<u8>,
}

impl Member {
    /// Connects as the `n`th client, and reads the first frame.
    pub(crate) fn connect(door: &Door, n: usize) -> Result<Self> {
        let stream = connect(door.address, n).explain(|| format!("{} cannot be reached", door.address))?;
        let mut member = Self {
            stream,
            client_id: String::new(),
            server_id: String::new(),
            resume: None,
            rest: Vec::with_capacity(READ_BYTES),
        };
        let request = request(&door.address.to_string(), door.token.as_deref());
        member.stream.write_all(request.as_bytes()).explain(|| "an upgrade cannot be asked for".to_owned())?;
        let head = loop {
            if let Some(end) = member.rest.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break member.rest.drain(..end + 4).collect::<Vec<u8>>();
            }
            member.read_more()?;
        };
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(Failure(format!("the upgrade was refused: {}", String::from_utf8_lossy(&head))));
        }
        member.hello()?;
        member.rest.shrink_to_fit();
        Ok(member)
    }

    /// Comes back as the client that `resume` was given to.
    pub(crate) fn attach(&mut self, resume: &str) -> Result<()> {
        let attach = serde_json::json!({"type": "attach", "resume": resume, "positions": []}).to_string();
        self.say(&attach)?;
        self.hello()?;
        self.rest.shrink_to_fit();
        Ok(())
    }

    pub(crate) fn say(&mut self, text: &str) -> Result<()> {
        self.stream.write_all(&masked(TEXT, text.as_bytes())).explain(|| "a socket takes nothing".to_owned())
    }

    /// Ends the connection without a word.
    pub(crate) fn cut(&self) {
        let _ = self.stream.shutdown(Shutdown::Both); // The other side may have been faster.
    }

    fn hello(&mut self) -> Result<()> {
        let text = self.next_text()?;
        let hello: Value = serde_json::from_str(&text).explain(|| format!("this is no frame: {text}"))?;
        let word = |name: &str| hello[name].as_str().map(str::to_owned);
        match (hello["type"].as_str(), word("client_id"), word("server_id")) {
            (Some("hello"), Some(client_id), Some(server_id)) => {
                (self.client_id, self.server_id, self.resume) = (client_id, server_id, word("resume"));
                Ok(())
            }
            _ => Err(Failure(format!("a hello was expected, not {text}"))),
        }
    }

    /// The next text frame.
    pub(crate) fn next_text(&mut self) -> Result<String> {
        loop {
            let Some(frame) = Frame::first(&self.rest) else {
                self.read_more()?;
                continue;
            };
            let text = String::from_utf8_lossy(&self.rest[frame.payload.clone()]).into_owned();
            self.rest.drain(..frame.payload.end);
            if frame.opcode == TEXT {
                return Ok(text);
            }
        }
    }

    fn read_more(&mut self) -> Result<()> {
        let mut bytes = [0; READ_BYTES];
        match self.stream.read(&mut bytes).explain(|| "a socket tells nothing".to_owned())? {
            0 => Err(Failure("a socket was closed before its first frame".to_owned())),
            count => {
                self.rest.extend(&bytes[..count]);
                Ok(())
            }
        }
    }
}

fn connect(to: SocketAddr, n: usize) -> std::io::Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let host = u8::try_from(n % ADDRESSES).unwrap_or(0) + 1;
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::new(127, 0, 1, host), 0)))?;
    rustix::net::connect(&socket, &to)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Connects so many clients, some at a time. Each is one of the `former`, if there are any, and comes back as it.
pub(crate) fn crowd(door: &Door, count: usize, former: &[Option<String>]) -> Result<Vec<Member>> {
    /// As many are on the way at a time.
    const AT_A_TIME: usize = 16;
    let share = count.div_ceil(AT_A_TIME).max(1);
    let connect = |n: usize| {
        let mut member = Member::connect(door, n)?;
        if let Some(Some(resume)) = former.get(n) {
            member.attach(resume)?;
        }
        Ok(member)
    };
    std::thread::scope(|scope| {
        let begins = (0..count).step_by(share);
        let threads: Vec<_> = begins
            .map(|begin| {
                let end = count.min(begin + share);
                scope.spawn(move || (begin..end).map(connect).collect::<Result<Vec<Member>>>())
            })
            .collect();
        let mut members = Vec::with_capacity(count);
        for thread in threads {
            members.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(members)
    })
}
