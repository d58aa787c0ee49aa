//! The export of a simulation: its conversations with evaluations and messages, as JSON lines.

use bytes::Bytes;
use http::{HeaderValue, header};
use onerun_auth::{Access, Scope};
use onerun_domain::{
    Conversation, ConversationId, Limit, MAX_ATTEMPTS, PageRequest, Position, SimulationId, Start,
};
use onerun_store::{ConversationSummary, ListConversations, ProjectStore};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    ApiError, App, Response,
    cursor::CursorError,
    operation::{Example, operations},
    query::{Params, Reader},
    request::{Call, to_json},
    simulations,
    views::{ConversationSummaryOut, ItemOut},
};

/// The maximum size of a page in bytes, unless its first line alone is larger.
const MAX_BYTES: usize = 4_000_000;

/// The maximum number of conversations that begin on a page. Each costs a few reads, and on AWS an answer must be
/// complete within 29 s.
const MAX_CONVERSATIONS: usize = 100;

/// The maximum number of messages in one read.
const MESSAGES: u32 = 100;

operations! {
    EXPORT_SIMULATION {
        route: GET "/v1/simulations/{simulation_id}/export",
        handler: Project(export_simulation),
        access: Access::Requires(Scope::ConversationsRead),
        query: ExportQuery,
        summary: "Export a simulation's conversations with their evaluations and messages, as JSON lines",
        description: "Each line is an object with one member: `conversation`, with persona, evaluations and quotes, or `item`, a \
            message of the conversation's current attempt. Conversations come newest first, each followed by its messages, \
            oldest first. A page ends at 100 conversations or 4 MB. If more follows, the header `Link` has the next page's \
            address, relative to this one, with `rel=\"next\"`; the last page has no such header.",
        media_type: "application/jsonl",
        output: ExportLine,
        errors: ["simulation_not_found"],
    }
}

/// A line of an export.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ExportLine {
    /// A conversation. Its messages follow.
    Conversation(Box<ConversationSummaryOut>),
    /// A message of the conversation before it. If a page begins with messages, the conversation is on an earlier one.
    Item(ItemOut),
}

impl Example for ExportLine {
    fn example() -> Value {
        json!({ "conversation": ConversationSummaryOut::example() })
    }
}

/// The query of `export_simulation`.
pub(crate) struct ExportQuery(Place);

impl Params for ExportQuery {
    fn read(reader: &mut Reader) -> Option<Self> {
        let position = reader.cursor(
            "Where to continue: take the whole address from the `Link` header of the page before. No conversation is exported \
             twice or left out, whatever is added meanwhile.",
        )?;
        let Some(position) = position else { return Some(Self(Place::default())) };
        let place: Option<Place> = serde_json::from_str(position.as_str()).ok();
        let place = place.filter(|place| {
            place.rest.as_ref().is_none_or(|rest| (1..=MAX_ATTEMPTS).contains(&rest.attempt))
        });
        if place.is_none() {
            reader.refuse("cursor", &CursorError.to_string());
        }
        place.map(Self)
    }
}

/// Where a page begins. It is what a cursor holds.
#[derive(Default, Serialize, Deserialize)]
struct Place {
    after: After,
    /// The messages of the last conversation before, as far as they are not exported.
    rest: Option<Rest>,
}

/// The last conversation before a page.
#[derive(Clone, Default, Serialize, Deserialize)]
enum After {
    /// None: the page is the first.
    #[default]
    Nothing,
    /// The conversation at this position of the list.
    Position(String),
    /// The last one of the simulation.
    Everything,
}

/// The messages of a conversation from an offset on. Messages are only appended, so an offset does not move.
#[derive(Serialize, Deserialize)]
struct Rest {
    conversation: ConversationId,
    attempt: u32,
    offset: u32,
}

async fn export_simulation(_: &App, project: &dyn ProjectStore, call: Call) -> Result<Response, ApiError> {
    let ExportQuery(place) = call.query()?;
    let simulation = simulations::find(project, &call).await?.simulation.id;
    let mut page = ExportPage { project, simulation: &simulation, lines: Vec::new() };
    let next = page.fill(place).await?;
    let mut response = Response::new(Bytes::from(page.lines));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
    if let Some(place) = next {
        let cursor = call.next_cursor(Some(Position::new(to_json(&place)?))).unwrap_or_default();
        // Relative to the request, so that it holds behind any host and path. Ids and cursors need no escaping.
        let link = format!("<?project_id={}&cursor={cursor}>; rel=\"next\"", project.project_id());
        let link = link.try_into().map_err(|error| ApiError::Internal(Box::new(error)))?;
        headers.insert(header::LINK, link);
    }
    Ok(response)
}

/// A page that is being written.
struct ExportPage<'a> {
    project: &'a dyn ProjectStore,
    simulation: &'a SimulationId,
    lines: Vec<u8>,
}

impl ExportPage<'_> {
    /// Writes the page, and returns where the next one begins.
    async fn fill(&mut self, mut place: Place) -> Result<Option<Place>, ApiError> {
        let mut conversations = 0;
        loop {
            if let Some(rest) = place.rest.take()
                && let Some(rest) = self.write_items(rest).await?
            {
                return Ok(Some(Place { rest: Some(rest), ..place }));
            }
            let start = match &place.after {
                After::Everything => return Ok(None),
                After::Position(_) if conversations == MAX_CONVERSATIONS => return Ok(Some(place)),
                After::Position(position) => Start::After(Position::new(position.as_str())),
                After::Nothing => Start::Offset(0),
            };
            // One at a time, because a store gives the position of a page's last row alone.
            let Some((summary, after)) = self.conversation(start).await? else { return Ok(None) };
            let Conversation { id, attempt, item_count, .. } = &summary.conversation;
            let rest = Rest { conversation: id.clone(), attempt: *attempt, offset: 0 };
            let rest = (*item_count > 0).then_some(rest);
            if !self.write(&ExportLine::Conversation(Box::new(summary.into())))? {
                return Ok(Some(place));
            }
            place = Place { after, rest };
            conversations += 1;
        }
    }

    /// The conversation at a position of the list.
    async fn conversation(&self, start: Start) -> Result<Option<(ConversationSummary, After)>, ApiError> {
        let page = PageRequest { limit: Limit::clamped(1), start };
        let list = ListConversations { status: None, outcome: None, page };
        let mut page = self.project.conversations(self.simulation, list).await?;
        let after = page.next.map_or(After::Everything, |next| After::Position(next.as_str().to_owned()));
        Ok(page.data.pop().map(|conversation| (conversation, after)))
    }

    /// Writes the messages that fit, and returns which are left.
    async fn write_items(&mut self, mut rest: Rest) -> Result<Option<Rest>, ApiError> {
        loop {
            let page = PageRequest { limit: Limit::clamped(MESSAGES), start: Start::Offset(rest.offset) };
            let items = self.project.items(self.simulation, &rest.conversation, rest.attempt, page).await?;
            let has_more = items.has_more();
            for item in items.data {
                if !self.write(&ExportLine::Item(item.into()))? {
                    return Ok(Some(rest));
                }
                rest.offset += 1;
            }
            if !has_more {
                return Ok(None);
            }
        }
    }

    /// Appends a line, unless the page would become too large. The first line is always appended.
    fn write(&mut self, line: &ExportLine) -> Result<bool, ApiError> {
        let line = to_json(line)?;
        if !self.lines.is_empty() && self.lines.len() + line.len() >= MAX_BYTES {
            return Ok(false);
        }
        self.lines.extend(line.as_bytes());
        self.lines.push(b'\n');
        Ok(true)
    }
}
