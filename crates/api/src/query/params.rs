//! The parameters that several lists share: pages, filters, sort orders and words.

use jiff::Timestamp;
use onerun_auth::KeyStatus;
use onerun_domain::{
    AgentId, BatchId, BatchItemStatus, ConversationStatus, DeliveryState, Direction, Limit, MonitorId,
    ObjectiveId, Outcome, PageRequest, ProjectId, SimulationId, SimulationStatus, Start,
};
use onerun_store::{ExactFilter, SortBy};
use serde_json::{Value, json};

use super::{DEFAULT_LIMIT, DEFAULT_LONG_LIMIT, MAX_LIMIT, MAX_OFFSET, Param, Reader};
use crate::fields::{NOT_A_TIME, parse_time};

/// A whole number from `MIN` to `MAX`.
pub(crate) struct Whole<const MIN: u32, const MAX: u32>(pub(crate) u32);

impl<const MIN: u32, const MAX: u32> Param for Whole<MIN, MAX> {
    fn parse(text: &str) -> Result<Self, String> {
        let number = if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None };
        number
            .filter(|number| (MIN..=MAX).contains(number))
            .map(Self)
            .ok_or_else(|| format!("must be an integer from {MIN} to {MAX}"))
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A page of a list with a small default.
pub(crate) fn page(reader: &mut Reader) -> Option<PageRequest> {
    page_of::<MAX_LIMIT>(reader, DEFAULT_LIMIT, "How many rows at most; 10 by default.")
}

/// A page of a list with a large default.
pub(crate) fn large_page(reader: &mut Reader) -> Option<PageRequest> {
    page_of::<{ Limit::MAX }>(reader, DEFAULT_LONG_LIMIT, "How many rows at most; 100 by default.")
}

fn page_of<const MAX: u32>(
    reader: &mut Reader,
    default: u32,
    limit_description: &'static str,
) -> Option<PageRequest> {
    let limit = reader.optional::<Whole<1, MAX>>("limit", limit_description);
    let offset = reader.optional::<Whole<0, MAX_OFFSET>>(
        "offset",
        "How many rows to skip; 0 by default. Rows that are inserted meanwhile shift the others: use `cursor` where that \
         matters.",
    );
    let position = reader.cursor(
        "Where to continue: the `next_cursor` of the page before, with the other parameters unchanged except `limit`. No row \
         is shown twice or left out, whatever is inserted meanwhile. Not together with `offset`.",
    );
    let limit = limit?.map_or(default, |limit| limit.0);
    let start = match (offset?, position?) {
        (Some(_), Some(_)) => {
            reader.refuse("offset", "contradicts `cursor`; give one of them");
            return None;
        }
        (_, Some(position)) => Start::After(position),
        (offset, None) => Start::Offset(offset.map_or(0, |offset| offset.0)),
    };
    Some(PageRequest { limit: Limit::clamped(limit), start })
}

/// The exact filters.
pub(crate) fn exact(reader: &mut Reader) -> Option<ExactFilter> {
    let name = reader.optional("exact_name", "Only what has exactly this name, case included.");
    let metadata = reader.metadata(
        "`metadata.KEY=VALUE`: only what has this key at the top level of its metadata with exactly this value. A string \
         is compared as it is, a number, true, false or null as its JSON; lists and objects match nothing. Up to 5 keys, \
         all of which must match.",
    );
    Some(ExactFilter { name: name?, metadata: metadata? })
}

/// Whether a list has archived rows only.
pub(crate) fn archived(reader: &mut Reader) -> Option<bool> {
    let archived = reader.optional(
        "archived",
        "`true` for only what is archived, `false` for only the rest. The default is `false`.",
    );
    archived.map(|archived| archived.unwrap_or(false))
}

impl Param for bool {
    fn parse(text: &str) -> Result<Self, String> {
        word(text, &BOOLEANS)
    }

