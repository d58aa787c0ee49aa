//! The clients of AWS services: one HTTPS client for all, with region and credentials from Lambda's
//! variables.
//!
//! The SDK's default credentials chain is not used. It looks for profiles, instance metadata and
//! web identities. A function has none of them, and building the chain takes longer than a request.

use std::time::Duration;

use aws_config::{
    Region, SdkConfig, environment::EnvironmentVariableCredentialsProvider, retry::RetryConfig,
};
use aws_sdk_secretsmanager::config::{
    BehaviorVersion, SharedCredentialsProvider, SharedHttpClient, timeout::TimeoutConfig,
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use onerun_store_dynamodb::DynamoDbStore;

use crate::{archive::Bucket, config::AwsConfig, transport::HttpTransport};

/// How long one call to Secrets Manager may take, including retries. A caller waits for it.
const SECRET_TIMEOUT: Duration = Duration::from_secs(4);
const SECRET_ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1_500);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The shared configuration of AWS clients.
pub(crate) struct Aws {
    config: AwsConfig,
    sdk: SdkConfig,
}

/// TLS by rustls with ring. AWS-LC, the SDK's default, gathers entropy from CPU jitter at process
/// start, which takes several times as long as the rest of a cold start.
pub(crate) const TLS: Provider = Provider::Rustls(CryptoMode::Ring);

impl Aws {
    pub(crate) fn new(config: AwsConfig) -> Self {
        let http: SharedHttpClient = Builder::new().tls_provider(TLS).build_https();
        let credentials = EnvironmentVariableCredentialsProvider::new();
        let sdk = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(http)
            .build();
        Self { config, sdk }
    }

    /// The store in a DynamoDB table.
    pub(crate) fn store(&self, table: &str, job_shards: u32) -> DynamoDbStore {
        let store = DynamoDbStore::connect(&self.sdk, self.config.dynamodb.clone(), table);
        store.with_job_shards(job_shards)
    }

    /// A bucket of S3.
    pub(crate) fn bucket(&self, name: &str) -> Bucket<HttpTransport> {
        let credentials = SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new());
        let endpoint = self.config.s3.as_deref();
        Bucket::new(name, &self.config.region, endpoint, credentials, HttpTransport::new())
    }

    /// A client of Secrets Manager.
    pub(crate) fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(SECRET_ATTEMPT_TIMEOUT)
            .operation_timeout(SECRET_TIMEOUT)
            .build();
        let retries =
            RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(100));
        let mut config = aws_sdk_secretsmanager::config::Builder::from(&self.sdk)
            .timeout_config(timeouts)
            .retry_config(retries);
        config.set_endpoint_url(self.config.secrets_manager.clone());
        aws_sdk_secretsmanager::Client::from_conf(config.build())
    }
}
