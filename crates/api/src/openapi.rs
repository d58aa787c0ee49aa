//! The OpenAPI 3.1 document, generated from the declared operations.
//!
//! Paths, methods, scopes, parameters, schemas, statuses and the examples of errors follow from the
//! declarations.

pub(crate) mod examples;

use std::{collections::BTreeMap, sync::LazyLock};

use bytes::Bytes;
use http::{
    HeaderMap, Method,
    header::{self, InvalidHeaderValue},
};
use onerun_auth::Access;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Map, Value, json};

use crate::{
    ApiError, Document, Handler, Idempotency, Route,
    error::Problem,
    operation::{Doc, Operation, Sample, operations},
    routes,
};

/// The committed document. A test compares it with the generated one.
const COMMITTED: &str = include_str!("../../../openapi.json");

operations! {
    GET_OPENAPI {
        route: GET "/openapi.json",
        handler: Document(get_openapi),
        access: Access::Public,
        summary: "Get this document",
        output: OpenApiDocument = json!({ "openapi": "3.1.0" }),
    }
}

/// The schema of the document itself.
struct OpenApiDocument;

impl JsonSchema for OpenApiDocument {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OpenApiDocument".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

fn get_openapi() -> Result<&'static Document, ApiError> {
    DOCUMENT.as_ref().map_err(|error| ApiError::Internal(Box::new(error)))
}

/// Created once per process.
static DOCUMENT: LazyLock<Result<Document, InvalidHeaderValue>> =
    LazyLock::new(|| Document::new(Bytes::from_static(COMMITTED.as_bytes()), HeaderMap::new()));

/// The request id in the examples of errors.
const REQUEST_ID: &str = "req_4q9XBIDyvn2vSFhNmCW3D";

/// The document.
pub fn document() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
        .for_serialize()
        .into_generator();
    let problem = generator.subschema_for::<Problem>();
    let errors: BTreeMap<&str, ApiError> =
        examples::errors().into_iter().map(|error| (error.public().code, error)).collect();
    let mut paths: Map<String, Value> = Map::new();
    for Operation { route, doc } in routes::OPERATIONS.into_iter().flatten() {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_lowercase()] = operation(route, doc(&mut generator), &problem, &errors);
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "OneRun API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The host that serves this document." }],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "examples": error_examples(&errors),
            "securitySchemes": {
                "apiKey": { "type": "apiKey", "in": "header", "name": "x-api-key" },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
        },
    });
    unwrap_descriptions(&mut document);
    document
}

/// Joins the lines of descriptions, which come from wrapped doc comments. Paragraphs stay.
fn unwrap_descriptions(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "description" => {
                        let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
                        *text = paragraphs.collect::<Vec<_>>().join("\n\n");
                    }
                    _ => unwrap_descriptions(member),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(unwrap_descriptions),
        _ => {}
    }
}

const IDEMPOTENCY_KEY: &str = "A request that is repeated within 24 hours with the same key and body gets the same \
    answer, and is done once. With another body or path it is refused. A key counts for the calling API key, in its \
    project.";

const TURN_IDEMPOTENCY_KEY: &str = "A request that is repeated within 24 hours with the same key and body gets the \
    same answer, and is done once. With another body it is refused. A key counts for one attempt of the conversation.";

const DESCRIPTION: &str = "Puts an AI agent in front of generated personas for many multi-turn conversations, and \
    scores each conversation against objectives.\n\nEvery operation but `get_health`, `get_openapi`, `get_dashboard` \
    and `revoke_leaked_keys` needs an API key, in `x-api-key` or as a bearer token. Errors are \
    `application/problem+json` (RFC 9457) with a `code` for programs. Lists come in pages, newest first unless said \
    otherwise. A page has up to `limit` rows and 4 MB: follow `next_cursor` until it is null. A query parameter that an operation does not have, and a word that a parameter does not know, are refused \
    with the list of those there are. A number is kept as a 64-bit integer or a double; one that would be rounded is refused. \
    `HEAD` is answered wherever `GET` is.";

