//! Who asks, and what they may do. Every handler, frame and subscription takes an [`Authority`]; nothing makes one but
//! signing in and tokens. What one may do shows in its [`Grants`] alone, and is demanded in one way: [`Authority::need`].

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{AccountId, PipelineName, Problem};

/// What one may do, everywhere or in a pipeline. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees pipelines, builds, logs and artifacts.
    Viewer,
    /// Triggers, cancels and retries builds, brings payloads, sends receipts.
    Builder,
    /// Changes pipelines, their secrets and hooks, and deletes builds; everywhere: people, tokens, and how it all runs.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Builder, Self::Admin];

    /// The word, as on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Builder => "builder",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "builder" => Ok(Self::Builder),
            // The one role of before there were more.
            "admin" | "owner" => Ok(Self::Admin),
            other => Err(format!("role {other:?} is not known: it must be `viewer`, `builder` or `admin`")),
        }
    }
}

/// What was granted to an account or a token: a role everywhere, and roles in single pipelines. Nothing is granted
/// unless it stands here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    /// In all pipelines, those to come too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub everywhere: Option<Role>,
    /// In these.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pipelines: BTreeMap<PipelineName, Role>,
}

impl Grants {
    /// One role everywhere.
    #[must_use]
    pub fn everywhere(role: Role) -> Self {
        Self { everywhere: Some(role), pipelines: BTreeMap::new() }
    }

    /// One role in these pipelines, and nothing elsewhere.
    #[must_use]
    pub fn in_pipelines(role: Role, pipelines: impl IntoIterator<Item = PipelineName>) -> Self {
        Self { everywhere: None, pipelines: pipelines.into_iter().map(|name| (name, role)).collect() }
    }

    /// The greatest role in a pipeline.
    #[must_use]
    pub fn role_in(&self, pipeline: &PipelineName) -> Option<Role> {
        self.everywhere.max(self.pipelines.get(pipeline).copied())
    }

    /// Whether nothing is granted at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.everywhere.is_none() && self.pipelines.is_empty()
    }

    /// What both grant: who acts for somebody can do no more than either of them.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let everywhere = self.everywhere.min(other.everywhere);
        let named = self.pipelines.keys().chain(other.pipelines.keys());
        let both = named.filter_map(|name| Some((name, self.role_in(name).min(other.role_in(name))?)));
        let pipelines = both.filter(|(_, role)| Some(*role) > everywhere).map(|(name, role)| (name.clone(), role));
        Self { everywhere, pipelines: pipelines.collect() }
    }

    /// Whether `other` grants all that these do.
    #[must_use]
    pub fn within(&self, other: &Self) -> bool {
        self.everywhere <= other.everywhere
            && self.pipelines.iter().all(|(name, role)| Some(*role) <= other.role_in(name))
    }
}

