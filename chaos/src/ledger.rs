//! What a run has done and found: counts for the report, the time line in a file, and every broken promise with its
//! evidence. Who finds it is elsewhere.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::failure::{Explain as _, Result};

/// At most so many broken promises are told in full; of a run that breaks more, the first ones say why.
const BROKEN_TOLD_MAX: usize = 50;

/// See the module.
pub(crate) struct Ledger {
    begun: Instant,
    pages: Mutex<Pages>,
}

struct Pages {
    timeline: File,
    counts: BTreeMap<String, u64>,
    faults: BTreeMap<String, u64>,
    recoveries: BTreeMap<&'static str, Vec<Duration>>,
    broken: Vec<String>,
}

impl Ledger {
    /// With its time line in this folder.
    pub(crate) fn open(folder: &Path) -> Result<Arc<Self>> {
        let path = folder.join("timeline.txt");
        let timeline = File::create(&path).explain(|| format!("{} cannot be made", path.display()))?;
        let pages = Pages {
            timeline,
            counts: BTreeMap::new(),
            faults: BTreeMap::new(),
            recoveries: BTreeMap::new(),
            broken: Vec::new(),
        };
        Ok(Arc::new(Self { begun: Instant::now(), pages: Mutex::new(pages) }))
    }

    /// The counts are whole after every statement: a panic elsewhere does not spoil them.
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Into the time line alone.
    pub(crate) fn note(&self, sentence: &str) {
        let seconds = self.begun.elapsed().as_secs_f32();
        // A full disk must not end the run: its findings go to the terminal as well.
        let _ = writeln!(self.pages().timeline, "{seconds:8.2} {sentence}");
    }

    /// One more of these.
    pub(crate) fn count(&self, what: impl Into<String>) {
        self.add(what, 1);
    }

    /// So many more of these.
    pub(crate) fn add(&self, what: impl Into<String>, number: u64) {
        *self.pages().counts.entry(what.into()).or_default() += number;
    }

    pub(crate) fn fault(&self, what: String, whom: &str) {
        let seconds = self.begun.elapsed().as_secs_f32();
        eprintln!("> {seconds:6.1} s: {what}");
        self.note(&format!("fault: {what}"));
        *self.pages().faults.entry(whom.to_owned()).or_default() += 1;
    }

    /// A process was back so long after it was killed.
    pub(crate) fn recovered(&self, kind: &'static str, after: Duration) {
        self.pages().recoveries.entry(kind).or_default().push(after);
    }

    /// A promise was broken.
    pub(crate) fn broken(&self, evidence: &str) {
        let seconds = self.begun.elapsed().as_secs_f32();
        let sentence = format!("at {seconds:.1} s: {evidence}");
        eprintln!("! {sentence}");
        self.note(&format!("BROKEN: {evidence}"));
        self.pages().broken.push(sentence);
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.pages().broken.is_empty()
    }

    /// The report, for a person.
    pub(crate) fn report(&self) -> String {
        let pages = self.pages();
        let mut text = String::new();
        let mut table = |title: &str, rows: Vec<(String, String)>| {
            // A String takes all.
            let _ = writeln!(text, "\n{title}");
            for (what, number) in rows {
                let _ = writeln!(text, "  {number:>10}  {what}");
            }
        };
        let all: u64 = pages.faults.values().sum();
        let faults = pages.faults.iter().map(|(what, number)| (what.clone(), number.to_string()));
        table(&format!("Faults: {all}"), faults.collect());
        table("Load", pages.counts.iter().map(|(what, number)| (what.clone(), number.to_string())).collect());
        let recoveries = pages.recoveries.iter().map(|(kind, times)| {
            let mut times = times.clone();
            times.sort_unstable();
            let (median, worst) = (times[times.len() / 2].as_secs_f32(), times[times.len() - 1].as_secs_f32());
            (format!("{kind}: back within {median:.1} s (median), {worst:.1} s (worst)"), times.len().to_string())
        });
        table("Recoveries after kill -9", recoveries.collect());
        match pages.broken.len() {
            0 => text.push_str("\nEvery promise was kept.\n"),
            number => {
                let _ = writeln!(text, "\nBroken promises: {number}");
                for sentence in pages.broken.iter().take(BROKEN_TOLD_MAX) {
                    let _ = writeln!(text, "  {sentence}");
                }
            }
        }
        text
    }
}
