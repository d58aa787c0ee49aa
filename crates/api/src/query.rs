//! Reading the query: like [`fields`](crate::fields), each list says its parameters once.
//!
//! As in the published service, parameters that an operation does not have are passed over.

use onerun_auth::KeyStatus;
use onerun_domain::{
    AgentId, ConversationStatus, Direction, Limit, PageRequest, ProjectId, SimulationStatus,
};
use onerun_store::NamedSort;
use serde_json::{Value, json};

use crate::{
    ApiError,
    error::{FieldError, Place},
};

/// How many of a list at once, where the caller may say.
const MAX_LIMIT: u32 = 100;
const DEFAULT_LIMIT: u32 = 10;

/// The parameters of an operation.
pub(crate) trait Params: Sized {
    /// Reads them; `None` if one of them is wrong, which `reader` then knows.
    fn read(reader: &mut Reader) -> Option<Self>;
}

/// A parameter's value.
pub(crate) trait Param: Sized {
    /// Reads it.
    fn parse(text: &str) -> Result<Self, String>;

    /// Its JSON Schema.
    fn schema() -> Value;
}

/// A query, taken apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    /// Names or values that are not percent-encoded UTF-8.
    broken: bool,
}

impl Query {
    /// Takes a query apart.
    pub(crate) fn parse(text: Option<&str>) -> Self {
        let mut query = Self::default();
        for pair in text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (decode(name), decode(value)) {
                (Some(name), Some(value)) => query.pairs.push((name, value)),
                _ => query.broken = true,
            }
        }
        query
    }

    /// Reads an operation's parameters, all of them before the first error is answered.
    pub(crate) fn read<T: Params>(&self) -> Result<T, ApiError> {
        let mut reader = Reader { source: Source::Query(self), errors: Vec::new() };
        let read = T::read(&mut reader);
        read.filter(|_| reader.errors.is_empty()).ok_or(ApiError::Invalid(reader.errors))
    }
}

/// One documented parameter: its name, description, schema, and whether it must be there.
pub(crate) struct ParamDoc {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) schema: Value,
    pub(crate) required: bool,
}

/// Reads parameters, or only asks what they are.
pub(crate) struct Reader<'a> {
    source: Source<'a>,
    errors: Vec<FieldError>,
}

enum Source<'a> {
    Query(&'a Query),
    Docs(Vec<ParamDoc>),
}

impl Reader<'_> {
    /// What parameters an operation has.
    pub(crate) fn docs<T: Params>() -> Vec<ParamDoc> {
        let mut reader = Self { source: Source::Docs(Vec::new()), errors: Vec::new() };
        let _ = T::read(&mut reader);
        match reader.source {
            Source::Docs(docs) => docs,
            Source::Query(_) => Vec::new(),
        }
    }

    /// A parameter that must be there.
    pub(crate) fn required<T: Param>(&mut self, name: &'static str, description: &'static str) -> Option<T> {
        if let Source::Docs(docs) = &mut self.source {
            docs.push(ParamDoc { name, description, schema: T::schema(), required: true });
            return None;
        }
        let value = self.find(name)?;
        if value.is_none() {
            self.refuse(name, "is required");
        }
        self.value(name, &value?)
    }

    /// A parameter that may be left out.
    pub(crate) fn optional<T: Param>(
        &mut self,
        name: &'static str,
        description: &'static str,
    ) -> Option<Option<T>> {
        if let Source::Docs(docs) = &mut self.source {
            docs.push(ParamDoc { name, description, schema: T::schema(), required: false });
            return None;
        }
        match self.find(name)? {
            Some(value) => self.value(name, &value).map(Some),
            None => Some(None),
        }
    }

    /// The parameter's value, if it is there; the outer `None` if it cannot be told.
    fn find(&mut self, name: &str) -> Option<Option<String>> {
        let Source::Query(query) = self.source else { return None };
        if query.broken {
            self.refuse(name, "cannot be read: the query must be percent-encoded UTF-8");
            return None;
        }
        let mut values = query.pairs.iter().filter(|(pair, _)| pair == name).map(|(_, value)| value);
        let value = values.next().cloned();
        if values.next().is_some() {
            self.refuse(name, "must be given once");
            return None;
        }
        Some(value)
    }

    fn value<T: Param>(&mut self, name: &str, text: &str) -> Option<T> {
        T::parse(text).map_err(|detail| self.refuse(name, &detail)).ok()
    }

    fn refuse(&mut self, name: &str, detail: &str) {
        self.errors.push(FieldError { place: Place::Query(name.to_owned()), detail: detail.to_owned() });
    }
}

