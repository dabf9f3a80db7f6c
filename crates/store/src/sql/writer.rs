//! The one writer: a task that owns the only connection that writes. What has gathered runs in one transaction, commands
//! first, each in a savepoint, and is answered after the commit, so that many share one flush to the disk. Where the
//! database lets two transactions run at once the record has a task and a connection of its own.
//!
//! A job that fails takes back only what it did itself. When the disk is full the transaction is rolled back and all of
//! its jobs are told so; the next transaction tries again, and works as soon as there is room. When the database cannot
//! be reached all that wait are told at once, and the next one tries to reach it again.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{connection::Connection, failure::Failure};
use crate::StoreError;

/// Jobs that may wait, by rank; who comes then waits for room.
const COMMANDS_MAX: usize = 1024;
const JOURNAL_MAX: usize = 256;
const RECORD_MAX: usize = 64;

/// Jobs in one transaction.
const TRANSACTION_JOBS_MAX: usize = 256;

/// Commands that may go before a waiting journal or projection job: under a load that never ends these get a turn too.
const COMMANDS_IN_ROW_MAX: u32 = 512;

/// After so long nothing is added to a transaction: half of the 10 ms that none may take, the rest is for the last job
/// and the commit. Its own tests want what waits together to run together, on a slow machine too.
const TRANSACTION_FILL: Duration = if cfg!(test) { Duration::from_secs(60) } else { Duration::from_millis(5) };

/// What goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    /// A command that may write to the outbox: its watchers are told.
    Announcing,
    /// Any other command.
    Command,
    /// The broker's journal.
    Journal,
    /// A projection.
    Record,
}

/// What one job has come to. The answer is given after the commit: with the job's own result, or with the error that
/// kept the transaction from the disk. An error waits as well, because it may rest on what the same transaction changed.
struct Ran {
    failed: Option<Failed>,
    answer: Box<dyn FnOnce(Option<StoreError>) + Send>,
}

/// How a job failed.
enum Failed {
    /// It alone.
    Alone,
    /// There is no room: the whole transaction is lost.
    Full,
}

/// Runs in the open transaction, or is told why there is none.
type Work = Box<dyn for<'c> FnOnce(Result<&'c mut Connection, StoreError>) -> BoxFuture<'c, Ran> + Send>;

struct Job {
    announces: bool,
    work: Work,
}

/// Where a writer's transactions run. Which database it is shows here alone.
pub(crate) trait Home: Send + 'static {
    /// Opens a transaction, in which nobody else writes what this one writes.
    fn begin(&mut self) -> BoxFuture<'_, Result<&mut Connection, StoreError>>;
    /// Puts it on the disk. An error means that it is not there. `announces` says that it may have written to the outbox.
    fn commit(&mut self, announces: bool) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Takes it back, if there still is one.
    fn roll_back(&mut self) -> BoxFuture<'_, ()>;
    /// Ends the connection.
    fn end(self: Box<Self>) -> BoxFuture<'static, Result<(), StoreError>>;
}

/// The way to the writer.
pub(crate) struct Writer {
    commands: mpsc::Sender<Job>,
    journal: mpsc::Sender<Job>,
    record: mpsc::Sender<Job>,
    announced: watch::Sender<u64>,
    closing: CancellationToken,
}

impl Writer {
    /// Starts one task for everything, or a second one for the journal and the record.
    pub(crate) fn start(
        announced: watch::Sender<u64>,
        home: Box<dyn Home>,
        record_home: Option<Box<dyn Home>>,
    ) -> (Self, Vec<JoinHandle<()>>) {
        let (commands, commands_waiting) = mpsc::channel(COMMANDS_MAX);
        let (journal, journal_waiting) = mpsc::channel(JOURNAL_MAX);
        let (record, record_waiting) = mpsc::channel(RECORD_MAX);
        let closing = CancellationToken::new();
        let all = Waiting { commands: commands_waiting, journal: journal_waiting, record: record_waiting, in_row: 0 };
        let parts = match record_home {
            None => vec![(home, all)],
            Some(record_home) => {
                let Waiting { commands, journal, record, in_row } = all;
                let commands = Waiting { commands, journal: nothing(), record: nothing(), in_row };
                vec![(home, commands), (record_home, Waiting { commands: nothing(), journal, record, in_row })]
            }
        };
        let running = parts
            .into_iter()
            .map(|(home, waiting)| tokio::spawn(run(home, waiting, announced.clone(), closing.clone())));
        let running = running.collect();
        (Self { commands, journal, record, announced, closing }, running)
    }

    /// Runs `work` in a transaction and answers when it is on the disk.
    pub(crate) async fn run<T, E, W>(&self, rank: Rank, work: W) -> Result<T, E>
    where
        T: Send + 'static,
        E: Failure,
        W: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel::<Result<T, E>>();
        let work: Work = Box::new(move |connection| Box::pin(ran(connection, work, answer)));
        let queue = match rank {
            Rank::Announcing | Rank::Command => &self.commands,
            Rank::Journal => &self.journal,
            Rank::Record => &self.record,
        };
        if queue.send(Job { announces: rank == Rank::Announcing, work }).await.is_err() {
            return Err(closed().into());
        }
        answered.await.unwrap_or_else(|_| Err(closed().into()))
    }

    /// Changes when a transaction that may have written to the outbox is on the disk.
    pub(crate) fn announced(&self) -> watch::Receiver<u64> {
        self.announced.subscribe()
    }

    /// Asks the task to end after what waits.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }
}

