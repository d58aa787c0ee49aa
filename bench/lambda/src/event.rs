//! API Gateway's event for a request: payload 2.0 of an HTTP API.

use serde_json::{Value, json};

/// A request as an event.
pub(crate) fn event(
    method: &str,
    path: &str,
    query: &[(&str, &str)],
    key: Option<&str>,
    body: Option<&Value>,
) -> Value {
    let mut headers = json!({
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
        "host": "bench.execute-api.us-east-1.amazonaws.com",
        "user-agent": "onerun-bench",
        "x-amzn-trace-id": "Root=1-67891233-abcdef012345678912345678",
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    });
    if let Some(key) = key {
        headers["x-api-key"] = key.into();
    }
    if body.is_some() {
        headers["content-type"] = "application/json".into();
    }
    let raw: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": raw.join("&"),
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "bench",
            "domainName": "bench.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "bench",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "onerun-bench",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": "$default",
            "time": "23/Nov/2026:09:30:00 +0000",
            "timeEpoch": 1_795_426_200_000_u64,
        },
        "isBase64Encoded": false,
    });
    if !query.is_empty() {
        event["queryStringParameters"] = query.iter().map(|(name, value)| (*name, *value)).collect();
    }
    if let Some(body) = body {
        event["body"] = body.to_string().into();
    }
    event
}
