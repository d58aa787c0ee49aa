//! Agents behind OpenAI's chat completions.

use onerun_domain::Role;
use serde_json::{Value, json};

use crate::{ConversationInfo, Message, Reply, TargetError, endpoint::Endpoint, reply_of};

pub(crate) struct Chat {
    pub(crate) endpoint: Endpoint,
    pub(crate) model: String,
    pub(crate) system: Option<String>,
}

impl Chat {
    pub(crate) async fn reply(
        &self,
        about: &ConversationInfo,
        transcript: &[Message],
    ) -> Result<Reply, TargetError> {
        let system = self.system.iter().map(|text| json!({ "role": "system", "content": text }));
        let messages = transcript
            .iter()
            .map(|message| json!({ "role": role_name(message.role), "content": message.text }));
        let body = json!({ "model": self.model, "messages": system.chain(messages).collect::<Vec<_>>() });
        let document = self.endpoint.call(about, &body).await?;
        let message = &document["choices"][0]["message"];
        let text = match &message["content"] {
            Value::String(text) => text.clone(),
            // Some servers return parts.
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            _ if message["tool_calls"].is_array() => {
                let problem = "it calls tools instead of replying; the agent must run its tools itself";
                return Err(TargetError::Unusable(problem.to_owned()));
            }
            _ => {
                let problem = "it has no text at $.choices[0].message.content";
                return Err(TargetError::Unusable(problem.to_owned()));
            }
        };
        reply_of(Some(text), false)
    }
}

/// The role's name in chat APIs, in which the agent is the assistant.
pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}
