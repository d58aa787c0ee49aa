"""Measures the replies of `onerun serve` while it judges the slowest check lines that it accepts.

Times `/health` and the revocation of a key, first on an idle server, then on the same server while it judges 50 objectives
with the widest patterns on messages up to a conversation's work limit. Needs only the program: `bench/judging.py --onerun target/release/onerun`. Prints a table and writes bench/out/judging.json.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import OUT, call, machine, onerun_up, running

OBJECTIVES, LINES = 50, 4
# The text has no match, and the pattern can be at 252 positions at once.
CHECK = "check: agent never says /a[ab]{250}c/"
# 50 objectives × 4 × 253 positions × 10,000 bytes: about the work limit of one conversation.
MESSAGE = 10_000
CONVERSATIONS = 16
SAMPLES = 100


def judged(base: str, key: str, path: str) -> int:
    page = call(base, key, "GET", f"{path}&limit=100")
    return sum(one["evaluation_status"] == "completed" for one in page["data"])


def sample(base: str, key: str) -> dict[str, float]:
    """The time of each request once, in milliseconds."""
    made = call(base, key, "POST", "/v1/keys", {"name": "Leaked", "scopes": ["projects:read"], "all_projects": True})["id"]
    took = {}
    for name, method, path in [("health", "GET", "/health"), ("revocation", "POST", f"/v1/keys/{made}/revoke")]:
        started = time.perf_counter()
        call(base, key, method, path)
        took[name] = (time.perf_counter() - started) * 1000
    return took


def measure(base: str, key: str, samples: int) -> list[dict[str, float]]:
    return [sample(base, key) for _ in range(samples)]


def figures(samples: list[dict[str, float]], name: str) -> dict[str, float]:
    values = sorted(one[name] for one in samples)
    return {"p50": statistics.median(values), "p99": values[int(len(values) * 0.99)], "max": values[-1]}


def prepare(base: str, key: str) -> tuple[str, float]:
    """Creates conversations that wait for evaluation. Returns their path, and the milliseconds to create one objective."""
    project = call(base, key, "POST", "/v1/projects", {"name": "Bench"})["id"]
    query = f"?project_id={project}"
    agent = call(base, key, "POST", f"/v1/agents{query}", {"name": "Agent"})["id"]
    started = time.perf_counter()
    criteria = "\n".join([CHECK] * LINES)
    objectives = [call(base, key, "POST", f"/v1/objectives{query}", {"name": f"{n}", "criteria": criteria})["id"]
                  for n in range(OBJECTIVES)]
    each = (time.perf_counter() - started) * 1000 / OBJECTIVES
    simulation = call(base, key, "POST", f"/v1/simulations{query}", {
        "agent_id": agent, "name": "Worst", "scenario": "Anything.", "auto_approve": True, "max_turns": 200,
        "target_conversations": CONVERSATIONS, "target_personas": CONVERSATIONS, "objective_ids": objectives,
    })["id"]
    path = f"/v1/simulations/{simulation}/conversations"
    while len(data := call(base, key, "GET", f"{path}{query}&limit=100")["data"]) < CONVERSATIONS:
        time.sleep(0.05)
    text = "".join(random.Random(1).choices("ab", k=MESSAGE))
    message = {"input": [{"type": "message", "content": [{"type": "text", "text": text}]}]}
    for one in data:
        call(base, key, "POST", f"{path}/{one['id']}/responses{query}", message)
    for one in data:
        call(base, key, "POST", f"{path}/{one['id']}/end{query}")
    return f"{path}{query}", each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--onerun", type=Path, required=True, help="the program, built for release")
    options = parser.parse_args()
    about: dict[str, Any] = machine()
    with tempfile.TemporaryDirectory(prefix="onerun-bench-") as scratch:
        data = Path(scratch, "data")
        serve = [options.onerun, "serve", "--port", "0", "--data", data]
        with running(serve, {"RUST_LOG": "warn"}, onerun_up) as base:
            key = Path(data, "api-key").read_text().strip()
            measure(base, key, 10)
            idle = measure(base, key, SAMPLES)
            path, each = prepare(base, key)
            started = time.perf_counter()
            before = judged(base, key, path)
            busy = []
            while len(busy) < SAMPLES or judged(base, key, path) < CONVERSATIONS:
                if judged(base, key, path) == CONVERSATIONS:
                    sys.exit("bench: judging was over before enough was measured; raise CONVERSATIONS")
                busy += measure(base, key, 10)
                time.sleep(0.05)
            took = time.perf_counter() - started
    lines = ["| request | server | p50 ms | p99 ms | max ms |", "|---|---|---:|---:|---:|"]
    found: dict[str, Any] = {"machine": about, "objective_ms": each,
                             "judging_seconds": took / (CONVERSATIONS - before), "samples": len(busy)}
    for name in ("health", "revocation"):
        for server, samples in (("idle", idle), ("judging", busy)):
            found[f"{name}, {server}"] = one = figures(samples, name)
            lines.append(f"| {name} | {server} | {one['p50']:.1f} | {one['p99']:.1f} | {one['max']:.1f} |")
    OUT.mkdir(exist_ok=True)
    (OUT / "judging.json").write_text(json.dumps(found, indent=2))
    print(f"{about['cores']} cores, {about['cpu']}, {about['time']}; {len(busy)} samples while judging; one objective is made "
          f"in {each:.0f} ms, one conversation judged in {found['judging_seconds']:.1f} s\n\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
