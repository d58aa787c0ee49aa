//! The settings that the store needs of its client.

use aws_sdk_dynamodb::config::{Builder, retry::RetryConfig};

/// Completes the configuration of a client for this store. The host sets endpoint, region,
/// credentials and TLS. A host must call this, because the store retries calls itself, and the
/// client's own retries would multiply them.
pub fn configure(builder: Builder) -> Builder {
    builder.retry_config(RetryConfig::disabled())
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::Config;

    use super::*;

    #[test]
    fn a_client_tries_once() {
        let config = configure(Config::builder().retry_config(RetryConfig::adaptive())).build();
        assert_eq!(config.retry_config().unwrap().max_attempts(), 1);
    }
}
