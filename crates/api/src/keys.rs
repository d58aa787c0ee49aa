//! Managed keys: creating, listing, changing, rotating and revoking them, and reports of leaked keys.
//!
//! Invariant: the secret of a key is in the response to the request that created the key, and nowhere else.

mod input;

use jiff::Timestamp;
use onerun_auth::{Access, KeyId, KeyRecord, KeyUsage, Scope};
use onerun_domain::Resource;
use onerun_engine::{Caller, CreatedKey, KeyUpdate, NewKeyInput, RecordRequest, Rotation};
use onerun_store::KeyView;
use serde_json::json;

use self::input::{KeyQuery, LeakReport};
use crate::{
    ApiError, App, Response,
    openapi::examples::{KEY_ID, new_key_example, rotated_key_example, secret_example},
    operation::operations,
    request::{Call, DoneOut, reply, reply_as},
    views::{KeyOut, MadeKeyOut, PageOut},
};

const READ: Access = Access::Requires(Scope::KeysRead);
const WRITE: Access = Access::Requires(Scope::KeysWrite);

const LEAK_RECEIVED: &str = "All valid keys in the report are revoked";

operations! {
    CREATE_KEY {
        route: POST "/v1/keys",
        handler: Global(create_key),
        access: WRITE,
        idempotency: RecordedKey,
        summary: "Create a key",
        description: "`key` is shown in this response and never again. Give one of `scopes` and `preset`, and one of \
            `project_ids` and `all_projects`. The key expires after 90 days by default, and never after the \
            key that creates it. A key cannot create one that exceeds it in scopes, projects, addresses, \
            rate limit or lifetime.",
        input: NewKeyInput = new_key_example(),
        output: MadeKeyOut,
        errors: ["exceeds_own_key", "too_many_keys", "too_many_keys_of_family"],
    }
    LIST_KEYS {
        route: GET "/v1/keys",
        handler: Global(list_keys),
        access: READ,
        query: KeyQuery,
        summary: "List keys",
        description: "Only keys all of whose projects the calling key can access.",
        output: PageOut<KeyOut>,
    }
    GET_KEY {
        route: GET "/v1/keys/{key_id}",
        handler: Global(get_key),
        access: READ,
        summary: "Get a key",
        output: KeyOut,
        errors: ["key_not_found"],
    }
    UPDATE_KEY {
        route: PATCH "/v1/keys/{key_id}",
        handler: Global(update_key),
        access: WRITE,
        summary: "Change a key",
        description: "A field that is left out or null keeps its value. The change is in effect everywhere within \
            `AUTH_KEY_CACHE_SECONDS`.",
        input: KeyUpdate = json!({ "preset": "read_only", "expires_in_days": 30 }),
        output: KeyOut,
        errors: ["key_not_found", "exceeds_own_key", "key_revoked", "key_expired", "key_replaced"],
    }
    ROTATE_KEY {
        route: POST "/v1/keys/{key_id}/rotate",
        handler: Global(rotate_key),
        access: WRITE,
        idempotency: RecordedKey,
        summary: "Replace a key with a new one",
        description: "The old key works until the overlap ends, but no longer than it would have; its \
            `uses_since_replaced` shows whether it is still in use. The new key has the same scopes, \
            projects, addresses, rate limit and metadata, and the same lifetime as the old one. The body may \
            be left out.",
        optional_input: Rotation = json!({ "overlap_seconds": 3600 }),
        output: MadeKeyOut = rotated_key_example(),
        errors: [
            "key_not_found",
            "exceeds_own_key",
            "key_revoked",
            "key_expired",
            "key_disabled",
            "key_replaced",
            "too_many_keys",
            "too_many_keys_of_family",
        ],
    }
    DISABLE_KEY {
        route: POST "/v1/keys/{key_id}/disable",
        handler: Global(disable_key),
        access: WRITE,
        summary: "Disable a key until it is enabled again",
        output: KeyOut,
        errors: ["key_not_found", "exceeds_own_key", "key_revoked", "key_expired"],
    }
    ENABLE_KEY {
        route: POST "/v1/keys/{key_id}/enable",
        handler: Global(enable_key),
        access: WRITE,
        summary: "Enable a disabled key",
        output: KeyOut,
        errors: ["key_not_found", "exceeds_own_key", "key_revoked", "key_expired"],
    }
    REVOKE_KEY {
        route: POST "/v1/keys/{key_id}/revoke",
        handler: Global(revoke_key),
        access: WRITE,
        summary: "Revoke a key for good",
        description: "Changes nothing if the key is revoked already. The revocation is in effect everywhere within \
            `AUTH_KEY_CACHE_SECONDS`.",
        output: KeyOut,
        errors: ["key_not_found", "exceeds_own_key"],
    }
    REVOKE_LEAKED_KEYS {
        route: POST "/v1/keys/revoke-leaked",
        handler: Global(revoke_leaked_keys),
        access: Access::Public,
        summary: "Revoke leaked keys",
        description: "For anyone who finds keys: each valid key is revoked for good. Needs no API key. A report may \
            have 16 KiB and must arrive within 5 seconds, as `application/json`. A report with a valid key \
            is always accepted. Other reports, malformed ones included, are counted by address: 60 a minute \
            get the same answer as a valid one.",
        input: LeakReport = json!({ "keys": [secret_example(KEY_ID)] }),
        status: ACCEPTED,
        output: DoneOut = json!({ "message": LEAK_RECEIVED }),
        errors: ["rate_limited", "unavailable"],
    }
}

