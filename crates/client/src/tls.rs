//! TLS with rustls and ring.
//!
//! The provider is passed explicitly, so that the client neither needs nor changes the process-wide default.

use std::sync::Arc;

use rustls::{
    ClientConfig, ConfigBuilder, Error, RootCertStore, WantsVerifier, client::danger::ServerCertVerifier,
    crypto::ring,
};
use rustls_platform_verifier::Verifier;

/// Trusts the system's root certificates.
pub(crate) fn trusting_system() -> Result<ClientConfig, Error> {
    let verifier: Arc<dyn ServerCertVerifier> = Arc::new(Verifier::new(Arc::new(ring::default_provider()))?);
    Ok(builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Trusts no server. For plain HTTP, which does not need the system's certificates.
pub(crate) fn trusting_nobody() -> Result<ClientConfig, Error> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
}
