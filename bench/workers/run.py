"""Measures `onerun worker` beside the published SDK's worker; see bench/README.md.

usage: run.py --onerun PROGRAM --python PYTHON [--conversations 200] [--at-once 50]

Each worker holds the conversations of a new simulation on a server of its own. The time is from the start of the worker's
process until the last conversation has ended.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
AGENT_MS = 300
LIMIT_SECONDS = 600


@contextmanager
def running(command: list, env: dict[str, str], pattern: str | None, log: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """A process, and what the pattern finds in its first lines. It is stopped at the end."""
    with log.open("wb") as errors:
        process = subprocess.Popen([str(part) for part in command], env={"PATH": os.environ["PATH"], **env}, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        try:
            found = ""
            if pattern:
                for line in process.stdout:
                    if match := re.search(pattern, line):
                        found = match[1]
                        break
                else:
                    sys.exit(f"{command[0]} ended: {log.read_text()}")
            yield process, found
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def call(base: str, key: str, method: str, path: str, body: dict | None = None) -> dict:
    request = urllib.request.Request(base + path, method=method, data=None if body is None else json.dumps(body).encode(),
                                     headers={"x-api-key": key, "content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def peak_mib(process: subprocess.Popen) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def measure(options: argparse.Namespace, name: str, worker, directory: Path) -> dict:
    data = directory / "data"
    with (
        running([sys.executable, HERE / "agent.py", AGENT_MS], {}, r"^(\d+)$", directory / "agent.log") as (_, port),
        running([options.onerun, "serve", "--port", "0", "--data", data], {"RUST_LOG": "warn"}, r"listening on (http://\S+)",
                directory / "server.log") as (_, base),
    ):
        key = (data / "api-key").read_text().strip()
        project = call(base, key, "POST", "/v1/projects", {"name": "Bench"})["id"]
        query = f"?project_id={project}"
        agent = call(base, key, "POST", f"/v1/agents{query}", {"name": "Desk"})["id"]
        objective = {"name": "Refunds", "criteria": "check: agent says /refund/i"}
        objective = call(base, key, "POST", f"/v1/objectives{query}", objective)["id"]
        path = "/v1/simulations/" + call(base, key, "POST", f"/v1/simulations{query}", {
            "agent_id": agent, "name": "Bench", "scenario": "A customer asks for a refund of a broken kettle.", "seed": 7,
            "target_conversations": options.conversations, "target_personas": 10, "auto_approve": True, "max_turns": 10,
            "objective_ids": [objective],
        })["id"]

        def counts() -> dict:
            return call(base, key, "GET", f"{path}/results{query}")["conversations"]

        while counts()["queued"] < options.conversations:
            time.sleep(0.1)
        env = {"ONERUN_API_BASE_URL": base, "ONERUN_API_KEY": key}
        started = time.perf_counter()
        with running(worker(project, agent, f"http://127.0.0.1:{port}/"), env, None, directory / "worker.log") as (process, _):
            while (now := counts())["ended"] < options.conversations:
                if time.perf_counter() - started > LIMIT_SECONDS or process.poll() is not None:
                    sys.exit(f"{name} held {now}: {(directory / 'worker.log').read_text()[-2000:]}")
                time.sleep(0.05)
            seconds, memory = time.perf_counter() - started, peak_mib(process)
        items = call(base, key, "GET", f"{path}/conversations{query}&limit=100")["data"]
        messages = sum(one["item_count"] for one in items) / len(items)
    return {"name": name, "seconds": seconds, "mib": memory, "messages": messages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--onerun", required=True, type=Path)
    parser.add_argument("--python", required=True, help="the Python with the SDK")
    parser.add_argument("--conversations", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=50)
    options = parser.parse_args()

    def ours(project: str, agent: str, url: str) -> list:
        target = {"http": {"url": url, "body": {"message": "{{ message }}"}, "reply": "$.text"}}
        return [options.onerun, "worker", "--project", project, "--agent", agent, "--target", json.dumps(target),
                "--concurrency", options.at_once]

    def sdk(poll_seconds: int):
        return lambda project, agent, url: [options.python, HERE / "sdk_worker.py", "--project", project, "--agent", agent,
                                            "--url", url, "--concurrency", options.at_once, "--poll-seconds", poll_seconds]

    results = []
    for name, worker in [("`onerun worker`", ours), ("SDK, polls every 5 s (default)", sdk(5)), ("SDK, polls every 1 s", sdk(1))]:
        with tempfile.TemporaryDirectory() as directory:
            results.append(measure(options, name, worker, Path(directory)))
    print(f"{options.conversations} conversations of {results[0]['messages']:.0f} messages, {options.at_once} at once, "
          f"an agent that takes {AGENT_MS} ms\n")
    print("| worker | wall s | times `onerun worker` | peak MiB |\n|---|---:|---:|---:|")
    for result in results:
        ratio = result["seconds"] / results[0]["seconds"]
        print(f"| {result['name']} | {result['seconds']:.1f} | {ratio:.1f} | {result['mib']:.0f} |")


if __name__ == "__main__":
    main()
