//! Agents that OneRun calls itself: their endpoints, and the conversations that are held with them.
//!
//! A conversation is a chain of jobs, two for each turn. [`call`] asks the agent for its reply; it alone talks to the
//! address, and changes nothing but jobs. [`hold`] continues the conversation with what the agent answered. A place of
//! the agent is taken before a conversation is started and freed when it is over, so no more are held than the
//! endpoint allows. Workers may hold other conversations of the same agent.

mod call;
mod hold;

pub(crate) use call::AgentTurn;
pub(crate) use hold::serve;

use http::{HeaderName, HeaderValue, Uri};
use onerun_domain::{
    Agent, AgentEndpoint, AgentId, Limit, MAX_REPLY_SECONDS, PageRequest, ProjectId, Random, Resource,
    SealedCredential, SimulationStatus,
};
use onerun_store::{
    AgentSummary, CreatedFilter, ExactFilter, ListSimulations, ProjectStore, SimulationOrder,
};
use onerun_targets::{SpecError, Target, TargetSpec};
use serde_json::{Map, Value, json};

use crate::{Engine, KeyPurpose, MasterKey, MasterKeyError, OperationError, Outbound};

const NOT_FOUND: OperationError = OperationError::NotFound(Resource::Agent);

/// The longest document of a target, in bytes as JSON.
pub const MAX_TARGET_BYTES: usize = 16 * 1024;

/// The longest value of a credential, in bytes.
pub const MAX_CREDENTIAL_BYTES: usize = 4_096;

/// The variable that stands for the credential while a target is prepared.
const CREDENTIAL: &str = "ONERUN_CREDENTIAL";

/// The headers that carry credentials. In a target their values would be stored and shown as they are.
const SECRET_HEADERS: [&str; 6] =
    ["api-key", "authorization", "cookie", "proxy-authorization", "x-api-key", "x-auth-token"];

/// The headers that the HTTP client sets.
const OWN_HEADERS: [&str; 5] = ["connection", "content-length", "content-type", "host", "transfer-encoding"];

/// The input of [`Engine::set_agent_endpoint`].
pub struct NewAgentEndpoint {
    /// The target: `{"openai": {…}}` or `{"http": {…}}`.
    pub target: Map<String, Value>,
    /// The credential that is sent with each request.
    pub credential: Option<NewCredential>,
    /// How many conversations are held at once.
    pub max_in_flight: u32,
    /// How many replies are asked for in a minute.
    pub max_calls_per_minute: Option<u32>,
}

/// A credential as its owner sends it. It has no `Debug`.
pub struct NewCredential {
    /// The header in which it is sent.
    pub header: String,
    /// The value of the header.
    pub value: String,
}

/// The errors of an input, each with its JSON pointer without the first slash.
type FieldErrors = Vec<(String, String)>;

impl Engine {
    /// Sets how an agent is called, and lets OneRun hold its queued conversations: those of up to 100 simulations in
    /// progress and of all later ones. The conversations that it holds already go on at the new endpoint.
    pub async fn set_agent_endpoint(
        &self,
        project: &dyn ProjectStore,
        id: &AgentId,
        new: NewAgentEndpoint,
    ) -> Result<AgentSummary, OperationError> {
        check(&new, self.outbound()).map_err(OperationError::Fields)?;
        let NewAgentEndpoint { target, credential, max_in_flight, max_calls_per_minute } = new;
        let credential = match credential {
            None => None,
            Some(new) => {
                let key = self.outbound().master_key.master_key().await?;
                Some(seal(&key, project.project_id(), id, &new, self.random()))
            }
        };
        let now = self.now();
        let decide = Box::new(move |agent: Agent| {
            let before = agent.endpoint.map(|endpoint| (endpoint.held, endpoint.next_call_at));
            let (held, next_call_at) = before.unwrap_or_default();
            let (target, credential) = (target.clone(), credential.clone());
            let endpoint =
                AgentEndpoint { target, credential, max_in_flight, max_calls_per_minute, held, next_call_at };
            Ok(Agent { endpoint: Some(Box::new(endpoint)), updated_at: now, ..agent })
        });
        let agent = project.change_agent(id, decide).await?.ok_or(NOT_FOUND)?;
        let running = ListSimulations {
            name: None,
            exact: ExactFilter::default(),
            status: Some(SimulationStatus::InProgress),
            agent_id: Some(id.clone()),
            batch_id: None,
            monitor_id: None,
            created: CreatedFilter::default(),
            order: SimulationOrder::LongestWaiting,
            page: PageRequest::first(Limit::clamped(Limit::MAX)),
        };
        let running = project.simulations(running).await?.data;
        let jobs = running.iter().map(|one| serve(project.project_id(), &one.simulation.id)).collect();
        self.store().enqueue(jobs).await?;
        Ok(agent)
    }

