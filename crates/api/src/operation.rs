//! Operations: a route with the words of its documentation, declared beside its handler.
//!
//! The router, the OpenAPI document, the functions on AWS, their sample events and the generated tests all
//! read these declarations. An operation without access or words does not compile.

use std::{future::Future, pin::Pin};

use http::{Method, StatusCode};
use onerun_auth::Access;
use onerun_store::{IdempotencyScope, ProjectStore};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use crate::{
    ApiError, App, Document, Parameters, Response,
    fields::{Fields, Input},
    request::Call,
    views::{PageOut, Warned},
};

/// The future of a handler.
pub type HandlerFuture<'a> = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send + 'a>>;

/// The function that answers a route's requests.
pub enum Handler {
    /// Answers from the binary: reads no body, engine or store.
    Static(fn() -> Result<Response, ApiError>),
    /// Answers with a document in the binary.
    Document(fn() -> Result<&'static Document, ApiError>),
    /// Answers without a project.
    Global(for<'a> fn(&'a App, Call) -> HandlerFuture<'a>),
    /// Answers within the project that the query's `project_id` names. The handler gets that project's part
    /// of the store and no other.
    Project(for<'a> fn(&'a App, &'a dyn ProjectStore, Call) -> HandlerFuture<'a>),
}

/// The effect of an `Idempotency-Key` on an operation.
#[derive(Clone, Copy)]
pub enum Idempotency {
    /// None: the operation changes nothing, or repeating it changes nothing more.
    None,
    /// The answer is recorded with what the operation creates, and a repetition gets it.
    Recorded,
    /// Like `Recorded`, without the simulation's objectives, which are stored already.
    RecordedSimulation,
    /// Like `Recorded`, in the records of operations that create keys.
    RecordedKey,
    /// The handler records each part of the answer with what that part creates.
    RecordedParts,
    /// The handler records replies with the conversation, for each attempt.
    InConversation,
}

impl Idempotency {
    /// Whether the operation takes the header.
    pub fn takes_key(self) -> bool {
        !matches!(self, Self::None)
    }

    /// Where the answer is recorded, or `None` if it has no record of its own.
    pub(crate) fn scope(self) -> Option<IdempotencyScope> {
        match self {
            Self::None | Self::RecordedParts | Self::InConversation => None,
            Self::Recorded | Self::RecordedSimulation => Some(IdempotencyScope::Resources),
            Self::RecordedKey => Some(IdempotencyScope::Keys),
        }
    }
}

/// The part of an operation that answers requests.
pub struct Route {
    /// The operation's one name, `<verb>_<resource>`: that of the handler, the function's binary and the
    /// `operationId`.
    pub operation: &'static str,
    /// The method.
    pub method: Method,
    /// The path, with parameters in braces.
    pub path: &'static str,
    /// Who may call.
    pub access: Access,
    /// The query's parameters. Others are refused.
    pub query: Parameters,
    /// The effect of an `Idempotency-Key`.
    pub idempotency: Idempotency,
    /// The status of a successful answer.
    pub status: StatusCode,
    /// The function that answers.
    pub handler: Handler,
}

/// A route and its documentation. A function's binary names the route alone, so the linker leaves the words
/// out.
pub(crate) struct Operation {
    pub(crate) route: &'static Route,
    pub(crate) doc: fn(&mut SchemaGenerator) -> Doc,
}

/// The documentation of an operation, besides what follows from its route.
pub(crate) struct Doc {
    pub(crate) summary: &'static str,
    pub(crate) description: &'static str,
    pub(crate) input: Option<InputDoc>,
    pub(crate) media_type: &'static str,
    /// Media types that the query can ask for instead. Each is a text.
    pub(crate) other_media_types: &'static [&'static str],
    pub(crate) output: Sample,
    /// The codes of the operation's own errors; those that follow from the route are added.
    pub(crate) errors: &'static [&'static str],
}

/// The body of a request.
pub(crate) struct InputDoc {
    pub(crate) sample: Sample,
    /// Whether a request without a body is accepted.
    pub(crate) is_optional: bool,
    /// Whether the operation accepts a body.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test holds the example against it"))]
    pub(crate) accepts: fn(Value) -> bool,
}

/// A schema and an example of it.
pub(crate) struct Sample {
    pub(crate) schema: Value,
    pub(crate) example: Value,
}

impl Sample {
    pub(crate) fn of<T: JsonSchema>(generator: &mut SchemaGenerator, example: Value) -> Self {
        Self { schema: generator.subschema_for::<T>().to_value(), example }
    }
}

