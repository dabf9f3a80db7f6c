//! The gateway over the embedded broker: sockets are channels, the desk is scripted, everything else is real.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attach;
mod callbacks;
mod events;
mod life;
mod rebind;
mod requests;
mod rig;
mod slow;
