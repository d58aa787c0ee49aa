//! Scopes: permissions in the form `resource:action`, and sets of them.
//!
//! The route table states which route needs which scope, as [`Access`](crate::Access).
//!
//! Invariant: a scope is held only if the set contains it by name. An empty set permits nothing,
//! and no default means everything.

use std::fmt;
use std::str::FromStr;

/// A permission: an action on a kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Get and list projects.
    ProjectsRead,
    /// Create and change projects.
    ProjectsWrite,
    /// Get and list agents.
    AgentsRead,
    /// Create and change agents.
    AgentsWrite,
    /// Get and list objectives.
    ObjectivesRead,
    /// Create objectives and new versions of them.
    ObjectivesWrite,
    /// Get and list simulations and their results.
    SimulationsRead,
    /// Create, run, cancel and delete simulations.
    SimulationsWrite,
    /// Get and list personas.
    PersonasRead,
    /// Approve and reject personas.
    PersonasWrite,
    /// Get and list conversations and their items.
    ConversationsRead,
    /// Start conversations, respond in them and end them, as an agent worker does.
    ConversationsWrite,
    /// Get and list monitors and their runs.
    MonitorsRead,
    /// Create, change and delete monitors, and start their runs, which create simulations.
    MonitorsWrite,
    /// Get and list webhooks and their deliveries, without secrets.
    WebhooksRead,
    /// Create, change, test and delete webhooks, rotate their secrets, and replay deliveries.
    WebhooksWrite,
    /// Get and list managed keys, without their secrets.
    KeysRead,
    /// Create, change, rotate and revoke managed keys.
    KeysWrite,
    /// List the audit trail.
    AuditRead,
}

impl Scope {
    /// Every scope, in the order in which sets list them.
    pub const ALL: [Scope; 19] = [
        Scope::ProjectsRead,
        Scope::ProjectsWrite,
        Scope::AgentsRead,
        Scope::AgentsWrite,
        Scope::ObjectivesRead,
        Scope::ObjectivesWrite,
        Scope::SimulationsRead,
        Scope::SimulationsWrite,
        Scope::PersonasRead,
        Scope::PersonasWrite,
        Scope::ConversationsRead,
        Scope::ConversationsWrite,
        Scope::MonitorsRead,
        Scope::MonitorsWrite,
        Scope::WebhooksRead,
        Scope::WebhooksWrite,
        Scope::KeysRead,
        Scope::KeysWrite,
        Scope::AuditRead,
    ];

    /// The text form in the API and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::ProjectsRead => "projects:read",
            Scope::ProjectsWrite => "projects:write",
            Scope::AgentsRead => "agents:read",
            Scope::AgentsWrite => "agents:write",
            Scope::ObjectivesRead => "objectives:read",
            Scope::ObjectivesWrite => "objectives:write",
            Scope::SimulationsRead => "simulations:read",
            Scope::SimulationsWrite => "simulations:write",
            Scope::PersonasRead => "personas:read",
            Scope::PersonasWrite => "personas:write",
            Scope::ConversationsRead => "conversations:read",
            Scope::ConversationsWrite => "conversations:write",
            Scope::MonitorsRead => "monitors:read",
            Scope::MonitorsWrite => "monitors:write",
            Scope::WebhooksRead => "webhooks:read",
            Scope::WebhooksWrite => "webhooks:write",
            Scope::KeysRead => "keys:read",
            Scope::KeysWrite => "keys:write",
            Scope::AuditRead => "audit:read",
        }
    }

    /// The scope's bit in a [`ScopeSet`]. It is never stored: sets are stored as names, so bits may
    /// change.
    const fn bit(self) -> u32 {
        1 << self as u16
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Scope, UnknownScope> {
        Scope::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(UnknownScope)
    }
}

/// The text is not a scope. The message does not repeat it: it may be a key pasted into the wrong
/// field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a scope: `resource:action`, with `projects`, `agents`, `objectives`, `simulations`, `personas`, \
     `conversations`, `monitors`, `webhooks` or `keys` as the resource and `read` or `write` as the action, or `audit:read`"
)]
pub struct UnknownScope;

