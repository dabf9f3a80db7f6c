//! Takes secrets out of all that leaves the executor about an attempt: they are replaced by [`MASK`].
//!
//! There are two gates, and no way round them. What steps print passes a [`MaskedStream`] before it becomes lines, which knows
//! secrets across reads and lines ([`crate::log`] takes nothing but [`Masked`] bytes). All that is said of an attempt passes
//! [`Masker::event`] or [`Masker::owned`] where it is sent ([`crate::publish`]), whoever wrote it: names, commands, reasons, and
//! the lines once more, because a carriage return may have put one together.
//!
//! Known are the forms in which programs print a text without meaning to hide it; [`forms`] lists them. Not known: what was
//! compressed, encrypted, reversed, or printed with something between its characters that is neither an ANSI sequence nor a
//! line break of base64 nor a separator of a hex dump. A step that wants to tell a secret can.

mod class;
mod filter;
mod forms;
pub mod fuzz;
mod states;
mod stream;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::Arc};

use wire::{Event, secret};

use self::{filter::Filter, forms::Forms};

pub(crate) use self::stream::{Masked, MaskedStream};

/// What stands in the place of a secret.
pub(crate) const MASK: &str = "***";

/// What is to be hidden, ready to be found.
struct Patterns {
    forms: Forms,
    filter: Filter,
}

/// What is to be hidden of one attempt. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Masker(Option<Arc<Patterns>>);

impl Masker {
    /// Of these values. Without any it costs nothing.
    ///
    /// # Errors
    /// The sentence of [`secret::check_value`] about the first that cannot be masked.
    pub(crate) fn new<'v>(values: impl IntoIterator<Item = &'v str>) -> Result<Self, String> {
        let mut forms = Forms::default();
        for value in values {
            secret::check_value(value)?;
            forms.add(value);
        }
        if forms.forms.is_empty() {
            return Ok(Self(None));
        }
        let filter = Filter::new(&forms);
        Ok(Self(Some(Arc::new(Patterns { forms, filter }))))
    }

    /// For one stream of what steps print.
    pub(crate) fn stream(&self) -> MaskedStream {
        MaskedStream::of(self.0.clone())
    }

    /// A whole text, masked.
    pub(crate) fn owned(&self, text: String) -> String {
        if self.is_clean(&text) { text } else { self.masked(&text) }
    }

    /// Whether nothing in it is a secret. Of nearly every text that is known at once.
    fn is_clean(&self, text: &str) -> bool {
        let may_hold = self.0.as_ref().is_some_and(|patterns| patterns.filter.may_hold(text.as_bytes()));
        !may_hold || self.masked(text) == text
    }

    fn masked(&self, text: &str) -> String {
        let (mut stream, mut masked) = (self.stream(), Vec::with_capacity(text.len()));
        let mut keep = |part: Masked<'_>| masked.extend_from_slice(part.bytes());
        stream.feed(text.as_bytes(), &mut keep);
        stream.end(&mut keep);
        String::from_utf8_lossy(&masked).into_owned()
    }

    /// An event, with every text in it masked.
    pub(crate) fn event<'e>(&self, event: &'e Event) -> Cow<'e, Event> {
        if self.0.is_none() {
            return Cow::Borrowed(event);
        }
        if let Event::Log { lines, .. } = event
            && lines.iter().all(|line| self.is_clean(&line.text))
        {
            return Cow::Borrowed(event);
        }
        let mut event = event.clone();
        event.each_text_mut(&mut |text| *text = self.owned(std::mem::take(text)));
        Cow::Owned(event)
    }
}