    /// Removes an agent's endpoint with its credential. Workers hold the agent's conversations then.
    pub async fn delete_agent_endpoint(
        &self,
        project: &dyn ProjectStore,
        id: &AgentId,
    ) -> Result<(), OperationError> {
        let now = self.now();
        let decide = Box::new(move |agent: Agent| match agent.endpoint {
            None => Ok(agent),
            Some(_) => Ok(Agent { endpoint: None, updated_at: now, ..agent }),
        });
        project.change_agent(id, decide).await?.map(drop).ok_or(NOT_FOUND)
    }
}

fn seal(
    key: &MasterKey,
    project: &ProjectId,
    agent: &AgentId,
    credential: &NewCredential,
    random: &dyn Random,
) -> SealedCredential {
    let context = [project.as_str(), agent.as_str()];
    SealedCredential {
        header: credential.header.clone(),
        sealed: key.seal(KeyPurpose::AgentCredential, &context, &credential.value, random),
    }
}

/// The target of an agent with its credential, ready to be called.
async fn target_of(agent: &Agent, endpoint: &AgentEndpoint, outbound: &Outbound) -> Result<Target, TargetOf> {
    let mut document = endpoint.target.clone();
    let mut secret = None;
    if let Some(credential) = &endpoint.credential {
        let key = outbound.master_key.master_key().await?;
        let context = [agent.project_id.as_str(), agent.id.as_str()];
        secret = Some(key.open(KeyPurpose::AgentCredential, &context, &credential.sealed)?);
        if let Some(settings) = settings(&mut document) {
            let headers = settings.entry("headers").or_insert_with(|| json!({}));
            headers[&credential.header] = format!("${{env:{CREDENTIAL}}}").into();
        }
    }
    let (spec, _) = parse(document).map_err(|(_, problem)| TargetOf::Unusable(problem))?;
    let mut variables = |name: &str| {
        let secret = secret.as_ref().filter(|_| name == CREDENTIAL);
        secret.map(|secret| secret.to_string())
    };
    Target::new(&spec, &mut variables, outbound.transport.clone())
        .map_err(|error| TargetOf::Unusable(error.to_string()))
}

/// Why the target of an agent cannot be called.
#[derive(Debug, thiserror::Error)]
enum TargetOf {
    /// Only a newer release could have stored such a target.
    #[error("the endpoint cannot be read: {0}")]
    Unusable(String),
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
}

/// The settings of a target's kind.
fn settings(target: &mut Map<String, Value>) -> Option<&mut Map<String, Value>> {
    target.values_mut().next()?.as_object_mut()
}

/// Reads a target, with a time limit that fits a job. Returns its kind, too.
fn parse(mut target: Map<String, Value>) -> Result<(TargetSpec, &'static str), (String, String)> {
    let kinds = ["openai", "http"];
    let kind = kinds.into_iter().find(|kind| target.len() == 1 && target.contains_key(*kind));
    let refuse = || {
        let form = "must be `{\"openai\": {\"url\": …, \"model\": …}}` or `{\"http\": {\"url\": …, \"body\": …, \"reply\": …}}`";
        ("target".to_owned(), form.to_owned())
    };
    let (Some(kind), Some(settings)) = (kind, settings(&mut target)) else { return Err(refuse()) };
    let seconds = settings.entry("timeout_seconds").or_insert_with(|| MAX_REPLY_SECONDS.into());
    if seconds.as_u64().is_some_and(|seconds| seconds > MAX_REPLY_SECONDS.into()) {
        let detail = format!("must be at most {MAX_REPLY_SECONDS}");
        return Err((format!("target/{kind}/timeout_seconds"), detail));
    }
    let spec = serde_path_to_error::deserialize(Value::Object(target)).map_err(|error| {
        let path = error.path().to_string().replace('.', "/");
        (format!("target/{path}"), error.into_inner().to_string())
    })?;
    Ok((spec, kind))
}

