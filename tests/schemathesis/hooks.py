"""What a schema cannot say of a request: which ids there are, and what a repeated key means."""

import json
import os
import random
import uuid

import schemathesis

# For each parameter, ids that the server knows. Any of a conversation or persona fits any of a simulation.
with open(os.environ["ONERUN_IDS"], encoding="utf-8") as file:
    IDS = json.load(file)

RANDOM = random.Random(20261123)

# A simulation of thousands of personas keeps the machine busy long after it was created.
MAX_TARGET = 3

# Fields of keys of which one may be given.
CONTRADICTIONS = {
    "scopes": "preset",
    "project_ids": "all_projects",
    "allowed_cidrs": "any_address",
    "rate_limit": "no_rate_limit",
    "expires_in_days": "never_expires",
}

# No schema says what a block of addresses is.
BLOCKS = [f"10.{number}.0.0/16" for number in range(20)]


@schemathesis.hook
def before_call(context, case, **kwargs):
    meta = case.meta
    if meta is not None and meta.generation.mode.is_positive and isinstance(case.body, dict):
        agree(case.operation, case.body)
    # Two calls under one key are one call, which is refused if their bodies differ.
    if meta is not None and meta.generation.mode.is_positive and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = case.headers["Idempotency-Key"][:200] + uuid.uuid4().hex
    # Sequences of calls take their ids from one another's answers.
    if meta is None or meta.phase.name == "stateful":
        return
    data = meta.phase.data
    # What is wrong on purpose stays wrong. All else is right, or a 404 would be the answer to everything.
    wrong = {mutation.parameter for mutation in data.mutations} | {data.parameter}
    know(case, case.path_parameters, wrong)
    know(case, case.query, wrong)
    if not meta.generation.mode.is_positive:
        return
    if isinstance(case.body, dict):
        if isinstance(case.body.get("metadata"), dict):
            case.body["metadata"] = kept(case.body["metadata"])
        know(case, case.body, wrong)
        # No two of them the same.
        if isinstance(objectives := case.body.get("objective_ids"), list):
            case.body["objective_ids"] = IDS["objective_id"][: len(objectives)]
        for name in ("target_conversations", "target_personas"):
            if name in case.body:
                case.body[name] = min(case.body[name], MAX_TARGET)


def agree(operation, body):
    """Makes fields that contradict one another agree, of which no schema says that they do."""
    if isinstance(projects := body.get("project_ids"), list):
        body["project_ids"] = IDS["project_id"][: len(projects)]
    for name, other in CONTRADICTIONS.items():
        if body.get(name) is not None:
            body.pop(other, None)
    if operation.path == "/v1/keys":
        # Of each pair one must be there, and any time is after the end of most keys.
        if body.get("scopes") is None and body.get("preset") is None:
            body["preset"] = "worker"
        if body.get("project_ids") is None:
            body["all_projects"] = True
        body.pop("not_before", None)
    if body.get("allowed_cidrs") is not None:
        body["allowed_cidrs"] = BLOCKS[: len(body["allowed_cidrs"])]


def kept(value):
    """The same JSON with whole numbers beyond 64 bits as doubles: no schema tells `1e30` from thirty zeros."""
    if isinstance(value, dict):
        return {name: kept(member) for name, member in value.items()}
    if isinstance(value, list):
        return [kept(member) for member in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value) if abs(value) < 2**1023 else 0
    return value


def know(case, parameters, wrong):
    """Makes ids that the server knows of those that it does not; one in ten stays unknown."""
    for name in (parameters or {}).keys() & IDS.keys() - wrong:
        if not isinstance(parameters[name], str):
            continue
        # The simulation that all other requests are about must go on.
        if name == "simulation_id" and case.operation.path.endswith("/cancel"):
            parameters[name] = RANDOM.choice(IDS["simulation_to_cancel_id"])
        elif RANDOM.random() < 0.9:
            parameters[name] = RANDOM.choice(IDS[name])
