//! The secret with the root key, and its rotation by Secrets Manager.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::service::{Moto, ServiceClient};

/// A secret in Secrets Manager.
#[derive(Debug)]
pub struct Secret {
    caller: ServiceClient,
    /// The ARN.
    pub arn: String,
}

/// A version of a secret.
#[derive(Clone, Debug)]
pub struct SecretVersion {
    /// The id.
    pub id: String,
    /// The value.
    pub text: String,
    /// The time of creation.
    pub created_at: Timestamp,
}

impl Secret {
    /// Creates the template's secret.
    pub(crate) async fn create(moto: &Moto, properties: &Value) -> Self {
        let caller = ServiceClient::new(moto.url(), "secretsmanager", "secretsmanager");
        let password = caller.call("GetRandomPassword", &properties["GenerateSecretString"]).await;
        let input = json!({ "Name": "onerun-key", "SecretString": password["RandomPassword"] });
        let made = caller.call("CreateSecret", &input).await;
        let arn = made["ARN"].as_str().unwrap_or_else(|| panic!("no secret: {made}")).to_owned();
        Self { caller, arn }
    }

    /// Another secret, without a value unless one is given.
    pub async fn another(&self, name: &str, text: Option<&str>) -> Self {
        let mut input = json!({ "Name": name });
        if let Some(text) = text {
            input["SecretString"] = text.into();
        }
        let made = self.caller.call("CreateSecret", &input).await;
        let arn = made["ARN"].as_str().unwrap_or_else(|| panic!("no secret: {made}")).to_owned();
        Self { caller: self.caller.clone(), arn }
    }

    /// Calls an operation of Secrets Manager on this secret.
    pub async fn call(&self, operation: &str, mut input: Value) -> Value {
        input["SecretId"] = self.arn.as_str().into();
        self.caller.call(operation, &input).await
    }

    /// The version with a label, if it exists and has a value.
    pub async fn version(&self, label: &str) -> Option<SecretVersion> {
        let input = json!({ "SecretId": self.arn, "VersionStage": label });
        let found = self.caller.attempt("GetSecretValue", &input).await.ok()?;
        let created_at = found["CreatedDate"].as_f64().expect("a time");
        #[expect(clippy::cast_possible_truncation, reason = "whole seconds are far below 2^52")]
        let created_at = Timestamp::from_millisecond((created_at * 1_000.0) as i64).expect("a time");
        Some(SecretVersion {
            id: found["VersionId"].as_str()?.to_owned(),
            text: found["SecretString"].as_str()?.to_owned(),
            created_at,
        })
    }

    /// The current key.
    pub async fn key(&self) -> String {
        self.version("AWSCURRENT").await.expect("a version in force").text
    }

    /// Sets another value, which becomes current at once.
    pub async fn put(&self, text: &str) {
        self.call("PutSecretValue", json!({ "SecretString": text, "ClientRequestToken": token() })).await;
    }

    /// Starts a rotation as Secrets Manager does: it adds a version without a value, labelled as
    /// pending. Returns its id. Moto is configured not to invoke the function: the test runs the steps.
    pub async fn begin_rotation(&self, function_arn: &str) -> String {
        let token = token();
        let input = json!({
            "ClientRequestToken": token,
            "RotationLambdaARN": function_arn,
            "RotationRules": { "AutomaticallyAfterDays": 30 },
        });
        self.call("RotateSecret", input).await;
        token
    }

    /// The event for a step.
    pub fn rotation_event(&self, step: &str, token: &str) -> Value {
        json!({
            "Step": step,
            "SecretId": self.arn,
            "ClientRequestToken": token,
            "RotationToken": "1bc1ff5a-1f3c-4a52-8d3e-7f4f2f5d0a11",
        })
    }

    /// The labels of a version.
    pub async fn labels(&self, id: &str) -> Vec<String> {
        let described = self.call("DescribeSecret", json!({})).await;
        let labels = described["VersionIdsToStages"][id].as_array().cloned().unwrap_or_default();
        labels.iter().filter_map(|label| label.as_str().map(str::to_owned)).collect()
    }
}

/// A new version id.
fn token() -> String {
    let number = u128::from_le_bytes(super::random());
    let hex = format!("{number:032x}");
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}
