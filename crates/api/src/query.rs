//! Reads the query. Like [`fields`](crate::fields), each operation declares its parameters once.
//!
//! Unknown parameters and values are refused with the list of known ones. If a misspelled filter were
//! ignored, a script would not notice its mistake.

mod params;

use std::borrow::Cow;

use onerun_domain::Position;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::{
    ApiError, Handler, Route,
    cursor::{Cursor, Fingerprint, MAX_CURSOR},
    error::{FieldError, Location},
    fields::Optional,
};

pub(crate) use params::{
    SORT_BY_NAME, Sort, SortByKey, SortKey, Whole, archived, exact, large_page, page, word, words_schema,
};

/// The maximum and default of `limit`.
const MAX_LIMIT: u32 = 100;
const DEFAULT_LIMIT: u32 = 10;
const DEFAULT_LONG_LIMIT: u32 = 100;

/// The most rows that an offset skips. Skipping costs time for every row; a cursor costs none.
const MAX_OFFSET: u32 = 1_000_000;

/// The prefix of metadata filters, their maximum number, and the maximum length of a name and its text.
const METADATA: &str = "metadata.";
const MAX_METADATA_FILTERS: usize = 5;
const MAX_METADATA_TEXT: usize = 200;

/// The most unknown parameters that one answer names.
const MAX_UNKNOWN: usize = 10;

/// The most characters of an unknown parameter's name that an answer repeats.
const MAX_UNKNOWN_NAME: usize = 40;

/// The similarity, from 0 to 1, from which on an answer suggests a known name.
const ALIKE: f64 = 0.8;

/// The parameters of an operation.
pub(crate) trait Params: Sized {
    /// Reads the parameters; `None` if one is wrong, which `reader` remembers.
    fn read(reader: &mut Reader) -> Option<Self>;
}

/// An operation without parameters.
impl Params for () {
    fn read(_: &mut Reader) -> Option<Self> {
        Some(())
    }
}

/// The query parameters of an operation, without the `project_id` of operations in a project.
pub struct Parameters(Option<fn() -> Vec<ParamDoc>>);

impl Parameters {
    /// Accepts and ignores any parameter, because health checks and browsers append some.
    pub const IGNORED: Self = Self(None);

    /// The parameters that `T` reads.
    pub(crate) const fn of<T: Params>() -> Self {
        Self(Some(Reader::docs::<T>))
    }

    /// Whether parameters are ignored.
    pub(crate) fn is_ignored(&self) -> bool {
        self.0.is_none()
    }

    /// The documentation of each parameter.
    pub(crate) fn docs(&self) -> Vec<ParamDoc> {
        self.0.map(|docs| docs()).unwrap_or_default()
    }
}

impl Route {
    /// The names of the query's parameters, sorted.
    pub fn parameter_names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.parameter_docs().iter().map(|doc| doc.name).collect();
        names.sort_unstable();
        names
    }

    /// The documentation of the query's parameters.
    pub(crate) fn parameter_docs(&self) -> Vec<ParamDoc> {
        let mut docs = match self.handler {
            Handler::Project(_) => Reader::docs::<ProjectQuery>(),
            Handler::Static(_) | Handler::Document(_) | Handler::Global(_) => Vec::new(),
        };
        docs.extend(self.query.docs());
        docs
    }
}

/// A parameter's value.
pub(crate) trait Param: Sized {
    /// Reads the value.
    fn parse(text: &str) -> Result<Self, String>;

    /// Its JSON Schema.
    fn schema() -> Value;
}

/// A parsed query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    /// Names or values that are not percent-encoded UTF-8.
    broken: bool,
}

impl Query {
    /// Parses a query.
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

    /// The list that the parameters request.
    pub(crate) fn fingerprint(&self, path: &str, params: &[(String, String)]) -> Fingerprint {
        Fingerprint::of(path, params, &self.pairs)
    }

    /// Reads all parameters and collects all errors.
    pub(crate) fn read<T: Params>(&self) -> Result<T, ApiError> {
        self.read_as(None)
    }

    /// [`Query::read`], of an operation that may be a list.
    pub(crate) fn read_list<T: Params>(&self, list: &Fingerprint) -> Result<T, ApiError> {
        self.read_as(Some(list))
    }

    fn read_as<T: Params>(&self, list: Option<&Fingerprint>) -> Result<T, ApiError> {
        let mut reader = Reader { source: Source::Query(self, list), errors: Vec::new() };
        let read = T::read(&mut reader);
        read.filter(|_| reader.errors.is_empty()).ok_or(ApiError::Invalid(reader.errors))
    }

