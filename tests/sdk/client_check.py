"""Reads simulations with every method of the published SDK's client, and checks the results.

Prints one JSON document of what it saw. Exit code 1, and one line that says what was wrong, if any call fails or any
answer is not what the parameters ask for.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import onerun
from onerun.types import Agent, Objective, Pagination, Simulation, SimulationStatus


class Wrong(Exception):
    """An unexpected result."""


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise Wrong(what)


def check_types(simulation: Simulation) -> None:
    """Checks the promises of the SDK's type hints that its parser does not enforce."""
    expect(isinstance(simulation, Simulation), f"{simulation!r} is no Simulation")
    expect(isinstance(simulation.status, SimulationStatus), f"{simulation.id}: untyped status")
    expect(isinstance(simulation.agent, Agent), f"{simulation.id}: the agent is not populated")
    expect(simulation.agent.id == simulation.agent_id, f"{simulation.id}: populated with another agent")
    expect(all(isinstance(objective, Objective) for objective in simulation.objectives),
           f"{simulation.id}: untyped objective")
    for moment in (simulation.created_at, simulation.updated_at, simulation.expires_at):
        expect(moment is None or moment.tzinfo is not None, f"{simulation.id}: a time without a zone")


def check_get(client: onerun.Client, project: str, expected: dict[str, str]) -> dict[str, Any]:
    """`get` on each of `expected`: id to status."""
    seen = {}
    for simulation_id, status in expected.items():
        simulation = client.simulations.get(project_id=project, simulation_id=simulation_id)
        check_types(simulation)
        expect(simulation.id == simulation_id, f"asked for {simulation_id}, got {simulation.id}")
        expect(simulation.project_id == project, f"{simulation_id}: of another project")
        expect(simulation.status.value == status, f"{simulation_id}: {simulation.status.value}, not {status}")
        expect(len(simulation.objectives) > 0, f"{simulation_id}: no objectives")
        seen[simulation_id] = {
            "status": simulation.status.value,
            "objectives": [objective.name for objective in simulation.objectives],
            "last_failure_reason": simulation.last_failure_reason,
        }
    return seen


def sort_key(sort_by: str) -> Callable[[Simulation], Any]:
    return {
        "created_at": lambda simulation: simulation.created_at,
        "name": lambda simulation: simulation.name,
        "status": lambda simulation: simulation.status.value,
    }[sort_by]


