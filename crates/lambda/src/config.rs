//! The configuration of a function, read once, when it starts.

use jiff::SignedDuration;
use onerun_api::{Handler, Route};
use onerun_auth::{Access, RootKey};
use onerun_engine::Settings;
use onerun_host::{ConfigErrors, Variables};
use onerun_model_chat::ModelConfig;
use onerun_transport::OutboundPolicy;

use crate::keys::PAUSE;

/// The default time limit of a turn. Together with one slow store call it stays within the 30 s
/// that API Gateway waits.
const TURN: SignedDuration = SignedDuration::from_secs(20);

const JOB_SHARDS: u32 = 4;
const MAX_JOB_SHARDS: u32 = 32;
const TTL: SignedDuration = SignedDuration::from_secs(300);
/// The secret is read at most once in this time: see [`PAUSE`].
const MIN_TTL: i64 = PAUSE.as_secs();
const MAX_TTL: i64 = 3_600;
const OVERLAP: SignedDuration = SignedDuration::from_hours(24);
const MAX_OVERLAP: i64 = 7 * 24 * 60 * 60;
/// A rotation takes some seconds and must finish within half of the overlap.
const MIN_OVERLAP: i64 = 30;

/// Region and endpoints of AWS services. The SDK reads the credentials from the variables that Lambda sets.
///
/// | variable | default | meaning |
/// |---|---|---|
/// | `AWS_REGION` | must be set; Lambda does | the region |
/// | `AWS_ENDPOINT_URL_DYNAMODB`, `AWS_ENDPOINT_URL_SECRETS_MANAGER`, `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` | AWS's endpoints | other endpoints; one for a service takes precedence over the common one |
#[derive(Clone, Debug)]
pub(crate) struct AwsConfig {
    pub(crate) region: String,
    pub(crate) dynamodb: Option<String>,
    pub(crate) secrets_manager: Option<String>,
    pub(crate) s3: Option<String>,
}

/// The source of the root key.
///
/// | variable | default | meaning |
/// |---|---|---|
/// | `AUTH_SECRET_ID` | | the ARN or name of a secret in Secrets Manager |
/// | `AUTH_API_KEY` | | the key itself, instead of a secret |
/// | `AUTH_SECRET_TTL_SECONDS` | 300 | how long a cached key is accepted while the secret cannot be read |
/// | `AUTH_ROTATION_OVERLAP_SECONDS` | 86400 | how long the previous key is accepted after the current one was created: 0, or at least 30 |
#[derive(Debug)]
pub(crate) enum KeyConfig {
    /// A secret in Secrets Manager.
    Secret { id: String, ttl: SignedDuration, overlap: SignedDuration },
    /// The key itself.
    Key(RootKey),
}

/// The table and the engine's settings.
///
/// | variable | default | meaning |
/// |---|---|---|
/// | `ONERUN_TABLE` | must be set | the DynamoDB table |
/// | `ONERUN_JOB_SHARDS` | 4 | the number of shards of jobs in the table, 1 to 32; the same for all functions |
/// | `ONERUN_LEASE_SECONDS` | 300 | how long a worker may be silent before its conversation is queued again |
/// | `ONERUN_TURN_SECONDS` | 20 | how long a call waits for the persona's reply |
/// | `ONERUN_REPLY_SECONDS` | 120 | how long the persona's reply may take; the function's timeout must be 15 s longer |
/// | `ONERUN_OUTBOUND_ALLOW` | | hosts, IP addresses and CIDR blocks, separated by commas, that webhooks may be at although they are private; also over http, and at every port |
/// | `ONERUN_MASTER_KEY_SECRET_ID` | | the ARN or name of the secret with the master key, for functions that need it |
/// | `ONERUN_RETENTION_DAYS` | 0 | how many days after a simulation's end `tick` has its transcripts deleted; 0 for never |
#[derive(Debug)]
pub(crate) struct EngineConfig {
    pub(crate) aws: AwsConfig,
    pub(crate) table: String,
    pub(crate) job_shards: u32,
    pub(crate) outbound: OutboundPolicy,
    pub(crate) master_key: Option<String>,
    pub(crate) settings: Settings,
}

/// The configuration of a route's function. A public route needs no key, and a static one needs no table.
///
/// | variable | default | meaning |
/// |---|---|---|
/// | `AUTH_KEY_CACHE_SECONDS` | 5 | how long a key is cached, so how long a revocation may take; 0 reads a managed key on every request. The secret is read at most every 5 s |
#[derive(Debug)]
pub(crate) struct RouteConfig {
    pub(crate) engine: EngineConfig,
    pub(crate) keys: Option<KeyConfig>,
    pub(crate) key_cache: SignedDuration,
}