    /// Refuses unknown parameters. A missing `project_id` is reported as well, because a misspelled one is
    /// both.
    pub(crate) fn check_names(&self, route: &Route) -> Result<(), ApiError> {
        if route.query.is_ignored() {
            return Ok(());
        }
        let known = route.parameter_names();
        let mut unknown: Vec<&str> = Vec::new();
        for (name, _) in &self.pairs {
            if !is_known(name, &known) && !unknown.contains(&name.as_str()) {
                unknown.push(name);
            }
            if unknown.len() == MAX_UNKNOWN {
                break;
            }
        }
        let mut errors: Vec<FieldError> =
            unknown.iter().map(|name| unknown_parameter(name, &known)).collect();
        if self.broken && known.is_empty() {
            errors.push(FieldError { location: Location::Query(String::new()), detail: BROKEN.to_owned() });
        }
        if errors.is_empty() {
            return Ok(());
        }
        if matches!(route.handler, Handler::Project(_))
            && let Err(ApiError::Invalid(lacking)) = self.read::<ProjectQuery>()
        {
            errors.extend(lacking);
        }
        Err(ApiError::Invalid(errors))
    }
}

/// The error for an unknown parameter: a suggestion, and the list of known ones.
fn unknown_parameter(name: &str, known: &[&str]) -> FieldError {
    let likeness = |known: &str| strsim::jaro_winkler(&name.to_lowercase(), known);
    let nearest = known.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    let meant = nearest.filter(|nearest| likeness(nearest) >= ALIKE);
    let meant = meant.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
    let listed = if known.is_empty() { "none".to_owned() } else { format!("`{}`", known.join("`, `")) };
    let detail = format!("is not a parameter of this operation{meant}; it has {listed}");
    let name = name.chars().take(MAX_UNKNOWN_NAME).collect();
    FieldError { location: Location::Query(name), detail }
}

const BROKEN: &str = "cannot be read: the query must be percent-encoded UTF-8";

/// Whether a parameter is known, by name or by the prefix of a known one that ends in `*`.
fn is_known(name: &str, known: &[&str]) -> bool {
    known.iter().any(|known| match known.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => *known == name,
    })
}

/// The documentation of a parameter.
pub(crate) struct ParamDoc {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) schema: Value,
    pub(crate) required: bool,
}

/// Reads parameters from a query, or collects their documentation.
pub(crate) struct Reader<'a> {
    source: Source<'a>,
    errors: Vec<FieldError>,
}

enum Source<'a> {
    /// A query, and the list that it requests.
    Query(&'a Query, Option<&'a Fingerprint>),
    Docs(Vec<ParamDoc>),
}