fn operation(route: &Route, doc: Doc, problem: &Schema, errors: &BTreeMap<&str, ApiError>) -> Value {
    let mut responses = Map::new();
    let mut content = Map::new();
    content.insert(
        doc.media_type.to_owned(),
        json!({ "schema": doc.output.schema, "example": doc.output.example }),
    );
    for media_type in doc.other_media_types {
        content.insert((*media_type).to_owned(), json!({ "schema": { "type": "string" } }));
    }
    responses.insert(
        route.status.as_str().to_owned(),
        json!({
            "description": doc.summary,
            "headers": rate_headers(route),
            "content": content,
        }),
    );
    if matches!(route.handler, Handler::Document(_)) {
        let description = "What `If-None-Match` names is still what there is.";
        responses.insert("304".to_owned(), json!({ "description": description }));
    }
    let mut by_status: BTreeMap<u16, Vec<&ApiError>> = BTreeMap::new();
    for code in codes(route, &doc) {
        if let Some(error) = errors.get(code) {
            by_status.entry(error.public().status.code().as_u16()).or_default().push(error);
        }
    }
    for (status, errors) in by_status {
        responses.insert(status.to_string(), refused(&errors, problem));
    }
    let mut operation = json!({
        "operationId": route.operation,
        "tags": [tag(route)],
        "summary": doc.summary,
        "description": doc.description,
        "parameters": parameters(route),
        "security": security(route.access),
        "responses": responses,
    });
    if let Some(body) = doc.input {
        let Sample { schema, example } = body.sample;
        operation["requestBody"] = json!({
            "required": !body.is_optional,
            "content": { "application/json": { "schema": schema, "example": example } },
        });
    }
    operation
}

/// The codes of all errors of an operation.
fn codes<'a>(route: &Route, doc: &'a Doc) -> Vec<&'a str> {
    let mut codes = vec!["internal"];
    if route.access != Access::Public {
        codes.extend([
            "missing_api_key",
            "invalid_api_key",
            "expired_api_key",
            "inactive_api_key",
            "revoked_api_key",
            "wrong_address",
            "rate_limited",
            "auth_unavailable",
            "unavailable",
        ]);
    }
    if matches!(route.access, Access::Requires(_)) {
        codes.push("insufficient_scope");
    }
    let in_project = matches!(route.handler, Handler::Project(_));
    if in_project {
        codes.extend(["wrong_project", "project_not_found"]);
    }
    if !route.query.is_ignored() {
        codes.push("invalid_request");
    }
    if doc.input.is_some() {
        codes.push("body_too_large");
    }
    if matches!(route.handler, Handler::Document(_)) {
        codes.push("unavailable");
    }
    if ![Method::GET, Method::HEAD].contains(&route.method) {
        codes.extend(["body_unreadable", "storage_full", "answer_not_sent"]);
    }
    if route.access == Access::Public && doc.input.is_some() {
        codes.push("unsupported_media_type");
    }
    if route.idempotency.takes_key() {
        codes.push("idempotency_key_reused");
    }
    codes.extend(doc.errors);
    codes
}

/// One error status: its codes, each with an example, and its headers.
fn refused(errors: &[&ApiError], problem: &Schema) -> Value {
    let mut examples = Map::new();
    let mut headers: BTreeMap<String, usize> = BTreeMap::new();
    let mut codes = Vec::new();
    for error in errors {
        let code = error.public().code;
        codes.push(format!("`{code}`"));
        examples.insert(code.to_owned(), json!({ "$ref": format!("#/components/examples/{code}") }));
        for name in
            error.response(REQUEST_ID, &[]).headers().keys().filter(|name| **name != header::CONTENT_TYPE)
        {
            *headers.entry(name.to_string()).or_default() += 1;
        }
    }
    let headers: Map<String, Value> = headers
        .into_iter()
        .map(|(name, count)| {
            let always = count == errors.len();
            (name, json!({ "required": always, "schema": { "type": "string" } }))
        })
        .collect();
    json!({
        "description": codes.join(", "),
        "headers": headers,
        "content": { "application/problem+json": { "schema": problem, "examples": examples } },
    })
}

/// The headers of the calling key's rate limit.
fn rate_headers(route: &Route) -> Value {
    if route.access == Access::Public {
        return json!({});
    }
    let header = |description: &str, example: &str| json!({ "description": description, "schema": { "type": "string" }, "example": example });
    json!({
        "ratelimit-policy": header("The key's limit: requests and seconds.", r#""default";q=100;w=60"#),
        "ratelimit": header("What is left of the window: requests and seconds.", r#""default";r=50;t=30"#),
    })
}

/// The body of each error, by its code.
fn error_examples(errors: &BTreeMap<&str, ApiError>) -> Map<String, Value> {
    let example = |error: &ApiError| {
        let body: Value = serde_json::from_slice(error.response(REQUEST_ID, &[]).body()).unwrap_or_default();
        json!({ "summary": error.public().message, "value": body })
    };
    errors.iter().map(|(code, error)| ((*code).to_owned(), example(error))).collect()
}

fn parameters(route: &Route) -> Vec<Value> {
    let in_path =
        route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).map(
            |name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }),
        );
    let docs = route.parameter_docs();
    let in_query = docs.iter().map(|param| {
        let mut documented = json!({
            "name": param.name.trim_end_matches(".*"),
            "in": "query",
            "required": param.required,
            "description": param.description,
            "schema": param.schema,
        });
        if param.name.ends_with('*') {
            // Each member is a separate parameter.
            documented["style"] = json!("form");
            documented["explode"] = json!(true);
        }
        documented
    });
    let in_header = route.idempotency.takes_key().then(|| {
        json!({
            "name": "Idempotency-Key",
            "in": "header",
            "required": false,
            "description": match route.idempotency {
                Idempotency::InConversation => TURN_IDEMPOTENCY_KEY,
                _ => IDEMPOTENCY_KEY,
            },
            // Leading and trailing spaces belong to the header, not to the key.
            "schema": {
                "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$",
            },
        })
    });
    in_path.chain(in_query).chain(in_header).collect()
}