/// The models of a function that calls some: the variables of [`ModelConfig`], and this.
///
/// | variable | default | meaning |
/// |---|---|---|
/// | `ONERUN_MODEL_KEYS_SECRET_ID` | | the ARN or name of a secret with the keys of providers, such as `{"OPENAI_API_KEY": "…"}`; its members take precedence over variables. Read again after `AUTH_SECRET_TTL_SECONDS` |
#[derive(Debug)]
pub(crate) struct CallableConfig {
    /// Without what is needed to call models, if the keys are in a secret.
    pub(crate) models: ModelConfig,
    pub(crate) keys: Option<ModelKeyConfig>,
}

/// The secret with the keys of models.
#[derive(Debug)]
pub(crate) struct ModelKeyConfig {
    pub(crate) id: String,
    pub(crate) ttl: SignedDuration,
}

/// The configuration of the function that rotates the secret: the variables of [`AwsConfig`], and these.
///
/// | variable | default | meaning |
/// |---|---|---|
/// | `ONERUN_API_URL` | must be set | the API's URL, where a new key is tested before it becomes current |
/// | `AUTH_ROTATION_OVERLAP_SECONDS` | 86400 | the same value as the API's functions |
#[derive(Debug)]
pub(crate) struct RotationConfig {
    pub(crate) aws: AwsConfig,
    pub(crate) api_url: String,
    pub(crate) overlap: SignedDuration,
}

/// The configuration of the function that archives the audit trail: the variables of [`AwsConfig`], and these.
///
/// | variable | default | meaning |
/// |---|---|---|
/// | `ONERUN_TABLE` | must be set | the DynamoDB table |
/// | `ONERUN_AUDIT_ARCHIVE_DAYS` | 0 | how many days after its end a month of the audit trail is archived, at least 90; 0 for never |
/// | `ONERUN_AUDIT_BUCKET` | must be set, unless nothing is archived | the bucket of S3 |
#[derive(Debug)]
pub(crate) struct ArchiveConfig {
    pub(crate) aws: AwsConfig,
    pub(crate) table: String,
    /// `None` if nothing is archived.
    pub(crate) archive: Option<ArchiveTarget>,
}

/// When and where the audit trail is archived.
#[derive(Debug)]
pub(crate) struct ArchiveTarget {
    pub(crate) bucket: String,
    pub(crate) after: SignedDuration,
}

fn job_shards(variables: &mut Variables<'_>) -> u32 {
    const NAME: &str = "ONERUN_JOB_SHARDS";
    let Some(text) = variables.text(NAME) else { return JOB_SHARDS };
    text.parse().ok().filter(|shards| (1..=MAX_JOB_SHARDS).contains(shards)).unwrap_or_else(|| {
        variables.refuse(NAME, &format!("must be an integer from 1 to {MAX_JOB_SHARDS}"));
        JOB_SHARDS
    })
}

fn aws(variables: &mut Variables<'_>) -> AwsConfig {
    let region = variables.required("AWS_REGION", "the region of the deployment; Lambda sets it");
    let mut endpoint = |name: &str| {
        let (name, url) = [name, "AWS_ENDPOINT_URL"]
            .into_iter()
            .find_map(|name| variables.text(name).map(|url| (name, url)))?;
        is_url(variables, name, &url).then_some(url)
    };
    let dynamodb = endpoint("AWS_ENDPOINT_URL_DYNAMODB");
    let secrets_manager = endpoint("AWS_ENDPOINT_URL_SECRETS_MANAGER");
    let s3 = endpoint("AWS_ENDPOINT_URL_S3");
    AwsConfig { region, dynamodb, secrets_manager, s3 }
}

fn is_url(variables: &mut Variables<'_>, name: &str, text: &str) -> bool {
    let uri = text.parse::<http::Uri>();
    let is_valid = uri.is_ok_and(|uri| {
        uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none()
    });
    if !is_valid {
        variables.refuse(name, "must be a URL such as `https://host`");
    }
    is_valid
}

fn overlap(variables: &mut Variables<'_>) -> SignedDuration {
    const NAME: &str = "AUTH_ROTATION_OVERLAP_SECONDS";
    // Zero is for a key that has leaked.
    match variables.text(NAME).as_deref() {
        Some("0") => SignedDuration::ZERO,
        _ => variables.seconds(NAME, MIN_OVERLAP..=MAX_OVERLAP, OVERLAP),
    }
}