/// Who asks, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// What it was made from, for P8 and the log: `session:<uuid>` or `token:<16 hex digits>`; never the secret itself.
    pub subject: String,
    /// Whose it is; none for a token that no person made.
    pub account: Option<AccountId>,
    /// Of the person or the token, for people and the audit log.
    pub name: String,
    /// Where the request or the socket came from, for the audit log.
    pub address: Option<IpAddr>,
    /// It is a person who has signed in by name and password, and no program.
    pub is_person: bool,
    grants: Grants,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need<'a> {
    /// To be signed in.
    Anybody,
    /// To see a pipeline and all that is of it.
    See(&'a PipelineName),
    /// To be a builder of a pipeline.
    Build(&'a PipelineName),
    /// To be an admin of a pipeline.
    Change(&'a PipelineName),
    /// To be a builder of any pipeline: to bring what a build will take.
    BuildSomewhere,
    /// To be a viewer everywhere: executors, gateways, groups, metrics, dead letters.
    SeeAll,
    /// To be an admin everywhere.
    Run,
}

impl Authority {
    /// Of `subject`, with what was granted to it.
    #[must_use]
    pub fn new(
        subject: impl Into<String>,
        account: Option<AccountId>,
        name: impl Into<String>,
        grants: Grants,
    ) -> Self {
        Self { subject: subject.into(), account, name: name.into(), address: None, is_person: false, grants }
    }

    /// The same, from this address.
    #[must_use]
    pub fn at(mut self, address: Option<IpAddr>) -> Self {
        self.address = address;
        self
    }

    /// The same, of a person who has signed in by name and password.
    #[must_use]
    pub fn of_person(mut self) -> Self {
        self.is_person = true;
        self
    }

    /// What was granted: who has the same sees the same.
    #[must_use]
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// The role in all pipelines.
    #[must_use]
    pub fn everywhere(&self) -> Option<Role> {
        self.grants.everywhere
    }

    /// The role in a pipeline.
    #[must_use]
    pub fn role_in(&self, pipeline: &PipelineName) -> Option<Role> {
        self.grants.role_in(pipeline)
    }

    /// Whether a pipeline, and all that is of it, may be seen.
    #[must_use]
    pub fn sees(&self, pipeline: &PipelineName) -> bool {
        self.role_in(pipeline).is_some()
    }

    /// Demands what a request needs.
    ///
    /// # Errors
    /// 404 for a pipeline that may not be seen, as if it were not there; 403 with the role that is needed for what may be
    /// seen and not done.
    pub fn need(&self, need: Need<'_>) -> Result<(), Problem> {
        let (least, pipeline) = match need {
            Need::Anybody => return Ok(()),
            Need::BuildSomewhere => {
                let roles = self.grants.pipelines.values().copied().chain(self.grants.everywhere);
                if roles.max() >= Some(Role::Builder) {
                    return Ok(());
                }
                let detail = "This needs the role builder, of any pipeline, and you have it of none.";
                return Err(Problem::new(403, "Not allowed", detail));
            }
            Need::See(pipeline) => (Role::Viewer, Some(pipeline)),
            Need::Build(pipeline) => (Role::Builder, Some(pipeline)),
            Need::Change(pipeline) => (Role::Admin, Some(pipeline)),
            Need::SeeAll => (Role::Viewer, None),
            Need::Run => (Role::Admin, None),
        };
        let (has, place) = match pipeline {
            Some(pipeline) => {
                let Some(role) = self.role_in(pipeline) else {
                    return Err(Problem::new(404, "Not found", format!("There is no pipeline {pipeline}.")));
                };
                (Some(role), format!("of the pipeline `{pipeline}`"))
            }
            None => (self.everywhere(), "everywhere".to_owned()),
        };
        if has >= Some(least) {
            return Ok(());
        }
        let has = has.map_or_else(|| "have no role there".to_owned(), |role| format!("are {role} there"));
        let detail = format!("This needs the role {least} {place}, and you {has}.");
        Err(Problem::new(403, "Not allowed", detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PipelineName {
        text.parse().unwrap()
    }

    fn grants(everywhere: Option<Role>, pipelines: &[(&str, Role)]) -> Grants {
        Grants { everywhere, pipelines: pipelines.iter().map(|(text, role)| (name(text), *role)).collect() }
    }

    fn authority(grants: Grants) -> Authority {
        Authority::new("token:1", None, "ci", grants)
    }

    #[test]
    fn a_role_is_the_greater_of_everywhere_and_the_pipeline() {
        let who = authority(grants(Some(Role::Viewer), &[("a", Role::Admin), ("b", Role::Viewer)]));
        assert_eq!(who.role_in(&name("a")), Some(Role::Admin));
        assert_eq!(who.role_in(&name("b")), Some(Role::Viewer));
        assert_eq!(who.role_in(&name("c")), Some(Role::Viewer));
        assert_eq!(authority(grants(None, &[("a", Role::Admin)])).role_in(&name("b")), None);
    }

    #[test]
    fn what_may_not_be_seen_is_not_there_and_what_may_not_be_done_names_the_role() {
        let (a, b) = (name("a"), name("b"));
        let status = |who: &Authority, need| who.need(need).err().map(|problem| problem.status);
        let of_a = authority(grants(None, &[("a", Role::Viewer)]));
        assert_eq!(status(&of_a, Need::Anybody), None);
        assert_eq!(status(&of_a, Need::BuildSomewhere), Some(403));
        assert_eq!(status(&authority(grants(None, &[("b", Role::Builder)])), Need::BuildSomewhere), None);
        assert_eq!(status(&of_a, Need::See(&a)), None);
        for need in [Need::See(&b), Need::Build(&b), Need::Change(&b)] {
            assert_eq!(status(&of_a, need), Some(404), "{need:?}");
        }
        for need in [Need::Build(&a), Need::Change(&a), Need::SeeAll, Need::Run] {
            assert_eq!(status(&of_a, need), Some(403), "{need:?}");
        }
        let told = of_a.need(Need::Build(&a)).unwrap_err().detail;
        assert_eq!(told, "This needs the role builder of the pipeline `a`, and you are viewer there.");
        let told = of_a.need(Need::Run).unwrap_err().detail;
        assert_eq!(told, "This needs the role admin everywhere, and you have no role there.");
        let builder = authority(grants(Some(Role::Builder), &[]));
        for (need, answer) in [(Need::Build(&a), None), (Need::SeeAll, None), (Need::Change(&a), Some(403))] {
            assert_eq!(status(&builder, need), answer, "{need:?}");
        }
        let admin = authority(Grants::everywhere(Role::Admin));
        for need in [Need::See(&a), Need::Build(&b), Need::Change(&b), Need::SeeAll, Need::Run] {
            assert_eq!(status(&admin, need), None, "{need:?}");
        }
        let admin_of_a = authority(grants(None, &[("a", Role::Admin)]));
        assert_eq!(status(&admin_of_a, Need::Change(&a)), None);
        assert_eq!(status(&admin_of_a, Need::Run), Some(403), "a pipeline's admin does not run the installation");
    }

    #[test]
    fn grants_are_narrowed_by_others_and_never_widened() {
        let wide = grants(Some(Role::Builder), &[("a", Role::Admin)]);
        let narrow = grants(None, &[("a", Role::Viewer), ("b", Role::Admin)]);
        let both = wide.and(&narrow);
        assert_eq!(both, grants(None, &[("a", Role::Viewer), ("b", Role::Builder)]));
        assert_eq!(both, narrow.and(&wide));
        assert!(both.within(&wide) && both.within(&narrow));
        assert!(!wide.within(&narrow) && !narrow.within(&wide), "an admin of b is more than a builder everywhere");
        assert!(grants(None, &[("b", Role::Builder)]).within(&wide));
        let admin = Grants::everywhere(Role::Admin);
        assert_eq!(admin.and(&wide), wide);
        assert!(admin.within(&admin) && !admin.within(&wide) && Grants::default().within(&Grants::default()));
        assert!(admin.and(&Grants::default()).is_empty());
    }

    #[test]
    fn the_role_of_before_is_admin_and_others_are_told() {
        assert_eq!("owner".parse(), Ok(Role::Admin));
        assert!("root".parse::<Role>().unwrap_err().contains("viewer"));
        assert!(Role::ALL.is_sorted() && Role::ALL.iter().all(|role| role.as_str().parse() == Ok(*role)));
    }
}
