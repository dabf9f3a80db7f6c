//! Many sockets, read by one thread that counts what comes. They cost little: what is measured shares the machine.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    fd::OwnedFd,
};

use crate::{
    failure::{Explain as _, Result},
    gateway::{
        member::{Door, Member, crowd},
        micros,
        tally::{Arrival, Tally},
        web_socket::{CLOSE, Frame, PING, PONG, TEXT, masked},
    },
};

/// Sockets that are looked at together.
const EVENTS: usize = 256;
/// How soon the reader notices that it is to end.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// What is read from a socket at once.
const READ_BYTES: usize = 64 * 1024;

/// Number and time of a message that came to a socket, by the text of its frame.
pub(crate) type Mark = fn(usize, &str) -> Option<(usize, u64)>;

/// Who a message is for.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) client_id: String,
    pub(crate) server_id: String,
    pub(crate) resume: Option<String>,
}

/// See the module. Dropping it cuts every socket.
pub(crate) struct Fleet {
    pub(crate) addresses: Vec<Address>,
    pub(crate) tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Fleet {
    /// Connects so many clients and reads them.
    pub(crate) fn open(door: &Door, count: usize, mark: Mark, receipts: bool) -> Result<Self> {
        Self::read(crowd(door, count, &[])?, mark, receipts)
    }

    /// Reads these. With `receipts`, each callback is acknowledged, as the protocol of Stepcast asks for.
    pub(crate) fn read(members: Vec<Member>, mark: Mark, receipts: bool) -> Result<Self> {
        Self::read_counting(members, mark, receipts, 0)
    }

    /// The same, counting up to so many messages from the first one on.
    pub(crate) fn read_counting(members: Vec<Member>, mark: Mark, receipts: bool, expected: usize) -> Result<Self> {
        let addresses = members.iter().map(address).collect();
        let failed = || "sockets cannot be read".to_owned();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).explain(failed)?;
        for (n, member) in members.iter().enumerate() {
            member.stream.set_nonblocking(true).explain(failed)?;
            let data = epoll::EventData::new_u64(n as u64);
            epoll::add(&epoll, &member.stream, data, epoll::EventFlags::IN).explain(failed)?;
        }
        let (tally, stop) = (Arc::<Tally>::default(), Arc::<AtomicBool>::default());
        tally.expect(expected);
        let mut reader = Reader { epoll, members, tally: Arc::clone(&tally), mark, receipts, arrivals: Vec::new() };
        let ending = Arc::clone(&stop);
        let reader = std::thread::spawn(move || reader.run(&ending));
        Ok(Self { addresses, tally, stop, reader: Some(reader) })
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join(); // What it said about a panic is on the terminal.
        }
    }
}

fn address(member: &Member) -> Address {
    let (client_id, server_id) = (member.client_id.clone(), member.server_id.clone());
    Address { client_id, server_id, resume: member.resume.clone() }
}

struct Reader {
    epoll: OwnedFd,
    members: Vec<Member>,
    tally: Arc<Tally>,
    mark: Mark,
    receipts: bool,
    arrivals: Vec<Arrival>,
}

impl Reader {
    fn run(&mut self, stop: &AtomicBool) {
        let mut events = Vec::with_capacity(EVENTS);
        let mut bytes = vec![0; READ_BYTES];
        while !stop.load(Ordering::Relaxed) {
            // Interrupted: it is looked again.
            let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&LOOK));
            for event in events.drain(..) {
                let n = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                if !self.ready(n, &mut bytes)
                    && let Some(gone) = self.members.get(n)
                {
                    let _ = epoll::delete(&self.epoll, &gone.stream);
                }
            }
            if !self.arrivals.is_empty() {
                self.tally.add(self.arrivals.drain(..));
            }
        }
        self.members.iter().for_each(Member::cut);
    }

    /// Reads a socket; false when it has ended.
    fn ready(&mut self, n: usize, bytes: &mut [u8]) -> bool {
        let Some(member) = self.members.get_mut(n) else { return false };
        let count = match member.stream.read(bytes) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        };
        let read = micros();
        // Nearly always whole frames come, and nothing is copied.
        let mut rest = std::mem::take(&mut member.rest);
        let all = if rest.is_empty() {
            &bytes[..count]
        } else {
            rest.extend(&bytes[..count]);
            &rest
        };
        let (mut begin, mut goes_on) = (0, true);
        while let Some(frame) = Frame::first(&all[begin..]) {
            let payload = &all[begin..][frame.payload.clone()];
            begin += frame.payload.end;
            match frame.opcode {
                TEXT => {
                    let text = str::from_utf8(payload).unwrap_or_default();
                    if let Some((n, sent)) = (self.mark)(n, text) {
                        self.arrivals.push(Arrival { n, sent, read });
                    }
                    if self.receipts
                        && let Some(id) = between(text, r#""message_id":""#, '"')
                    {
                        let receipt = format!(r#"{{"type":"receipt","message_id":"{id}"}}"#);
                        goes_on &= member.stream.write_all(&masked(TEXT, receipt.as_bytes())).is_ok();
                    }
                }
                PING => goes_on &= member.stream.write_all(&masked(PONG, payload)).is_ok(),
                CLOSE => goes_on = false,
                _ => {}
            }
        }
        member.rest = all[begin..].to_vec();
        goes_on
    }
}

/// What stands behind `before` up to `end`.
pub(crate) fn between<'t>(text: &'t str, before: &str, end: char) -> Option<&'t str> {
    let from = text.find(before)? + before.len();
    text[from..].split(end).next()
}
