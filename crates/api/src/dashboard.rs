//! The dashboard: one page that calls the public API with the user's key.
//!
//! The files of `dashboard/` become one response. Its Content-Security-Policy names the digest of each script
//! and style, so the browser runs no others, and lets the page connect to its own server only.

use std::{path::Path, sync::LazyLock};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, InvalidHeaderValue},
};
use onerun_auth::Access;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{ApiError, Document, operation::operations};

operations! {
    GET_DASHBOARD {
        route: GET "/",
        handler: Document(get_dashboard),
        access: Access::Public,
        summary: "Get the dashboard",
        description: "A page for browsers. It asks for a key, keeps it in memory only, and calls this API with it.",
        media_type: "text/html",
        output: String = json!("<!doctype html>…"),
    }
}

macro_rules! files {
    ($($name:literal,)*) => {
        [$(($name, include_str!(concat!("../../../dashboard/", $name)))),*]
    };
}

/// The page. Its references to the other files are replaced by their contents.
const INDEX: &str = include_str!("../../../dashboard/index.html");

const FILES: [(&str, &str); 20] = files![
    "base.css",
    "controls.css",
    "content.css",
    "views.css",
    "narrow.css",
    "dom.js",
    "api.js",
    "words.js",
    "parts.js",
    "keys.js",
    "key-form.js",
    "key-dialogs.js",
    "attention.js",
    "audit.js",
    "simulations.js",
    "conversation.js",
    "batches.js",
    "monitors.js",
    "webhooks.js",
    "app.js",
];

/// The security headers of every answer that a browser may show, besides its content security policy.
pub(crate) const PAGE_HEADERS: [(HeaderName, &str); 5] = [
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // Isolates the window in which a key is pasted from other pages.
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// Assembled once per process.
static PAGE: LazyLock<Result<Document, InvalidHeaderValue>> = LazyLock::new(assemble);

fn assemble() -> Result<Document, InvalidHeaderValue> {
    let mut body = INDEX.to_owned();
    let (mut styles, mut scripts) = (Vec::new(), Vec::new());
    for (name, content) in FILES {
        let source = format!("'sha256-{}'", STANDARD.encode(Sha256::digest(content)));
        let (sources, named, inlined) = if Path::new(name).extension().is_some_and(|kind| kind == "css") {
            let named = format!("<link rel=\"stylesheet\" href=\"{name}\">");
            (&mut styles, named, format!("<style>{content}</style>"))
        } else {
            let named = format!("<script src=\"{name}\"></script>");
            (&mut scripts, named, format!("<script>{content}</script>"))
        };
        body = body.replacen(&named, &inlined, 1);
        sources.push(source);
    }
    let policy = format!(
        "default-src 'none'; connect-src 'self'; script-src {}; style-src {}; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
             trusted-types 'none'",
        scripts.join(" "),
        styles.join(" "),
    );
    let mut headers: HeaderMap =
        PAGE_HEADERS.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy.try_into()?);
    Document::new(body.into(), headers)
}

fn get_dashboard() -> Result<&'static Document, ApiError> {
    PAGE.as_ref().map_err(|error| ApiError::Internal(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> &'static str {
        std::str::from_utf8(PAGE.as_ref().unwrap().body()).unwrap()
    }

    /// All texts between `start` and `end`.
    fn between<'a>(text: &'a str, start: &'a str, end: &'a str) -> Vec<&'a str> {
        text.split(start).skip(1).map(|rest| rest.split_once(end).unwrap().0).collect()
    }

    #[test]
    fn page_has_every_file_and_fetches_none() {
        for (name, content) in FILES {
            assert!(page().contains(content), "{name}");
            // Browsers normalise line ends, which would change the digest.
            assert!(!content.contains('\r'), "{name}");
        }
        let elements =
            between(page(), "<script", "</script>").len() + between(page(), "<style", "</style>").len();
        assert_eq!(elements, FILES.len());
        assert!(!page().contains("<script ") && !page().contains("rel=\"stylesheet\""));
    }

    #[test]
    fn policy_allows_only_the_digests_of_scripts_and_styles() {
        let policy = PAGE.as_ref().unwrap().header(&header::CONTENT_SECURITY_POLICY).to_str().unwrap();
        let sources = |kind: &str| {
            between(policy, &format!("{kind} "), ";")[0].split(' ').map(str::to_owned).collect::<Vec<_>>()
        };
        let digests = |contents: Vec<&str>| {
            let digests = contents.into_iter().map(|content| STANDARD.encode(Sha256::digest(content)));
            digests.map(|digest| format!("'sha256-{digest}'")).collect::<Vec<_>>()
        };
        assert_eq!(sources("script-src"), digests(between(page(), "<script>", "</script>")));
        assert_eq!(sources("style-src"), digests(between(page(), "<style>", "</style>")));
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"));
    }

    #[test]
    fn markup_has_no_inline_handlers_or_styles() {
        for dropped in [" style=", " onclick=", " onload=", "javascript:"] {
            assert!(!INDEX.contains(dropped), "{dropped}");
        }
    }
}