impl Drop for Writer {
    /// A store that is dropped without being closed lets go of its lock as well.
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}

async fn ran<T, E, W>(
    connection: Result<&mut Connection, StoreError>,
    work: W,
    answer: oneshot::Sender<Result<T, E>>,
) -> Ran
where
    T: Send + 'static,
    E: Failure,
    W: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
{
    let result = match connection {
        Ok(connection) => work(connection).await,
        Err(error) => Err(error.into()),
    };
    let failed = result.as_ref().err().map(|error| match error.store() {
        Some(StoreError::Full) => Failed::Full,
        _ => Failed::Alone,
    });
    let answer = Box::new(move |lost: Option<StoreError>| {
        // Who asked may have stopped waiting; the change stands all the same.
        let _ = answer.send(match lost {
            Some(error) => Err(error.into()),
            None => result,
        });
    });
    Ran { failed, answer }
}

/// A queue in which nothing ever waits.
fn nothing() -> mpsc::Receiver<Job> {
    mpsc::channel(1).1
}

struct Waiting {
    commands: mpsc::Receiver<Job>,
    journal: mpsc::Receiver<Job>,
    record: mpsc::Receiver<Job>,
    /// Commands taken since another job had its turn.
    in_row: u32,
}

impl Waiting {
    /// The next job that is there already.
    fn next_now(&mut self) -> Option<Job> {
        if self.in_row < COMMANDS_IN_ROW_MAX
            && let Ok(job) = self.commands.try_recv()
        {
            self.in_row += 1;
            return Some(job);
        }
        self.in_row = 0;
        self.journal.try_recv().or_else(|_| self.record.try_recv()).or_else(|_| self.commands.try_recv()).ok()
    }

    /// The next job; none when there will be no more.
    async fn next(&mut self, closing: &CancellationToken) -> Option<Job> {
        if let Some(job) = self.next_now() {
            return Some(job);
        }
        tokio::select! {
            biased;
            Some(job) = self.commands.recv() => Some(job),
            Some(job) = self.journal.recv() => Some(job),
            Some(job) = self.record.recv() => Some(job),
            () = closing.cancelled() => {
                self.commands.close();
                self.journal.close();
                self.record.close();
                // What was accepted before the close is still done, and who was waiting for room is told.
                self.next_now()
            }
        }
    }
}

async fn run(mut home: Box<dyn Home>, mut waiting: Waiting, announced: watch::Sender<u64>, closing: CancellationToken) {
    let mut full = false;
    while let Some(first) = waiting.next(&closing).await {
        match transaction(&mut *home, first, &mut waiting).await {
            Ok(announces) => {
                if announces {
                    announced.send_modify(|count| *count = count.wrapping_add(1));
                }
                full = note_room(full, false);
            }
            Err(StoreError::Full) => full = note_room(full, true),
            Err(failure) => tracing::error!(%failure, "a transaction of the database failed"),
        }
    }
    if let Err(failure) = home.end().await {
        tracing::warn!(%failure, "the database was not closed well; nothing is lost, the next start reads its log");
    }
}

/// Says once that the disk is full, and once that it is not any more.
fn note_room(was_full: bool, is_full: bool) -> bool {
    match (was_full, is_full) {
        (false, true) => {
            tracing::error!("the disk that holds the database is full: nothing is accepted until there is room")
        }
        (true, false) => tracing::info!("the database has room again"),
        _ => {}
    }
    is_full
}

/// One transaction of `first` and what else waits; tells whether it may have written to the outbox.
async fn transaction(home: &mut dyn Home, first: Job, waiting: &mut Waiting) -> Result<bool, StoreError> {
    let connection = match home.begin().await {
        Ok(connection) => connection,
        Err(error) => {
            // Those that wait are told now: each trying for itself could wait for a server that is away, one after the other.
            let mut next = Some(first);
            while let Some(job) = next {
                ((job.work)(Err(error.clone())).await.answer)(None);
                next = waiting.next_now();
            }
            return Err(error);
        }
    };
    let began = Instant::now();
    let (mut answers, mut announces) = (Vec::new(), false);
    let mut next = Some(first);
    let mut fate = Ok(());
    while let Some(job) = next.take() {
        announces |= job.announces;
        fate = savepoint(connection, job.work, &mut answers).await;
        if fate.is_ok() && answers.len() < TRANSACTION_JOBS_MAX && began.elapsed() < TRANSACTION_FILL {
            next = waiting.next_now();
        }
    }
    if fate.is_ok() {
        fate = home.commit(announces).await;
    }
    if fate.is_err() {
        home.roll_back().await;
    }
    let lost = fate.err();
    for answer in answers {
        answer(lost.clone());
    }
    lost.map_or(Ok(announces), Err)
}

/// Runs one job so that it can be taken back alone. An error is the whole transaction's.
async fn savepoint(
    connection: &mut Connection,
    work: Work,
    answers: &mut Vec<Box<dyn FnOnce(Option<StoreError>) + Send>>,
) -> Result<(), StoreError> {
    if let Err(error) = connection.execute("SAVEPOINT job").await {
        answers.push(work(Err(error.clone())).await.answer);
        return Err(error);
    }
    let ran = work(Ok(&mut *connection)).await;
    answers.push(ran.answer);
    match ran.failed {
        None => connection.execute("RELEASE job").await,
        Some(Failed::Full) => Err(StoreError::Full),
        Some(Failed::Alone) => {
            connection.execute("ROLLBACK TO job").await?;
            connection.execute("RELEASE job").await
        }
    }
}

#[cfg(test)]
mod tests;