async fn create_key(app: &App, call: Call) -> Result<Response, ApiError> {
    let caller = caller(&call)?;
    let input: NewKeyInput = call.body()?;
    let created = app.engine().keys().create(caller, input, record_request(&call)).await?;
    show_secret(&created)
}

async fn list_keys(app: &App, call: Call) -> Result<Response, ApiError> {
    let caller = call.caller()?;
    let KeyQuery { filter, page } = call.query()?;
    let now = app.engine().now();
    let keys = app.engine().keys().list(caller, filter, now, page).await?;
    reply(&call.page_of(keys, |view| KeyOut::of(view, now)))
}

async fn get_key(app: &App, call: Call) -> Result<Response, ApiError> {
    let caller = call.caller()?;
    let view = app.engine().keys().get(caller, &key_id(&call)?).await?;
    show(app, view)
}

async fn update_key(app: &App, call: Call) -> Result<Response, ApiError> {
    let caller = caller(&call)?;
    let id = key_id(&call)?;
    let update: KeyUpdate = call.body()?;
    show(app, app.engine().keys().update(caller, &id, update).await?)
}

async fn disable_key(app: &App, call: Call) -> Result<Response, ApiError> {
    let caller = caller(&call)?;
    show(app, app.engine().keys().disable(caller, &key_id(&call)?).await?)
}

async fn enable_key(app: &App, call: Call) -> Result<Response, ApiError> {
    let caller = caller(&call)?;
    show(app, app.engine().keys().enable(caller, &key_id(&call)?).await?)
}

async fn revoke_key(app: &App, call: Call) -> Result<Response, ApiError> {
    let caller = caller(&call)?;
    show(app, app.engine().keys().revoke(caller, &key_id(&call)?).await?)
}

async fn rotate_key(app: &App, call: Call) -> Result<Response, ApiError> {
    let caller = caller(&call)?;
    let id = key_id(&call)?;
    let rotation: Rotation = call.optional_body()?;
    let created = app.engine().keys().rotate(caller, &id, rotation, record_request(&call)).await?;
    show_secret(&created)
}

/// Reports that cannot be read are counted, too, so the body's error comes last.
async fn revoke_leaked_keys(app: &App, call: Call) -> Result<Response, ApiError> {
    let report = call.body::<LeakReport>();
    let keys = report.as_ref().map_or(&[][..], |report| &report.keys);
    app.engine().keys().revoke_leaked(keys, call.origin()).await?;
    report?;
    reply_as(&REVOKE_LEAKED_KEYS, &DoneOut { message: LEAK_RECEIVED })
}

fn caller(call: &Call) -> Result<Caller, ApiError> {
    Ok(Caller { principal: call.caller()?.clone(), origin: call.origin().clone() })
}

fn key_id(call: &Call) -> Result<KeyId, ApiError> {
    call.id(Resource::Key)
}

fn show(app: &App, view: KeyView) -> Result<Response, ApiError> {
    reply(&KeyOut::of(view, app.engine().now()))
}

/// The one response that contains the secret.
fn show_secret(created: &CreatedKey) -> Result<Response, ApiError> {
    let key = Some(created.key.expose().to_owned());
    reply(&MadeKeyOut { key, ..without_secret(&created.record) })
}

/// The response to a repetition of the request.
fn without_secret(created: &KeyRecord) -> MadeKeyOut {
    let now: Timestamp = created.created_at;
    let view = KeyView { record: created.clone(), usage: KeyUsage::NONE };
    MadeKeyOut { made: KeyOut::of(view, now), key: None }
}

fn record_request(call: &Call) -> RecordRequest {
    let recorder = call.recorder();
    Box::new(move |created| recorder(&without_secret(created)))
}