/// The scopes of one key.
///
/// There is no default: the creator of a set states its content.
///
/// ```compile_fail,E0277
/// let everything_or_nothing: onerun_auth::ScopeSet = Default::default();
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ScopeSet(u32);

impl ScopeSet {
    /// Every scope.
    pub const ALL: ScopeSet = {
        let mut bits = 0;
        let mut index = 0;
        while index < Scope::ALL.len() {
            bits |= Scope::ALL[index].bit();
            index += 1;
        }
        ScopeSet(bits)
    };

    /// No scope.
    pub const NONE: ScopeSet = ScopeSet(0);

    /// The scopes in this set that are not in `other`.
    pub const fn without(self, other: ScopeSet) -> ScopeSet {
        ScopeSet(self.0 & !other.0)
    }

    /// The scopes in either set.
    #[must_use]
    pub const fn and(self, other: ScopeSet) -> ScopeSet {
        ScopeSet(self.0 | other.0)
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the set contains the scope.
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// The scopes in the set, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> + Clone {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

/// A named set of scopes for a kind of caller. A new key stores the scopes themselves, so a later
/// change of a preset does not affect existing keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// An agent worker: finds queued conversations and holds them.
    Worker,
    /// A pipeline: sets up simulations, runs them with its own worker, and reads the results.
    Ci,
    /// A scheduled monitor: runs simulations of existing agents and objectives, manages monitors, and reads the
    /// results.
    Monitor,
    /// A reader of projects and results. Keys and the audit trail are excluded: they are about
    /// callers, not agents. So are webhooks, whose URLs may be secrets.
    ReadOnly,
    /// Everything, keys included.
    Admin,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Preset; 5] =
        [Preset::Worker, Preset::Ci, Preset::Monitor, Preset::ReadOnly, Preset::Admin];

    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Preset::Worker => "worker",
            Preset::Ci => "ci",
            Preset::Monitor => "monitor",
            Preset::ReadOnly => "read_only",
            Preset::Admin => "admin",
        }
    }

    /// The scopes of the preset.
    pub fn scopes(self) -> ScopeSet {
        use Scope as S;
        const READ: [Scope; 7] = [
            S::ProjectsRead,
            S::AgentsRead,
            S::ObjectivesRead,
            S::SimulationsRead,
            S::PersonasRead,
            S::ConversationsRead,
            S::MonitorsRead,
        ];
        const RUN: [Scope; 5] = [
            S::AgentsWrite,
            S::ObjectivesWrite,
            S::SimulationsWrite,
            S::PersonasWrite,
            S::ConversationsWrite,
        ];
        match self {
            Preset::Worker => {
                [S::AgentsRead, S::SimulationsRead, S::ConversationsRead, S::ConversationsWrite]
                    .into_iter()
                    .collect()
            }
            Preset::Ci => READ.into_iter().chain(RUN).collect(),
            Preset::Monitor => READ.into_iter().chain([S::SimulationsWrite, S::MonitorsWrite]).collect(),
            Preset::ReadOnly => READ.into_iter().collect(),
            Preset::Admin => ScopeSet::ALL,
        }
    }
}

impl FromStr for Preset {
    type Err = UnknownPreset;

    fn from_str(text: &str) -> Result<Preset, UnknownPreset> {
        Preset::ALL.into_iter().find(|preset| preset.as_str() == text).ok_or(UnknownPreset)
    }
}

