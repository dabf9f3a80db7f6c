//! What the server refused on this socket, and what to do about each: a topic that it will not tell of, a live query that
//! ended. Pure: it knows neither sockets nor timers. As long as something is refused the page is not live, and says so.
//!
//! A `problem` frame names what it is about by the id that it was asked with: a topic's name or a query's number. The
//! answers to `attach` have no ids: what it named is then asked for once more, each topic by itself, so that the answer
//! tells which one is meant.

use std::collections::{BTreeMap, BTreeSet};

use wire::Topic;

/// A live query that failed once is asked for again before anything is said of it; from this failure on it is told.
const TOLD_FROM_FAILURE: u32 = 2;

/// What a `problem` frame asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Rest,
    /// Subscribe to the live query again, this being its failure number `failures` in a row, from 1.
    Again {
        /// The query.
        query: u64,
        /// From 1.
        failures: u32,
    },
    /// Tell who watches the topic that nothing comes of it.
    Refused(Topic),
    /// Subscribe to each of these by itself.
    AskEach(BTreeSet<Topic>),
}

/// What was refused, in the server's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind, in a few words.
    pub title: String,
    /// The sentence.
    pub detail: String,
}

#[derive(Debug)]
struct Failing {
    failures: u32,
    refusal: Refusal,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Refusals {
    topics: BTreeMap<Topic, Refusal>,
    queries: BTreeMap<u64, Failing>,
    /// Named by `attach` and neither answered nor refused yet.
    unanswered: BTreeSet<Topic>,
}

impl Refusals {
    /// A socket can be used: what the former one was refused counts no more. `attached` was named by `attach`.
    pub fn opened(&mut self, attached: impl IntoIterator<Item = Topic>) {
        *self = Self { unanswered: attached.into_iter().collect(), ..Self::default() };
    }

    /// A topic is told of.
    pub fn answered(&mut self, topic: Topic) {
        self.unanswered.remove(&topic);
        self.topics.remove(&topic);
    }

    /// A topic is watched no more.
    pub fn left(&mut self, topic: Topic) {
        self.answered(topic);
    }

    /// A live query gave a result.
    pub fn result(&mut self, query: u64) {
        self.queries.remove(&query);
    }

    /// A live query is wanted no more.
    pub fn unqueried(&mut self, query: u64) {
        self.result(query);
    }

    /// Takes a `problem` frame. `is_query` tells live queries that still run from those that were left meanwhile.
    pub fn problem(&mut self, id: Option<&str>, refusal: Refusal, is_query: impl Fn(u64) -> bool) -> Step {
        let Some(id) = id else {
            // Emptied, so that a socket asks so once: what is refused again is refused by name.
            let unanswered = std::mem::take(&mut self.unanswered);
            return if unanswered.is_empty() { Step::Rest } else { Step::AskEach(unanswered) };
        };
        if let Ok(topic) = id.parse::<Topic>() {
            self.unanswered.remove(&topic);
            self.topics.insert(topic, refusal);
            return Step::Refused(topic);
        }
        let Some(query) = id.parse().ok().filter(|query| is_query(*query)) else { return Step::Rest };
        let failures = self.queries.get(&query).map_or(0, |failing| failing.failures).saturating_add(1);
        self.queries.insert(query, Failing { failures, refusal });
        Step::Again { query, failures }
    }

    /// What keeps the page from being live, if anything does.
    #[must_use]
    pub fn told(&self) -> Option<&Refusal> {
        let failing = self.queries.values().find(|failing| failing.failures >= TOLD_FROM_FAILURE);
        self.topics.values().next().or(failing.map(|failing| &failing.refusal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{BuildId, JobId};

    fn refusal() -> Refusal {
        Refusal { title: "forbidden".into(), detail: "may not be watched with this session".into() }
    }

    fn topics() -> [Topic; 2] {
        let id = uuid::Uuid::from_u128(1);
        [Topic::Build(BuildId(id)), Topic::Job(JobId(id))]
    }

    #[test]
    fn a_live_query_that_fails_is_asked_for_again_and_told_until_it_gives_a_result() {
        let mut refusals = Refusals::default();
        let is_query = |query| query == 7;
        assert_eq!(refusals.problem(Some("7"), refusal(), is_query), Step::Again { query: 7, failures: 1 });
        assert_eq!(refusals.told(), None, "the next try may do");
        assert_eq!(refusals.problem(Some("7"), refusal(), is_query), Step::Again { query: 7, failures: 2 });
        assert_eq!(refusals.told(), Some(&refusal()));
        refusals.result(7);
        assert_eq!(refusals.told(), None);
        assert_eq!(refusals.problem(Some("7"), refusal(), is_query), Step::Again { query: 7, failures: 1 });
        assert_eq!(refusals.problem(Some("8"), refusal(), is_query), Step::Rest, "it was left meanwhile");
    }

    #[test]
    fn a_refused_topic_is_told_until_it_is_left_or_another_socket_is_open() {
        let [build, job] = topics();
        let mut refusals = Refusals::default();
        assert_eq!(refusals.problem(Some(&job.to_string()), refusal(), |_| false), Step::Refused(job));
        assert_eq!(refusals.told(), Some(&refusal()));
        refusals.left(job);
        assert_eq!(refusals.told(), None);
        refusals.problem(Some(&build.to_string()), refusal(), |_| false);
        refusals.opened([]);
        assert_eq!(refusals.told(), None);
    }

    #[test]
    fn a_refusal_without_a_name_while_coming_back_asks_for_each_unanswered_topic_once() {
        let [build, job] = topics();
        let mut refusals = Refusals::default();
        refusals.opened([build, job]);
        refusals.answered(build);
        assert_eq!(refusals.problem(None, refusal(), |_| false), Step::AskEach([job].into()));
        assert_eq!(refusals.problem(None, refusal(), |_| false), Step::Rest);
        assert_eq!(refusals.problem(Some(&job.to_string()), refusal(), |_| false), Step::Refused(job));
        assert_eq!(refusals.told(), Some(&refusal()));
    }
}
