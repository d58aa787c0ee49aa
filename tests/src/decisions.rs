//! A server of decision models on this machine. It checks requests as strictly as OpenAI documents them.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::{listener::Listener, provider::PROVIDER_KEY};

/// A server that gives each question's choices the same probabilities, in their order.
#[derive(Debug)]
pub struct DecisionServer {
    listener: Listener,
    requests: Arc<Mutex<Vec<Value>>>,
}

impl DecisionServer {
    /// Listens at a free port.
    pub async fn start(probabilities: [f64; 3]) -> Self {
        let requests: Arc<Mutex<Vec<Value>>> = Arc::default();
        let seen = Arc::clone(&requests);
        let answer = move |_, request: Request<Bytes>| {
            let (status, body) = match decide(&request, probabilities) {
                Ok((wanted, body)) => {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(wanted);
                    (StatusCode::OK, body)
                }
                Err((status, message)) => (status, json!({"error": {"message": message}})),
            };
            let mut response = Response::new(Bytes::from(body.to_string()));
            *response.status_mut() = status;
            std::future::ready(Some(response))
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { listener: Listener::start(address, answer).await.expect("a free port"), requests }
    }

    /// The variables that configure this server as the judge, beside the offline model.
    pub fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("ONERUN_JUDGE_MODEL", "openai-decisions:gpt-6-luna".to_owned()),
            ("OPENAI_BASE_URL", format!("http://{}/v1", self.listener.address())),
            ("OPENAI_API_KEY", PROVIDER_KEY.to_owned()),
        ]
    }

    /// The accepted requests.
    pub fn requests(&self) -> Vec<Value> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The request and the response to it, or why it is refused.
fn decide(
    request: &Request<Bytes>,
    probabilities: [f64; 3],
) -> Result<(Value, Value), (StatusCode, &'static str)> {
    if (request.method(), request.uri().path()) != (&Method::POST, "/v1/decisions") {
        return Err((StatusCode::NOT_FOUND, "no such path"));
    }
    let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    if authorization != Some(&format!("Bearer {PROVIDER_KEY}")) {
        return Err((StatusCode::UNAUTHORIZED, "the key is wrong"));
    }
    let bad = |message| (StatusCode::BAD_REQUEST, message);
    let body: Value =
        serde_json::from_slice(request.body()).map_err(|_| bad("the body is not valid JSON"))?;
    let members = body.as_object().ok_or(bad("the body is not an object"))?;
    if members.keys().any(|name| !["model", "input", "questions"].contains(&name.as_str())) {
        return Err(bad("unknown parameter"));
    }
    let (Some(input), Some(model)) = (body["input"].as_str(), body["model"].as_str()) else {
        return Err(bad("`input` and `model` are required"));
    };
    let questions = body["questions"].as_array().filter(|all| (1..=400).contains(&all.len()));
    let questions = questions.ok_or(bad("`questions` must have 1 to 400 entries"))?;
    let mut answers = Vec::new();
    for question in questions {
        let choices = question["choices"].as_array().filter(|all| all.len() == probabilities.len());
        let (Some(choices), true, true) =
            (choices, question["type"] == "choice", question["instructions"].is_string())
        else {
            return Err(bad("a question must be a choice with instructions"));
        };
        let of_each: Vec<Value> = choices
            .iter()
            .zip(probabilities)
            .map(|(choice, probability)| json!({"value": choice["value"], "probability": probability}))
            .collect();
        answers.push(json!({
            "type": "choice", "name": question["name"], "choice": choices[0]["value"],
            "probabilities": of_each, "confidence": 0.8,
        }));
    }
    let usage = json!({
        "input_tokens": input.len(), "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 0,
    });
    let response = json!({"model": format!("{model}-2026-10-06"), "answers": answers, "usage": usage});
    Ok((body, response))
}