    fn schema() -> Value {
        json!({ "type": "boolean" })
    }
}

const BOOLEANS: [(&str, bool); 2] = [("false", false), ("true", true)];

/// A parameter with a fixed set of words.
pub(crate) fn word<T: Copy>(text: &str, words: &[(&'static str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("must be one of `{}`", words.join("`, `"))
    })
}

/// The schema of such a parameter.
pub(crate) fn words_schema<T>(words: &[(&'static str, T)]) -> Value {
    let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    json!({ "type": "string", "enum": words })
}

impl Param for Direction {
    fn parse(text: &str) -> Result<Self, String> {
        word(text, &DIRECTIONS)
    }

    fn schema() -> Value {
        words_schema(&DIRECTIONS)
    }
}

const DIRECTIONS: [(&str, Direction); 2] = [("asc", Direction::Ascending), ("desc", Direction::Descending)];

/// The fields that a list can be sorted by.
pub(crate) trait SortKey: Copy + 'static {
    /// Each word with its field.
    const WORDS: &'static [(&'static str, Self)];
}

/// The sort fields of projects, agents and objectives.
#[derive(Clone, Copy)]
pub(crate) enum SortByKey {
    CreatedAt,
    Name,
}

impl SortKey for SortByKey {
    const WORDS: &'static [(&'static str, Self)] = &[("created_at", Self::CreatedAt), ("name", Self::Name)];
}

struct SortField<K>(K);

impl<K: SortKey> Param for SortField<K> {
    fn parse(text: &str) -> Result<Self, String> {
        word(text, K::WORDS).map(Self)
    }

    fn schema() -> Value {
        words_schema(K::WORDS)
    }
}

/// The requested sort field and direction.
pub(crate) struct Sort<K> {
    pub(crate) by: Option<K>,
    pub(crate) direction: Option<Direction>,
}

impl<K: SortKey> Sort<K> {
    pub(crate) fn read(reader: &mut Reader, by: &'static str) -> Option<Self> {
        let by = reader.optional::<SortField<K>>("sort_by", by);
        let direction = reader.optional(
            "sort_dir",
            "`desc` for the largest or newest first, which is the default; `asc` for the smallest or oldest.",
        );
        Some(Self { by: by?.map(|by| by.0), direction: direction? })
    }

    /// The direction, descending by default.
    pub(crate) fn direction(&self) -> Direction {
        self.direction.unwrap_or(Direction::Descending)
    }
}

impl Sort<SortByKey> {
    /// The sort order, by creation time by default.
    pub(crate) fn named(&self) -> SortBy {
        match self.by {
            Some(SortByKey::Name) => SortBy::Name(self.direction()),
            Some(SortByKey::CreatedAt) | None => SortBy::CreatedAt(self.direction()),
        }
    }
}

/// The description of `sort_by` for lists that sort by name.
pub(crate) const SORT_BY_NAME: &str = "`created_at`, which is the default, or `name`.";

macro_rules! statuses {
    ($($type:ident),*) => {$(
        impl Param for $type {
            fn parse(text: &str) -> Result<Self, String> {
                word(text, &$type::ALL.map(|status| (status.as_str(), status)))
            }

            fn schema() -> Value {
                words_schema(&$type::ALL.map(|status| (status.as_str(), status)))
            }
        }
    )*};
}

statuses!(SimulationStatus, ConversationStatus, KeyStatus, Outcome, BatchItemStatus, DeliveryState);

macro_rules! ids {
    ($($type:ident of $what:literal),*) => {$(
        impl Param for $type {
            fn parse(text: &str) -> Result<Self, String> {
                let length = $type::LENGTH;
                text.parse().map_err(|_| {
                    format!(concat!("must be the id of ", $what, ", which has {} letters and digits"), length)
                })
            }

            fn schema() -> Value {
                json!({ "type": "string", "pattern": format!("^[A-Za-z0-9]{{{}}}$", $type::LENGTH) })
            }
        }
    )*};
}

ids!(
    AgentId of "an agent",
    BatchId of "a batch",
    MonitorId of "a monitor",
    ObjectiveId of "an objective",
    ProjectId of "a project",
    SimulationId of "a simulation"
);

impl Param for Timestamp {
    fn parse(text: &str) -> Result<Self, String> {
        parse_time(text).ok_or_else(|| NOT_A_TIME.to_owned())
    }

    fn schema() -> Value {
        json!({ "type": "string", "format": "date-time" })
    }
}
