//! The recognised caller of a request and its permissions.
//!
//! A [`Principal`] comes only from [`recognize`](crate::recognize),
//! [`recognize_managed`](crate::recognize_managed) and [`recognize_again`](crate::recognize_again).
//! It does not know whether a project exists, only whether the key reaches it.
//!
//! Invariant: every permission of a principal was granted to its key by name or as an explicit
//! `All`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use onerun_domain::{Name, ProjectId};

use crate::change::KeyChangeError;
use crate::grant::{Grant, ProjectAccess};
use crate::key::KeyId;
use crate::record::KeyRecord;
use crate::refusal::Refusal;
use crate::ring::RingEntry;
use crate::scope::{Scope, ScopeSet};

/// The access rule of a route.
///
/// There is no default: a route without a rule does not compile, instead of being open.
///
/// ```compile_fail,E0277
/// let access: onerun_auth::Access = Default::default();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// No key is needed. The host does not authenticate such a request.
    Public,
    /// Any accepted key, regardless of its scopes.
    AnyKey,
    /// A key with this scope.
    Requires(Scope),
}

/// The kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyKind {
    /// A configured key with every permission.
    Root,
    /// A key that was created with the API.
    Managed,
}

impl KeyKind {
    /// The kind in the API and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyKind::Root => "root",
            KeyKind::Managed => "managed",
        }
    }
}

/// The key of a request and its permissions. It contains no secret.
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
            // A replaced key must not create a key that outlives it.
            grant: Grant { expires_at: record.ends_at(), ..record.grant.clone() },
        }
    }

    /// The key's id, for logs and responses.
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// The key's name; root keys have none.
    pub fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// Whether this is the pending root key of a rotation.
    pub fn is_pending(&self) -> bool {
        self.key_id == KeyId::ROOT_PENDING
    }

    /// The kind of the key.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key's grant.
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

    /// The first moment at which the key is refused, if it expires.
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

    /// Whether the key reaches a project. Check this before the project is looked up, so that the
    /// answer does not depend on whether it exists.
    pub fn authorize_project(&self, project: &ProjectId) -> Result<(), Refusal> {
        if self.grant.projects.allows(project) { Ok(()) } else { Err(Refusal::WrongProject) }
    }

    /// Whether the key reaches all projects.
    pub fn authorize_all_projects(&self) -> Result<(), Refusal> {
        if self.grant.projects == ProjectAccess::All { Ok(()) } else { Err(Refusal::WrongProject) }
    }

    /// Whether the key may create a key with this grant, or change or end a key that has it.
    pub fn authorize_grant(&self, grant: &Grant) -> Result<(), KeyChangeError> {
        let excess = grant.excess_over(&self.grant);
        if excess.is_empty() {
            return Ok(());
        }
        Err(KeyChangeError::ExceedsOwnKey { excess })
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
    fn scope_permits_only_itself() {
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
    fn key_without_scopes_may_call_routes_without_a_scope() {
        let principal = principal([], ProjectAccess::All);
        assert_eq!(principal.authorize(Access::Public), Ok(()));
        assert_eq!(principal.authorize(Access::AnyKey), Ok(()));
        for needed in Scope::ALL {
            assert!(principal.authorize(Access::Requires(needed)).is_err());
        }
    }

    #[test]
    fn bound_key_reaches_only_its_projects() {
        let (mine, other) = (project("AbCdEf012345"), project("ZyXwVu987654"));
        let bound = principal(Scope::ALL, ProjectAccess::Only(BTreeSet::from([mine.clone()])));
        assert_eq!(bound.authorize_project(&mine), Ok(()));
        assert_eq!(bound.authorize_project(&other), Err(Refusal::WrongProject));
        assert_eq!(principal([], ProjectAccess::All).authorize_project(&other), Ok(()));
    }

    #[test]
    fn bound_key_does_not_reach_all_projects() {
        assert_eq!(principal([], ProjectAccess::All).authorize_all_projects(), Ok(()));
        let bound = principal(Scope::ALL, ProjectAccess::Only(BTreeSet::from([project("AbCdEf012345")])));
        assert_eq!(bound.authorize_all_projects(), Err(Refusal::WrongProject));
    }
}
