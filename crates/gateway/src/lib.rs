//! The gateway holds the sockets of browsers and brings them what arrives for them on the broker.
//!
//! Each worker is one task with its own queue on the broker, its own sockets, its own replay, and one loop over a closed
//! enum of events; nothing of it is shared, so a panic in one worker hurts no other. What sockets ask for is done by the
//! [`Desk`] that the server gives.
//!
//! What does not live here: the gateway knows no store and no HTTP framework. A socket is any stream of [`SocketIn`]
//! that is also a sink of [`SocketOut`].
//!
//! | file | holds |
//! |---|---|
//! | `gateway` | [`Gateway`]: start, place, serve |
//! | `supervisor` | the life of a worker, and its next one after a panic |
//! | `worker` | the loop; `delivery`, `callback`, `request` and `attach` are its answers to the broker and to clients |
//! | `intake` | the worker's queue: declared, consumed, replaced where it cannot be had |
//! | `bindings`, `subscriptions`, `replay`, `clients`, `receipts`, `unsettled`, `seldom` | the state of a worker, without any I/O |
//! | `socket`, `send_queue` | reading, writing, pings; the bounded way to one client |
//! | `live` | live queries |
//! | `driven` | a worker driven by hand, for simulations |
//!
//! | error | of |
//! |---|---|
//! | [`GatewayError`] | starting |
//! | [`wire::Problem`], sent as a `problem` frame | what a client asked for |
//! | [`CloseCode`](wire::CloseCode) | a socket that cannot go on; its range says whether to come back |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod attach;
mod bindings;
mod callback;
mod clients;
mod config;
mod delivery;
mod desk;
pub mod driven;
mod frames;
mod gateway;
mod intake;
mod judge;
mod live;
mod place;
mod receipts;
mod replay;
mod request;
mod seldom;
mod send_queue;
mod send_room;
mod socket;
mod subscriptions;
mod supervisor;
mod unsettled;
mod worker;

pub use config::{GatewayConfig, Limits};
pub use desk::{Desk, LiveResult, MayWatch, NotNow};
pub use gateway::{Gateway, GatewayError};
pub use socket::{SocketIn, SocketOut};
