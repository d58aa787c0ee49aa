"""The comparator: three operations of the API as one Lambda function, with FastAPI, Mangum and boto3.

Written to be quick, so that the comparison is fair: clients and the secret while the function initialises, clients
rather than resources, no documentation routes, models that are built once, async handlers (one event at a time; a thread
pool would only cost), batches where the table is read for several items, and one transaction for all that is written.
The items are the ones that crates/store-dynamodb keeps, in the same table.
"""

import json
import os
import secrets
import string
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from fastapi import Depends, FastAPI, HTTPException, Query, Security
from fastapi.security import APIKeyHeader
from mangum import Mangum
from pydantic import BaseModel, ConfigDict, Field

TABLE = os.environ["ONERUN_TABLE"]
COUNTER_SHARDS = 8
SHARDS = 4
LETTERS = string.ascii_letters + string.digits
SCOPES = [
    f"{resource}:{action}"
    for resource in ("projects", "agents", "objectives", "simulations", "personas", "conversations", "monitors", "keys")
    for action in ("read", "write")
] + ["audit:read"]

config = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard"})
session = boto3.session.Session()


def read_secret() -> bytes:
    client = session.client("secretsmanager", config=config)
    text = client.get_secret_value(SecretId=os.environ["AUTH_SECRET_ID"])["SecretString"].strip()
    if text.startswith("{"):
        text = json.loads(text)["api_key"].strip()
    return text.encode()


KEY = read_secret()
dynamodb = session.client("dynamodb", config=config)


class Whoami(BaseModel):
    key_id: str
    kind: str
    scopes: list[str]
    all_projects: bool
    project_ids: list[str]
    expires_at: datetime | None
    name: str | None = None
    allowed_cidrs: list[str] | None = None
    rate_limit: dict[str, int] | None = None
    last_used_at: datetime | None = None


class Agent(BaseModel):
    id: str
    project_id: str
    name: str
    description: str | None
    summary: str | None
    metadata: dict[str, Any]
    last_polled_at: datetime | None = None
    created_at: datetime
    updated_at: datetime


class Objective(BaseModel):
    id: str
    project_id: str
    version: int
    name: str
    criteria: str
    created_at: datetime
    updated_at: datetime


class Models(BaseModel):
    persona: str | None = None
    reply: str | None = None
    judge: str | None = None


class Simulation(BaseModel):
    id: str
    project_id: str
    agent_id: str
    agent: Agent
    name: str
    scenario: str
    status: str
    last_failure_reason: str | None
    target_conversations: int
    target_personas: int
    max_turns: int
    auto_approve: bool
    seed: int
    metadata: dict[str, Any]
    objectives: list[Objective]
    models: Models = Models()
    max_cost_usd: float | None = None
    max_tokens: int | None = None
    personas_from: str | None = None
    batch_id: str | None = None
    monitor_id: str | None = None
    imported: dict[str, int] | None = Field(default=None, alias="import")
    transcripts_deleted_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime


class CreatedSimulation(Simulation):
    warnings: list[str]


class NewSimulation(BaseModel):
    model_config = ConfigDict(extra="forbid")

    agent_id: str = Field(pattern="^[A-Za-z0-9]{12}$")
    name: str = Field(min_length=1, max_length=200)
    scenario: str = Field(min_length=1, max_length=20_000)
    target_conversations: int = Field(ge=1, le=10_000)
    target_personas: int = Field(ge=1, le=10_000)
    auto_approve: bool = False
    max_turns: int = Field(default=5, ge=1, le=200)
    objective_ids: list[Annotated[str, Field(pattern="^[A-Za-z0-9]{12}$")]] = Field(default=[], max_length=50)
    seed: int | None = Field(default=None, ge=0, le=2**53 - 1)
    metadata: dict[str, Any] = {}
    expires_in_seconds: int = Field(default=86_400, ge=1, le=30 * 86_400)


