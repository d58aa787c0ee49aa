//! Who sent a request, once that is known, and what it may do.
//!
//! This module does not recognise keys: a [`Principal`] comes from [`authenticate`](crate::authenticate) and from
//! nowhere else. It does not know whether a project exists either; it says whether the key reaches that far.
//!
//! Invariant: every permission a principal has was given to its key by name or as an explicit `All`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use onerun_domain::{Name, ProjectId};

use crate::grant::{Grant, ProjectAccess};
use crate::key::KeyId;
use crate::record::KeyRecord;
use crate::refusal::Refusal;
use crate::ring::RingEntry;
use crate::scope::{Scope, ScopeSet};

/// What a route asks of its caller.
///
/// There is no default, so that a route which says nothing does not compile instead of being open:
///
/// ```compile_fail,E0277
/// let access: onerun_auth::Access = Default::default();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone, without a key. The host does not authenticate such a request at all.
    Public,
    /// Any accepted key, whatever its scopes.
    AnyKey,
    /// A key with this scope.
    Requires(Scope),
}

/// The kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyKind {
    /// The configured key that may do everything.
    Root,
    /// A key that was made with the API.
    Managed,
}

impl KeyKind {
    /// The kind as the API and its logs have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyKind::Root => "root",
            KeyKind::Managed => "managed",
        }
    }
}

/// The key behind a request and what it may do. It holds nothing secret.
#[derive(Clone, Debug)]
pub struct Principal {
    key_id: KeyId,
    name: Option<Name>,
    kind: KeyKind,
    grant: Grant,
}

impl Principal {
    /// The principal of a root key.
    pub(crate) fn root(entry: &RingEntry) -> Principal {
        let expires_at = entry.not_after();
        let grant = if *entry.id() == KeyId::ROOT_PENDING {
            let projects = ProjectAccess::Only(BTreeSet::new());
            Grant { scopes: ScopeSet::NONE, projects, expires_at, ..Grant::everything() }
        } else {
            Grant { expires_at, ..Grant::everything() }
        };
        Principal { key_id: entry.id().clone(), name: None, kind: KeyKind::Root, grant }
    }

    /// The principal of a managed key.
    pub(crate) fn managed(record: &KeyRecord) -> Principal {
        Principal {
            key_id: record.id.clone(),
            name: Some(record.name.clone()),
            kind: KeyKind::Managed,
            // A key whose place was taken makes none that lives longer than it does itself.
            grant: Grant { expires_at: record.ends_at(), ..record.grant.clone() },
        }
    }

    /// The key's public name, for logs and answers.
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// What people call the key, if they call it anything.
    pub fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// Whether the key is one that a rotation is yet to put in force.
    pub fn is_pending(&self) -> bool {
        self.key_id == KeyId::ROOT_PENDING
    }

    /// The kind of the key.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// All that the key may do.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The scopes of the key.
    pub fn scopes(&self) -> ScopeSet {
        self.grant.scopes
    }

    /// The projects of the key.
    pub fn projects(&self) -> &ProjectAccess {
        &self.grant.projects
    }

    /// From when on the key is refused, if it is to be.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.grant.expires_at
    }

    /// Whether the key may call a route.
    pub fn authorize(&self, access: Access) -> Result<(), Refusal> {
        match access {
            Access::Public | Access::AnyKey => Ok(()),
            Access::Requires(scope) if self.grant.scopes.contains(scope) => Ok(()),
            Access::Requires(needed) => Err(Refusal::InsufficientScope { needed }),
        }
    }

    /// Whether the key may reach a project. Asked before the project is looked up, so that the answer does not depend
    /// on whether it exists.
    pub fn authorize_project(&self, project: &ProjectId) -> Result<(), Refusal> {
        if self.grant.projects.allows(project) { Ok(()) } else { Err(Refusal::WrongProject) }
    }

    /// Whether the key may do what concerns all projects.
    pub fn authorize_all_projects(&self) -> Result<(), Refusal> {
        if self.grant.projects == ProjectAccess::All { Ok(()) } else { Err(Refusal::WrongProject) }
    }

    /// Whether the key may make a key with this grant, change one that has it, or take it from one.
    pub fn authorize_grant(&self, grant: &Grant) -> Result<(), onerun_domain::Refusal> {
        let excess = grant.excess_over(&self.grant);
        if excess.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = excess.iter().map(ToString::to_string).collect();
        Err(onerun_domain::Refusal::ExceedsOwnKey { excess: names.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(id: &str) -> ProjectId {
        id.parse().unwrap()
    }

    fn principal(scopes: impl IntoIterator<Item = Scope>, projects: ProjectAccess) -> Principal {
        let grant = Grant { scopes: scopes.into_iter().collect(), projects, ..Grant::everything() };
        Principal { key_id: KeyId::ROOT, name: None, kind: KeyKind::Root, grant }
    }

    #[test]
    fn each_scope_permits_itself_and_no_other() {
        for held in Scope::ALL {
            let principal = principal([held], ProjectAccess::All);
            for needed in Scope::ALL {
                let expected =
                    if held == needed { Ok(()) } else { Err(Refusal::InsufficientScope { needed }) };
                assert_eq!(principal.authorize(Access::Requires(needed)), expected, "{held} {needed}");
            }
        }
    }

    #[test]
    fn a_key_without_scopes_may_call_what_asks_for_none() {
        let principal = principal([], ProjectAccess::All);
        assert_eq!(principal.authorize(Access::Public), Ok(()));
        assert_eq!(principal.authorize(Access::AnyKey), Ok(()));
        for needed in Scope::ALL {
            assert!(principal.authorize(Access::Requires(needed)).is_err());
        }
    }

    #[test]
    fn a_bound_key_reaches_its_projects_and_no_other() {
        let (mine, other) = (project("AbCdEf012345"), project("ZyXwVu987654"));
        let bound = principal(Scope::ALL, ProjectAccess::Only(BTreeSet::from([mine.clone()])));
        assert_eq!(bound.authorize_project(&mine), Ok(()));
        assert_eq!(bound.authorize_project(&other), Err(Refusal::WrongProject));
        assert_eq!(principal([], ProjectAccess::All).authorize_project(&other), Ok(()));
    }

    #[test]
    fn only_a_key_of_all_projects_may_do_what_concerns_them_all() {
        assert_eq!(principal([], ProjectAccess::All).authorize_all_projects(), Ok(()));
        let bound = principal(Scope::ALL, ProjectAccess::Only(BTreeSet::from([project("AbCdEf012345")])));
        assert_eq!(bound.authorize_all_projects(), Err(Refusal::WrongProject));
    }
}
