//! Who may do what: the table of needs, row by row, against the running program; what lists show; and what happens to
//! what is open when access is taken away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod audit;
#[path = "../support/client.rs"]
mod client;
mod lists;
mod people;
mod revocation;
#[path = "../support/mod.rs"]
mod support;
#[path = "../../src/http/table.rs"]
mod table;
mod unchanged;
mod walk;
mod world;

/// Waits until something is so, for it comes a moment after its cause.
pub(crate) fn until(is_so: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < support::PATIENCE, "it never came to be so");
        std::thread::yield_now();
    }
}
