"""Facts about requests that a schema cannot express: the known ids, and the meaning of a repeated idempotency key."""

import json
import os
import random
import uuid

import schemathesis

# The ids that the server knows for each parameter. Any conversation or persona id belongs to any of
# the simulation ids.
with open(os.environ["ONERUN_IDS"], encoding="utf-8") as file:
    IDS = json.load(file)

RANDOM = random.Random(20261123)

# A simulation with thousands of personas would keep the machine busy long after its creation.
MAX_TARGET = 3

# Alternative fields: only one of each pair may be set.
CONTRADICTIONS = {
    "scopes": "preset",
    "project_ids": "all_projects",
    "allowed_cidrs": "any_address",
    "rate_limit": "no_rate_limit",
    "expires_in_days": "never_expires",
    "personas": "target_personas",
}

# Operations on the attempt of a conversation that a worker holds.
OF_HELD = ("/end", "/fail", "/renew")

# Parameters of the query that need another one.
NEEDED = {"objective_id": "outcome", "on": "min_pass_rate"}

# Rates of an alert, of which one is below the other.
ALERT = {"expected_pass_rate": 0.9, "low_pass_rate": 0.7}

# The targets of an agent's endpoint.
TARGETS = [
    {"openai": {"url": "https://agent.invalid/v1", "model": "m", "timeout_seconds": 1}},
    {"http": {"url": "https://agent.invalid", "body": {"text": "{{ message }}"}, "reply": "/text"}},
]

# A schema cannot describe an address block.
BLOCKS = [f"10.{number}.0.0/16" for number in range(20)]


@schemathesis.hook
def before_call(context, case, **kwargs):
    meta = case.meta
    if meta is not None and meta.generation.mode.is_positive and isinstance(case.body, dict):
        agree(case.operation, case.body)
        if isinstance(case.body.get("metadata"), dict):
            case.body["metadata"] = kept(case.body["metadata"])
    # Two calls with one idempotency key are one call, which is refused if their bodies differ.
    if meta is not None and meta.generation.mode.is_positive and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = case.headers["Idempotency-Key"][:200] + uuid.uuid4().hex
    # Only the server makes cursors.
    if meta is not None and meta.generation.mode.is_positive and isinstance(case.query, dict):
        case.query.pop("cursor", None)
        for name, other in NEEDED.items():
            if case.query.get(other) is None:
                case.query.pop(name, None)
        # An alert tells two rates apart.
        if case.operation.path.endswith("/alert") and case.query:
            case.query |= ALERT
        # A simulation is compared with another one of the project.
        if "with" in case.query:
            case.query["with"] = RANDOM.choice(IDS["simulation_to_cancel_id"])
        # The agent and objectives of a batch are of this project. Sequences of calls also create projects.
        if case.operation.path == "/v1/simulations/batch":
            case.query["project_id"] = IDS["project_id"][0]
        # The days of a report are at most 92.
        if case.operation.path == "/v1/usage":
            case.query.pop("first", None)
    # Sequences of calls take ids from earlier replies.
    if meta is None or meta.phase.name == "stateful":
        return
    data = meta.phase.data
    # Invalid values stay invalid. All others must exist, or every reply would be a 404.
    wrong = {mutation.parameter for mutation in data.mutations} | {data.parameter}
    know(case, case.path_parameters, wrong)
    know(case, case.query, wrong)
    if not meta.generation.mode.is_positive:
        return
    if isinstance(case.body, dict):
        exist(case, case.body, wrong)
        if isinstance(simulation := case.body.get("simulation"), dict):
            exist(case, simulation, wrong)


def exist(case, body, wrong):
    """Makes a body refer to what exists, and asks for little work."""
    know(case, body, wrong)
    # Without duplicates.
    if isinstance(objectives := body.get("objective_ids"), list):
        body["objective_ids"] = IDS["objective_id"][: len(objectives)]
    # Most conversations are at their first attempt.
    if case.operation.path.endswith(OF_HELD) and body.get("attempt") is not None:
        body["attempt"] = 1
    # An agent without conversations, because other requests start those. Waiting for some would take long.
    if isinstance(agents := body.get("agent_ids"), list):
        body["agent_ids"] = IDS["agent_to_claim_id"] * len(agents)
        body.pop("wait_seconds", None)
    for name in ("target_conversations", "target_personas"):
        if body.get(name) is not None:
            body[name] = min(body[name], MAX_TARGET)