/// The security requirement, with the scope as OpenAPI's role.
fn security(access: Access) -> Value {
    let scopes = match access {
        Access::Public => return json!([]),
        Access::AnyKey => Vec::new(),
        Access::Requires(scope) => vec![scope.as_str()],
    };
    json!([{ "apiKey": scopes }, { "bearer": scopes }])
}

/// The resource in the path.
fn tag(route: &Route) -> &str {
    let mut parts = route.path.split('/').filter(|part| !part.is_empty() && !part.starts_with('{'));
    let known = ["conversations", "personas", "results"];
    let named = parts.clone().find(|part| known.contains(part));
    named.or_else(|| parts.find(|part| *part != "v1")).unwrap_or("service")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ROUTES;

    #[test]
    fn the_committed_document_is_what_the_code_says() {
        let committed: Value = serde_json::from_str(COMMITTED).unwrap();
        assert!(committed == document(), "openapi.json is out of date: run `make openapi` and commit it");
    }

    /// The success response of an operation, in the media type that has an example. Others are texts.
    fn success(operation: &Value) -> &Value {
        let responses = operation["responses"].as_object().unwrap();
        let (_, response) = responses.iter().find(|(status, _)| status.starts_with('2')).unwrap();
        let content = response["content"].as_object().unwrap();
        let (with_example, others): (Vec<&Value>, Vec<&Value>) =
            content.values().partition(|content| content.get("example").is_some());
        assert!(others.iter().all(|content| content["schema"] == json!({ "type": "string" })), "{others:?}");
        assert_eq!(with_example.len(), 1);
        with_example[0]
    }

    #[test]
    fn every_route_is_described() {
        let document = document();
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
            assert_eq!(operation["operationId"], route.operation);
            assert!(!success(operation)["example"].is_null(), "{}", route.operation);
        }
    }

    #[test]
    fn every_example_of_a_reply_fits_its_schema() {
        let document = document();
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
            let content = success(operation);
            fits(&document, &content["schema"], &content["example"], route.operation);
        }
    }

    /// Checks a value against the JSON Schema keywords that the document uses.
    fn fits(document: &Value, schema: &Value, value: &Value, at: &str) {
        if let Some(pointer) = schema["$ref"].as_str() {
            let target = document.pointer(pointer.trim_start_matches('#')).expect(pointer);
            return fits(document, target, value, at);
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            let choice = if value.is_null() { choices.last() } else { choices.first() };
            return fits(document, choice.unwrap(), value, at);
        }
        let kinds = match &schema["type"] {
            Value::Array(kinds) => kinds.clone(),
            Value::Null => Vec::new(),
            kind => vec![kind.clone()],
        };
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        assert!(kinds.is_empty() || kinds.contains(&json!(kind)), "{at}: {value} is no {}", schema["type"]);
        if let Some(words) = schema["enum"].as_array() {
            assert!(words.contains(value), "{at}: {value}");
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            fits(document, &schema["items"], item, &format!("{at}/{index}"));
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            assert!(!value[name].is_null() || value.get(name).is_some(), "{at}: `{name}` is missing");
        }
        if let Some(properties) = schema["properties"].as_object() {
            for (name, value) in value.as_object().into_iter().flatten() {
                let schema = properties.get(name).unwrap_or_else(|| panic!("{at}: `{name}` is unknown"));
                fits(document, schema, value, &format!("{at}/{name}"));
            }
        }
    }

    #[test]
    fn each_error_of_an_operation_exists() {
        let known: Vec<_> = examples::errors().iter().map(|error| error.public().code).collect();
        let mut generator = SchemaSettings::draft2020_12().into_generator();
        for Operation { route, doc } in routes::OPERATIONS.into_iter().flatten() {
            for code in codes(route, &doc(&mut generator)) {
                assert!(known.contains(&code), "{code}");
            }
        }
    }

    #[test]
    fn each_example_of_a_body_is_accepted() {
        let mut generator = SchemaSettings::draft2020_12().into_generator();
        let mut count = 0;
        for Operation { route, doc } in routes::OPERATIONS.into_iter().flatten() {
            let Some(input) = doc(&mut generator).input else { continue };
            assert!((input.accepts)(input.sample.example), "{}", route.operation);
            count += 1;
        }
        assert!(count > 0);
    }
}
