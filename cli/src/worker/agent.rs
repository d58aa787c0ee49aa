//! A target as the agent of a worker.

use std::{fmt, fs::File, sync::Arc};

use anyhow::Context;
use onerun_client::{Agent, AgentError, AgentSession, ConversationInfo, Message, Reply, resource::Role};
use onerun_server::HttpTransport;
use onerun_targets::{Session, Target, TargetSpec};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::metrics::Replies;
use crate::{api::variable, input, yaml};

/// The maximum size of a target's description in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// An agent that a description says how to reach.
pub(crate) struct TargetAgent {
    target: Target,
    replies: Arc<Replies>,
}

impl TargetAgent {
    /// Opens the agent that a file or a text describes.
    pub(super) fn open(described: &str) -> anyhow::Result<Self> {
        Self::new(&read_target(described)?).context("--target")
    }

    /// Opens the agent of this description.
    pub(crate) fn new(spec: &TargetSpec) -> anyhow::Result<Self> {
        // A variable that is not text is reported as not set.
        let mut lookup = |name: &str| variable(name).ok().flatten();
        let target = Target::new(spec, &mut lookup, Arc::new(HttpTransport::new()?))?;
        Ok(Self { target, replies: Arc::default() })
    }

    /// The counts of the agent's replies.
    pub(super) fn replies(&self) -> Arc<Replies> {
        Arc::clone(&self.replies)
    }
}

/// Reads the description of a target from a file, or from the text itself if it starts with a brace.
pub(crate) fn read_target<T: DeserializeOwned>(described: &str) -> anyhow::Result<T> {
    if described.trim_start().starts_with('{') {
        return yaml::parse(described).context("--target");
    }
    let opened = File::open(described).with_context(|| {
        format!("--target: cannot read {described}; write a description such as `{{command: [python, agent.py]}}` in braces")
    })?;
    let text = input::read_bounded(opened, described, MAX_FILE).context("--target")?;
    yaml::parse(&text).with_context(|| format!("--target: {described}"))
}

impl fmt::Display for TargetAgent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(formatter)
    }
}

impl Agent for TargetAgent {
    type Session = TargetSession;

    async fn open(&self, about: &ConversationInfo) -> Result<TargetSession, AgentError> {
        let about = onerun_targets::ConversationInfo {
            agent_id: about.agent_id.clone(),
            conversation_id: about.conversation_id.clone(),
            simulation_id: about.simulation_id.clone(),
            attempt: about.attempt,
            metadata: about.metadata.clone(),
        };
        let replies = Arc::clone(&self.replies);
        match self.target.open(&about).await {
            Ok(session) => Ok(TargetSession { session, replies }),
            Err(error) => {
                replies.failed(&error);
                Err(error.into())
            }
        }
    }
}

/// One conversation with the agent.
pub(crate) struct TargetSession {
    session: Session,
    replies: Arc<Replies>,
}

impl AgentSession for TargetSession {
    async fn reply(&mut self, transcript: &[Message]) -> Result<Reply, AgentError> {
        let transcript: Vec<_> = transcript
            .iter()
            .map(|message| onerun_targets::Message {
                role: match message.role {
                    Role::Persona => onerun_targets::Role::User,
                    Role::Agent => onerun_targets::Role::Assistant,
                },
                text: message.text.clone(),
            })
            .collect();
        let asked = Instant::now();
        match self.session.reply(&transcript).await {
            Ok(onerun_targets::Reply { text, end }) => {
                self.replies.replied(asked.elapsed());
                Ok(Reply { text, end })
            }
            Err(error) => {
                self.replies.failed(&error);
                Err(error.into())
            }
        }
    }

    async fn close(self) {
        self.session.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_spec(described: &str) -> anyhow::Result<TargetSpec> {
        read_target(described)
    }

    #[test]
    fn description_is_a_file_or_a_text_in_braces() {
        assert!(read_spec("{command: [python, agent.py]}").is_ok());
        assert!(read_spec(" {\"openai\": {\"url\": \"http://localhost:1\", \"model\": \"m\"}}").is_ok());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "http:\n  url: http://localhost:1/\n  body: {a: '{{ message }}'}\n  reply: $.b\n",
        )
        .unwrap();
        assert!(read_spec(file.path().to_str().unwrap()).is_ok());
        let error = format!("{:#}", read_spec("command.yaml").unwrap_err());
        assert!(error.contains("cannot read command.yaml") && error.contains("in braces"), "{error}");
    }

    #[test]
    fn wrong_description_is_refused_with_its_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "openai:\n  url: http://localhost:1/\n  modle: m\n").unwrap();
        let error = format!("{:#}", read_spec(file.path().to_str().unwrap()).unwrap_err());
        assert!(error.contains("modle") && error.contains('3'), "{error}");
        let error = format!("{:#}", read_spec("{http: {url: 'http://a', body: {}, reply: x}}").unwrap_err());
        assert!(error.contains("`x` is not a path"), "{error}");
    }
}
