//! Secrets in Secrets Manager: one with the root key, and perhaps one with the keys of models.
//!
//! A secret has versions, which never change, and labels that move between them: `AWSCURRENT`,
//! `AWSPREVIOUS` and `AWSPENDING`. No error here repeats any part of a value.

use std::{collections::HashMap, error::Error, fmt};

use async_trait::async_trait;
use aws_sdk_secretsmanager::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::get_secret_value::GetSecretValueOutput,
};
use jiff::Timestamp;
use onerun_auth::{RootKey, WeakKey};
use onerun_store::with_causes;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{keys::KeySource, models::SecretText};

/// The member with the key, if the secret is a JSON object.
pub(crate) const MEMBER: &str = "api_key";

pub(crate) const CURRENT: &str = "AWSCURRENT";
pub(crate) const PREVIOUS: &str = "AWSPREVIOUS";
pub(crate) const PENDING: &str = "AWSPENDING";

/// Why no key was read from a secret. The message is for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("there is no such secret or version: {0}; check the secret's id in the function's variables")]
    NotFound(String),
    /// The secret is scheduled for deletion.
    #[error("the secret is marked for deletion; restore it, or name another in the function's variables")]
    Deleted,
    #[error("the function may not read the secret or use its KMS key; check the function's role: {0}")]
    Denied(String),
    #[error("the secret is binary; store the key as a string")]
    NoText,
    /// The secret is JSON, but has no key.
    #[error("the secret is JSON without a string member `{MEMBER}`; add it")]
    NoMember,
    #[error("the secret contains no usable key: {0}")]
    Weak(#[from] WeakKey),
    /// Secrets Manager did not answer, or its response is incomplete.
    #[error("Secrets Manager is unavailable: {0}")]
    Unavailable(String),
}

/// A version of the secret.
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) created_at: Timestamp,
    pub(crate) content: Content,
}

/// The content of a version: a key, as plain text or in a JSON object.
pub(crate) struct Content {
    pub(crate) key: RootKey,
    /// The JSON object around the key; `None` for plain text.
    object: Option<Map<String, Value>>,
}

/// Which version each label is on.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    versions: HashMap<String, Vec<String>>,
    pub(crate) is_rotation_enabled: bool,
}

/// A client for one secret.
#[derive(Clone)]
pub(crate) struct Secret {
    client: Client,
    id: String,
}

impl Content {
    /// Parses a secret's text: a key, or a JSON object with the key in the member `api_key`.
    /// Surrounding white space is ignored.
    pub(crate) fn parse(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        // A key never begins with a brace, which is not in the base64 alphabet.
        if !text.starts_with('{') {
            return Ok(Self { key: RootKey::parse(text)?, object: None });
        }
        let object: Map<String, Value> = serde_json::from_str(text).map_err(|_| SecretError::NoMember)?;
        let Some(Value::String(key)) = object.get(MEMBER) else { return Err(SecretError::NoMember) };
        Ok(Self { key: RootKey::parse(key)?, object: Some(object) })
    }

    /// The text with another key in the same form.
    pub(crate) fn with_key(&self, key: &RootKey) -> Zeroizing<String> {
        Zeroizing::new(match &self.object {
            None => key.expose().to_owned(),
            Some(object) => {
                let mut object = object.clone();
                object.insert(MEMBER.to_owned(), key.expose().into());
                Value::Object(object).to_string()
            }
        })
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Content")
    }
}

impl Labels {
    /// The version with a label.
    pub(crate) fn version(&self, label: &str) -> Option<&str> {
        let labelled = self.versions.iter().find(|(_, labels)| labels.iter().any(|found| found == label));
        labelled.map(|(version, _)| version.as_str())
    }

    /// Whether a label is on a version.
    pub(crate) fn is_on(&self, label: &str, version: &str) -> bool {
        self.versions.get(version).is_some_and(|labels| labels.iter().any(|found| found == label))
    }
}

#[cfg(test)]
impl FromIterator<(String, String)> for Labels {
    /// Collects pairs of version and label.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let mut labels = Self::default();
        for (version, label) in pairs {
            labels.versions.entry(version).or_default().push(label);
        }
        labels
    }
}

impl Secret {
    pub(crate) fn new(client: Client, id: impl Into<String>) -> Self {
        Self { client, id: id.into() }
    }

    /// Creates the version `id` with the label `AWSPENDING`. A repeated call with the same text
    /// changes nothing.
    pub(crate) async fn put_pending(&self, id: &str, text: &str) -> Result<(), SecretError> {
        let put = self.client.put_secret_value().secret_id(&self.id).client_request_token(id);
        put.secret_string(text).version_stages(PENDING).send().await.map_err(|error| failure(&error))?;
        Ok(())
    }

    /// Moves a label from one version to another, or removes it if `to` is `None`.
    pub(crate) async fn move_label(
        &self,
        label: &str,
        to: Option<&str>,
        from: Option<&str>,
    ) -> Result<(), SecretError> {
        let update = self.client.update_secret_version_stage().secret_id(&self.id).version_stage(label);
        let update = update
            .set_move_to_version_id(to.map(str::to_owned))
            .set_remove_from_version_id(from.map(str::to_owned));
        update.send().await.map_err(|error| failure(&error))?;
        Ok(())
    }
}

