//! Searching in all logs and builds: the contract. The index follows the record: it holds which block of lines has which
//! words, and nothing else; what is shown of a hit is read from the record, and looked at once more there. So both databases
//! find the same, and the index can be made anew at any time.
//!
//! # What is found
//!
//! A word is a run of letters and digits ([`words`]), whatever its case: `/usr/lib/libssl.so` has the words usr, lib, libssl,
//! so. The parts of a name in camel case count as words too: `TimeoutException` is found by itself, by `timeout` and by
//! `exception`. Letters of scripts that do not separate words are each a word. Whole words and not any piece of text, because
//! that index is a small part of the log it is made of and is written as fast as the log comes; an index of all pieces of
//! three letters is larger than the packed log itself.
//!
//! All words of a search ([`wanted`]) must stand in one line (of a build: in what is known of it); `"a phrase"`, and a word that
//! is made of several such as a path, must stand there in a row, whatever separates them; `begin*` finds all words that begin
//! so. Of a line longer than [`words::LINE_BYTES_MAX`] only the beginning is found, and a word longer than
//! [`words::WORD_LETTERS_MAX`] is known by its beginning.

pub mod wanted;
pub mod words;

use std::collections::BTreeSet;

use uuid::Uuid;
use wire::{
    BuildId, JobId, Timestamp,
    search::{SearchPage, SearchQuery},
};

use crate::Answer;
use wanted::Wanted;

/// What a batch of the stream says has changed, for the group that keeps the index.
#[derive(Clone, Debug)]
pub struct IndexBatch {
    /// The group.
    pub group: String,
    /// The stream that the offset belongs to.
    pub incarnation: Uuid,
    /// The place after the batch. The record must have reached it.
    pub offset: u64,
    /// Builds of which something has changed.
    pub builds: BTreeSet<BuildId>,
    /// Attempts that have printed something or ended.
    pub attempts: BTreeSet<(JobId, u32)>,
}

/// A build's place among all: by when it was queued.
pub type BuildPlace = (Timestamp, BuildId);

/// The search index. One process at a time writes it, any number read it.
pub trait Search: Send + Sync + 'static {
    /// Takes from the record what the index has not of these, in transactions short enough that commands do not wait for
    /// them, and keeps the group's place in the last of them. What an attempt has in the index is counted by its lines, in
    /// the transaction that adds them: the same batch again adds nothing, whatever was killed in between.
    fn index(&self, batch: IndexBatch) -> Answer<'_, ()>;
    /// Takes from the record what the index has not of some builds behind `after`, the oldest first. Where it ended, as long
    /// as there are more, and how many builds those were.
    fn index_record(&self, after: Option<BuildPlace>) -> Answer<'_, Option<(BuildPlace, u64)>>;
    /// Whether all that was recorded before the group has read the stream is in the index.
    fn index_is_whole(&self) -> Answer<'_, bool>;
    /// Says so.
    fn index_made_whole(&self) -> Answer<'_, ()>;
    /// One short step of emptying the index, which is not whole then: call again while there is more.
    fn empty_index(&self) -> Answer<'_, bool>;
    /// What is found, newest first: by when a line came to the index, which is by the age of its build where the index was made
    /// of the record. Bounded in work: a page may end before it is full.
    /// Of pipelines that `seen_by` lets see.
    fn search<'a>(
        &'a self,
        wanted: &'a Wanted,
        query: &'a SearchQuery,
        seen_by: &'a wire::authority::Grants,
    ) -> Answer<'a, SearchPage>;
}
