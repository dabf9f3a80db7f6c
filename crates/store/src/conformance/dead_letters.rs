//! Dead letters: nothing is listed twice, nothing is overlooked, and there are never too many.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use uuid::Uuid;
use wire::{
    BuildId, JobId,
    audit::Action,
    dead_letter::{Cause, DeadLetterCount, DeadLetterOrigin, DeadLetterState, DeadLetterView, DeadLettersQuery},
};

use super::{
    Fixture,
    samples::{build, create, entries, entry, job, until},
};
use crate::{
    Store,
    model::{
        Announcement,
        dead_letter::{DEAD_BODY_BYTES_CUT, DEAD_BODY_BYTES_MAX, DeadLetter, NewDeadLetter, Retention, Settled},
    },
};

/// A message that died.
pub(super) fn letter(message_id: Uuid, body: &[u8]) -> NewDeadLetter {
    NewDeadLetter {
        message_id,
        cause: Cause::NotJson,
        reason: "the message is not valid".to_owned(),
        origin: Some(DeadLetterOrigin { exchange: String::new(), key: "control".to_owned() }),
        correlation_id: Some("c1".to_owned()),
        reply_to: Some("reply.a".to_owned()),
        content_type: "text/plain".to_owned(),
        body: body.to_vec(),
        build: None,
        job: None,
        redelivered: false,
    }
}

async fn bury(store: &dyn Store, letters: &[NewDeadLetter]) -> u64 {
    store.bury(letters.to_vec(), Retention::default()).await.unwrap()
}

async fn all(store: &dyn Store) -> Vec<DeadLetterView> {
    store.dead_letters(&DeadLettersQuery::default()).await.unwrap()
}

async fn only(store: &dyn Store) -> DeadLetter {
    let all = all(store).await;
    assert_eq!(all.len(), 1, "{all:?}");
    store.dead_letter(all[0].id).await.unwrap().unwrap()
}

async fn count(store: &dyn Store, cause: Cause) -> (u64, u64) {
    let counts = store.dead_letter_counts().await.unwrap();
    let causes: Vec<Cause> = counts.iter().map(|count| count.cause).collect();
    assert_eq!(causes, Cause::ALL, "every cause is counted");
    let DeadLetterCount { open, total, .. } = counts.into_iter().find(|count| count.cause == cause).unwrap();
    (open, total)
}

/// What was kept is found again as it was, after a kill too.
pub async fn p7_a_dead_letter_comes_back_as_it_was_kept(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let named = NewDeadLetter {
        build: Some(BuildId(Uuid::now_v7())),
        job: Some(JobId(Uuid::now_v7())),
        ..letter(Uuid::new_v4(), b"not \0 \xff json")
    };
    bury(&*store, std::slice::from_ref(&named)).await;
    let store = fixture.after_kill().await;
    let kept = only(&*store).await;
    let view = &kept.view;
    assert_eq!((view.message_id, view.cause, &view.reason), (named.message_id, named.cause, &named.reason));
    assert_eq!(
        (&view.origin, &view.correlation_id, &kept.reply_to),
        (&named.origin, &named.correlation_id, &named.reply_to)
    );
    assert_eq!((view.build, view.job, &view.pipeline), (named.build, named.job, &None));
    assert_eq!((&kept.body, view.size, &*view.content_type), (&named.body, 12, "text/plain"));
    assert_eq!((view.deaths, view.state, &view.settled_by), (1, DeadLetterState::Open, &None));
    assert!(kept.is_whole() && view.first_at == view.died_at && view.not_retriable.is_none());
    assert_eq!(store.dead_letter(wire::DeadLetterId(Uuid::now_v7())).await.unwrap(), None);
}

/// A letter that is delivered again makes no second row and has not died again; one that died again is open again.
pub async fn a_dead_letter_has_one_row_however_often_it_comes(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let first = letter(Uuid::new_v4(), b"x");
    bury(&*store, std::slice::from_ref(&first)).await;
    let again = NewDeadLetter { redelivered: true, ..first.clone() };
    bury(&*store, &[again.clone(), again.clone()]).await;
    let kept = only(&*store).await;
    assert_eq!((kept.view.deaths, kept.view.state), (1, DeadLetterState::Open));
    assert_eq!(count(&*store, Cause::NotJson).await, (1, 1));

    assert!(
        store.settle_dead_letter(&kept, Settled::Retried, "token:a", entry(Action::DeadLetterRetried)).await.unwrap()
    );
    assert_eq!(count(&*store, Cause::NotJson).await, (0, 1));
    let worse = NewDeadLetter { cause: Cause::Refused, reason: "no better".to_owned(), ..first };
    bury(&*store, &[worse]).await;
    let kept = only(&*store).await;
    assert_eq!((kept.view.deaths, kept.view.state, &*kept.view.reason), (2, DeadLetterState::Open, "no better"));
    assert_eq!((kept.view.settled_by.as_ref(), kept.view.settled_at), (None, None));
    assert_eq!((count(&*store, Cause::NotJson).await, count(&*store, Cause::Refused).await), ((0, 1), (1, 1)));

    // Whether it was kept before somebody decided is not known: it is shown once too often rather than overlooked.
    assert!(
        store
            .settle_dead_letter(&kept, Settled::Discarded, "token:a", entry(Action::DeadLetterDiscarded))
            .await
            .unwrap()
    );
    bury(&*store, &[again]).await;
    assert_eq!(only(&*store).await.view.state, DeadLetterState::Open);
}