impl InputDoc {
    pub(crate) fn of<T: Input>(example: Value, is_optional: bool) -> Self {
        Self {
            sample: Sample { schema: Fields::schema::<T>(), example },
            is_optional,
            accepts: |body| Fields::read_root::<T>(body).is_ok(),
        }
    }
}

/// A type with an example for the OpenAPI document. A test holds each example against the type's schema.
pub(crate) trait Example {
    fn example() -> Value;
}

impl<T: Example> Example for PageOut<T> {
    fn example() -> Value {
        json!({ "data": [T::example()], "has_more": false, "next_cursor": null })
    }
}

impl<T: Example> Example for Warned<T> {
    fn example() -> Value {
        let mut written = T::example();
        written["warnings"] = json!([]);
        written
    }
}

/// Whether two identifiers differ in case alone.
pub(crate) const fn is_same_name(constant: &str, function: &str) -> bool {
    constant.eq_ignore_ascii_case(function)
}

/// Declares a module's operations, each with the handler that it is named after.
///
/// `query` lists the parameters, `idempotency` is a variant of [`Idempotency`], `input` and `output` are
/// types with an example, `errors` are the codes of the operation's own errors.
macro_rules! operations {
    ($($name:ident {
        route: $method:ident $path:literal,
        handler: $kind:ident($handler:ident),
        access: $access:expr,
        $(query: $query:ty,)?
        $(idempotency: $idempotency:ident,)?
        summary: $summary:literal,
        $(description: $description:literal,)?
        $(input: $input:ty = $input_example:expr,)?
        $(optional_input: $optional_input:ty = $optional_input_example:expr,)?
        $(status: $status:ident,)?
        $(media_type: $media_type:literal,)?
        $(other_media_types: $other_media_types:expr,)?
        output: $output:ty $(= $output_example:expr)?,
        $(errors: $errors:expr,)?
    })+) => {
        $(
            #[doc = concat!("`", stringify!($method), " ", $path, "`: ", $summary, ".")]
            pub static $name: $crate::Route = $crate::Route {
                operation: stringify!($handler),
                method: http::Method::$method,
                path: $path,
                access: $access,
                query: operations!(@query $kind $($query)?),
                idempotency: operations!(@or [$($crate::Idempotency::$idempotency)?] $crate::Idempotency::None),
                status: operations!(@or [$(http::StatusCode::$status)?] http::StatusCode::OK),
                handler: operations!(@handler $kind $handler),
            };

            const _: () = assert!(
                $crate::operation::is_same_name(stringify!($name), stringify!($handler)),
                "a route has the name of its handler",
            );
        )+

        /// The operations of this module.
        pub(crate) const OPERATIONS: &[$crate::operation::Operation] = &[$(
            $crate::operation::Operation {
                route: &$name,
                doc: |generator| $crate::operation::Doc {
                    summary: $summary,
                    description: operations!(@or [$($description)?] ""),
                    input: operations!(@or [
                        $(Some($crate::operation::InputDoc::of::<$input>($input_example, false)))?
                        $(Some($crate::operation::InputDoc::of::<$optional_input>($optional_input_example, true)))?
                    ] None),
                    media_type: operations!(@or [$($media_type)?] "application/json"),
                    other_media_types: operations!(@or [$(&$other_media_types)?] &[]),
                    output: $crate::operation::Sample::of::<$output>(
                        generator,
                        operations!(@or [$($output_example)?] <$output as $crate::operation::Example>::example()),
                    ),
                    errors: operations!(@or [$(&$errors)?] &[]),
                },
            },
        )+];
    };
    (@or [] $default:expr) => { $default };
    (@or [$given:expr] $default:expr) => { $given };
    (@query Static) => { $crate::Parameters::IGNORED };
    (@query Document) => { $crate::Parameters::IGNORED };
    (@query $kind:ident) => { $crate::Parameters::of::<()>() };
    (@query $kind:ident $query:ty) => { $crate::Parameters::of::<$query>() };
    (@handler Static $handler:ident) => { $crate::Handler::Static($handler) };
    (@handler Document $handler:ident) => { $crate::Handler::Document($handler) };
    (@handler Global $handler:ident) => { $crate::Handler::Global(|app, call| Box::pin($handler(app, call))) };
    (@handler Project $handler:ident) => {
        $crate::Handler::Project(|app, project, call| Box::pin($handler(app, project, call)))
    };
}
pub(crate) use operations;
