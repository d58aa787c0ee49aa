//! Requests as events, and answers as responses, as AWS documents them: payloads 1.0 and 2.0 of HTTP APIs, and those of
//! function URLs.
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html>

use std::{collections::BTreeMap, net::SocketAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{ACCOUNT, template::DEFAULT_ROUTE};
use crate::template;

/// The payload format of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Payload 1.0 of an HTTP API.
    V1,
    /// Payload 2.0 of an HTTP API.
    V2,
    /// The payload of a function URL.
    FunctionUrl,
}

/// The request's attributes that only the front knows.
#[derive(Clone, Debug)]
pub struct Context {
    /// The route's path, with its parameters in braces.
    pub resource: String,
    /// The parameters' values, decoded.
    pub parameters: BTreeMap<String, String>,
    /// The caller's address.
    pub source: SocketAddr,
    /// The id that the front gives the request.
    pub id: String,
    /// The time of arrival.
    pub time: Timestamp,
}

const API_ID: &str = "onerun0api";

impl Payload {
    /// The event of a request.
    pub fn event(self, request: &Request<Bytes>, context: &Context) -> Value {
        match self {
            Self::V1 => v1(request, context),
            Self::V2 | Self::FunctionUrl => v2(request, context, self == Self::FunctionUrl),
        }
    }

    /// Turns a function's reply into a response. The error says why the reply is invalid; the
    /// caller gets only a 500.
    pub fn response(self, answer: &Value) -> Result<Response<Bytes>, String> {
        let status = match answer.get("statusCode") {
            Some(code) => code.as_u64().and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok()),
            // Payload 2.0 wraps a reply without a status into a 200. No function intends that, so
            // it is an error.
            None => None,
        };
        let status = status.ok_or_else(|| format!("no status in {answer}"))?;
        let text = match answer.get("body") {
            Some(Value::String(text)) => text.as_str(),
            None | Some(Value::Null) => "",
            Some(_) => return Err(format!("a body that is no text in {answer}")),
        };
        let body = if answer["isBase64Encoded"] == true {
            Bytes::from(STANDARD.decode(text).map_err(|error| error.to_string())?)
        } else {
            Bytes::from(text.to_owned())
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let mut add = |name: &str, value: &Value| -> Result<(), String> {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                _ => return Err(format!("a header {name} that is no text")),
            };
            let name: HeaderName = name.parse().map_err(|_| format!("a header called {name:?}"))?;
            let value = HeaderValue::from_str(&value).map_err(|_| format!("a header {name} of {value:?}"))?;
            response.headers_mut().append(name, value);
            Ok(())
        };
        let empty = Map::new();
        let object = |name: &str| answer[name].as_object().unwrap_or(&empty);
        // Values in both members are sent twice. Payload 2.0 has no multi-value headers.
        for (name, value) in object("headers") {
            add(name, value)?;
        }
        if self == Self::V1 {
            for (name, values) in object("multiValueHeaders") {
                for value in values.as_array().ok_or_else(|| format!("{name} has no list of values"))? {
                    add(name, value)?;
                }
            }
        } else {
            for cookie in answer["cookies"].as_array().into_iter().flatten() {
                add("set-cookie", cookie)?;
            }
        }
        response.headers_mut().remove(header::CONTENT_LENGTH);
        Ok(response)
    }
}

fn v2(request: &Request<Bytes>, context: &Context, is_function_url: bool) -> Value {
    let mut headers = fields(request, context);
    let cookies = headers.remove("cookie");
    let headers: BTreeMap<_, _> =
        headers.into_iter().map(|(name, values)| (name, values.join(","))).collect();
    let route_key = if is_function_url || context.resource == DEFAULT_ROUTE {
        DEFAULT_ROUTE.to_owned()
    } else {
        format!("{} {}", request.method(), context.resource)
    };
    let path = if is_function_url {
        // Function URLs hand the path on as it came.
        request.uri().path().to_owned()
    } else {
        decode(request.uri().path())
    };
    let domain = if is_function_url {
        format!("{API_ID}.lambda-url.eu-central-1.on.aws")
    } else {
        format!("{API_ID}.execute-api.eu-central-1.amazonaws.com")
    };
    let mut event = json!({
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": path,
        "rawQueryString": request.uri().query().unwrap_or_default(),
        "headers": headers,
        "requestContext": {
            "accountId": if is_function_url { "anonymous" } else { ACCOUNT },
            "apiId": API_ID,
            "domainName": domain,
            "domainPrefix": API_ID,
            "http": {
                "method": request.method().as_str(),
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": context.source.ip(),
                "userAgent": text(request, &header::USER_AGENT),
            },
            "requestId": context.id,
            "routeKey": route_key,
            "stage": "$default",
            "time": context.time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            "timeEpoch": context.time.as_millisecond(),
        },
        "isBase64Encoded": false,
    });
    if let Some(cookies) = cookies {
        let cookies: Vec<_> = cookies.iter().flat_map(|line| line.split("; ")).collect();
        event["cookies"] = json!(cookies);
    }
    let query = query(request);
    if !query.is_empty() {
        let joined: BTreeMap<_, _> =
            query.into_iter().map(|(name, values)| (name, values.join(","))).collect();
        event["queryStringParameters"] = json!(joined);
    }
    if !context.parameters.is_empty() && !is_function_url {
        event["pathParameters"] = json!(context.parameters);
    }
    add_body(&mut event, request);
    event
}