def one_by_one(*choices: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Each choice once, with the first choice of all other parameters."""
    first = tuple(options[0] for options in choices)
    yield first
    for place, options in enumerate(choices):
        for choice in options[1:]:
            yield (*first[:place], choice, *first[place + 1:])


def check_list(client: onerun.Client, project: str, agent: str, name: str, combine: Callable[..., Any]) -> int:
    """`list` with combinations of parameters, each against the same selection made here.

    Returns how many combinations were tried. Nothing may change meanwhile.
    """
    everything = client.simulations.list(project_id=project, limit=100)
    expect(isinstance(everything, Pagination), "list returns no Pagination")
    expect(not everything.has_more, "has_more although all fit")
    for simulation in everything.data:
        check_types(simulation)

    # Statuses as the SDK's enumeration and, once, as plain text, which it also accepts.
    combinations = combine(
        (None, agent), (2, 10), (None, name), (0, 1), ("created_at", "name", "status"), ("asc", "desc"),
        (None, *SimulationStatus, "completed"),
    )
    edges = [
        ("AAAAAAAAAAAA", 10, None, 0, "created_at", "asc", None),
        (None, 1, None, 0, "created_at", "asc", None),
        (None, 100, None, 0, "created_at", "asc", None),
        (None, 10, None, 100, "created_at", "asc", None),
        (None, 10, name.upper(), 0, "created_at", "asc", None),
        (None, 10, "no simulation has this in its name", 0, "created_at", "asc", None),
        (None, 10, "%", 0, "created_at", "asc", None),
    ]
    tried = 0
    for agent_id, limit, part, offset, sort_by, sort_dir, status in itertools.chain(combinations, edges):
        call = dict(agent_id=agent_id, limit=limit, name=part, offset=offset, sort_by=sort_by, sort_dir=sort_dir,
                    status=status)
        page = client.simulations.list(project_id=project, **call)
        matching = [
            simulation
            for simulation in everything.data
            if agent_id in (None, simulation.agent_id)
            and (part is None or part.lower() in simulation.name.lower())
            and status in (None, simulation.status)
        ]
        # The SDK never sends "asc", because it treats that as the default. The server's default is
        # newest first, so SDK users always get a descending order.
        key = sort_key(sort_by)
        ordered = sorted(map(key, matching), reverse=True)
        got = list(map(key, page.data))
        expect(got == ordered[offset:offset + limit], f"list({call}) has {got}, of {ordered}")
        expect(page.has_more == (len(ordered) > offset + limit), f"list({call}) has_more is {page.has_more}")
        tried += 1
    return tried


def check_pages(client: onerun.Client, project: str) -> None:
    """Pages of two, by offset, hold each simulation once."""
    everything = [simulation.id for simulation in client.simulations.list(project_id=project, limit=100).data]
    for sort_by in ("created_at", "name", "status"):
        paged: list[str] = []
        while True:
            page = client.simulations.list(project_id=project, limit=2, offset=len(paged), sort_by=sort_by)
            paged += [simulation.id for simulation in page.data]
            if not page.has_more:
                break
        expect(sorted(paged) == sorted(everything), f"pages sorted by {sort_by} hold {paged}, not {everything}")


def check_conversations(client: onerun.Client, project: str, simulations: list[str]) -> dict[str, int]:
    """The raw pages of conversations, with the fields that the SDK's worker reads, and `get` on each."""
    conversations = client.simulations.conversations
    counted = {}
    for simulation_id in simulations:
        total = 0
        for status in ("pending", "no such status"):
            try:
                conversations.list(project_id=project, simulation_id=simulation_id, status=status)
            except onerun.APIError as error:
                expect("`queued`" in error.message, f"{error.message} does not say which statuses there are")
            else:
                expect(False, f"{status} is taken for a status")
        for status in (None, "queued", "in_progress", "ended", "failed"):
            page = conversations.list(project_id=project, simulation_id=simulation_id, status=status)
            for item in page["data"]:
                expect(item["simulation_id"] == simulation_id, f"{item['id']} is of another simulation")
                expect(status in (None, item["status"]), f"{item['id']} is {item['status']}, not {status}")
                one = conversations.get(project_id=project, simulation_id=simulation_id, conversation_id=item["id"])
                expect(one["id"] == item["id"], f"asked for {item['id']}, got {one['id']}")
            total = total if status else len(page["data"])
        counted[simulation_id] = total
    return counted


def check_created(client: onerun.Client, project: str, agent: str, objectives: list[str]) -> str:
    """The reply to a create, parsed by the SDK, which has no method for it. Only this reply reliably shows `pending`."""
    simulation = client._request(
        method="POST",
        url=f"{client.base_url}/v1/simulations",
        cast_to=Simulation,
        params={"project_id": project},
        json={
            "agent_id": agent,
            "name": "Created by the check",
            "scenario": "A customer asks for a refund of a broken kettle.",
            "target_conversations": 1,
            "target_personas": 1,
            "objective_ids": objectives,
        },
    )
    check_types(simulation)
    expect(simulation.status is SimulationStatus.PENDING, f"created as {simulation.status}")
    expect(client.simulations.get(project_id=project, simulation_id=simulation.id).id == simulation.id,
           "what was created cannot be read")
    return simulation.id


def refusal(call: Callable[[], object]) -> dict[str, str]:
    """The error that `call` must raise."""
    try:
        answer = call()
    except onerun.APIError as error:
        expect(error.code.islower() and error.message.strip() != "", f"an error without a next step: {error!r}")
        return {"code": error.code, "message": error.message}
    raise Wrong(f"not refused: {answer!r}")


def check_refusals(client: onerun.Client, project: str, known: str) -> dict[str, dict[str, str]]:
    """Checks the SDK's errors when the server refuses a call."""
    # A wrong key of valid length.
    stranger = onerun.Client(base_url=client.base_url, api_key="AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    malformed = onerun.Client(base_url=client.base_url, api_key="not-a-key")
    unknown = "A" * 21
    conversations = client.simulations.conversations
    return {
        "wrong key": refusal(lambda: stranger.simulations.list(project_id=project)),
        "malformed key": refusal(lambda: malformed.simulations.get(project_id=project, simulation_id=known)),
        "unknown simulation": refusal(lambda: client.simulations.get(project_id=project, simulation_id=unknown)),
        "unknown project": refusal(lambda: client.simulations.list(project_id="A" * 12)),
        "limit too large": refusal(lambda: client.simulations.list(project_id=project, limit=101)),
        "unknown conversation": refusal(
            lambda: conversations.start(project_id=project, simulation_id=known, conversation_id=unknown)
        ),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--project", required=True, help="id of the project to read")
    parser.add_argument("--agent", required=True, help="id of an agent that has simulations")
    parser.add_argument("--objective", action="append", default=[], metavar="ID", help="an objective of the simulation to create")
    parser.add_argument("--name", required=True, help="a text in the names of some simulations, but not all")
    parser.add_argument("--one-by-one", action="store_true",
                        help="try each value of a parameter of lists once, not every combination, which is hundreds of calls")
    parser.add_argument("simulations", nargs="+", metavar="ID=STATUS", help="a simulation and its status")
    options = parser.parse_args()
    expected = dict(pair.split("=", 1) for pair in options.simulations)

    # Key and address come from the environment, as the SDK documents.
    client = onerun.Client()
    try:
        seen = {
            "simulations": check_get(client, options.project, expected),
            "combinations": check_list(client, options.project, options.agent, options.name,
                                       one_by_one if options.one_by_one else itertools.product),
            "conversations": check_conversations(client, options.project, list(expected)),
            "refusals": check_refusals(client, options.project, next(iter(expected))),
        }
        check_pages(client, options.project)
        # Last, because it adds rows to the lists.
        seen["created"] = check_created(client, options.project, options.agent, options.objective)
    except (Wrong, onerun.APIError, KeyError, httpx.HTTPError) as error:
        print(f"client_check: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    json.dump(seen, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
