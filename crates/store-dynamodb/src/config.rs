//! The settings that the store needs of its client.

use aws_sdk_dynamodb::config::{Builder, retry::RetryConfig};

/// Sets up the configuration of a client for this store; endpoint, region, credentials and TLS are the host's. A host
/// must use it, because the store makes a call again itself, which a client's own retries would multiply.
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