fn v1(request: &Request<Bytes>, context: &Context) -> Value {
    let multiple: BTreeMap<_, _> = fields(request, context)
        .into_iter()
        .map(|(name, values)| (capitalised_words(&name), values))
        .collect();
    let single: BTreeMap<_, _> =
        multiple.iter().map(|(name, values)| (name, values.last().cloned().unwrap_or_default())).collect();
    let query = query(request);
    let single_query: BTreeMap<_, _> =
        query.iter().map(|(name, values)| (name, values.last().cloned().unwrap_or_default())).collect();
    let path = decode(request.uri().path());
    let or_null = |value: Value| {
        if value.as_object().is_some_and(Map::is_empty) { Value::Null } else { value }
    };
    let mut event = json!({
        "version": "1.0",
        "resource": context.resource,
        "path": path,
        "httpMethod": request.method().as_str(),
        "headers": single,
        "multiValueHeaders": multiple,
        "queryStringParameters": or_null(json!(single_query)),
        "multiValueQueryStringParameters": or_null(json!(query)),
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": API_ID,
            "domainName": format!("{API_ID}.execute-api.eu-central-1.amazonaws.com"),
            "domainPrefix": API_ID,
            "extendedRequestId": context.id,
            "httpMethod": request.method().as_str(),
            "identity": {
                "accessKey": null, "accountId": null, "caller": null, "cognitoAmr": null,
                "cognitoAuthenticationProvider": null, "cognitoAuthenticationType": null,
                "cognitoIdentityId": null, "cognitoIdentityPoolId": null, "principalOrgId": null,
                "sourceIp": context.source.ip(),
                "user": null,
                "userAgent": text(request, &header::USER_AGENT),
                "userArn": null,
            },
            "path": path,
            "protocol": "HTTP/1.1",
            "requestId": context.id,
            "requestTime": context.time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            "requestTimeEpoch": context.time.as_millisecond(),
            "resourceId": format!("{} {}", request.method(), context.resource),
            "resourcePath": context.resource,
            "stage": "$default",
        },
        "pathParameters": or_null(json!(context.parameters)),
        "stageVariables": null,
        "body": null,
        "isBase64Encoded": false,
    });
    add_body(&mut event, request);
    event
}

/// The header fields as an API hands them on: in lower case, without those of the connection, with its own.
fn fields(request: &Request<Bytes>, context: &Context) -> BTreeMap<String, Vec<String>> {
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in request.headers() {
        if [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE].contains(name) {
            continue;
        }
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        fields.entry(name.as_str().to_owned()).or_default().push(value);
    }
    let length = request.body().len().to_string();
    fields.insert("content-length".into(), vec![length]);
    fields.insert("x-amzn-trace-id".into(), vec!["Root=1-67891233-abcdef012345678912345678".into()]);
    // The caller's own value comes first.
    let forwarded = fields.entry("x-forwarded-for".into()).or_default();
    forwarded.push(context.source.ip().to_string());
    *forwarded = vec![forwarded.join(", ")];
    fields.insert("x-forwarded-port".into(), vec!["443".into()]);
    fields.insert("x-forwarded-proto".into(), vec!["https".into()]);
    fields
}

fn text(request: &Request<Bytes>, name: &HeaderName) -> String {
    let value = request.headers().get(name);
    value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}

/// The query's parameters, decoded, each with all of its values.
fn query(request: &Request<Bytes>) -> BTreeMap<String, Vec<String>> {
    let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        parameters.entry(decode(&name.replace('+', " "))).or_default().push(decode(&value.replace('+', " ")));
    }
    parameters
}

/// Text is passed unchanged, everything else as base64.
fn add_body(event: &mut Value, request: &Request<Bytes>) {
    let body = request.body();
    if body.is_empty() {
        return;
    }
    let kind = text(request, &header::CONTENT_TYPE).to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_text = kind.starts_with("text/")
        || ["application/json", "application/javascript", "application/xml"].contains(&kind)
        || kind.ends_with("+json")
        || kind.ends_with("+xml");
    let readable = std::str::from_utf8(body).ok().filter(|_| is_text);
    event["body"] = readable.map_or_else(|| STANDARD.encode(body), str::to_owned).into();
    event["isBase64Encoded"] = readable.is_none().into();
}

/// `x-api-key` as `X-Api-Key`: payload 1.0 keeps the letters that a client chose.
fn capitalised_words(name: &str) -> String {
    name.split('-').map(template::capitalised).collect::<Vec<_>>().join("-")
}

/// Decodes percent-encoding that is valid UTF-8.
pub(crate) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digits =
            tail.get(..2).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        if let Some(decoded) = digits.filter(|_| byte == b'%') {
            bytes.push(decoded);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
