//! The requests and responses of the API that workers and pipelines need.

mod batches;
mod conversations;
mod evaluation_runs;
mod imports;
mod keys;
mod monitors;
mod pages;
mod projects;
mod reports;
mod results;
mod simulations;
mod webhooks;

pub use batches::*;
pub use conversations::*;
pub use evaluation_runs::*;
pub use imports::*;
pub use keys::*;
pub use monitors::*;
pub use pages::*;
pub use projects::*;
pub use reports::*;
pub use results::*;
pub use simulations::*;
pub use webhooks::*;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_newer_server_are_unknown() {
        let status = |word| serde_json::from_str::<SimulationStatus>(word).unwrap();
        assert_eq!(status("\"in_progress\""), SimulationStatus::InProgress);
        assert_eq!(status("\"paused\""), SimulationStatus::Unknown);
        assert_eq!(serde_json::from_str::<Outcome>("\"disputed\"").unwrap(), Outcome::Unknown);
    }

    #[test]
    fn numbers_in_metadata_keep_their_last_digit() {
        for text in [r#"{"v":117.63331139400017}"#, r#"{"v":18446744073709551615}"#, r#"{"v":5e-324}"#] {
            let metadata: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&metadata).unwrap(), text);
        }
    }

    #[test]
    fn status_names_match_their_json() {
        for status in [
            ConversationStatus::Queued,
            ConversationStatus::InProgress,
            ConversationStatus::Ended,
            ConversationStatus::Failed,
        ] {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        for status in [
            SimulationStatus::Pending,
            SimulationStatus::InProgress,
            SimulationStatus::Completed,
            SimulationStatus::Failed,
            SimulationStatus::Canceled,
            SimulationStatus::Expired,
        ] {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }
}