def agree(operation, body):
    """Makes contradictory fields agree, which no schema can express."""
    # The deployment decides which models are allowed.
    body.pop("models", None)
    # Personas can be copied only from a simulation of the same scenario, whose personas are approved.
    if body.get("personas_from") is not None:
        body["personas_from"] = None
    if "judge" in body:
        body["judge"] = "offline"
    # Other requests start simulations of the agent, in the project.
    if "archived" in body:
        body["archived"] = False
    # A schema does not say which texts are URLs, paths, templates and headers. Nothing answers at this URL.
    if isinstance(body.get("target"), dict):
        body["target"] = RANDOM.choice(TARGETS)
    if isinstance(credential := body.get("credential"), dict):
        credential.update(header="Authorization", value="Bearer x")
    # A schema does not say which texts are schedules. This one starts nothing meanwhile.
    if isinstance(schedule := body.get("schedule"), dict):
        schedule.update(expression="0 0 29 2 *", timezone="Europe/Berlin")
    # A lower bound needs more conversations than these simulations have.
    if isinstance(gate := body.get("gate"), dict):
        gate.pop("on", None)
    if isinstance(body.get("alert"), dict):
        body["alert"] |= ALERT
    # A schema does not say which URLs are called. This one is refused at the call, so nothing outside is called.
    if operation.path.startswith("/v1/webhooks") and isinstance(body.get("url"), str):
        body["url"] = "https://localhost:8443/hook"
    if isinstance(simulation := body.get("simulation"), dict):
        agree(operation, simulation)
        # The monitor may have a gate, which needs an objective.
        simulation["objective_ids"] = IDS["objective_id"][:1]
        if isinstance(simulation.get("metadata"), dict):
            simulation["metadata"] = kept(simulation["metadata"])
    # Defaults and overrides make whole simulations together, and each of these is created.
    if operation.path == "/v1/simulations/batch":
        agent, objectives = IDS["agent_id"][0], IDS["objective_id"][:1]
        body["defaults"] = {
            "agent_id": agent,
            "scenario": "A customer asks for a refund.",
            "target_conversations": 1,
            "target_personas": 1,
            "objective_ids": objectives,
            "auto_approve": False,
        }
        names = [item.get("name") for item in body["items"][:MAX_TARGET] if isinstance(item, dict)]
        body["items"] = [{"name": name} for name in names] or [{}]
    # What a message needs depends on its role, and each conversation is judged.
    if operation.path == "/v1/simulations/import":
        messages = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "A refund is on its way."}]
        body["conversations"] = [{"messages": messages}] * min(len(body["conversations"]), MAX_TARGET)
    # Labels are of objectives of the simulation.
    if isinstance(body.get("labels"), list):
        body["labels"] = []
    if isinstance(projects := body.get("project_ids"), list):
        body["project_ids"] = IDS["project_id"][: len(projects)]
    for name, other in CONTRADICTIONS.items():
        if body.get(name) is not None:
            body.pop(other, None)
    if "scenario" in body and body.get("personas") is None:
        body.setdefault("target_personas", 1)
        body["target_personas"] = body["target_personas"] or 1
    if operation.path == "/v1/keys":
        # One of each pair is required, and a random time is after the expiry of most keys.
        if body.get("scopes") is None and body.get("preset") is None:
            body["preset"] = "worker"
        if body.get("project_ids") is None:
            body["all_projects"] = True
        body.pop("not_before", None)
    if body.get("allowed_cidrs") is not None:
        body["allowed_cidrs"] = BLOCKS[: len(body["allowed_cidrs"])]


def kept(value):
    """The same JSON with integers beyond 64 bits as doubles: a schema does not distinguish `1e30` from thirty zeros."""
    if isinstance(value, dict):
        return {name: kept(member) for name, member in value.items()}
    if isinstance(value, list):
        return [kept(member) for member in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value) if abs(value) < 2**1023 else 0
    return value


def know(case, parameters, wrong):
    """Replaces unknown ids with known ones, except one in ten."""
    # In an order of its own, so that each run makes the same choices.
    for name in sorted((parameters or {}).keys() & IDS.keys() - wrong):
        if not isinstance(parameters[name], str):
            continue
        # The simulation that all other requests use must not end.
        if name == "simulation_id" and case.operation.path.endswith("/cancel"):
            parameters[name] = RANDOM.choice(IDS["simulation_to_cancel_id"])
        elif name == "simulation_id" and case.operation.method.lower() == "delete":
            parameters[name] = RANDOM.choice(IDS["simulation_to_delete_id"])
        # OneRun would take the conversations that other requests need.
        elif name == "agent_id" and case.operation.path.endswith("/endpoint"):
            parameters[name] = RANDOM.choice(IDS["agent_to_claim_id"])
        elif name == "webhook_id" and "delivery_id" in parameters:
            parameters[name] = RANDOM.choice(IDS["webhook_with_deliveries_id"])
        elif RANDOM.random() < 0.9:
            is_held = name == "conversation_id" and case.operation.path.endswith(OF_HELD)
            parameters[name] = RANDOM.choice(IDS["held_conversation_id" if is_held else name])