impl Reader<'_> {
    /// The documentation of an operation's parameters.
    pub(crate) fn docs<T: Params>() -> Vec<ParamDoc> {
        let mut reader = Self { source: Source::Docs(Vec::new()), errors: Vec::new() };
        let _ = T::read(&mut reader);
        match reader.source {
            Source::Docs(docs) => docs,
            Source::Query(..) => Vec::new(),
        }
    }

    /// A required parameter.
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

    /// An optional parameter.
    pub(crate) fn optional<T: Param>(
        &mut self,
        name: &'static str,
        description: &'static str,
    ) -> Optional<T> {
        if let Source::Docs(docs) = &mut self.source {
            docs.push(ParamDoc { name, description, schema: T::schema(), required: false });
            return None;
        }
        match self.find(name)? {
            Some(value) => self.value(name, &value).map(Some),
            None => Some(None),
        }
    }

    /// Filters of the form `metadata.NAME=TEXT`.
    fn metadata(&mut self, description: &'static str) -> Option<Vec<(String, String)>> {
        let query = match &mut self.source {
            Source::Docs(docs) => {
                let schema = json!({
                    "type": "object",
                    "maxProperties": MAX_METADATA_FILTERS,
                    "propertyNames": { "pattern": "^metadata\\..+$", "maxLength": METADATA.len() + MAX_METADATA_TEXT },
                    "additionalProperties": { "type": "string", "maxLength": MAX_METADATA_TEXT },
                });
                docs.push(ParamDoc { name: "metadata.*", description, schema, required: false });
                return None;
            }
            Source::Query(query, _) => *query,
        };
        let given = query.pairs.iter().filter_map(|(name, text)| Some((name.strip_prefix(METADATA)?, text)));
        let (mut filters, errors): (Vec<(String, String)>, usize) = (Vec::new(), self.errors.len());
        for (key, text) in given {
            let name: String = format!("{METADATA}{key}").chars().take(MAX_UNKNOWN_NAME).collect();
            let lengths = [key, text].map(|text| text.chars().count());
            if filters.iter().any(|(known, _)| known == key) {
                self.refuse(&name, "must be given once");
            } else if lengths[0] == 0 {
                self.refuse(&name, "must name a key of the metadata, such as `metadata.team`");
            } else if lengths.iter().any(|length| *length > MAX_METADATA_TEXT) {
                let detail = format!("must have a key and a value of at most {MAX_METADATA_TEXT} characters");
                self.refuse(&name, &detail);
            } else if filters.len() == MAX_METADATA_FILTERS {
                self.refuse(
                    &name,
                    &format!("is one too many: {MAX_METADATA_FILTERS} filters by metadata are the most"),
                );
                break;
            } else {
                filters.push((key.to_owned(), text.clone()));
            }
        }
        (self.errors.len() == errors).then_some(filters)
    }

    /// The position after which a list continues.
    pub(crate) fn cursor(&mut self, description: &'static str) -> Optional<Position> {
        let Some(cursor) = self.optional::<Cursor>("cursor", description)? else {
            return Some(None);
        };
        match &self.source {
            Source::Query(_, Some(list)) if **list == cursor.list => Some(Some(cursor.position)),
            _ => {
                self.refuse(
                    "cursor",
                    "belongs to another list; repeat the request that gave it and change `cursor` and `limit` alone",
                );
                None
            }
        }
    }

    /// The parameter's value.
    fn find(&mut self, name: &str) -> Optional<String> {
        let Source::Query(query, _) = self.source else { return None };
        if query.broken {
            self.refuse(name, BROKEN);
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

    pub(crate) fn refuse(&mut self, name: &str, detail: &str) {
        self.errors
            .push(FieldError { location: Location::Query(name.to_owned()), detail: detail.to_owned() });
    }
}

/// Decodes a name or value of a query, in which a plus sign is a space; `None` if the result is not UTF-8.
fn decode(text: &str) -> Option<String> {
    percent_decode(&text.replace('+', " "))
}

/// Decodes percent-encoded text; `None` if the result is not UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

/// The query of every operation within a project.
pub(crate) struct ProjectQuery(pub(crate) String);

impl Params for ProjectQuery {
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

impl Param for Cursor {
    fn parse(text: &str) -> Result<Self, String> {
        Self::decode(text).map_err(|error| error.to_string())
    }

    fn schema() -> Value {
        json!({ "type": "string", "maxLength": MAX_CURSOR })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use onerun_domain::{Limit, PageRequest, Start};

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
        assert_eq!((default.limit.get(), default.start), (10, Start::Offset(0)));
        let said = paged("limit=100&offset=7").unwrap();
        assert_eq!((said.limit.get(), said.start), (100, Start::Offset(7)));
        for query in [
            "limit=0",
            "limit=101",
            "limit=-1",
            "limit=",
            "limit=+5",
            "limit=1e1",
            "offset=-1",
            "offset=1000001",
            "offset=99999999999",
            "limit=1&limit=2",
            "limit=%ff",
        ] {
            assert!(matches!(paged(query), Err(ApiError::Invalid(_))), "{query}");
        }
    }

    #[test]
    fn cursor_continues_only_its_own_list() {
        let position = Position::new("[1]");
        let parse = |text: &str| {
            let query = Query::parse(Some(text));
            let list = query.fingerprint("/v1/agents", &[]);
            query.read_list::<Paged>(&list).map(|paged| paged.0)
        };
        let list = Fingerprint::of("/v1/agents", &[], &[("name".into(), "a".into())]);
        let cursor = Cursor { list, position: position.clone() }.encode();
        let page = parse(&format!("limit=7&name=a&cursor={cursor}")).unwrap();
        assert_eq!(page, PageRequest { limit: Limit::clamped(7), start: Start::After(position) });
        for (query, name, detail) in [
            (format!("cursor={cursor}"), "cursor", "belongs to another list"),
            (format!("name=b&cursor={cursor}"), "cursor", "belongs to another list"),
            (format!("name=a&cursor={cursor}x"), "cursor", "must be the `next_cursor`"),
            ("name=a&cursor=".into(), "cursor", "must be the `next_cursor`"),
            (format!("name=a&cursor={}", "A".repeat(5_000)), "cursor", "must be the `next_cursor`"),
            (format!("name=a&offset=0&cursor={cursor}"), "offset", "contradicts `cursor`"),
            (format!("name=a&cursor={cursor}&cursor={cursor}"), "cursor", "must be given once"),
        ] {
            match parse(&query) {
                Err(ApiError::Invalid(errors)) => {
                    let [FieldError { location, detail: found }] = &errors[..] else { panic!("{errors:?}") };
                    assert_eq!(*location, Location::Query(name.to_owned()), "{query}");
                    assert!(found.starts_with(detail), "{query}: {found}");
                }
                other => panic!("{query}: {other:?}"),
            }
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
        assert!(Query::parse(None).read::<ProjectQuery>().is_err());
        assert_eq!(Query::parse(Some("project_id=a%20b+c")).read::<ProjectQuery>().unwrap().0, "a b c");
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
            prop_assert_eq!(percent_decode(&encoded), Some(text));
        }
    }
}
