"""The comparator: one route of the API, `GET /v1/simulations/{id}`, as a FastAPI service over SQLite.

Written to be quick, so that the comparison is fair: one connection a process, prepared statements by sqlite3's own
cache, an async handler (a query of tens of microseconds is dearer on a thread pool), two queries a request beside the
project's, and pydantic models that are built once, as the response.
"""

import json
import os
import secrets
import sqlite3
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Security
from fastapi.security import APIKeyHeader
from pydantic import BaseModel

KEY = os.environ["AUTH_API_KEY"].encode()
DATABASE = os.environ["DATABASE"]


class Agent(BaseModel):
    id: str
    project_id: str
    name: str
    description: str | None
    summary: str | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime


class Objective(BaseModel):
    id: str
    project_id: str
    name: str
    criteria: str
    version: int
    created_at: datetime
    updated_at: datetime


class Simulation(BaseModel):
    id: str
    project_id: str
    agent_id: str
    agent: Agent
    name: str
    scenario: str
    status: str
    auto_approve: bool
    max_turns: int
    target_conversations: int
    target_personas: int
    metadata: dict[str, Any]
    objectives: list[Objective]
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    last_failure_reason: str | None


@asynccontextmanager
async def lifespan(app: FastAPI):
    app.state.database = connect()
    yield
    app.state.database.close()


def connect() -> sqlite3.Connection:
    connection = sqlite3.connect(DATABASE)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA query_only = ON")
    return connection


app = FastAPI(lifespan=lifespan)
api_key = APIKeyHeader(name="x-api-key", auto_error=False)


async def authorized(key: Annotated[str | None, Security(api_key)]) -> None:
    if key is None or not secrets.compare_digest(key.encode(), KEY):
        raise HTTPException(401, "Invalid API key", headers={"WWW-Authenticate": "ApiKey"})


async def project(project_id: str) -> str:
    if app.state.database.execute("SELECT 1 FROM project WHERE id = ?", (project_id,)).fetchone() is None:
        raise HTTPException(404, "Project not found")
    return project_id


SIMULATION = """
    SELECT s.*, a.name AS agent_name, a.description AS agent_description, a.metadata AS agent_metadata,
           a.created_at AS agent_created_at, a.updated_at AS agent_updated_at
    FROM simulation s JOIN agent a ON a.id = s.agent_id
    WHERE s.id = ? AND s.project_id = ?
"""

OBJECTIVES = """
    SELECT o.id, o.project_id, v.name, v.criteria, v.version, o.created_at, o.updated_at
    FROM simulation_objective so
    JOIN objective o ON o.id = so.objective_id
    JOIN objective_version v ON v.objective_id = so.objective_id AND v.version = so.version
    WHERE so.simulation_id = ?
    ORDER BY so.position
"""


@app.get("/v1/simulations/{simulation_id}", dependencies=[Depends(authorized)])
async def get_simulation(simulation_id: str, project_id: Annotated[str, Depends(project)]) -> Simulation:
    database = app.state.database
    row = database.execute(SIMULATION, (simulation_id, project_id)).fetchone()
    if row is None:
        raise HTTPException(404, "Simulation not found")
    return Simulation(
        id=row["id"],
        project_id=row["project_id"],
        agent_id=row["agent_id"],
        agent=Agent(
            id=row["agent_id"],
            project_id=row["project_id"],
            name=row["agent_name"],
            description=row["agent_description"],
            summary=row["agent_description"],
            metadata=json.loads(row["agent_metadata"]),
            created_at=row["agent_created_at"],
            updated_at=row["agent_updated_at"],
        ),
        name=row["name"],
        scenario=row["scenario"],
        status=row["status"],
        auto_approve=row["auto_approve"],
        max_turns=row["max_turns"],
        target_conversations=row["target_conversations"],
        target_personas=row["target_personas"],
        metadata=json.loads(row["metadata"]),
        objectives=[
            Objective(**objective) for objective in map(dict, database.execute(OBJECTIVES, (simulation_id,)))
        ],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        expires_at=row["expires_at"],
        last_failure_reason=row["last_failure_reason"],
    )
