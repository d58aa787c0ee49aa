//! TLS: rustls, with ring as its cryptography.
//!
//! It is set up here rather than by what a program may have set as its default, so that a program has nothing to do, and
//! none that has a default of its own is told another.

use std::sync::Arc;

use rustls::{
    ClientConfig, ConfigBuilder, Error, RootCertStore, WantsVerifier, client::danger::ServerCertVerifier,
    crypto::ring,
};
use rustls_platform_verifier::Verifier;

/// Trusts the servers that the system trusts.
pub(crate) fn trusting_system() -> Result<ClientConfig, Error> {
    let verifier: Arc<dyn ServerCertVerifier> = Arc::new(Verifier::new(Arc::new(ring::default_provider()))?);
    Ok(builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Trusts no server: for plain HTTP, which has no use for the system's certificates and need not read them.
pub(crate) fn trusting_nobody() -> Result<ClientConfig, Error> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
}
