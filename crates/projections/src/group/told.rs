//! What the member that reads tells of its group, through the store: when it has changed, and once a second at most while
//! events come. And that a process is a member at all ([`announce`]).

use std::{collections::VecDeque, time::Duration};

use store::{Store, groups::Told};
use tokio_util::sync::CancellationToken;
use tracing::debug;
use uuid::Uuid;
use wire::group::{GroupState, Progress};

/// Seconds over which the speed is taken.
const SPEED_SECONDS: usize = 10;
/// A process tells this often that it is a member.
const EVERY: Duration = Duration::from_secs(5);
/// A member that was not heard for so long is gone.
pub const SILENCE: Duration = Duration::from_secs(15);
/// How long the last word may take.
const GOODBYE_PATIENCE: Duration = Duration::from_millis(500);

/// Tells of one group.
pub(super) struct Teller<'a> {
    store: &'a dyn Store,
    group: String,
    now: Told,
    last: Option<Told>,
    /// Events of each of the last seconds, the present one last.
    seconds: VecDeque<u64>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(store: &'a dyn Store, group: &str, member: String) -> Self {
        let now = Told { member, ..Told::default() };
        Self { store, group: group.to_owned(), now, last: None, seconds: VecDeque::from([0]) }
    }

    /// Events were applied.
    pub(super) fn applied(&mut self, events: u64) {
        if let Some(second) = self.seconds.back_mut() {
            *second += events;
        }
    }

    /// The stream was read so far.
    pub(super) fn passed(&mut self, incarnation: Uuid, offset: Option<u64>) {
        self.now.passed = offset.map(|offset| (incarnation, offset));
    }

    /// The group reads: told with the next look.
    pub(super) fn runs(&mut self) {
        (self.now.state, self.now.reason, self.now.progress) = (GroupState::Running, None, None);
    }

    /// A second has passed.
    pub(super) async fn look(&mut self) {
        let events: u64 = self.seconds.iter().sum();
        // Anything at all is more than nothing.
        self.now.speed = events.div_ceil(SPEED_SECONDS as u64);
        self.seconds.push_back(0);
        if self.seconds.len() > SPEED_SECONDS {
            self.seconds.pop_front();
        }
        self.write().await;
    }

    /// What the group does now.
    pub(super) async fn tell(&mut self, state: GroupState, reason: Option<String>, progress: Option<Progress>) {
        (self.now.state, self.now.reason, self.now.progress) = (state, reason, progress);
        self.write().await;
    }

    async fn write(&mut self) {
        if self.last.as_ref() == Some(&self.now) {
            return;
        }
        match self.store.tell_group(&self.group, &self.now).await {
            Ok(()) => self.last = Some(self.now.clone()),
            // What keeps the store from this keeps it from more that is told of.
            Err(failure) => debug!(group = self.group, %failure, "what a group does cannot be told now"),
        }
    }
}

/// Tells until `shutdown` that this process is a member of the groups, then that it has left.
pub async fn announce(store: &dyn Store, groups: &[&str], member: &str, shutdown: CancellationToken) {
    let mut timer = tokio::time::interval(EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = timer.tick() => {}
        }
        if let Err(failure) = store.put_member(groups, member).await {
            debug!(%failure, "that this process is a member of groups cannot be told now");
        }
    }
    // Without it the others notice the silence.
    let _ = tokio::time::timeout(GOODBYE_PATIENCE, store.member_left(member)).await;
}