/// Refuses an endpoint that could not be called, or that would show a secret.
fn check(new: &NewAgentEndpoint, outbound: &Outbound) -> Result<(), FieldErrors> {
    let mut errors = Vec::new();
    if let Err(error) = check_target(new, outbound) {
        errors.push(error);
    }
    if let Some(credential) = &new.credential
        && let Err((field, detail)) = check_credential(credential)
    {
        errors.push((format!("credential/{field}"), detail.to_owned()));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn check_target(new: &NewAgentEndpoint, outbound: &Outbound) -> Result<(), (String, String)> {
    let length = serde_json::to_string(&new.target).map_or(usize::MAX, |json| json.len());
    if length > MAX_TARGET_BYTES {
        let detail = format!("must be at most {MAX_TARGET_BYTES} bytes as JSON, and is {length}");
        return Err(("target".to_owned(), detail));
    }
    let (spec, kind) = parse(new.target.clone())?;
    let mut asked = false;
    let mut variables = |_: &str| {
        asked = true;
        None
    };
    let prepared = Target::new(&spec, &mut variables, outbound.transport.clone());
    if let Err(error) = prepared {
        let (field, problem) = match error {
            SpecError::Field { field, problem } => (field, problem),
            error @ SpecError::Workers => (String::new(), error.to_string()),
        };
        let detail = "must not refer to environment variables; send a secret as `credential`";
        let detail = if asked { detail.to_owned() } else { problem };
        return Err((format!("target/{}", field.replacen('.', "/", 2)), detail));
    }
    let at = |field: &str| format!("target/{kind}/{field}");
    let Some(settings) = new.target.get(kind).and_then(Value::as_object) else { return Ok(()) };
    let headers = settings.get("headers").and_then(Value::as_object);
    for name in headers.into_iter().flat_map(Map::keys) {
        let lower = name.to_ascii_lowercase();
        if SECRET_HEADERS.contains(&lower.as_str()) {
            let detail = format!(
                "must not have `{name}`: send it as `credential`, which is encrypted and never shown"
            );
            return Err((at("headers"), detail));
        }
        if lower == "host" || new.credential.as_ref().is_some_and(|one| one.header.eq_ignore_ascii_case(name))
        {
            return Err((at("headers"), format!("must not have `{name}`, which is set already")));
        }
    }
    let url = settings.get("url").and_then(Value::as_str).unwrap_or_default();
    let uri: Uri = url.parse().map_err(|_| (at("url"), "must be a URL".to_owned()))?;
    outbound.policy.check_url(&uri).map_err(|error| (at("url"), error.to_string()))
}

fn check_credential(credential: &NewCredential) -> Result<(), (&'static str, &'static str)> {
    let Ok(name) = HeaderName::try_from(credential.header.as_str()) else {
        return Err(("header", "must be the name of a header, such as `Authorization`"));
    };
    if OWN_HEADERS.contains(&name.as_str()) {
        return Err(("header", "must not be a header that OneRun sets"));
    }
    let value = credential.value.as_str();
    let is_one_line = HeaderValue::from_str(value).is_ok() && value.trim() == value && !value.is_empty();
    if !is_one_line || value.len() > MAX_CREDENTIAL_BYTES {
        return Err(("value", "must be one line of 1 to 4096 bytes without white space around it"));
    }
    if value.contains("${env:") {
        return Err(("value", "must be the secret itself, not a reference to an environment variable"));
    }
    Ok(())
}
