//! Consumer groups beside their effects: wishes, members, what they tell.

use std::time::Duration;

use wire::group::{GroupState, GroupView, NOBODY, Progress};

use super::{
    Details, SqlStore, audit,
    connection::{Connection, Row, query},
    micros, now,
    rows::{self, bytes, signed},
    writer::Rank,
};
use crate::{
    Answer, Groups, StoreError,
    audit::NewEntry,
    groups::{Change, Told, Wish},
};

/// In microseconds: a member that was not heard for a day is forgotten.
const FORGOTTEN_MICROS: i64 = 24 * 3_600_000_000;

/// A row for a group that nobody has told of.
const FIRST: &str = "INSERT INTO group_states (name, paused, rebuild, building, state, done, total, speed) \
                     VALUES (?, 0, 0, 0, 'running', 0, 0, 0) ON CONFLICT (name) DO NOTHING";

impl<D: Details> Groups for SqlStore<D> {
    fn group_wish<'a>(&'a self, group: &'a str) -> Answer<'a, Wish> {
        Box::pin(async move {
            let mut reader = self.reader().await?;
            let found = query("SELECT paused, rebuild, building FROM group_states WHERE name = ?")
                .bind(group)
                .fetch_optional(&mut reader)
                .await?;
            let Some(row) = found else { return Ok(Wish::default()) };
            Ok(Wish { paused: rows::flag(&row, 0)?, rebuild: rows::flag(&row, 1)? || rows::flag(&row, 2)? })
        })
    }

    fn change_group<'a>(&'a self, group: &'a str, change: Change, entry: NewEntry) -> Answer<'a, ()> {
        let group = group.to_owned();
        let sql = match change {
            Change::Pause => "UPDATE group_states SET paused = 1 WHERE name = ?",
            Change::Resume => "UPDATE group_states SET paused = 0 WHERE name = ?",
            Change::Rebuild => "UPDATE group_states SET rebuild = 1 WHERE name = ?",
        };
        Box::pin(self.writer.run(Rank::Command, move |connection| {
            Box::pin(async move {
                for sql in [FIRST, sql] {
                    query(sql).bind(&group).execute(&mut *connection).await?;
                }
                audit::insert(connection, &entry).await
            })
        }))
    }

    fn tell_group<'a>(&'a self, group: &'a str, told: &'a Told) -> Answer<'a, ()> {
        let (group, told) = (group.to_owned(), told.clone());
        Box::pin(self.writer.run(Rank::Record, move |connection| {
            Box::pin(async move {
                query(FIRST).bind(&group).execute(&mut *connection).await?;
                let Progress { done, total } = told.progress.unwrap_or(Progress { done: 0, total: 0 });
                query(
                    "UPDATE group_states SET state = ?, reason = ?, done = ?, total = ?, speed = ?, \
                     incarnation = ?, passed = ?, active = ? WHERE name = ?",
                )
                .bind(told.state.as_str())
                .bind(told.reason)
                .bind(signed(done))
                .bind(signed(total))
                .bind(signed(told.speed))
                .bind(told.passed.as_ref().map(|(incarnation, _)| bytes(incarnation)))
                .bind(told.passed.map(|(_, offset)| signed(offset)))
                .bind(&told.member)
                .bind(&group)
                .execute(connection)
                .await?;
                Ok(())
            })
        }))
    }

    fn put_member<'a>(&'a self, groups: &'a [&'a str], member: &'a str) -> Answer<'a, ()> {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let member = member.to_owned();
        Box::pin(self.writer.run(Rank::Record, move |connection| {
            Box::pin(async move {
                let now = now(&mut *connection).await?.0;
                for group in &groups {
                    query(
                        "INSERT INTO group_members (name, member, heard_at) VALUES (?, ?, ?) \
                         ON CONFLICT (name, member) DO UPDATE SET heard_at = excluded.heard_at",
                    )
                    .bind(group)
                    .bind(&member)
                    .bind(now)
                    .execute(&mut *connection)
                    .await?;
                }
                let forgotten = query("DELETE FROM group_members WHERE heard_at < ?").bind(now - FORGOTTEN_MICROS);
                forgotten.execute(connection).await?;
                Ok(())
            })
        }))
    }

    fn member_left<'a>(&'a self, member: &'a str) -> Answer<'a, ()> {
        let member = member.to_owned();
        Box::pin(self.writer.run(Rank::Record, move |connection| {
            Box::pin(async move {
                query("DELETE FROM group_members WHERE member = ?").bind(&member).execute(connection).await?;
                Ok(())
            })
        }))
    }

    fn begin_rebuild<'a>(&'a self, group: &'a str) -> Answer<'a, u64> {
        let group = group.to_owned();
        Box::pin(self.writer.run(Rank::Record, move |connection| Box::pin(begin(connection, group))))
    }

    fn count_loss<'a>(&'a self, group: &'a str) -> Answer<'a, ()> {
        let group = group.to_owned();
        Box::pin(self.writer.run(Rank::Record, move |connection| {
            Box::pin(async move {
                query("UPDATE groups SET losses = losses + 1 WHERE name = ?").bind(&group).execute(connection).await?;
                Ok(())
            })
        }))
    }

    fn end_rebuild<'a>(&'a self, group: &'a str) -> Answer<'a, ()> {
        let group = group.to_owned();
        Box::pin(self.writer.run(Rank::Record, move |connection| {
            Box::pin(async move {
                query("UPDATE group_states SET building = 0 WHERE name = ?").bind(&group).execute(connection).await?;
                Ok(())
            })
        }))
    }

    fn group_views(&self, end: Option<u64>, silence: Duration) -> Answer<'_, Vec<GroupView>> {
        Box::pin(async move { views(&mut self.snapshot().await?, end, silence).await })
    }
}