/// Who read it before it died again does not settle it.
pub async fn a_dead_letter_is_settled_only_as_it_was_read(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let message = letter(Uuid::new_v4(), b"x");
    bury(&*store, std::slice::from_ref(&message)).await;
    let read = only(&*store).await;
    bury(&*store, &[NewDeadLetter { redelivered: true, ..message }]).await;
    assert!(
        !store.settle_dead_letter(&read, Settled::Retried, "token:a", entry(Action::DeadLetterRetried)).await.unwrap()
    );
    let read = only(&*store).await;
    assert_eq!(read.view.state, DeadLetterState::Open);
    assert!(
        store
            .settle_dead_letter(&read, Settled::Discarded, "token:a", entry(Action::DeadLetterDiscarded))
            .await
            .unwrap()
    );
    let settled = only(&*store).await.view;
    assert_eq!((settled.state, settled.settled_by.as_deref()), (DeadLetterState::Discarded, Some("token:a")));
    assert!(settled.settled_at >= Some(settled.died_at));
    assert!(
        !store.settle_dead_letter(&read, Settled::Retried, "token:b", entry(Action::DeadLetterRetried)).await.unwrap(),
        "it was decided on"
    );
    // What was handed in again is told whatever became of the letter; a decision only where it holds.
    assert_eq!(entries(&*store, Action::DeadLetterRetried).await, 2);
    assert_eq!(entries(&*store, Action::DeadLetterDiscarded).await, 1);
    assert!(
        !store.settle_dead_letter(&read, Settled::Discarded, "b", entry(Action::DeadLetterDiscarded)).await.unwrap()
    );
    assert_eq!(entries(&*store, Action::DeadLetterDiscarded).await, 1);
}

/// Newest first, page by page, by what became of them.
pub async fn dead_letters_are_listed_newest_first(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let letters: Vec<_> = (0..5).map(|n: u8| letter(Uuid::new_v4(), &[n])).collect();
    bury(&*store, &letters).await;
    let ids: Vec<Uuid> = letters.iter().rev().map(|letter| letter.message_id).collect();
    let named = |views: &[DeadLetterView]| views.iter().map(|view| view.message_id).collect::<Vec<_>>();
    let page = DeadLettersQuery { limit: Some(2), ..DeadLettersQuery::default() };
    let first = store.dead_letters(&page).await.unwrap();
    let second = store.dead_letters(&DeadLettersQuery { before: Some(first[1].id), ..page.clone() }).await.unwrap();
    assert_eq!((named(&first), named(&second)), (ids[..2].to_vec(), ids[2..4].to_vec()));
    let discarded = store.dead_letter(second[0].id).await.unwrap().unwrap();
    assert!(
        store
            .settle_dead_letter(&discarded, Settled::Discarded, "a", entry(Action::DeadLetterDiscarded))
            .await
            .unwrap()
    );
    let of = |state| DeadLettersQuery { state: Some(state), ..DeadLettersQuery::default() };
    assert_eq!(named(&store.dead_letters(&of(DeadLetterState::Discarded)).await.unwrap()), [ids[2]]);
    assert_eq!(named(&store.dead_letters(&of(DeadLetterState::Open)).await.unwrap()), [ids[0], ids[1], ids[3], ids[4]]);
    assert_eq!(named(&all(&*store).await), ids);
}

/// Of a body that is too large the beginning is kept, and that is told.
pub async fn a_body_that_is_too_large_is_cut_and_cannot_be_retried(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let (most, more) = (vec![b'x'; DEAD_BODY_BYTES_MAX], vec![b'y'; DEAD_BODY_BYTES_MAX + 1]);
    bury(&*store, &[letter(Uuid::new_v4(), &most), letter(Uuid::new_v4(), &more)]).await;
    let [cut, whole] = all(&*store).await.try_into().unwrap();
    assert_eq!((whole.not_retriable, whole.size), (None, most.len() as u64));
    let reason = cut.not_retriable.unwrap();
    assert_eq!(reason, format!("It has {} bytes, of which the first {DEAD_BODY_BYTES_CUT} were kept.", more.len()));
    let kept = store.dead_letter(cut.id).await.unwrap().unwrap();
    assert_eq!((kept.body.len(), kept.is_whole()), (DEAD_BODY_BYTES_CUT, false));
    let stray = NewDeadLetter { origin: None, ..letter(Uuid::new_v4(), b"x") };
    bury(&*store, &[stray]).await;
    assert_eq!(all(&*store).await[0].not_retriable.as_deref(), Some("It is not known where it came from."));
}

