//! Which parts of Stepcast a process runs.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// A part of Stepcast that a process can run or leave to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Pages, HTTP and sockets.
    Gateway,
    /// Grants claims, looks after leases, publishes the outbox.
    Control,
    /// Runs jobs.
    Executor,
    /// Writes the record.
    Projections,
}

impl Role {
    const ALL: [Self; 4] = [Self::Gateway, Self::Control, Self::Executor, Self::Projections];

    fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Control => "control",
            Self::Executor => "executor",
            Self::Projections => "projections",
        }
    }
}

/// The parts that one process runs: at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Roles(BTreeSet<Role>);

impl Roles {
    /// Whether this part is among them.
    pub(crate) fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// Whether it is all of them.
    pub(crate) fn is_all(&self) -> bool {
        self.0.len() == Role::ALL.len()
    }

    /// Whether any of them needs the store: an executor alone does not.
    pub(crate) fn need_store(&self) -> bool {
        self.0.iter().any(|role| *role != Role::Executor)
    }
}

impl FromStr for Roles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "all" {
            return Ok(Self(BTreeSet::from(Role::ALL)));
        }
        let role = |name: &str| {
            let known = Role::ALL.into_iter().find(|role| role.name() == name);
            known.ok_or_else(|| {
                format!("`{name}` is no role: there are gateway, control, executor, projections, and all")
            })
        };
        Ok(Self(text.split(',').map(|name| role(name.trim())).collect::<Result<_, _>>()?))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|role| role.name()).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_named_one_by_one_or_all_at_once() {
        let some: Roles = "control, projections".parse().unwrap();
        assert!(some.has(Role::Control) && !some.has(Role::Gateway) && some.need_store() && !some.is_all());
        assert!("all".parse::<Roles>().unwrap().is_all());
        assert!("gateway,control,executor,projections".parse::<Roles>().unwrap().is_all());
        assert!(!"executor".parse::<Roles>().unwrap().need_store());
        assert!("worker".parse::<Roles>().unwrap_err().contains("`worker` is no role"));
        assert!("".parse::<Roles>().is_err());
    }
}
