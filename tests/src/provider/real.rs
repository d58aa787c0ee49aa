//! A real language model on this machine, which `tools/install.sh models` installs.

use std::{process::Command, time::Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{Answer, Finish, PROVIDER_KEY, Prompt, Tokens, Wire, narrow};
use crate::{
    process::{Process, program_of},
    wait::DEADLINE,
};

/// SmolLM2-135M-Instruct behind llama.cpp's server, with chat completions and Messages. It ends with this process.
#[derive(Debug)]
pub struct LanguageModel {
    process: Process,
    url: String,
}

impl LanguageModel {
    /// Starts it on a free port.
    pub async fn start() -> Self {
        let (process, url) = listening(script("tools/language_model.py", &[])).await;
        Self { process, url }
    }

    /// The base URL, without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server's log.
    pub fn log(&self) -> String {
        self.process.report()
    }
}

/// Bedrock's Converse in front of a server with chat completions. It ends with this process.
#[derive(Debug)]
pub struct Converse {
    process: Process,
    url: String,
}

impl Converse {
    /// Starts it on a free port, in front of the server at `upstream`.
    pub async fn start(upstream: &str) -> Self {
        let mut command = script("tools/converse.py", &[upstream]);
        command.env("OPENAI_API_KEY", PROVIDER_KEY);
        let (process, url) = listening(command).await;
        Self { process, url }
    }

    /// The base URL, without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server's log.
    pub fn log(&self) -> String {
        self.process.report()
    }
}

/// The cosine similarity of each pair of texts by meaning, from -1 to 1.
pub async fn similarities(texts: &[String]) -> Vec<Vec<f64>> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), json!(texts).to_string()).expect("a file can be written");
    let path = file.path().to_string_lossy();
    let output = Process::spawn(script("tools/embeddings.py", &[&path])).success().await;
    serde_json::from_str(&output).expect("a matrix")
}

fn script(path: &str, arguments: &[&str]) -> Command {
    let mut command = program_of("models", "python", "tools/install.sh models");
    // One thread: more would take the time of the tests.
    command.arg(path).args(arguments).env("OPENBLAS_NUM_THREADS", "1");
    command
}

/// Starts a server that prints its address and runs until its standard input ends.
async fn listening(command: Command) -> (Process, String) {
    let mut process = Process::spawn_until_exit(command);
    let deadline = Instant::now() + DEADLINE;
    loop {
        let ended = process.ended();
        if let Some(url) = process.stdout().lines().find_map(|line| line.strip_prefix("listening on ")) {
            return (process, url.trim().to_owned());
        }
        assert!(ended.is_none() && Instant::now() < deadline, "no server: {}", process.report());
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
}

/// The addresses of a real model.
#[derive(Clone, Debug)]
pub struct Upstream {
    http: reqwest::Client,
    model: String,
    converse: Option<String>,
}

impl Upstream {
    /// Chat completions and Messages of a model.
    pub fn new(model: &LanguageModel) -> Self {
        Self { http: crate::http_client(), model: model.url.clone(), converse: None }
    }

    /// Adds Converse.
    #[must_use]
    pub fn with_converse(self, converse: &Converse) -> Self {
        Self { converse: Some(converse.url.clone()), ..self }
    }

    /// The model's response, and its text and tokens if it is an answer.
    pub(super) async fn forward(
        &self,
        prompt: &Prompt,
        request: &Request<Bytes>,
    ) -> (Response<Bytes>, Option<(String, Tokens)>) {
        let narrow = narrow::body(prompt).map(|body| {
            let (head, _) = request.clone().into_parts();
            Request::from_parts(head, Bytes::from(body.to_string()))
        });
        let request = narrow.as_ref().unwrap_or(request);
        // llama.cpp's Messages ignore the schema, so its chat completions give the answer.
        if prompt.wire == Wire::Messages && prompt.schema.is_some() {
            let body = Bytes::from(chat_completion(prompt).to_string());
            let sent = Request::post("/v1/chat/completions").body(body).expect("a request");
            let response = self.send(&self.model, &sent).await;
            return match read(Wire::ChatCompletions, &response) {
                Some((answer, tokens)) => (answer.response(prompt, tokens), Some((answer.text, tokens))),
                None => {
                    (super::answer::error(prompt.wire, response.status().as_u16(), "the model failed"), None)
                }
            };
        }
        let server = match prompt.wire {
            Wire::Converse => self.converse.as_deref().expect("`with_converse` was not called"),
            Wire::ChatCompletions | Wire::Messages => &self.model,
        };
        let response = self.send(server, request).await;
        let answer = read(prompt.wire, &response).map(|(answer, tokens)| (answer.text, tokens));
        (response, answer)
    }

    async fn send(&self, server: &str, request: &Request<Bytes>) -> Response<Bytes> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let url = format!("{server}{path}");
        let mut sent = self.http.post(url).header(header::CONTENT_TYPE, "application/json");
        for name in ["authorization", "x-amz-date", "anthropic-version"] {
            if let Some(value) = request.headers().get(name) {
                sent = sent.header(name, value);
            }
        }
        let sent = async {
            let response = sent.body(request.body().clone()).send().await?;
            let status = response.status();
            Ok::<_, reqwest::Error>((status, response.headers().clone(), response.bytes().await?))
        };
        let (status, headers, bytes) = sent.await.unwrap_or_else(|error| {
            (StatusCode::BAD_GATEWAY, header::HeaderMap::new(), error.to_string().into())
        });
        let mut response = Response::new(bytes);
        *response.status_mut() = status;
        for name in ["content-type", "x-amzn-requestid"] {
            if let Some(value) = headers.get(name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }
}

/// A prompt as a chat completion.
fn chat_completion(prompt: &Prompt) -> Value {
    let system = (!prompt.system.is_empty()).then(|| json!({ "role": "system", "content": prompt.system }));
    let others =
        prompt.messages.iter().map(|message| json!({ "role": message.role, "content": message.text }));
    let mut body = json!({
        "model": prompt.model,
        "messages": system.into_iter().chain(others).collect::<Vec<_>>(),
        "response_format": {
            "type": "json_schema",
            "json_schema": { "name": "reply", "schema": narrow::schema(prompt), "strict": true },
        },
    });
    for name in ["max_tokens", "temperature"] {
        if let Some(value) = prompt.body.get(name) {
            body[name] = value.clone();
        }
    }
    body
}

/// The answer and the tokens in a successful reply of a wire.
fn read(wire: Wire, response: &Response<Bytes>) -> Option<(Answer, Tokens)> {
    if response.status() != StatusCode::OK {
        return None;
    }
    let body: Value = serde_json::from_slice(response.body()).ok()?;
    let (text, is_cut) = match wire {
        Wire::ChatCompletions => {
            (&body["choices"][0]["message"]["content"], body["choices"][0]["finish_reason"] == "length")
        }
        Wire::Messages => (&body["content"][0]["text"], body["stop_reason"] == "max_tokens"),
        Wire::Converse => {
            let block = &body["output"]["message"]["content"][0];
            let is_tool = block.get("toolUse").is_some();
            (
                if is_tool { &block["toolUse"]["input"] } else { &block["text"] },
                body["stopReason"] == "max_tokens",
            )
        }
    };
    let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
    let finish = if is_cut { Finish::Length } else { Finish::Complete };
    Some((Answer { text, finish, tokens: None }, Tokens::reported(wire, &body)))
}
