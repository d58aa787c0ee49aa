//! Agents that are commands: one process per conversation, which reads and writes JSON lines.

mod process_group;
mod standard_error;

use std::{path::PathBuf, process::Stdio, time::Duration};

use futures_util::{FutureExt, StreamExt};
use onerun_domain::Role;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::{
    io::AsyncWriteExt,
    process::{ChildStdin, ChildStdout},
    time::timeout,
};
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

use crate::{
    ConversationInfo, Message, Reply, SpecError, TargetError,
    chat::role_name,
    endpoint::{Lookup, resolve},
    reply_of,
    secrets::Secrets,
    spec::CommandSpec,
    template::TemplateMessage,
};
use process_group::ProcessGroup;
use standard_error::StandardError;

/// The maximum length of a line from the command, in bytes.
const MAX_LINE: usize = 1024 * 1024;

/// How long a command may take to exit after the end of its input.
const EXIT_TIME: Duration = Duration::from_secs(5);

/// How long to wait for the exit status of a command that closed its output.
const STATUS_TIME: Duration = Duration::from_secs(1);

/// The keys of the server, which an agent has no use for.
const WITHHELD: [&str; 2] = ["ONERUN_API_KEY", "AUTH_API_KEY"];

/// A command that can be started.
pub(crate) struct Command {
    run: Vec<String>,
    env: Vec<(String, String)>,
    cwd: Option<PathBuf>,
    timeout: Duration,
    secrets: Secrets,
}

impl Command {
    pub(crate) fn new(spec: &CommandSpec, variables: Lookup<'_>) -> Result<Self, SpecError> {
        let mut secrets = Secrets::default();
        let mut env = Vec::new();
        for (name, text) in &spec.env {
            let field = format!("command.env.{}", name.as_str());
            let value = resolve(&field, text, variables)?;
            if value.text.contains('\0') {
                return Err(SpecError::new(field, "must not contain a null character"));
            }
            secrets.add(value.secrets);
            env.push((name.as_str().to_owned(), value.text));
        }
        Ok(Self {
            run: spec.run.clone(),
            env,
            cwd: spec.cwd.clone(),
            timeout: spec.timeout_seconds.duration(),
            secrets,
        })
    }

    /// The program and its arguments, for errors and logs.
    pub(crate) fn program(&self) -> String {
        self.secrets.excerpt(&self.run.join(" "))
    }

    /// Starts a process for one conversation.
    pub(crate) fn start(&self, about: &ConversationInfo) -> Result<CommandSession, TargetError> {
        let (program, arguments) = self
            .run
            .split_first()
            .ok_or_else(|| TargetError::Unreachable("the command has no program".to_owned()))?;
        let mut command = tokio::process::Command::new(program);
        for name in WITHHELD {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(directory) = &self.cwd {
            command.current_dir(directory);
        }
        let failed =
            |problem: &str| TargetError::Unreachable(format!("cannot start `{}`: {problem}", self.program()));
        let mut group = ProcessGroup::spawn(&mut command).map_err(|error| failed(&error.to_string()))?;
        let (stdin, stdout, stderr) = group.take_pipes().ok_or_else(|| failed("it has no pipes"))?;
        let errors = StandardError::read(stderr, about.conversation_id.clone(), self.secrets.clone());
        Ok(CommandSession {
            stdin,
            lines: FramedRead::new(stdout, LinesCodec::new_with_max_length(MAX_LINE)),
            errors,
            group,
            timeout: self.timeout,
            secrets: self.secrets.clone(),
        })
    }
}

/// A line to the command: one turn.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the protocol")]
struct Turn<'a> {
    agent_id: &'a str,
    conversation_id: &'a str,
    simulation_id: &'a str,
    attempt: u32,
    metadata: &'a Map<String, Value>,
    turn: usize,
    message: &'a str,
    messages: Vec<TemplateMessage<'a>>,
}

/// A line from the command. Unknown members are ignored.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    reply: Option<String>,
    #[serde(default)]
    end: bool,
    #[serde(default)]
    error: Option<String>,
}

/// A running command.
pub(crate) struct CommandSession {
    stdin: ChildStdin,
    lines: FramedRead<ChildStdout, LinesCodec>,
    errors: StandardError,
    group: ProcessGroup,
    timeout: Duration,
    secrets: Secrets,
}