#[async_trait]
impl SecretText for Secret {
    async fn text(&self) -> Result<Zeroizing<String>, SecretError> {
        let sent = self.client.get_secret_value().secret_id(&self.id).version_stage(CURRENT).send().await;
        let output = sent.map_err(|error| failure(&error))?;
        output.secret_string.map(Zeroizing::new).ok_or(SecretError::NoText)
    }
}

#[async_trait]
impl KeySource for Secret {
    async fn current(&self) -> Result<Version, SecretError> {
        let sent = self.client.get_secret_value().secret_id(&self.id).version_stage(CURRENT).send().await;
        read(&sent.map_err(|error| failure(&error))?)
    }

    async fn version(&self, id: &str) -> Result<Version, SecretError> {
        let sent = self.client.get_secret_value().secret_id(&self.id).version_id(id).send().await;
        read(&sent.map_err(|error| failure(&error))?)
    }

    async fn labels(&self) -> Result<Labels, SecretError> {
        let described = self
            .client
            .describe_secret()
            .secret_id(&self.id)
            .send()
            .await
            .map_err(|error| failure(&error))?;
        if described.deleted_date().is_some() {
            return Err(SecretError::Deleted);
        }
        let is_rotation_enabled = described.rotation_enabled().unwrap_or(false);
        Ok(Labels { versions: described.version_ids_to_stages.unwrap_or_default(), is_rotation_enabled })
    }
}

fn read(output: &GetSecretValueOutput) -> Result<Version, SecretError> {
    let missing = |what: &str| SecretError::Unavailable(format!("its response has no {what}"));
    let id = output.version_id().ok_or_else(|| missing("VersionId"))?.to_owned();
    let created_at = output.created_date().ok_or_else(|| missing("CreatedDate"))?;
    let nanoseconds = i32::try_from(created_at.subsec_nanos()).unwrap_or(0);
    let created_at =
        Timestamp::new(created_at.secs(), nanoseconds).map_err(|_| missing("CreatedDate that is a time"))?;
    let content = Content::parse(output.secret_string().ok_or(SecretError::NoText)?)?;
    Ok(Version { id, created_at, content })
}

fn failure<E, R>(error: &SdkError<E, R>) -> SecretError
where
    E: Error + ProvideErrorMetadata + 'static,
    R: fmt::Debug + 'static,
{
    let code = error.code().map(str::to_owned);
    let message = error.message().map(str::to_owned);
    let text = match (&code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.clone(),
        (None, _) => with_causes(error),
    };
    match code.as_deref() {
        Some("ResourceNotFoundException") => SecretError::NotFound(text),
        Some("InvalidRequestException") if text.contains("deletion") || text.contains("deleted") => {
            SecretError::Deleted
        }
        Some("AccessDeniedException" | "DecryptionFailure" | "UnrecognizedClientException") => {
            SecretError::Denied(text)
        }
        _ => SecretError::Unavailable(text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=";
    const OTHER: &str = "q3V8ZtL0yJm5RcXe7oNwB2kHs9GdFuTa4iP1xWvEzMI=";

    #[test]
    fn key_is_read_from_text_and_json_around_white_space() {
        for text in [
            KEY.to_owned(),
            format!(" {KEY}\r\n"),
            format!("{{\"api_key\":\"{KEY}\"}}"),
            format!("\n {{ \"user\": 1, \"api_key\": \"{KEY}\\n\" }}\n"),
        ] {
            assert_eq!(Content::parse(&text).unwrap().key.expose(), KEY, "{text}");
        }
    }

    #[test]
    fn invalid_secret_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", "the key is empty"),
            (" \n", "the key is empty"),
            ("changeme", "placeholder"),
            ("{\"api_key\":\"\"}", "the key is empty"),
            ("{\"api_key\":1}", "without a string member `api_key`"),
            ("{\"key\":\"x\"}", "without a string member `api_key`"),
            ("{\"api_key\":", "without a string member `api_key`"),
            ("[1]", "not standard base64"),
            ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "one value repeated"),
        ] {
            let error = Content::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn new_key_has_the_form_of_the_old_one() {
        let other = RootKey::parse(OTHER).unwrap();
        assert_eq!(Content::parse(KEY).unwrap().with_key(&other).as_str(), OTHER);
        let object = format!("{{\"api_key\":\"{KEY}\",\"owner\":\"us\"}}");
        let changed = Content::parse(&object).unwrap().with_key(&other);
        let changed: Value = serde_json::from_str(&changed).unwrap();
        assert_eq!(changed, serde_json::json!({"api_key": OTHER, "owner": "us"}));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_no_error_repeats_the_text(text in "[{]?\\PC{0,80}[}]?") {
            if let Err(error) = Content::parse(&text) {
                let message = format!("{error} {error:?}");
                // A short text may occur in the message by chance.
                prop_assert!(text.trim().len() < 16 || !message.contains(text.trim()));
            }
        }
    }
}