fn keys(variables: &mut Variables<'_>) -> Option<KeyConfig> {
    let id = variables.text("AUTH_SECRET_ID");
    let is_key_set = variables.text("AUTH_API_KEY").is_some();
    let ttl = variables.seconds("AUTH_SECRET_TTL_SECONDS", MIN_TTL..=MAX_TTL, TTL);
    let overlap = overlap(variables);
    match (id, is_key_set) {
        (Some(id), false) => Some(KeyConfig::Secret { id, ttl, overlap }),
        (None, true) => variables.root_key("AUTH_API_KEY").map(KeyConfig::Key),
        (id, _) => {
            let state = if id.is_some() { "both are set" } else { "neither is set" };
            variables.refuse(
                "AUTH_SECRET_ID, AUTH_API_KEY",
                &format!("{state}; set the first to a secret in Secrets Manager, or the second to the key"),
            );
            None
        }
    }
}

impl EngineConfig {
    /// Reads the configuration of a function without a route.
    pub(crate) fn read(variables: &mut Variables<'_>) -> Self {
        Self::of(variables, true)
    }

    fn of(variables: &mut Variables<'_>, is_table_needed: bool) -> Self {
        let table = if is_table_needed {
            variables.required("ONERUN_TABLE", "the name of the DynamoDB table")
        } else {
            String::new()
        };
        let settings = variables.settings(Settings { turn: TURN, ..Settings::default() });
        let master_key = variables.text("ONERUN_MASTER_KEY_SECRET_ID");
        Self {
            aws: aws(variables),
            table,
            job_shards: job_shards(variables),
            outbound: variables.outbound(),
            master_key,
            settings,
        }
    }
}

impl RouteConfig {
    /// Reads the configuration of the function that answers `route`.
    pub(crate) fn read(route: &Route, variables: &mut Variables<'_>) -> Self {
        let engine = EngineConfig::of(variables, !matches!(route.handler, Handler::Static(_)));
        let keys = if route.access == Access::Public { None } else { keys(variables) };
        Self { engine, keys, key_cache: variables.key_cache() }
    }
}

impl CallableConfig {
    /// Reads the models of a function that calls some.
    pub(crate) fn read(variables: &mut Variables<'_>) -> Self {
        let Some(id) = variables.text("ONERUN_MODEL_KEYS_SECRET_ID") else {
            return Self { models: ModelConfig::read(variables), keys: None };
        };
        let ttl = variables.seconds("AUTH_SECRET_TTL_SECONDS", MIN_TTL..=MAX_TTL, TTL);
        let models = ModelConfig::read_names(variables).with_redaction(variables);
        Self { models, keys: Some(ModelKeyConfig { id, ttl }) }
    }
}

impl ArchiveConfig {
    /// Reads the configuration of the function that archives the audit trail.
    pub(crate) fn read(mut variables: Variables<'_>) -> Result<Self, ConfigErrors> {
        let aws = aws(&mut variables);
        let table = variables.required("ONERUN_TABLE", "the name of the DynamoDB table");
        let archive = variables.audit_archive().map(|after| {
            let bucket =
                variables.required("ONERUN_AUDIT_BUCKET", "the name of the bucket for the audit trail");
            ArchiveTarget { bucket, after }
        });
        variables.finish(Self { aws, table, archive })
    }
}

impl RotationConfig {
    /// Reads the configuration of the function that rotates the secret.
    pub(crate) fn read(mut variables: Variables<'_>) -> Result<Self, ConfigErrors> {
        let aws = aws(&mut variables);
        let api_url = variables.required("ONERUN_API_URL", "the address of the API");
        if !api_url.is_empty() {
            is_url(&mut variables, "ONERUN_API_URL", &api_url);
        }
        let api_url = api_url.trim_end_matches('/').to_owned();
        let overlap = overlap(&mut variables);
        variables.finish(Self { aws, api_url, overlap })
    }
}

#[cfg(test)]
mod tests {
    use onerun_api::ROUTES;

    use super::*;

    const KEY: &str = "gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE=";

