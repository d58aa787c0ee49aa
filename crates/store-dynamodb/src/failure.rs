//! The meaning of DynamoDB's errors for the store's callers.

use std::{error::Error, fmt};

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use onerun_store::{StoreError, with_causes};

/// A failed call, with every known cause in one line. The host logs it; no caller sees it.
#[derive(Debug)]
struct Failure {
    operation: &'static str,
    causes: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.operation, self.causes)
    }
}

impl Error for Failure {}

/// An error that does not depend on the stored data.
pub(crate) fn unavailable(error: impl Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

/// The error of a call that cannot be retried or whose time is over.
pub(crate) fn of<E, R>(operation: &'static str, what: &'static str, error: &SdkError<E, R>) -> StoreError
where
    E: Error + ProvideErrorMetadata + 'static,
    R: fmt::Debug,
{
    match error.code() {
        // A value that no item can hold, such as one that is too large. Retries would not help.
        Some("ValidationException" | "ItemCollectionSizeLimitExceededException") => {
            let reason = error.message().unwrap_or("DynamoDB does not take it").to_owned();
            StoreError::Corrupt { what, reason }
        }
        code => {
            let causes = match error.as_service_error() {
                Some(service) => {
                    let text = with_causes(service);
                    match code {
                        Some(code) if !text.contains(code) => format!("{code}: {text}"),
                        _ => text,
                    }
                }
                None => transport_causes(error),
            };
            StoreError::Unavailable(Box::new(Failure { operation, causes }))
        }
    }
}

fn transport_causes<E, R>(error: &SdkError<E, R>) -> String
where
    E: Error + 'static,
    R: fmt::Debug,
{
    let (kind, source): (_, Option<&(dyn Error + 'static)>) = match error {
        SdkError::ConstructionFailure(_) => ("the request could not be made", error.source()),
        SdkError::TimeoutError(_) => ("no answer in time", error.source()),
        SdkError::DispatchFailure(failure) => (
            "it cannot be reached",
            failure.as_connector_error().map(|error| error as &(dyn Error + 'static)),
        ),
        SdkError::ResponseError(_) => ("the answer cannot be read", error.source()),
        _ => ("it failed", error.source()),
    };
    source.map_or_else(|| kind.to_owned(), |source| format!("{kind}: {}", with_causes(source)))
}

/// Whether the same call may succeed later.
pub(crate) fn is_passing<E>(error: &SdkError<E>) -> bool
where
    E: ProvideErrorMetadata,
{
    match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        // A 5xx from something in front of DynamoDB has no error code.
        SdkError::ServiceError(service) if service.raw().status().is_server_error() => true,
        SdkError::ServiceError(_) => error.code().is_some_and(|code| {
            matches!(
                code,
                "LimitExceededException"
                    | "ProvisionedThroughputExceededException"
                    | "RequestLimitExceeded"
                    | "ThrottlingException"
                    | "TransactionConflictException"
                    | "TransactionInProgressException"
            )
        }),
        _ => false,
    }
}

/// The error of a call whose retries were all throttled or canceled.
pub(crate) fn contended(operation: &'static str, causes: &str) -> StoreError {
    let causes = causes.to_owned();
    StoreError::Unavailable(Box::new(Failure { operation, causes }))
}
