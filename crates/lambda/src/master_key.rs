//! The master key in Secrets Manager.

use async_trait::async_trait;
use onerun_engine::{MasterKey, MasterKeyError, MasterKeySource};
use tokio::sync::OnceCell;

use crate::models::SecretText;

/// The master key in a secret. It is read when it is first needed, and once: the secret never changes.
pub(crate) struct SecretMasterKey {
    secret: Box<dyn SecretText>,
    key: OnceCell<MasterKey>,
}

impl SecretMasterKey {
    pub(crate) fn new(secret: impl SecretText + 'static) -> Self {
        Self { secret: Box::new(secret), key: OnceCell::new() }
    }
}

#[async_trait]
impl MasterKeySource for SecretMasterKey {
    async fn master_key(&self) -> Result<MasterKey, MasterKeyError> {
        let read = || async {
            let text =
                self.secret.text().await.map_err(|error| MasterKeyError::Missing(error.to_string()))?;
            MasterKey::parse(&text)
        };
        self.key.get_or_try_init(read).await.cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use zeroize::Zeroizing;

    use super::*;
    use crate::secret::SecretError;

    /// Gives its texts one after the other.
    struct Texts(Mutex<Vec<Result<&'static str, SecretError>>>);

    #[async_trait]
    impl SecretText for Texts {
        async fn text(&self) -> Result<Zeroizing<String>, SecretError> {
            let next = self.0.lock().unwrap().pop().expect("the secret is read once more than expected");
            next.map(|text| Zeroizing::new(text.to_owned()))
        }
    }

    #[tokio::test]
    async fn master_key_is_read_until_there_is_one() {
        let texts = vec![
            Ok("gZ8Y0m5yX2qJr1o0Gm3mS4u7wE6bTtKkNnHh9CcVvQE="),
            Ok("changeme"),
            Err(SecretError::Unavailable("timeout".to_owned())),
        ];
        let source = SecretMasterKey::new(Texts(Mutex::new(texts)));
        let error = source.master_key().await.unwrap_err();
        assert!(error.to_string().contains("Secrets Manager is unavailable: timeout"), "{error}");
        assert_eq!(source.master_key().await.unwrap_err(), MasterKeyError::Weak);
        source.master_key().await.unwrap();
        source.master_key().await.unwrap();
    }
}