app = FastAPI(openapi_url=None)
api_key = APIKeyHeader(name="x-api-key", auto_error=False)
known_projects: set[str] = set()


async def authorized(key: Annotated[str | None, Security(api_key)]) -> None:
    if key is None or not secrets.compare_digest(key.encode(), KEY):
        raise HTTPException(401, "Invalid API key", headers={"WWW-Authenticate": "ApiKey"})


async def project(project_id: Annotated[str, Query(pattern="^[A-Za-z0-9]{12}$")]) -> str:
    if project_id not in known_projects:
        if get("projects", project_id) is None:
            raise HTTPException(404, "Project not found")
        known_projects.add(project_id)
    return project_id


Project = Annotated[str, Depends(project)]


@app.get("/v1/whoami", dependencies=[Depends(authorized)])
async def get_whoami() -> Whoami:
    return Whoami(
        key_id="root", kind="root", scopes=SCOPES, all_projects=True, project_ids=[], expires_at=None
    )


@app.get("/v1/simulations/{simulation_id}", dependencies=[Depends(authorized)])
async def get_simulation(simulation_id: str, project_id: Project) -> Simulation:
    body = get(f"{project_id}#{simulation_id}", "simulation")
    if body is None:
        raise HTTPException(404, "Simulation not found")
    pinned = [(objective["objective"], objective["version"]) for objective in body["objectives"]]
    found = get_all(
        [(project_id, f"agent#{body['agent_id']}"), *(version_key(project_id, *pin) for pin in pinned)]
    )
    return simulation(
        body,
        found[project_id, f"agent#{body['agent_id']}"],
        [found[version_key(project_id, *pin)] for pin in pinned],
    )


@app.post("/v1/simulations", dependencies=[Depends(authorized)])
async def create_simulation(new: NewSimulation, project_id: Project) -> CreatedSimulation:
    agent_key = (project_id, f"agent#{new.agent_id}")
    objective_keys = [(project_id, f"objective#{objective}") for objective in new.objective_ids]
    found = get_all([agent_key, *objective_keys])
    if agent_key not in found:
        raise HTTPException(404, "Agent not found")
    if missing := [key[1] for key in objective_keys if key not in found]:
        raise HTTPException(404, f"Objective not found: {', '.join(missing)}")
    objectives = [found[key] for key in objective_keys]
    now = datetime.now(UTC)
    created = micros(now)
    expires = micros(now + timedelta(seconds=new.expires_in_seconds))
    id = "".join(secrets.choice(LETTERS) for _ in range(21))
    body = {
        "id": id,
        "project_id": project_id,
        **new.model_dump(exclude={"objective_ids", "expires_in_seconds"}),
        "seed": secrets.randbits(53) if new.seed is None else new.seed,
        "status": "pending",
        "last_failure_reason": None,
        "created_at": created,
        "updated_at": created,
        "expires_at": expires,
        "objectives": [{"objective": one["id"], "version": one["version"]} for one in objectives],
    }
    folded = new.name.lower()
    partition = f"{project_id}#{id}"
    job = f"start_simulation:{id}"
    order = f"{time.time_ns() // 1000:018}"
    work = {"work": "start_simulation", "simulation": id}
    call = {"id": job, "project_id": project_id, "work": work}
    writes = [
        put(
            partition,
            "simulation",
            new=True,
            body={"S": json.dumps(body)},
            revision={"N": "1"},
            lane={"S": f"expiry#{shard(id, SHARDS)}"},
            due={"S": f"{expires:018}"},
        ),
        *(
            put(
                project_id,
                entry,
                row={"S": f"simulation#{id}"},
                folded={"S": folded},
                status={"S": "pending"},
                agent={"S": new.agent_id},
            )
            for entry in (
                f"by-made#simulation#{created:018}#{id}",
                f"by-name#simulation#{folded}\x01{created:018}#{id}",
                f"by-status#simulation#pending#{created:018}#{id}",
            )
        ),
        update(
            *agent_key,
            "ADD simulations :one",
            {":one": {"N": "1"}},
            ConditionExpression="attribute_exists(pk)",
        ),
        *(put(f"{partition}#shard#{shard}", "counts", revision={"N": "1"}) for shard in range(COUNTER_SHARDS)),
        update(
            f"jobs#{job}",
            job,
            "SET body = if_not_exists(body, :body), added = if_not_exists(added, :added), "
            "due = if_not_exists(due, :due), lane = if_not_exists(lane, :lane) ADD calls :one, deliveries :zero",
            {
                ":body": {"S": json.dumps(call)},
                ":added": {"S": order},
                ":due": {"S": f"0#{order}#{project_id}"},
                ":lane": {"S": f"job#{shard(job, SHARDS)}"},
                ":one": {"N": "1"},
                ":zero": {"N": "0"},
            },
        ),
    ]
    try:
        dynamodb.transact_write_items(TransactItems=writes, ClientRequestToken=secrets.token_hex(16))
    except ClientError as error:
        if error.response["Error"]["Code"] == "TransactionCanceledException":
            raise HTTPException(409, "The simulation could not be created") from error
        raise
    made = simulation(body, found[agent_key], objectives)
    warnings = ["The personas are scripted (offline). Configure a language model for generated ones."]
    return CreatedSimulation(**made.model_dump(by_alias=True), warnings=warnings)


