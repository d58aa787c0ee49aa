//! The archive of the audit trail in a bucket of S3, and the function that writes it.
//!
//! Two kinds of requests are needed. They are signed here, as those to Bedrock are, and sent by the SDK's HTTP client:
//! both are linked already, and the SDK of S3 would be one more, and the largest.

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use onerun_engine::{AuditArchive, AuditArchiver};
use onerun_transport::Transport;

use crate::EventError;

/// The prefix of the names of all objects. The function's role allows no other.
const PREFIX: &str = "audit/";

/// How long one request may take. A file has at most 4 MB.
const TIME: Duration = Duration::from_secs(30);

/// How many parts one invocation archives at most.
const PARTS: usize = 60;

/// The characters of an error that are logged.
const MAX_ERROR: usize = 500;

/// A bucket of S3 with objects that are added and never changed.
pub(crate) struct Bucket<T> {
    /// The URL of the bucket, without a slash at its end.
    url: String,
    region: String,
    credentials: SharedCredentialsProvider,
    transport: T,
}

impl<T: Transport> Bucket<T> {
    /// A bucket in a region. `endpoint` replaces AWS's address of S3.
    pub(crate) fn new(
        bucket: &str,
        region: &str,
        endpoint: Option<&str>,
        credentials: SharedCredentialsProvider,
        transport: T,
    ) -> Self {
        let url = if let Some(endpoint) = endpoint {
            format!("{}/{bucket}", endpoint.trim_end_matches('/'))
        } else {
            let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
            format!("https://{bucket}.s3.{region}.{suffix}")
        };
        Self { url, region: region.to_owned(), credentials, transport }
    }

    async fn send(
        &self,
        mut request: Request<Bytes>,
    ) -> Result<Response<Bytes>, Box<dyn Error + Send + Sync>> {
        self.sign(&mut request).await?;
        Ok(self.transport.send(request, TIME).await?)
    }

    /// Signs with Signature Version 4, as S3 wants it: the path as it is, and a header with the hash of the body.
    #[expect(clippy::disallowed_methods, reason = "the time of a signature is the system's")]
    async fn sign(&self, http: &mut Request<Bytes>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = self.credentials.provide_credentials().await?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build()?;
        let uri = http.uri().to_string();
        let headers =
            http.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signable =
            SignableRequest::new(http.method().as_str(), uri, headers, SignableBody::Bytes(http.body()))?;
        let output = sign(signable, &params.into())?;
        output.into_parts().0.apply_to_request_http1x(http);
        Ok(())
    }
}

#[async_trait]
impl<T: Transport> AuditArchive for Bucket<T> {
    async fn add(&self, name: &str, content: &[u8]) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        let url = format!("{}/{PREFIX}{name}", self.url);
        let request = Request::put(&url)
            .header(header::CONTENT_TYPE, "application/jsonl")
            // S3 refuses the request if the object exists.
            .header(header::IF_NONE_MATCH, "*")
            .body(Bytes::copy_from_slice(content))?;
        let response = self.send(request).await?;
        if !response.status().is_success() && response.status() != StatusCode::PRECONDITION_FAILED {
            return Err(refused(&Method::PUT, &response));
        }
        let response = self.send(Request::get(&url).body(Bytes::new())?).await?;
        if response.status().is_success() {
            Ok(response.into_body().into())
        } else {
            Err(refused(&Method::GET, &response))
        }
    }
}

fn refused(method: &Method, response: &Response<Bytes>) -> Box<dyn Error + Send + Sync> {
    let body: String = String::from_utf8_lossy(response.body()).chars().take(MAX_ERROR).collect();
    format!("S3 answered {method} with {}: {body}", response.status()).into()
}

/// Archives what is there, part by part. Without an archiver, nothing.
pub(crate) async fn run(archiver: Option<&AuditArchiver>) -> Result<(), EventError> {
    let Some(archiver) = archiver else { return Ok(()) };
    for _ in 0..PARTS {
        if !archiver.step().await? {
            return Ok(());
        }
    }
    tracing::warn!(parts = PARTS, "the audit trail has more to archive; the next invocation goes on");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use aws_credential_types::Credentials;
    use onerun_transport::TransportError;

    use super::*;

    /// Records requests and gives the next of some answers.
    struct Script {
        answers: Mutex<Vec<(u16, &'static str)>>,
        requests: Mutex<Vec<Request<Bytes>>>,
    }

    #[async_trait]
    impl Transport for Script {
        async fn send(
            &self,
            request: Request<Bytes>,
            _: Duration,
        ) -> Result<Response<Bytes>, TransportError> {
            self.requests.lock().unwrap().push(request);
            let (status, body) = self.answers.lock().unwrap().remove(0);
            Ok(Response::builder().status(status).body(Bytes::from_static(body.as_bytes())).unwrap())
        }
    }

    fn bucket(endpoint: Option<&str>, answers: &[(u16, &'static str)]) -> Bucket<Script> {
        let credentials = Credentials::new("AKIDEXAMPLE", "secret", Some("token".into()), None, "test");
        let credentials = SharedCredentialsProvider::new(credentials);
        let script = Script { answers: Mutex::new(answers.to_vec()), requests: Mutex::default() };
        Bucket::new("archive", "eu-central-1", endpoint, credentials, script)
    }

    const NAME: &str = "2031-03-0000000001.jsonl";

    #[tokio::test]
    async fn object_is_added_signed_and_read_back() {
        for (endpoint, url) in [
            (None, "https://archive.s3.eu-central-1.amazonaws.com/audit/2031-03-0000000001.jsonl"),
            (Some("http://localhost:1/"), "http://localhost:1/archive/audit/2031-03-0000000001.jsonl"),
        ] {
            let bucket = bucket(endpoint, &[(200, ""), (200, "entries\n")]);
            assert_eq!(bucket.add(NAME, b"entries\n").await.unwrap(), b"entries\n");
            let requests = bucket.transport.requests.lock().unwrap();
            let [put, get] = &requests[..] else { panic!("{requests:?}") };
            assert_eq!((put.method(), get.method()), (&Method::PUT, &Method::GET));
            assert_eq!((put.uri().to_string().as_str(), put.body().as_ref()), (url, b"entries\n".as_slice()));
            assert_eq!(get.uri(), put.uri());
            assert_eq!(put.headers()["if-none-match"], "*");
            for request in [put, get] {
                let authorization = request.headers()["authorization"].to_str().unwrap();
                assert!(authorization.contains("/eu-central-1/s3/aws4_request"), "{authorization}");
                assert!(authorization.contains("x-amz-content-sha256"), "{authorization}");
                assert_eq!(request.headers()["x-amz-security-token"], "token");
            }
        }
    }

    #[tokio::test]
    async fn existing_object_is_read_and_not_replaced() {
        let bucket = bucket(None, &[(412, "<Code>PreconditionFailed</Code>"), (200, "other\n")]);
        assert_eq!(bucket.add(NAME, b"entries\n").await.unwrap(), b"other\n");
    }

    #[tokio::test]
    async fn refused_request_is_an_error() {
        let denied = (403, "<Code>AccessDenied</Code>");
        for answers in [&[denied][..], &[(200, ""), denied], &[(409, "<Code>Conflict</Code>")]] {
            let error = bucket(None, answers).add(NAME, b"entries\n").await.unwrap_err().to_string();
            assert!(error.starts_with("S3 answered ") && error.contains("<Code>"), "{error}");
        }
    }
}
