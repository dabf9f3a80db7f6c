//! Consumer groups beside their effects: what a person wishes of one, and what its members tell. Who reads for a group says
//! a named lease ([`crate::Leases::hold`]); nothing here is in the way of what it reads.

use std::time::Duration;

use uuid::Uuid;
use wire::group::{GroupState, GroupView, Progress};

use crate::{Answer, audit::NewEntry};

/// What a group is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// A person has paused it.
    pub paused: bool,
    /// What it keeps is to be made anew: a person wants it, or it was begun and has not ended.
    pub rebuild: bool,
}

/// What a person can change of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Stop reading.
    Pause,
    /// Go on.
    Resume,
    /// Make anew what it keeps.
    Rebuild,
}

/// What the active member of a group tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Who tells.
    pub member: String,
    /// What the group does.
    pub state: GroupState,
    /// Why it fails.
    pub reason: Option<String>,
    /// How far a rebuild is.
    pub progress: Option<Progress>,
    /// Events a second.
    pub speed: u64,
    /// How far the stream was read, what was not for the group included: incarnation and offset.
    pub passed: Option<(Uuid, u64)>,
}

/// See the module.
pub trait Groups: Send + Sync + 'static {
    /// What a group is to do now.
    fn group_wish<'a>(&'a self, group: &'a str) -> Answer<'a, Wish>;
    /// Keeps a wish, until another one replaces it.
    fn change_group<'a>(&'a self, group: &'a str, change: Change, entry: NewEntry) -> Answer<'a, ()>;
    /// Keeps what the active member tells.
    fn tell_group<'a>(&'a self, group: &'a str, told: &'a Told) -> Answer<'a, ()>;
    /// The process `member` may read for these groups, and is alive.
    fn put_member<'a>(&'a self, groups: &'a [&'a str], member: &'a str) -> Answer<'a, ()>;
    /// It has ended.
    fn member_left<'a>(&'a self, member: &'a str) -> Answer<'a, ()>;
    /// A rebuild begins: until [`Groups::end_rebuild`] it is wished for, whoever dies. The group's place becomes that of the
    /// group `recorder`, so that what the record has is not read from the stream again. Gives the number of builds.
    fn begin_rebuild<'a>(&'a self, group: &'a str) -> Answer<'a, u64>;
    /// A group that is rebuilt for it has lost its place.
    fn count_loss<'a>(&'a self, group: &'a str) -> Answer<'a, ()>;
    /// A rebuild has ended.
    fn end_rebuild<'a>(&'a self, group: &'a str) -> Answer<'a, ()>;
    /// All groups that were ever heard of, by name. `end` is the offset behind the stream's last entry; members that were
    /// not heard for `silence` are left out.
    fn group_views(&self, end: Option<u64>, silence: Duration) -> Answer<'_, Vec<GroupView>>;
}