/// The text is not a preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of `worker`, `ci`, `monitor`, `read_only` and `admin`")]
pub struct UnknownPreset;

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> ScopeSet {
        ScopeSet(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Scope::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    #[test]
    fn scope_parses_from_its_text() {
        for scope in Scope::ALL {
            assert_eq!(scope.to_string().parse(), Ok(scope));
        }
    }

    #[test]
    fn every_resource_has_a_read_and_a_write_scope() {
        let names: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        let resources = [
            "projects",
            "agents",
            "objectives",
            "simulations",
            "personas",
            "conversations",
            "monitors",
            "webhooks",
            "keys",
        ];
        let mut expected: Vec<_> =
            resources.iter().flat_map(|r| [format!("{r}:read"), format!("{r}:write")]).collect();
        // The audit trail cannot be written through the API.
        expected.push("audit:read".to_owned());
        assert_eq!(names, expected);
    }

    #[test]
    fn preset_parses_from_its_name() {
        for preset in Preset::ALL {
            assert_eq!(preset.as_str().parse(), Ok(preset));
        }
        assert_eq!("Admin".parse::<Preset>(), Err(UnknownPreset));
    }

    #[test]
    fn only_the_admin_preset_includes_keys() {
        let names = |preset: Preset| preset.scopes().iter().map(Scope::as_str).collect::<Vec<_>>().join(" ");
        assert_eq!(
            names(Preset::Worker),
            "agents:read simulations:read conversations:read conversations:write"
        );
        assert_eq!(
            names(Preset::Monitor),
            "projects:read agents:read objectives:read simulations:read simulations:write personas:read \
             conversations:read monitors:read monitors:write"
        );
        for preset in [Preset::Worker, Preset::Ci, Preset::Monitor, Preset::ReadOnly] {
            assert!(!names(preset).contains("keys") && !names(preset).contains("audit"), "{preset:?}");
            assert!(!preset.scopes().contains(Scope::ProjectsWrite), "{preset:?}");
        }
        assert_eq!(Preset::Ci.scopes().iter().count(), 12);
        assert!(Preset::ReadOnly.scopes().iter().all(|scope| scope.as_str().ends_with(":read")));
        assert_eq!(Preset::Admin.scopes(), ScopeSet::ALL);
    }

    #[test]
    fn similar_text_is_not_a_scope() {
        for text in
            ["", "*", "projects", "projects:", ":read", "projects:*", "Projects:read", " projects:read"]
        {
            assert_eq!(text.parse::<Scope>(), Err(UnknownScope), "{text:?}");
        }
    }

    #[test]
    fn scopes_have_distinct_bits() {
        for (a, scope) in Scope::ALL.into_iter().enumerate() {
            for (b, other) in Scope::ALL.into_iter().enumerate() {
                assert_eq!(ScopeSet::from_iter([scope]).contains(other), a == b, "{scope} {other}");
            }
        }
    }

    #[test]
    fn full_set_lists_all_scopes_in_order() {
        assert_eq!(ScopeSet::ALL.iter().collect::<Vec<_>>(), Scope::ALL);
    }

    #[test]
    fn empty_set_permits_nothing() {
        let none = ScopeSet::from_iter([]);
        assert!(Scope::ALL.into_iter().all(|scope| !none.contains(scope)));
        assert_eq!(none.iter().count(), 0);
    }

    #[test]
    fn debug_prints_the_names_of_scopes() {
        let set = ScopeSet::from_iter([Scope::ConversationsWrite, Scope::AgentsRead]);
        assert_eq!(format!("{set:?}"), r#"{"agents:read", "conversations:write"}"#);
    }

    proptest! {
        #[test]
        fn parsing_accepts_only_the_exact_text(text in ".*") {
            if let Ok(scope) = text.parse::<Scope>() {
                prop_assert_eq!(scope.as_str(), text);
            }
        }

        #[test]
        fn set_contains_exactly_its_scopes(picked in proptest::collection::vec(0..Scope::ALL.len(), 0..20)) {
            let set: ScopeSet = picked.iter().map(|&index| Scope::ALL[index]).collect();
            for (index, scope) in Scope::ALL.into_iter().enumerate() {
                prop_assert_eq!(set.contains(scope), picked.contains(&index));
            }
            prop_assert_eq!(set.iter().collect::<ScopeSet>(), set);
        }
    }
}