/// Percent-decoding of a query's name or value, where a plus sign is a space; `None` if it is not UTF-8 then.
fn decode(text: &str) -> Option<String> {
    percent_decode(text.replace('+', " ").as_bytes())
}

/// Percent-decoding; a percent sign without two hexadecimal digits stands for itself.
pub(crate) fn percent_decode(bytes: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let byte = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The project that an operation works in.
pub(crate) struct InProject(pub(crate) String);

impl Params for InProject {
    fn read(reader: &mut Reader) -> Option<Self> {
        reader.required::<String>("project_id", "The project that the operation works in.").map(Self)
    }
}

impl Param for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn schema() -> Value {
        json!({ "type": "string" })
    }
}

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

/// A part of a list of which little is shown at once.
pub(crate) fn page(reader: &mut Reader) -> Option<PageRequest> {
    page_of::<MAX_LIMIT>(reader, DEFAULT_LIMIT, "How many at the most; 10 if nothing is said.")
}

/// A part of a list of which, if nothing is said, as much is shown as is shown at all.
pub(crate) fn long_page(reader: &mut Reader) -> Option<PageRequest> {
    page_of::<{ Limit::MAX }>(reader, Limit::MAX, "How many at the most; 1,000 if nothing is said.")
}

fn page_of<const MAX: u32>(
    reader: &mut Reader,
    default: u32,
    limit_description: &'static str,
) -> Option<PageRequest> {
    let limit = reader.optional::<Whole<1, MAX>>("limit", limit_description);
    let offset = reader
        .optional::<Whole<0, { i32::MAX as u32 }>>("offset", "How many to pass over; 0 if nothing is said.");
    let limit = limit?.map_or(default, |limit| limit.0);
    Some(PageRequest { limit: Limit::clamped(limit), offset: offset?.map_or(0, |offset| offset.0) })
}

/// A direction: `desc` is descending, any other word ascending, as in the published service.
pub(crate) struct SortDirection(pub(crate) Direction);

impl Param for SortDirection {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(if text == "desc" { Direction::Descending } else { Direction::Ascending }))
    }

    fn schema() -> Value {
        json!({ "type": "string", "examples": ["asc", "desc"] })
    }
}

/// What to sort by and in which direction, if either was said.
pub(crate) struct Sort {
    pub(crate) by: Option<String>,
    pub(crate) direction: Option<Direction>,
}

impl Sort {
    pub(crate) fn read(reader: &mut Reader, by: &'static str) -> Option<Self> {
        let by = reader.optional::<String>("sort_by", by);
        let direction = reader.optional::<SortDirection>(
            "sort_dir",
            "`desc` for the largest or newest first, which is the default; any other word for the smallest or oldest.",
        );
        Some(Self { by: by?, direction: direction?.map(|direction| direction.0) })
    }

    /// The direction: descending if nothing was said.
    pub(crate) fn direction(&self) -> Direction {
        self.direction.unwrap_or(Direction::Descending)
    }

    /// By name, or by when it was made if nothing else is known, as in the published service.
    pub(crate) fn named(&self) -> NamedSort {
        match self.by.as_deref() {
            Some("name") => NamedSort::Name(self.direction()),
            _ => NamedSort::CreatedAt(self.direction()),
        }
    }
}

/// What is said of `sort_by` where a list sorts by name.
pub(crate) const SORT_BY_NAME: &str =
    "`created_at`, which is the default, or `name`; any other word means the default.";