def simulation(body: dict[str, Any], agent: dict[str, Any], objectives: list[dict[str, Any]]) -> Simulation:
    return Simulation(
        **{
            **times(body),
            "agent": {**times(agent), "summary": agent["description"]},
            "objectives": [times(objective) for objective in objectives],
        }
    )


def times(body: dict[str, Any]) -> dict[str, Any]:
    names = ("created_at", "updated_at", "expires_at")
    return {**body, **{name: datetime.fromtimestamp(body[name] / 1e6, UTC) for name in names if name in body}}


def micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)


def shard(id: str, shards: int) -> int:
    """The shard of an id, by FNV-1a."""
    hash = 0x811C9DC5
    for byte in id.encode():
        hash = (hash ^ byte) * 0x01000193 & 0xFFFFFFFF
    return hash % shards


def version_key(project_id: str, objective: str, version: int) -> tuple[str, str]:
    return project_id, f"version#{objective}#{version:010}"


def key(partition: str, sort: str) -> dict[str, Any]:
    return {"pk": {"S": partition}, "sk": {"S": sort}}


def get(partition: str, sort: str) -> dict[str, Any] | None:
    item = dynamodb.get_item(TableName=TABLE, Key=key(partition, sort), ConsistentRead=True).get("Item")
    return None if item is None else json.loads(item["body"]["S"])


def get_all(keys: list[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
    found = {}
    wanted = {TABLE: {"Keys": [key(*one) for one in keys], "ConsistentRead": True}}
    while wanted:
        answer = dynamodb.batch_get_item(RequestItems=wanted)
        for item in answer["Responses"].get(TABLE, []):
            found[item["pk"]["S"], item["sk"]["S"]] = json.loads(item["body"]["S"])
        wanted = answer.get("UnprocessedKeys")
    return found


def put(partition: str, sort: str, *, new: bool = False, **attributes: Any) -> dict[str, Any]:
    request = {"TableName": TABLE, "Item": {**key(partition, sort), **attributes}}
    if new:
        request["ConditionExpression"] = "attribute_not_exists(pk)"
    return {"Put": request}


def update(
    partition: str, sort: str, expression: str, values: dict[str, Any], **more: Any
) -> dict[str, Any]:
    return {
        "Update": {
            "TableName": TABLE,
            "Key": key(partition, sort),
            "UpdateExpression": expression,
            "ExpressionAttributeValues": values,
            **more,
        }
    }


handler = Mangum(app, lifespan="off")
