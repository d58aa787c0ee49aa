//! HTTPS in front of a server that speaks plain HTTP, as a proxy gives it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

/// A TLS endpoint on loopback with a certificate of an unknown authority. It stops on drop.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    authority: TempDir,
    task: JoinHandle<()>,
}

impl TlsFront {
    /// Starts one in front of the server at `base_url`, such as `http://127.0.0.1:9000`, with a certificate for these
    /// names and addresses.
    pub async fn start(base_url: &str, names: &[&str]) -> Self {
        let behind = base_url.strip_prefix("http://").expect("an http address").to_owned();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (acceptor, authority) = acceptor(names);
        std::fs::write(directory.path().join("authority.pem"), authority).expect("a file can be written");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    // A client that does not trust the certificate disconnects.
                    if let (Ok(mut outside), Ok(mut inside)) =
                        (acceptor.accept(stream).await, TcpStream::connect(behind).await)
                    {
                        let _ = copy_bidirectional(&mut outside, &mut inside).await;
                    }
                });
            }
        });
        Self { address, authority: directory, task }
    }

    /// The URL, with a name or address of this machine.
    pub fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.address.port())
    }

    /// The file with the authority's certificate, for a client's `SSL_CERT_FILE`.
    pub fn authority(&self) -> PathBuf {
        self.authority.path().join("authority.pem")
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A server's side of TLS, and the certificate of the authority behind it.
fn acceptor(names: &[&str]) -> (TlsAcceptor, String) {
    let key = || KeyPair::generate().expect("a new key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, key()).expect("an authority signs itself");
    let leaf_key = key();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let leaf = CertificateParams::new(names)
        .and_then(|params| params.signed_by(&leaf_key, &authority))
        .expect("an authority signs a server's certificate");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the versions of TLS that are the default")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into()))
        .expect("a certificate and its key");
    (TlsAcceptor::from(Arc::new(config)), authority.pem())
}