/// The place first: what the recorder does meanwhile is read twice, and has its effect once.
async fn begin(connection: &mut Connection, group: String) -> Result<u64, StoreError> {
    query(FIRST).bind(&group).execute(&mut *connection).await?;
    query("UPDATE group_states SET building = 1, rebuild = 0 WHERE name = ?")
        .bind(&group)
        .execute(&mut *connection)
        .await?;
    query(
        "INSERT INTO groups (name, incarnation, place) SELECT ?1, incarnation, place FROM groups WHERE name = 'recorder' \
         ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, place = excluded.place",
    )
    .bind(&group)
    .execute(&mut *connection)
    .await?;
    rows::number(&query("SELECT COUNT(*) FROM builds").fetch_one(connection).await?, 0)
}

/// All groups as they are shown. Nobody who reads is a failure too.
async fn views(connection: &mut Connection, end: Option<u64>, silence: Duration) -> Result<Vec<GroupView>, StoreError> {
    let heard_since = now(&mut *connection).await?.plus_micros(-micros(silence)).0;
    let members = query("SELECT name, member FROM group_members WHERE heard_at >= ? ORDER BY name, member")
        .bind(heard_since)
        .fetch_all(&mut *connection)
        .await?;
    let members: Vec<(String, String)> =
        members.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, StoreError>>()?;
    let found = query(
        "SELECT named.name, groups.place, COALESCE(groups.losses, 0), state, reason, done, total, speed, active, \
         CASE WHEN group_states.incarnation = groups.incarnation THEN passed END \
         FROM (SELECT name FROM groups UNION SELECT name FROM group_states UNION SELECT name FROM group_members) AS named \
         LEFT JOIN groups ON groups.name = named.name LEFT JOIN group_states ON group_states.name = named.name \
         ORDER BY named.name",
    )
    .fetch_all(connection)
    .await?;
    found.iter().map(|row| view(row, &members, end)).collect()
}

fn view(row: &Row, members: &[(String, String)], end: Option<u64>) -> Result<GroupView, StoreError> {
    let name: String = row.try_get(0)?;
    let members: Vec<String> =
        members.iter().filter(|(group, _)| *group == name).map(|(_, member)| member.clone()).collect();
    let active: Option<String> = row.try_get(8)?;
    let active = active.filter(|active| members.contains(active));
    let offset: Option<u64> = rows::number_if(row, 1)?;
    let passed: Option<u64> = rows::number_if(row, 9)?;
    let read = offset.max(passed).map_or(0, |offset| offset + 1);
    let mut view = GroupView {
        lag: end.map_or(0, |end| end.saturating_sub(read)),
        offset,
        losses: rows::number(row, 2)?,
        speed: rows::number_if(row, 7)?.unwrap_or(0),
        reason: row.try_get(4)?,
        active,
        members,
        name,
        ..GroupView::default()
    };
    if row.try_get::<Option<&str>>(3)?.is_some() {
        view.state = rows::parsed(row, 3)?;
    }
    match view.state {
        GroupState::Rebuilding => {
            view.progress = Some(Progress { done: rows::number(row, 5)?, total: rows::number(row, 6)? });
        }
        GroupState::Running if view.members.is_empty() => {
            view.state = GroupState::Failing;
            view.reason = Some(NOBODY.to_owned());
        }
        _ => {}
    }
    Ok(view)
}
