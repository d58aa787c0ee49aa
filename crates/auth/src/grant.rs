//! What a key may do, and that no key can give another more than it has itself.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use onerun_domain::ProjectId;

use crate::address::AddressAccess;
use crate::limit::RateLimit;
use crate::scope::{Scope, ScopeSet};

/// Everything that a key may do: the dimensions in which one key can be stronger than another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What it may do.
    pub scopes: ScopeSet,
    /// In which projects.
    pub projects: ProjectAccess,
    /// From where.
    pub addresses: AddressAccess,
    /// How often; `None` for any number of requests.
    pub rate_limit: Option<RateLimit>,
    /// Until when, when it may no more; `None` for ever.
    pub expires_at: Option<Timestamp>,
}

/// The projects a key reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectAccess {
    /// Every project, those that are yet to be created included.
    All,
    /// These projects. An empty set is none of them.
    Only(BTreeSet<ProjectId>),
}

impl ProjectAccess {
    /// Whether the project is within reach.
    pub fn allows(&self, project: &ProjectId) -> bool {
        match self {
            ProjectAccess::All => true,
            ProjectAccess::Only(projects) => projects.contains(project),
        }
    }

    /// Whether every project within reach is within that of `other` too.
    pub fn is_within(&self, other: &ProjectAccess) -> bool {
        match (self, other) {
            (_, ProjectAccess::All) => true,
            (ProjectAccess::All, ProjectAccess::Only(_)) => false,
            (ProjectAccess::Only(own), ProjectAccess::Only(others)) => own.is_subset(others),
        }
    }
}

/// A dimension in which a key would be stronger than the one that makes or changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Excess {
    /// These scopes.
    Scopes(ScopeSet),
    /// Projects.
    Projects,
    /// Addresses.
    Addresses,
    /// The rate.
    RateLimit,
    /// The lifetime.
    Lifetime,
}

impl Grant {
    /// The grant that is within no other but itself.
    pub const fn everything() -> Grant {
        Grant {
            scopes: ScopeSet::ALL,
            projects: ProjectAccess::All,
            addresses: AddressAccess::Any,
            rate_limit: None,
            expires_at: None,
        }
    }

    /// In what this is more than `own`; empty if it is within it.
    pub fn excess_over(&self, own: &Grant) -> Vec<Excess> {
        let mut excess = Vec::new();
        let scopes = self.scopes.without(own.scopes);
        if !scopes.is_empty() {
            excess.push(Excess::Scopes(scopes));
        }
        if !self.projects.is_within(&own.projects) {
            excess.push(Excess::Projects);
        }
        if !self.addresses.is_within(&own.addresses) {
            excess.push(Excess::Addresses);
        }
        let is_rate_within = match (self.rate_limit, own.rate_limit) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(limit), Some(own)) => limit.is_within(own),
        };
        if !is_rate_within {
            excess.push(Excess::RateLimit);
        }
        let is_life_within = match (self.expires_at, own.expires_at) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(end), Some(own)) => end <= own,
        };
        if !is_life_within {
            excess.push(Excess::Lifetime);
        }
        excess
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Excess::Scopes(scopes) => {
                let names: Vec<_> = scopes.iter().map(Scope::as_str).collect();
                let noun = if names.len() == 1 { "scope" } else { "scopes" };
                write!(f, "the {noun} `{}`", names.join("`, `"))
            }
            Excess::Projects => f.write_str("its projects"),
            Excess::Addresses => f.write_str("the addresses it may be used from"),
            Excess::RateLimit => f.write_str("its rate limit"),
            Excess::Lifetime => f.write_str("its lifetime"),
        }
    }
}

#[cfg(test)]
mod attenuation;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::parse_block;

    fn project(id: &str) -> ProjectId {
        id.parse().unwrap()
    }

    fn narrow() -> Grant {
        Grant {
            scopes: ScopeSet::from_iter([Scope::AgentsRead, Scope::KeysWrite]),
            projects: ProjectAccess::Only(BTreeSet::from(["AbCdEf012345".parse().unwrap()])),
            addresses: AddressAccess::Only(vec![parse_block("10.0.0.0/8").unwrap()]),
            rate_limit: RateLimit::new(10, 60),
            expires_at: Some("2026-06-01T00:00:00Z".parse().unwrap()),
        }
    }

    #[test]
    fn every_grant_is_within_itself_and_within_everything() {
        for grant in [narrow(), Grant::everything()] {
            assert_eq!(grant.excess_over(&grant), []);
            assert_eq!(grant.excess_over(&Grant::everything()), []);
        }
    }

    #[test]
    fn each_dimension_in_which_a_grant_is_more_is_told() {
        let everything = Grant::everything();
        let missing = ScopeSet::ALL.without(narrow().scopes);
        assert_eq!(
            everything.excess_over(&narrow()),
            [
                Excess::Scopes(missing),
                Excess::Projects,
                Excess::Addresses,
                Excess::RateLimit,
                Excess::Lifetime
            ]
        );
        let cases: [(Grant, Excess); 5] = [
            (
                Grant { scopes: ScopeSet::from_iter([Scope::AgentsWrite]), ..narrow() },
                Excess::Scopes(ScopeSet::from_iter([Scope::AgentsWrite])),
            ),
            (Grant { projects: ProjectAccess::All, ..narrow() }, Excess::Projects),
            (Grant { addresses: AddressAccess::Any, ..narrow() }, Excess::Addresses),
            (Grant { rate_limit: RateLimit::new(11, 60), ..narrow() }, Excess::RateLimit),
            (
                Grant { expires_at: Some("2026-06-01T00:00:00.000001Z".parse().unwrap()), ..narrow() },
                Excess::Lifetime,
            ),
        ];
        for (grant, expected) in cases {
            assert_eq!(grant.excess_over(&narrow()), [expected]);
        }
    }

    #[test]
    fn an_excess_names_what_is_too_much() {
        let scopes = ScopeSet::from_iter([Scope::AgentsRead, Scope::AgentsWrite]);
        assert_eq!(Excess::Scopes(scopes).to_string(), "the scopes `agents:read`, `agents:write`");
        let one = ScopeSet::from_iter([Scope::AuditRead]);
        assert_eq!(Excess::Scopes(one).to_string(), "the scope `audit:read`");
    }

    #[test]
    fn a_set_of_projects_is_within_a_wider_one() {
        let only = |ids: &[&str]| ProjectAccess::Only(ids.iter().map(|id| project(id)).collect());
        let (one, both) = (only(&["AbCdEf012345"]), only(&["AbCdEf012345", "ZyXwVu987654"]));
        assert!(one.is_within(&both) && both.is_within(&ProjectAccess::All) && only(&[]).is_within(&one));
        assert!(!both.is_within(&one) && !ProjectAccess::All.is_within(&both));
    }

    #[test]
    fn an_empty_set_of_projects_is_none_of_them() {
        assert!(!ProjectAccess::Only(BTreeSet::new()).allows(&project("AbCdEf012345")));
    }
}