/// What is too old or too much goes: first what was decided on, then the oldest.
pub async fn dead_letters_are_bounded_in_number_bytes_and_age(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let letters: Vec<_> = (0..4).map(|n: u8| letter(Uuid::new_v4(), &[n; 100])).collect();
    bury(&*store, &letters).await;
    let third = store.dead_letter(all(&*store).await[1].id).await.unwrap().unwrap();
    assert!(
        store.settle_dead_letter(&third, Settled::Discarded, "a", entry(Action::DeadLetterDiscarded)).await.unwrap()
    );
    let named = async || all(&*store).await.iter().map(|view| view.message_id).collect::<Vec<_>>();
    let ids: Vec<Uuid> = letters.iter().map(|letter| letter.message_id).collect();
    let fewer = |letters_max| Retention { letters_max, ..Retention::default() };
    assert_eq!(store.bury(Vec::new(), fewer(3)).await, Ok(0), "it was decided on");
    assert_eq!(named().await, [ids[3], ids[1], ids[0]]);
    assert_eq!(store.bury(Vec::new(), fewer(2)).await, Ok(1));
    assert_eq!(named().await, [ids[3], ids[1]]);
    let smaller = Retention { bytes_max: 150, ..Retention::default() };
    assert_eq!(store.bury(Vec::new(), smaller).await, Ok(1));
    assert_eq!(named().await, [ids[3]]);
    assert_eq!(store.bury(Vec::new(), Retention { bytes_max: 1, ..Retention::default() }).await, Ok(0));
    assert_eq!(named().await, [ids[3]], "one alone stays, however large");

    let last = only(&*store).await;
    assert!(store.settle_dead_letter(&last, Settled::Retried, "a", entry(Action::DeadLetterRetried)).await.unwrap());
    let old = Duration::from_millis(1);
    until("a dead letter that was decided on is too old", || async {
        let retention = Retention { settled: old, ..Retention::default() };
        assert_eq!(store.bury(Vec::new(), retention).await, Ok(0));
        named().await.is_empty()
    })
    .await;
    bury(&*store, &letters[..1]).await;
    let forgotten = AtomicU64::new(0);
    until("an open dead letter is too old", || async {
        let gone = store.bury(Vec::new(), Retention { open: old, ..Retention::default() }).await.unwrap();
        forgotten.fetch_add(gone, Ordering::Relaxed) + gone > 0
    })
    .await;
    assert_eq!(named().await.len(), 0);
    assert_eq!(count(&*store, Cause::NotJson).await, (0, 5), "all are counted for good");
}

/// A job that is given up is a dead letter in the transaction in which it is, and taken up with its build.
pub async fn p2_a_job_that_is_given_up_is_a_dead_letter_until_its_build_is_retried(fixture: &impl Fixture) {
    let store = fixture.open().await;
    let made = create(&*store, build("p", vec![job("a"), job("b")])).await;
    let other = create(&*store, build("p", vec![job("a")])).await;
    let given_up = made.jobs[0].id;
    let give_up = move |job: JobId| {
        let reason = "its executor was lost 3 times".to_owned();
        Box::new(move |_: &mut _, _| Ok(vec![Announcement::JobGivenUp { job, reason: reason.clone() }]))
    };
    let refused =
        store.change_build(made.id, Box::new(move |_, _| Err(crate::model::Refusal::State("no".to_owned())))).await;
    assert!(refused.is_err() && all(&*store).await.is_empty());
    store.change_build(made.id, give_up(given_up)).await.unwrap();
    store.change_build(other.id, give_up(other.jobs[0].id)).await.unwrap();
    let [of_other, letter] = all(&*store).await.try_into().unwrap();
    assert_eq!((letter.cause, letter.job, letter.build), (Cause::JobLost, Some(given_up), Some(made.id)));
    assert_eq!((letter.pipeline.as_ref().map(ToString::to_string), letter.number), (Some("p".to_owned()), Some(1)));
    assert_eq!((&*letter.reason, letter.origin, letter.size), ("its executor was lost 3 times", None, 0));
    assert_eq!(letter.not_retriable, None);
    let take_up = |_: &mut _, _| Ok(vec![Announcement::TakenUp { by: "token:a".to_owned() }]);
    store.change_build(made.id, Box::new(take_up)).await.unwrap();
    let state = async |id| store.dead_letter(id).await.unwrap().unwrap().view.state;
    assert_eq!((state(letter.id).await, state(of_other.id).await), (DeadLetterState::Retried, DeadLetterState::Open));
    // Lost again as often: the same letter, open again.
    store.change_build(made.id, give_up(given_up)).await.unwrap();
    let again = store.dead_letter(letter.id).await.unwrap().unwrap().view;
    assert_eq!((again.deaths, again.state), (2, DeadLetterState::Open));
    assert_eq!(count(&*store, Cause::JobLost).await, (2, 3));
}
