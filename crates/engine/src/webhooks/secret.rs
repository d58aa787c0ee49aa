//! The secrets of webhooks, and the signatures that they make.
//!
//! A secret is derived from the deployment's master key and is never stored.
//!
//! Source: Standard Webhooks, <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use onerun_domain::Webhook;
use ring::hmac;
use zeroize::Zeroizing;

use crate::{Engine, KeyPurpose, MasterKeyError};

const PREFIX: &str = "whsec_";

/// The secret of a webhook. It has no `Debug`, and is shown once.
pub struct WebhookSecret(Zeroizing<[u8; 32]>);

impl WebhookSecret {
    /// The text that its user keeps: `whsec_` and base64.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}", STANDARD.encode(self.0.as_ref())))
    }

    /// The signature of a request: `v1,` and base64 of HMAC-SHA256.
    pub(super) fn sign(&self, id: &str, at: Timestamp, body: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_ref());
        let signed = format!("{id}.{}.{body}", at.as_second());
        format!("v1,{}", STANDARD.encode(hmac::sign(&key, signed.as_bytes())))
    }
}

impl Engine {
    /// A version of a webhook's secret.
    pub(super) async fn webhook_secret(
        &self,
        webhook: &Webhook,
        version: u32,
    ) -> Result<WebhookSecret, MasterKeyError> {
        let key = self.outbound().master_key.master_key().await?;
        let context = [webhook.project_id.as_str(), webhook.id.as_str(), &version.to_string()];
        Ok(WebhookSecret(key.derive(KeyPurpose::WebhookSecret, &context)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_that_of_the_specification() {
        // Made with Python's `hmac`.
        let bytes = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=").unwrap();
        let secret = WebhookSecret(Zeroizing::new(bytes.try_into().unwrap()));
        assert_eq!(*secret.expose(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=");
        let at = Timestamp::from_second(1_614_265_330).unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, "{\"test\": 2432232314}");
        assert_eq!(signature, "v1,455+aOk04wwxufzYeT7AdJGy67Jm9L1UV9h0WvJANVo=");
    }
}
