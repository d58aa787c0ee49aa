//! Agents behind an HTTP endpoint of any form.

use onerun_domain::Role;
use serde_json::Value;

use crate::{
    ConversationInfo, Message, Reply, TargetError,
    chat::role_name,
    endpoint::Endpoint,
    path::JsonPath,
    reply_of,
    template::{Template, TemplateMessage, Variables},
};

pub(crate) struct HttpEndpoint {
    pub(crate) endpoint: Endpoint,
    pub(crate) body: Template,
    pub(crate) reply: JsonPath,
    pub(crate) end: Option<JsonPath>,
}

impl HttpEndpoint {
    pub(crate) async fn reply(
        &self,
        about: &ConversationInfo,
        transcript: &[Message],
    ) -> Result<Reply, TargetError> {
        let body = self.document(about, transcript)?;
        let document = self.endpoint.call(about, &body).await?;
        let end = match &self.end {
            None => false,
            Some(path) => match path.find(&document) {
                Some(Value::Bool(end)) => *end,
                None | Some(Value::Null) => false,
                Some(_) => {
                    return Err(TargetError::Unusable(format!("`end` ({path}) is neither true nor false")));
                }
            },
        };
        let text = match self.reply.find(&document) {
            Some(Value::String(text)) => Some(text.clone()),
            None | Some(Value::Null) => None,
            Some(_) => return Err(TargetError::Unusable(format!("`reply` ({}) is no text", self.reply))),
        };
        if text.is_none() && !end {
            return Err(TargetError::Unusable(format!("it has no reply at {}", self.reply)));
        }
        reply_of(text, end)
    }

    fn document(&self, about: &ConversationInfo, transcript: &[Message]) -> Result<Value, TargetError> {
        let messages: Vec<_> = transcript
            .iter()
            .map(|message| TemplateMessage { role: role_name(message.role), content: &message.text })
            .collect();
        let last = transcript.iter().rfind(|message| message.role == Role::User);
        let variables = Variables {
            message: last.map(|message| message.text.as_str()).unwrap_or_default(),
            messages: &messages,
            agent_id: &about.agent_id,
            conversation_id: &about.conversation_id,
            simulation_id: &about.simulation_id,
            attempt: about.attempt,
            turn: transcript.iter().filter(|message| message.role == Role::Assistant).count() + 1,
            metadata: &about.metadata,
        };
        self.body
            .render(&variables)
            .map_err(|problem| TargetError::Unreachable(format!("the body's template failed: {problem}")))
    }
}
