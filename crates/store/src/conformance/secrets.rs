//! Secrets: each in its own place, and never half under another key.

use wire::{
    PipelineName,
    audit::{Action, AuditQuery},
    secret::SecretName,
};

use super::{Fixture, samples::pipeline};
use crate::{
    MayPut, Store,
    audit::NewEntry,
    model::secret::{NewSecret, PutSecret, Resealed, SecretRow},
};

fn new(pipeline: Option<&str>, name: &str, sealed: &[u8]) -> NewSecret {
    NewSecret {
        pipeline: pipeline.map(|name| name.parse().unwrap()),
        name: name.parse().unwrap(),
        key_id: "first".to_owned(),
        sealed: sealed.to_vec(),
        allowed: None,
        set_by: "ada".to_owned(),
    }
}

fn entry() -> NewEntry {
    NewEntry::by_machine(Action::SecretSet)
}

async fn entries(store: &dyn Store) -> usize {
    store.entries(&AuditQuery::default()).await.unwrap().len()
}

fn shown(rows: &[SecretRow]) -> Vec<(Option<&str>, &str, &[u8])> {
    rows.iter()
        .map(|row| (row.pipeline.as_ref().map(PipelineName::as_str), row.name.as_str(), row.sealed.as_slice()))
        .collect()
}

/// Of the same name, a pipeline's and the installation's are two.
pub async fn a_secret_stands_in_its_own_place(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    for name in ["site", "other"] {
        let any: MayPut = Box::new(|_| true);
        store.put_pipeline(&pipeline(name), "text", any, None).await.unwrap();
    }
    let site: PipelineName = "site".parse().unwrap();
    let token: SecretName = "TOKEN".parse().unwrap();
    assert_eq!(store.put_secret(new(Some("nowhere"), "TOKEN", b"0"), entry()).await.unwrap(), PutSecret::NoPipeline);
    let allowed = NewSecret { allowed: Some(vec![site.clone()]), ..new(None, "TOKEN", b"1") };
    assert_eq!(store.put_secret(allowed, entry()).await.unwrap(), PutSecret::Created);
    assert_eq!(store.put_secret(new(Some("site"), "TOKEN", b"2"), entry()).await.unwrap(), PutSecret::Created);
    assert_eq!(store.put_secret(new(Some("site"), "TOKEN", b"\x003"), entry()).await.unwrap(), PutSecret::Replaced);
    assert_eq!(store.put_secret(new(Some("other"), "TOKEN", b"4"), entry()).await.unwrap(), PutSecret::Created);
    assert_eq!(store.put_secret(new(None, "UNASKED", b"5"), entry()).await.unwrap(), PutSecret::Created);
    assert_eq!(store.put_secret(new(None, "TOKEN", b"1"), entry()).await.unwrap(), PutSecret::Replaced);
    let store = fixture.after_kill().await;
    let found = store.secrets_of(&site, &[token.clone(), "ABSENT".parse().unwrap()]).await.unwrap();
    assert_eq!(shown(&found), [(None, "TOKEN", &b"1"[..]), (Some("site"), "TOKEN", &b"\x003"[..])]);
    assert_eq!((&found[0].allowed[..], &found[0].set_by[..]), (&[site.clone()][..], "ada"));
    assert!(found[0].set_at >= found[1].set_at && found[1].set_at.0 > 0 && found[1].allowed.is_empty());
    assert_eq!((store.secrets().await.unwrap().len(), entries(&*store).await), (4, 6), "what was refused is no entry");
    assert!(store.delete_secret(Some(&site), &token, entry()).await.unwrap());
    assert!(!store.delete_secret(Some(&site), &token, entry()).await.unwrap());
    assert_eq!(entries(&*store).await, 7);
    let left = store.secrets().await.unwrap();
    let expected = [(None, "TOKEN", &b"1"[..]), (None, "UNASKED", b"5"), (Some("other"), "TOKEN", b"4")];
    assert_eq!(shown(&left), expected);
}

/// What was set meanwhile keeps its value.
pub async fn secrets_come_under_another_key_together(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    for (name, sealed) in [("A", b"1"), ("B", b"2"), ("C", b"3")] {
        store.put_secret(new(None, name, sealed), entry()).await.unwrap();
    }
    let read = store.secrets().await.unwrap();
    store.put_secret(new(None, "B", b"meanwhile"), entry()).await.unwrap();
    store.delete_secret(None, &"C".parse().unwrap(), entry()).await.unwrap();
    let anew = read.into_iter().map(|row| Resealed {
        pipeline: row.pipeline,
        name: row.name,
        was: row.sealed,
        key_id: "second".to_owned(),
        sealed: b"anew".to_vec(),
    });
    assert_eq!(store.reseal_secrets(anew.collect(), entry()).await.unwrap(), 1);
    let left = fixture.after_kill().await.secrets().await.unwrap();
    assert_eq!(shown(&left), [(None, "A", &b"anew"[..]), (None, "B", b"meanwhile")]);
    assert_eq!([&left[0].key_id[..], &left[1].key_id[..]], ["second", "first"]);
}
