#!/usr/bin/env python3
"""Smoke test of a deployment of OneRun. `make deploy` runs it against the stack.

    tests/smoke.py --stack onerun                      address and root key by the AWS CLI
    ONERUN_API_BASE_URL=… ONERUN_API_KEY=… tests/smoke.py [--without-jobs]

It creates, rotates and revokes a managed key. Then it starts a simulation, waits for its first conversation, and cancels it.
Everything is in the project "Smoke test", and its keys expire within a day. `--without-jobs` does not wait for a
conversation: `sam local start-api` runs no jobs. Every wait is bounded. The exit code is 0 if every check passes.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

# Deadlines for one reply, and for a condition: a cold start, and a job's way through stream, pipe
# and queue.
ANSWER, LIMIT = 30, 120
PROJECT = "Smoke test"


class Wrong(Exception):
    """A check of the deployment failed."""


class Api:
    def __init__(self, base: str, key: str) -> None:
        self.base, self.key = base.rstrip("/"), key

    def attempt(self, method: str, path: str, body: Any = None, key: str | None = "") -> tuple[int, Any, Any]:
        headers = {"content-type": "application/json"}
        if key is not None:
            headers["x-api-key"] = key or self.key
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER) as answer:
                status, fields, text = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            status, fields, text = error.code, error.headers, error.read()
        except OSError as error:
            raise Wrong(f"{method} {path}: no answer from {self.base}: {error}") from error
        try:
            return status, json.loads(text or b"null"), fields
        except ValueError as error:
            raise Wrong(f"{method} {path}: answered {status} without JSON") from error

    def call(self, method: str, path: str, body: Any = None, status: int = 200, code: str | None = None,
             key: str | None = "") -> Any:
        got, found, fields = self.attempt(method, path, body, key)
        if got != status or (code and found.get("code") != code):
            # The error's message, and never the whole reply, which may contain a key.
            told = {name: found.get(name) for name in ("code", "message", "request_id")} if got >= 400 else ""
            raise Wrong(f"{method} {path}: expected {status} {code or ''}, got {got} {told}")
        if status == 401 and not fields.get("www-authenticate"):
            raise Wrong(f"{method} {path}: a 401 without www-authenticate")
        return found

    def eventually(self, what: str, holds: Any) -> Any:
        end = time.monotonic() + LIMIT
        while True:
            if found := holds():
                return found
            if time.monotonic() > end:
                raise Wrong(f"{what}: not within {LIMIT} s")
            time.sleep(0.5)


def say(what: str) -> None:
    print(f"smoke: {what}", flush=True)


def strangers(api: Api) -> None:
    api.call("GET", "/health", key=None)
    api.call("GET", "/v1/whoami", status=401, code="missing_api_key", key=None)
    api.call("GET", "/v1/whoami", status=401, code="invalid_api_key", key="A1b2" * 16)
    api.call("GET", "/no-such-route", status=404, code="route_not_found")
    say("health answers, and strangers are refused")


def keys(api: Api) -> None:
    """Each call changes keys and the audit trail in one transaction, which the role's policies must allow."""
    who = api.call("GET", "/v1/whoami")
    if who.get("kind") != "root":
        raise Wrong("the key is not the root key")
    made = api.call("POST", "/v1/keys", {"name": "Smoke test", "preset": "read_only", "all_projects": True,
                                         "expires_in_days": 1})
    rotated = None
    try:
        api.call("GET", "/v1/projects", key=made["key"])
        api.call("POST", "/v1/projects", {"name": "no"}, status=403, code="insufficient_scope", key=made["key"])
        rotated = api.call("POST", f"/v1/keys/{made['id']}/rotate", {"overlap_seconds": 60})
        api.call("GET", "/v1/projects", key=rotated["key"])
    finally:
        for key in (made, rotated):
            if key:
                api.call("POST", f"/v1/keys/{key['id']}/revoke")
    for key in (made, rotated):
        api.eventually("the end of a revoked key",
                       lambda key=key: api.attempt("GET", "/v1/projects", key=key["key"])[0] == 401)
    say("the root key is known; a managed key was made, rotated and revoked")


def simulation(api: Api, with_jobs: bool) -> None:
    listed = api.call("GET", "/v1/projects?limit=100")["data"]
    project = next((found for found in listed if found["name"] == PROJECT), None)
    project = project or api.call("POST", "/v1/projects", {"name": PROJECT})
    here = f"project_id={project['id']}"

    def make(kind: str, body: Any) -> Any:
        return api.call("POST", f"/v1/{kind}?{here}", body)

    agent = make("agents", {"name": "Smoke test"})
    objective = make("objectives", {"name": "Smoke test", "criteria": "check: agent replies >= 1"})
    made = make("simulations", {"name": "Smoke test", "agent_id": agent["id"], "scenario": "A parcel is late.",
                                "target_conversations": 1, "target_personas": 1, "auto_approve": True,
                                "objective_ids": [objective["id"]]})
    path = f"/v1/simulations/{made['id']}"
    try:
        if with_jobs:
            api.eventually("the first conversation",
                           lambda: api.call("GET", f"{path}/conversations?{here}&limit=1")["data"])
            say("jobs run: the first conversation of a simulation is queued")
    finally:
        api.call("POST", f"{path}/cancel?{here}")
    status = api.call("GET", f"{path}?{here}")["status"]
    if status != "canceled":
        raise Wrong(f"a canceled simulation is {status}")
    say("a simulation was made and canceled")


def of_stack(stack: str) -> tuple[str, str]:
    """The address and the root key of a stack."""

    def aws(*command: str) -> str:
        done = subprocess.run(["aws", *command, "--output", "text"], capture_output=True, text=True, timeout=60,
                              check=False)
        if done.returncode != 0 or not done.stdout.strip():
            raise Wrong(f"aws {' '.join(command[:2])}: {done.stderr.strip() or 'nothing was found'}")
        return done.stdout.strip()

    def output(name: str) -> str:
        return aws("cloudformation", "describe-stacks", "--stack-name", stack, "--query",
                   f"Stacks[0].Outputs[?OutputKey=='{name}'].OutputValue")

    secret = aws("secretsmanager", "get-secret-value", "--secret-id", output("SecretArn"), "--query", "SecretString")
    return output("ApiUrl"), json.loads(secret)["api_key"] if secret.startswith("{") else secret


def main() -> int:
    parser = argparse.ArgumentParser(description="Tries a deployment of OneRun as a caller.")
    parser.add_argument("--stack", help="read the address and the root key from this CloudFormation stack")
    parser.add_argument("--without-jobs", action="store_true", help="do not wait for the results of jobs")
    arguments = parser.parse_args()
    try:
        if arguments.stack:
            base, key = of_stack(arguments.stack)
        else:
            base, key = (os.environ.get(name, "") for name in ("ONERUN_API_BASE_URL", "ONERUN_API_KEY"))
            if not base or not key:
                raise Wrong("set ONERUN_API_BASE_URL and ONERUN_API_KEY, or name a --stack")
        api = Api(base, key)
        strangers(api)
        keys(api)
        simulation(api, not arguments.without_jobs)
    except Wrong as wrong:
        print(f"smoke: {wrong}", file=sys.stderr)
        return 1
    say("passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