    fn variables<'a>(set: &'a [(&'a str, &'a str)]) -> Variables<'a> {
        Variables::new(|name| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn read(operation: &str, set: &[(&str, &str)]) -> Result<RouteConfig, String> {
        let route = ROUTES.iter().find(|route| route.operation == operation).unwrap();
        let mut variables = variables(set);
        let config = RouteConfig::read(route, &mut variables);
        variables.finish(config).map_err(|errors| errors.to_string())
    }

    #[test]
    fn public_route_needs_only_a_region() {
        let config = read("get_health", &[("AWS_REGION", "eu-central-1")]).unwrap();
        assert!(config.keys.is_none());
        assert!(read("get_health", &[]).unwrap_err().starts_with("AWS_REGION: must be set"));
    }

    #[test]
    fn exactly_one_source_of_the_key_is_required() {
        let given = [("AWS_REGION", "eu-central-1"), ("ONERUN_TABLE", "onerun")];
        for (set, state) in
            [(&[][..], "neither is set"), (&[("AUTH_SECRET_ID", "s"), ("AUTH_API_KEY", KEY)], "both are set")]
        {
            let errors = read("get_whoami", &[&given, set].concat()).unwrap_err();
            assert!(
                errors.starts_with("AUTH_SECRET_ID, AUTH_API_KEY: ") && errors.contains(state),
                "{errors}"
            );
            assert!(!errors.contains(KEY));
        }
        let config = read("get_whoami", &[&given[..], &[("AUTH_SECRET_ID", "s\n")]].concat()).unwrap();
        let Some(KeyConfig::Secret { id, ttl, overlap }) = config.keys else { panic!("{config:?}") };
        assert_eq!((id.as_str(), ttl, overlap), ("s", TTL, OVERLAP));
        let config = read("get_whoami", &[&given[..], &[("AUTH_API_KEY", KEY)]].concat()).unwrap();
        assert!(matches!(config.keys, Some(KeyConfig::Key(_))));
        assert!(!format!("{config:?}").contains(KEY));
    }

    #[test]
    fn invalid_variables_are_reported_at_once() {
        let errors = read(
            "get_whoami",
            &[
                ("AUTH_API_KEY", "changeme"),
                ("AUTH_SECRET_TTL_SECONDS", "-1"),
                ("AUTH_ROTATION_OVERLAP_SECONDS", "604801"),
                ("ONERUN_TURN_SECONDS", "0"),
                ("ONERUN_JOB_SHARDS", "33"),
                ("AWS_ENDPOINT_URL", "localhost:8000"),
            ],
        )
        .unwrap_err();
        for name in [
            "ONERUN_TABLE: must be set",
            "AWS_REGION: must be set",
            "AUTH_API_KEY: the key is a placeholder",
            "AUTH_SECRET_TTL_SECONDS: must be an integer from 5 to 3600",
            "AUTH_ROTATION_OVERLAP_SECONDS: must be an integer from 30 to 604800",
            "ONERUN_TURN_SECONDS: ",
            "ONERUN_JOB_SHARDS: must be an integer from 1 to 32",
            "AWS_ENDPOINT_URL: must be a URL",
        ] {
            assert!(errors.contains(name), "{name}: {errors}");
        }
        assert!(!errors.contains("changeme"));
    }

    #[test]
    fn endpoint_of_a_service_precedes_the_common_endpoint() {
        let config = read(
            "get_health",
            &[
                ("AWS_REGION", "eu-central-1"),
                ("AWS_ENDPOINT_URL", "http://127.0.0.1:5000"),
                ("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:8000"),
            ],
        )
        .unwrap();
        assert_eq!(config.engine.aws.dynamodb.as_deref(), Some("http://127.0.0.1:8000"));
        assert_eq!(config.engine.aws.secrets_manager.as_deref(), Some("http://127.0.0.1:5000"));
    }

    #[test]
    fn archive_needs_a_bucket_unless_it_is_off() {
        let given = [("AWS_REGION", "eu-central-1"), ("ONERUN_TABLE", "onerun")];
        let read = |set: &[(&str, &str)]| {
            ArchiveConfig::read(variables(&[&given, set].concat())).map_err(|errors| errors.to_string())
        };
        assert!(read(&[("ONERUN_AUDIT_ARCHIVE_DAYS", "0")]).unwrap().archive.is_none());
        let errors = read(&[("ONERUN_AUDIT_ARCHIVE_DAYS", "90")]).unwrap_err();
        assert!(errors.starts_with("ONERUN_AUDIT_BUCKET: must be set"), "{errors}");
        let set = [("ONERUN_AUDIT_ARCHIVE_DAYS", "90"), ("ONERUN_AUDIT_BUCKET", "archive")];
        let archive = read(&set).unwrap().archive.unwrap();
        assert_eq!(
            (archive.bucket.as_str(), archive.after),
            ("archive", SignedDuration::from_hours(90 * 24))
        );
    }

    #[test]
    fn rotation_needs_the_url_of_the_api() {
        let read =
            |set: &[(&str, &str)]| RotationConfig::read(variables(set)).map_err(|errors| errors.to_string());
        let errors = read(&[("AWS_REGION", "eu-central-1")]).unwrap_err();
        assert!(errors.starts_with("ONERUN_API_URL: must be set"), "{errors}");
        let config =
            read(&[("AWS_REGION", "eu-central-1"), ("ONERUN_API_URL", "https://api.example/")]).unwrap();
        assert_eq!(config.api_url, "https://api.example");
    }
}
