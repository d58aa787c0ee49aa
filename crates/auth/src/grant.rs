//! The permissions of a key, and the rule that no key grants more than it has.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use onerun_domain::ProjectId;

use crate::address::AddressAccess;
use crate::limit::RateLimit;
use crate::scope::{Scope, ScopeSet};

/// The permissions of a key, in every dimension in which one key can exceed another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The allowed operations.
    pub scopes: ScopeSet,
    /// The projects that the key reaches.
    pub projects: ProjectAccess,
    /// The addresses from which the key is accepted.
    pub addresses: AddressAccess,
    /// The rate limit; `None` for no limit.
    pub rate_limit: Option<RateLimit>,
    /// The first moment at which the key is refused; `None` if it never expires.
    pub expires_at: Option<Timestamp>,
}

/// The projects that a key reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectAccess {
    /// Every project, including future ones.
    All,
    /// These projects. An empty set allows none.
    Only(BTreeSet<ProjectId>),
}

impl ProjectAccess {
    /// Whether the key reaches the project.
    pub fn allows(&self, project: &ProjectId) -> bool {
        match self {
            ProjectAccess::All => true,
            ProjectAccess::Only(projects) => projects.contains(project),
        }
    }

    /// Whether `other` reaches every project that this reaches.
    pub fn is_within(&self, other: &ProjectAccess) -> bool {
        match (self, other) {
            (_, ProjectAccess::All) => true,
            (ProjectAccess::All, ProjectAccess::Only(_)) => false,
            (ProjectAccess::Only(own), ProjectAccess::Only(others)) => own.is_subset(others),
        }
    }
}

/// A dimension in which a key would exceed the key that creates or changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Excess {
    /// The scopes that the other key lacks.
    Scopes(ScopeSet),
    /// The projects.
    Projects,
    /// The addresses.
    Addresses,
    /// The rate limit.
    RateLimit,
    /// The expiry.
    Lifetime,
}

impl Grant {
    /// The grant without any restriction.
    pub const fn everything() -> Grant {
        Grant {
            scopes: ScopeSet::ALL,
            projects: ProjectAccess::All,
            addresses: AddressAccess::Any,
            rate_limit: None,
            expires_at: None,
        }
    }

    /// The dimensions in which this exceeds `own`; empty if it does not.
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
    fn every_grant_is_within_itself_and_the_full_grant() {
        for grant in [narrow(), Grant::everything()] {
            assert_eq!(grant.excess_over(&grant), []);
            assert_eq!(grant.excess_over(&Grant::everything()), []);
        }
    }

    #[test]
    fn every_exceeded_dimension_is_reported() {
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
    fn excess_names_the_missing_scopes() {
        let scopes = ScopeSet::from_iter([Scope::AgentsRead, Scope::AgentsWrite]);
        assert_eq!(Excess::Scopes(scopes).to_string(), "the scopes `agents:read`, `agents:write`");
        let one = ScopeSet::from_iter([Scope::AuditRead]);
        assert_eq!(Excess::Scopes(one).to_string(), "the scope `audit:read`");
    }

    #[test]
    fn project_set_is_within_a_wider_one() {
        let only = |ids: &[&str]| ProjectAccess::Only(ids.iter().map(|id| project(id)).collect());
        let (one, both) = (only(&["AbCdEf012345"]), only(&["AbCdEf012345", "ZyXwVu987654"]));
        assert!(one.is_within(&both) && both.is_within(&ProjectAccess::All) && only(&[]).is_within(&one));
        assert!(!both.is_within(&one) && !ProjectAccess::All.is_within(&both));
    }

    #[test]
    fn empty_project_set_allows_no_project() {
        assert!(!ProjectAccess::Only(BTreeSet::new()).allows(&project("AbCdEf012345")));
    }
}