/// A status to filter by: a word that is none finds nothing, as in the published service.
pub(crate) enum Filter<T> {
    /// Only these.
    Only(T),
    /// There can be none.
    Nothing,
}

macro_rules! status_filters {
    ($($type:ident),*) => {$(
        impl Param for Filter<$type> {
            fn parse(text: &str) -> Result<Self, String> {
                Ok($type::parse(text).map_or(Self::Nothing, Self::Only))
            }

            fn schema() -> Value {
                json!({ "type": "string", "examples": $type::ALL.map($type::as_str) })
            }
        }
    )*};
}

status_filters!(SimulationStatus, ConversationStatus);

impl Param for Filter<AgentId> {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.parse().map_or(Self::Nothing, Self::Only))
    }

    fn schema() -> Value {
        json!({ "type": "string" })
    }
}

impl Param for Filter<ProjectId> {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.parse().map_or(Self::Nothing, Self::Only))
    }

    fn schema() -> Value {
        json!({ "type": "string" })
    }
}

/// A key's status. Only what the published service has is lenient about words that are none.
impl Param for KeyStatus {
    fn parse(text: &str) -> Result<Self, String> {
        let found = KeyStatus::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| {
            let words = KeyStatus::ALL.map(KeyStatus::as_str).join("`, `");
            format!("must be one of `{words}`")
        })
    }

    fn schema() -> Value {
        json!({ "type": "string", "enum": KeyStatus::ALL.map(KeyStatus::as_str) })
    }
}

impl Param for ProjectId {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "must be the id of a project".to_owned())
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": format!("^[A-Za-z0-9]{{{}}}$", ProjectId::LENGTH) })
    }
}

impl<T> Filter<T> {
    /// The filter's value; `None` in the outer if nothing can be found.
    pub(crate) fn flatten(filter: Option<Self>) -> Option<Option<T>> {
        match filter {
            None => Some(None),
            Some(Self::Only(value)) => Some(Some(value)),
            Some(Self::Nothing) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Paged(PageRequest);

    impl Params for Paged {
        fn read(reader: &mut Reader) -> Option<Self> {
            page(reader).map(Self)
        }
    }

    fn paged(query: &str) -> Result<PageRequest, ApiError> {
        Query::parse(Some(query)).read::<Paged>().map(|paged| paged.0)
    }

    #[test]
    fn pages_have_defaults_and_bounds() {
        let default = paged("").unwrap();
        assert_eq!((default.limit.get(), default.offset), (10, 0));
        let said = paged("limit=100&offset=7").unwrap();
        assert_eq!((said.limit.get(), said.offset), (100, 7));
        for query in [
            "limit=0",
            "limit=101",
            "limit=-1",
            "limit=",
            "limit=+5",
            "limit=1e1",
            "offset=-1",
            "offset=99999999999",
            "limit=1&limit=2",
            "limit=%ff",
        ] {
            assert!(matches!(paged(query), Err(ApiError::Invalid(_))), "{query}");
        }
    }

    #[test]
    fn every_wrong_parameter_is_told_at_once() {
        match paged("limit=0&offset=x") {
            Err(ApiError::Invalid(errors)) => assert_eq!(errors.len(), 2),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_project_is_required() {
        assert!(Query::parse(None).read::<InProject>().is_err());
        assert_eq!(Query::parse(Some("project_id=a%20b+c")).read::<InProject>().unwrap().0, "a b c");
    }

    proptest! {
        #[test]
        fn no_query_makes_it_panic(text in any::<String>()) {
            let _ = paged(&text);
        }

        #[test]
        fn what_is_encoded_is_decoded(text in any::<String>()) {
            let digit = |value: u8| char::from_digit(value.into(), 16).unwrap();
            let encoded: String =
                text.bytes().flat_map(|byte| ['%', digit(byte >> 4), digit(byte & 15)]).collect();
            prop_assert_eq!(percent_decode(encoded.as_bytes()), Some(text));
        }
    }
}
