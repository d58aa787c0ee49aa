//! How to reach an agent under test: a chat API, an HTTP endpoint, or a command that speaks JSON lines.
//!
//! A [`TargetSpec`] is what a user writes. A [`Target`] is ready to be called: environment variables were
//! read, and addresses were checked. A [`Session`] is one conversation. `docs/targets.md` describes the
//! protocols.
//!
//! Everything from outside is bounded in bytes and time. A [`TargetError`] says that a conversation could
//! not be held; it is never a verdict on the agent.

mod chat;
mod command;
mod endpoint;
mod env_text;
mod error;
mod excerpt;
mod http_endpoint;
mod path;
mod secrets;
pub mod spec;
mod template;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use onerun_domain::MessageText;
pub use onerun_domain::Role;
use onerun_transport::Transport;
use serde_json::{Map, Value};

use crate::{
    chat::Chat,
    command::{Command, CommandSession},
    endpoint::Endpoint,
    http_endpoint::HttpEndpoint,
};
pub use crate::{
    env_text::EnvText,
    error::{SpecError, TargetError},
    path::JsonPath,
    spec::TargetSpec,
    template::Template,
};

/// A message of a conversation. The persona is [`Role::User`], the agent [`Role::Assistant`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who wrote the message.
    pub role: Role,
    /// The text.
    pub text: String,
}

/// The facts about a conversation that an agent may know. The persona is not part of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConversationInfo {
    /// The id of the agent.
    pub agent_id: String,
    /// The id of the conversation.
    pub conversation_id: String,
    /// The id of its simulation.
    pub simulation_id: String,
    /// The attempt, from 1. A new attempt starts with an empty transcript.
    pub attempt: u32,
    /// The metadata of the simulation.
    pub metadata: Map<String, Value>,
}

/// An agent's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The message. `None` only if the agent ends the conversation without one.
    pub text: Option<String>,
    /// Whether the agent ends the conversation.
    pub end: bool,
}

/// An agent that can be called. Cheap to clone.
#[derive(Clone)]
pub struct Target(Arc<Kind>);

enum Kind {
    Chat(Chat),
    Http(HttpEndpoint),
    Command(Command),
}

impl Target {
    /// Prepares the calls of an agent. `variables` reads environment variables, each at most once per
    /// reference. `transport` sends the requests of HTTP targets.
    pub fn new(
        spec: &TargetSpec,
        variables: &mut dyn FnMut(&str) -> Option<String>,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, SpecError> {
        let kind = match spec {
            TargetSpec::OpenAi(spec) => {
                let timeout = spec.timeout_seconds.duration();
                let mut endpoint =
                    Endpoint::new("openai", &spec.url, &spec.headers, timeout, variables, transport)?
                        .with_suffix("/chat/completions");
                if let Some(name) = &spec.api_key_env {
                    let refuse = |problem: String| SpecError::new("openai.api_key_env", problem);
                    let token = variables(name.as_str()).ok_or_else(|| {
                        refuse(format!("the environment variable {} is not set", name.as_str()))
                    })?;
                    endpoint = endpoint.with_token(token).map_err(refuse)?;
                }
                Kind::Chat(Chat { endpoint, model: spec.model.clone(), system: spec.system.clone() })
            }
            TargetSpec::Http(spec) => {
                let timeout = spec.timeout_seconds.duration();
                let endpoint =
                    Endpoint::new("http", &spec.url, &spec.headers, timeout, variables, transport)?;
                Kind::Http(HttpEndpoint {
                    endpoint: endpoint.with_method(spec.method.into()),
                    body: spec.body.clone(),
                    reply: spec.reply.clone(),
                    end: spec.end.clone(),
                })
            }
            TargetSpec::Command(spec) => Kind::Command(Command::new(spec, variables)?),
            TargetSpec::Workers => return Err(SpecError::Workers),
        };
        Ok(Self(Arc::new(kind)))
    }

    /// Opens a conversation. A command is started; the other targets receive nothing yet.
    #[expect(
        clippy::unused_async,
        reason = "opening a target may need to wait, as for a server that it starts"
    )]
    pub async fn open(&self, about: &ConversationInfo) -> Result<Session, TargetError> {
        let command = match self.0.as_ref() {
            Kind::Command(command) => Some(command.start(about)?),
            Kind::Chat(_) | Kind::Http(_) => None,
        };
        Ok(Session { target: self.clone(), about: about.clone(), command })
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Where the agent is, without secrets, such as `http://localhost:8000/chat`.
impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = match self.0.as_ref() {
            Kind::Chat(chat) => &chat.endpoint,
            Kind::Http(http) => &http.endpoint,
            Kind::Command(command) => return formatter.write_str(&command.program()),
        };
        let uri = endpoint.uri();
        let (scheme, host) = (uri.scheme_str().unwrap_or_default(), uri.authority());
        write!(formatter, "{scheme}://{}{}", host.map_or("", |host| host.as_str()), uri.path())
    }
}

/// One conversation with an agent. Dropping it ends a command at once, with all processes that it started.
pub struct Session {
    target: Target,
    about: ConversationInfo,
    command: Option<CommandSession>,
}

impl Session {
    /// The agent's next message, given the transcript so far, oldest message first.
    ///
    /// After an error the session is of no use, because the agent may be out of step.
    pub async fn reply(&mut self, transcript: &[Message]) -> Result<Reply, TargetError> {
        match (self.target.0.as_ref(), &mut self.command) {
            (Kind::Command(_), Some(session)) => session.reply(&self.about, transcript).await,
            // A session of a command always has its process.
            (Kind::Command(_), None) => Err(TargetError::BrokeOff("the command has ended".to_owned())),
            (Kind::Chat(chat), _) => chat.reply(&self.about, transcript).await,
            (Kind::Http(http), _) => http.reply(&self.about, transcript).await,
        }
    }

    /// Ends the conversation. A command gets the end of its input and a few seconds to exit.
    pub async fn close(self) {
        if let Some(session) = self.command {
            session.close().await;
        }
    }
}

/// A reply with a text that a conversation can hold.
fn reply_of(text: Option<String>, end: bool) -> Result<Reply, TargetError> {
    if let Some(text) = &text {
        MessageText::parse(text.as_str())
            .map_err(|error| TargetError::Unusable(format!("the reply {error}")))?;
    }
    Ok(Reply { text, end })
}