impl CommandSession {
    pub(crate) async fn reply(
        &mut self,
        about: &ConversationInfo,
        transcript: &[Message],
    ) -> Result<Reply, TargetError> {
        let answered = match timeout(self.timeout, self.exchange(about, transcript)).await {
            Ok(answered) => answered,
            Err(_) => Err(TargetError::TimedOut(self.timeout)),
        };
        answered.map_err(|error| error.map_text(|text| self.secrets.excerpt_of(text, 600)))
    }

    async fn exchange(
        &mut self,
        about: &ConversationInfo,
        transcript: &[Message],
    ) -> Result<Reply, TargetError> {
        // A line that nothing asked for would be taken for the next reply.
        if let Some(Some(Ok(line))) = self.lines.next().now_or_never()
            && !line.trim().is_empty()
        {
            return Err(TargetError::Unusable(format!(
                "the command wrote a line without being asked: `{line}`; write logs to standard error"
            )));
        }
        if self.stdin.write_all(&line(about, transcript)).await.is_err() {
            // The command's end says more than the broken pipe.
            return Err(self.ended().await);
        }
        let line = loop {
            match self.lines.next().await {
                Some(Ok(line)) if line.trim().is_empty() => {}
                Some(Ok(line)) => break line,
                Some(Err(LinesCodecError::MaxLineLengthExceeded)) => {
                    let problem = format!("the command wrote a line of more than {MAX_LINE} bytes");
                    return Err(TargetError::Unusable(problem));
                }
                Some(Err(LinesCodecError::Io(error))) => {
                    // Among others, bytes that are not UTF-8.
                    return Err(TargetError::Unusable(format!("the command's output: {error}")));
                }
                None => return Err(self.ended().await),
            }
        };
        let answer: Answer = serde_json::from_str(&line).map_err(|error| {
            let what = if serde_json::from_str::<Value>(&line).is_ok() {
                "has the wrong form"
            } else {
                "is not JSON; write logs to standard error"
            };
            TargetError::Unusable(format!("a line of the command {what} ({error}): `{line}`"))
        })?;
        if let Some(error) = answer.error {
            return Err(TargetError::Refused(error));
        }
        if answer.reply.is_none() && !answer.end {
            let problem = format!("the command's line has neither `reply` nor `\"end\": true`: `{line}`");
            return Err(TargetError::Unusable(problem));
        }
        reply_of(answer.reply, answer.end)
    }

    /// How the command ended, with its last words.
    async fn ended(&mut self) -> TargetError {
        let status = match timeout(STATUS_TIME, self.group.wait()).await {
            Ok(Ok(status)) => format!("the command ended ({status})"),
            _ => "the command closed its output".to_owned(),
        };
        let words = self.errors.last_words(STATUS_TIME).await;
        let words = if words.is_empty() { String::new() } else { format!("; it wrote: {words}") };
        TargetError::BrokeOff(format!("{status}{words}"))
    }

    pub(crate) async fn close(self) {
        let Self { stdin, lines, errors, mut group, .. } = self;
        drop(stdin);
        if timeout(EXIT_TIME, group.wait()).await.is_err() {
            tracing::warn!("the agent's command did not exit at the end of its input and is killed");
        }
        // Its output stays open until here, so that a last line does not break its pipe.
        drop((lines, errors));
    }
}

/// The line for one turn.
fn line(about: &ConversationInfo, transcript: &[Message]) -> Vec<u8> {
    let messages: Vec<_> = transcript
        .iter()
        .map(|message| TemplateMessage { role: role_name(message.role), content: &message.text })
        .collect();
    let last = transcript.iter().rfind(|message| message.role == Role::User);
    let turn = Turn {
        agent_id: &about.agent_id,
        conversation_id: &about.conversation_id,
        simulation_id: &about.simulation_id,
        attempt: about.attempt,
        metadata: &about.metadata,
        turn: transcript.iter().filter(|message| message.role == Role::Assistant).count() + 1,
        message: last.map(|message| message.text.as_str()).unwrap_or_default(),
        messages,
    };
    // Texts, numbers and JSON values always serialize.
    let mut line = serde_json::to_vec(&turn).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(all(test, unix))]
mod tests;
