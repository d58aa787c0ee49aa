"""Measures `onerun` and a FastAPI service with the same route. Run by run.sh; see README.md.

Everything is on loopback, bounded in count and time, and ends without help. Writes bench/out/*.json and prints a table.
"""

import argparse
import json
import os
import platform
import re
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OUT = HERE / "out"
CONNECTIONS, THREADS = 16, 2
# The duration in seconds, and the turns of each service.
WARM_UP, DURATION, ROUNDS = 2, 10, 2
# The baseline of the comparison.
REFERENCE = "onerun serve"
START_LIMIT = 20.0


def demo(onerun: Path, conversations: int) -> dict[str, Any]:
    """A whole simulation through HTTP with an in-process worker: its report, and the process's peak memory."""
    command = [onerun, "demo", "--conversations", str(conversations), "--json"]
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL)
        # The kernel's figures for the process, including its peak resident memory.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"bench: {command} ended with {process.returncode}")
        output.seek(0)
        report = json.load(output)
    return {
        "conversations": conversations,
        "elapsed_seconds": report["elapsed_seconds"],
        "process_seconds": round(wall, 3),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        # Kibibytes on Linux, bytes on macOS.
        "peak_mib": round(usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10), 1),
    }


@contextmanager
def running(command: list[Any], env: dict[str, str], wait: Callable[[subprocess.Popen], str]) -> Iterator[str]:
    """A running server, stopped on exit. `wait` returns its address once it listens."""
    process = subprocess.Popen(command, env={"PATH": os.environ["PATH"], **env}, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield wait(process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def onerun_up(process: subprocess.Popen) -> str:
    for line in process.stdout:
        if match := re.match(r"listening on (http://\S+)", line):
            return match[1]
    sys.exit("bench: `onerun serve` ended before it listened")


def uvicorn_up(port: int) -> Callable[[subprocess.Popen], str]:
    def wait(process: subprocess.Popen) -> str:
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            if process.poll() is not None:
                sys.exit("bench: uvicorn ended before it listened")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=1).close()
                return f"http://127.0.0.1:{port}"
            except OSError:
                time.sleep(0.05)
        sys.exit("bench: uvicorn does not listen")

    return wait


def call(base: str, key: str, method: str, path: str, body: dict | None = None) -> dict:
    request = urllib.request.Request(base + path, method=method, headers={"x-api-key": key},
                                     data=None if body is None else json.dumps(body).encode())
    if body is not None:
        request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        sys.exit(f"bench: {method} {path}: {error.code} {error.read().decode()}")


def simulation(base: str, key: str) -> dict:
    """A simulation with three objectives, created through the API and canceled, so that no job runs during the load."""
    project = call(base, key, "POST", "/v1/projects", {"name": "Bench"})["id"]
    query = f"?project_id={project}"
    agent = call(base, key, "POST", f"/v1/agents{query}", {"name": "Refund desk", "description": "Handles refunds."})
    objectives = [
        call(base, key, "POST", f"/v1/objectives{query}", {"name": name, "criteria": criteria})["id"]
        for name, criteria in [
            ("Starts the refund", "The agent starts a refund once it has the order number.\ncheck: agent says /refund/i"),
            ("Blames nobody", "check: agent never says /your fault/i"),
            ("Is brief", "check: agent replies <= 6"),
        ]
    ]
    made = call(base, key, "POST", f"/v1/simulations{query}", {
        "agent_id": agent["id"],
        "name": "Bench",
        "scenario": "A customer asks for a refund of a kettle that arrived broken, and is in a hurry.",
        "target_conversations": 10,
        "target_personas": 5,
        "auto_approve": True,
        "objective_ids": objectives,
    })["id"]
    call(base, key, "POST", f"/v1/simulations/{made}/cancel{query}")
    return call(base, key, "GET", f"/v1/simulations/{made}{query}")


def wrk(url: str, key: str, seconds: int) -> dict[str, Any]:
    command = ["wrk", f"-t{THREADS}", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-H", f"x-api-key: {key}", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 30).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        sys.exit(f"bench: not all answers are good:\n{text}")
    milliseconds = {"us": 1e-3, "ms": 1, "s": 1e3}

    def percentile(name: str) -> float:
        value, unit = re.search(rf"^\s+{name}%\s+([\d.]+)(us|ms|s)$", text, re.M).groups()
        return round(float(value) * milliseconds[unit], 3)

    return {
        "requests_per_second": float(re.search(r"^Requests/sec:\s+([\d.]+)", text, re.M)[1]),
        "p50_ms": percentile("50"),
        "p99_ms": percentile("99"),
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def differs(answer: Any, subject: Any) -> str | None:
    """The first difference between `answer` and `subject`. `answer` may omit fields and write times differently."""
    if isinstance(answer, dict) and isinstance(subject, dict):
        inner = ((name, differs(value, subject.get(name))) for name, value in answer.items() if name[-3:] != "_at")
        return next((f"{name}: {difference}" for name, difference in inner if difference), None)
    if isinstance(answer, list) and isinstance(subject, list) and len(answer) == len(subject):
        return next(filter(None, map(differs, answer, subject)), None)
    return None if answer == subject else f"{answer!r}, not {subject!r}"


def reads(onerun: Path) -> dict[str, Any]:
    """Authenticated GET of the same simulation from each service, in turns."""
    key = b64encode(secrets.token_bytes(32)).decode()
    with tempfile.TemporaryDirectory(prefix="onerun-bench-") as scratch:
        data, database = Path(scratch, "onerun"), Path(scratch, "fastapi.db")
        serve = [onerun, "serve", "--port", "0", "--data", data]

        with running(serve, {"AUTH_API_KEY": key}, onerun_up) as base:
            subject = simulation(base, key)
        subprocess.run([sys.executable, HERE / "fastapi/seed.py", database], input=json.dumps(subject), text=True,
                       check=True)
        path = f"/v1/simulations/{subject['id']}?project_id={subject['project_id']}"

        def uvicorn(workers: int) -> tuple[list[Any], dict[str, str], Callable]:
            port = free_port()
            command = [sys.executable, "-m", "uvicorn", "app:app", "--app-dir", HERE / "fastapi", "--port", str(port),
                       "--workers", str(workers), "--loop", "uvloop", "--http", "httptools", "--no-access-log",
                       "--log-level", "warning"]
            return command, {"AUTH_API_KEY": key, "DATABASE": str(database)}, uvicorn_up(port)

        services = {
            # Without a log line for each request, as the comparator, and with it, the default.
            REFERENCE: lambda: (serve, {"AUTH_API_KEY": key, "RUST_LOG": "warn"}, onerun_up),
            "onerun serve, logging": lambda: (serve, {"AUTH_API_KEY": key}, onerun_up),
            "FastAPI, 1 worker": lambda: uvicorn(1),
            "FastAPI, 2 workers": lambda: uvicorn(2),
        }
        rounds: dict[str, list[dict]] = {name: [] for name in services}
        for _ in range(ROUNDS):
            for name, start in services.items():
                with running(*start()) as base:
                    answer = call(base, key, "GET", path)
                    if difference := differs(answer, subject):
                        sys.exit(f"bench: {name} does not serve the same simulation: {difference}")
                    wrk(base + path, key, WARM_UP)
                    rounds[name].append(wrk(base + path, key, DURATION))
                    print(f"  {name}: {rounds[name][-1]}", file=sys.stderr)

    mean = {name: statistics.mean(one["requests_per_second"] for one in measured) for name, measured in rounds.items()}
    return {
        "rounds": rounds,
        "requests_per_second": mean,
        "ratio": {name: round(mean[REFERENCE] / rate, 1) for name, rate in mean.items()},
    }


def machine() -> dict[str, Any]:
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "") if sys.platform == "linux" else platform.processor()
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.platform(terse=True),
            "python": platform.python_version(), "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def table(demos: list[dict], measured: dict[str, Any] | None) -> str:
    lines = []
    if demos:
        lines += ["| conversations | wall s | conversations/s | CPU s | peak MiB |", "|---:|---:|---:|---:|---:|"]
        lines += [
            f"| {one['conversations']:,} | {one['elapsed_seconds']:.2f} "
            f"| {one['conversations'] / one['elapsed_seconds']:.0f} | {one['cpu_seconds']:.2f} | {one['peak_mib']:.1f} |"
            for one in demos
        ]
    if measured:
        lines += ["", "| service | requests/s, each round | p50 ms | p99 ms | `onerun serve` is |",
                  "|---|---:|---:|---:|---:|"]
        for name, rounds in measured["rounds"].items():
            rates = " / ".join(f"{one['requests_per_second']:,.0f}" for one in rounds)
            p50, p99 = (statistics.mean(one[field] for one in rounds) for field in ("p50_ms", "p99_ms"))
            ratio = f"{measured['ratio'][name]} times it" if name != REFERENCE else ""
            lines.append(f"| {name} | {rates} | {p50:.2f} | {p99:.2f} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--onerun", type=Path, required=True, help="the program, built for release")
    parser.add_argument("--only", choices=["demo", "reads"], help="measure one of the two")
    options = parser.parse_args()

    about = machine()
    OUT.mkdir(exist_ok=True)
    demos, measured = [], None
    if options.only != "reads":
        for conversations in (100, 1000):
            demos.append(demo(options.onerun, conversations))
            print(f"  demo: {demos[-1]}", file=sys.stderr)
        (OUT / "demo.json").write_text(json.dumps({"machine": about, "runs": demos}, indent=2))
    if options.only != "demo":
        measured = reads(options.onerun)
        (OUT / "reads.json").write_text(json.dumps({"machine": about, **measured}, indent=2))
    print(f"{about['cores']} cores, {about['cpu']}, {about['time']}\n\n{table(demos, measured)}")


if __name__ == "__main__":
    main()
