//! Large built-in documents, served with gzip and an entity tag.

use std::io::Write;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{self, InvalidHeaderValue},
};
use sha2::{Digest, Sha256};

use crate::Response;

/// A document that does not change while the process runs.
pub struct Document {
    headers: HeaderMap,
    plain: Form,
    gzip: Form,
}

/// The document in one encoding. Encodings differ in bytes, so each has its own entity tag.
struct Form {
    body: Bytes,
    etag: HeaderValue,
}

impl Document {
    /// A document with these response headers.
    pub(crate) fn new(body: Bytes, headers: HeaderMap) -> Result<Self, InvalidHeaderValue> {
        let digest = Sha256::digest(&body);
        let tag = URL_SAFE_NO_PAD.encode(&digest[..16]);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to memory does not fail.
        let compressed = encoder.write_all(&body).and_then(|()| encoder.finish()).unwrap_or_default();
        Ok(Self {
            headers,
            plain: Form { body, etag: format!("\"{tag}\"").try_into()? },
            gzip: Form { body: compressed.into(), etag: format!("\"{tag}-gzip\"").try_into()? },
        })
    }

    /// The document uncompressed.
    #[cfg(test)]
    pub(crate) fn body(&self) -> &Bytes {
        &self.plain.body
    }

    /// A response header.
    #[cfg(test)]
    pub(crate) fn header(&self, name: &header::HeaderName) -> &HeaderValue {
        &self.headers[name]
    }

    /// The response to a request with these headers.
    pub(crate) fn answer(&self, request: &HeaderMap) -> Response {
        let is_compressed = takes_gzip(request);
        let form = if is_compressed { &self.gzip } else { &self.plain };
        let is_known = is_known(request, &form.etag);
        let mut response = Response::new(if is_known { Bytes::new() } else { form.body.clone() });
        let headers = response.headers_mut();
        headers.insert(header::ETAG, form.etag.clone());
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        // Caches keep the document and revalidate it at each use.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.extend(self.headers.clone());
        if is_compressed {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// Whether `Accept-Encoding` names gzip, with a weight that is not zero.
fn takes_gzip(request: &HeaderMap) -> bool {
    let mut codings = members(request, &header::ACCEPT_ENCODING);
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_some_and(|weight| weight > 0.0)
    })
}

/// Whether `If-None-Match` matches the tag, by weak comparison (RFC 9110, 13.1.2).
fn is_known(request: &HeaderMap, etag: &HeaderValue) -> bool {
    let mut tags = members(request, &header::IF_NONE_MATCH);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes())
}

/// The members of a header's list.
fn members<'a>(request: &'a HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = request.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    fn document() -> Document {
        Document::new(Bytes::from("a".repeat(10_000)), HeaderMap::new()).unwrap()
    }

    fn ask(fields: &[(header::HeaderName, &'static str)]) -> Response {
        let fields = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        document().answer(&fields.collect())
    }

    #[test]
    fn a_document_is_compressed_for_those_who_take_gzip() {
        for accepted in ["gzip", "br;q=1.0, GZIP;q=0.5", "deflate, gzip"] {
            let answer = ask(&[(header::ACCEPT_ENCODING, accepted)]);
            assert_eq!(answer.headers()[header::CONTENT_ENCODING], "gzip", "{accepted}");
            assert!(answer.body().len() < 1_000);
            let mut text = String::new();
            GzDecoder::new(&answer.body()[..]).read_to_string(&mut text).unwrap();
            assert_eq!(text.as_bytes(), document().body());
        }
        for accepted in ["", "identity", "gzip;q=0", "gzip; q=0.0", "x-gzip", "br"] {
            let answer = ask(&[(header::ACCEPT_ENCODING, accepted)]);
            assert!(!answer.headers().contains_key(header::CONTENT_ENCODING), "{accepted}");
            assert_eq!(answer.body(), document().body());
        }
    }

    #[test]
    fn known_document_is_not_sent_again() {
        for encoding in ["identity", "gzip"] {
            let encoding = HeaderValue::from_static(encoding);
            let mut fields = HeaderMap::from_iter([(header::ACCEPT_ENCODING, encoding)]);
            let sent = document().answer(&fields);
            let etag = sent.headers()[header::ETAG].to_str().unwrap();
            for known in [etag.to_owned(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
                fields.insert(header::IF_NONE_MATCH, known.parse().unwrap());
                let answer = document().answer(&fields);
                assert_eq!((answer.status(), answer.body().len()), (StatusCode::NOT_MODIFIED, 0), "{known}");
                assert_eq!(answer.headers()[header::ETAG], sent.headers()[header::ETAG]);
            }
            fields.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"x\""));
            assert_eq!(document().answer(&fields).status(), StatusCode::OK);
        }
    }
}
