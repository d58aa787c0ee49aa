"""The rights of each function in template.yaml, and a proxy to local DynamoDB and Secrets Manager that enforces them.

The local AWS services know no roles, so a missing permission would show only in production. Here the template is expanded
as AWS does it, and every call is checked against the policies of the calling function.

Each function gets its own names of the table and the secret: `onerun.GetAgentFunction`, `onerun/GetAgentFunction`. They
identify the caller; the proxy replaces them with the real names.
"""

import http.client
import json
import os
import re
import subprocess
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from expand import expanded

ROOT = Path(__file__).resolve().parent.parent.parent
TABLE, SECRET, MASTER_KEY = "onerun-local", "onerun-local", "onerun-local-master-key"
# The values of the template's references in policies.
NAMES = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::URLSuffix": "amazonaws.com",
    "Key.Arn": "key",
    "Secret": SECRET,
    "MasterKeySecret": MASTER_KEY,
    "Table.Arn": f"arn:aws:dynamodb:eu-central-1:123456789012:table/{TABLE}",
}


def example(name: str) -> str:
    """An example program of the workspace, which `make` builds."""
    return str(ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug/examples" / name)


class Denied(Exception):
    """A call that the function's role does not allow."""


class Roles:
    """The policies of each function's role. tests/src/rights.rs evaluates them."""

    def __init__(self, template: Path) -> None:
        resources = expanded(template)["Resources"]
        self.functions: dict[str, list[dict[str, Any]]] = {}
        for name, resource in resources.items():
            if resource["Type"] == "AWS::Lambda::Function":
                role = resources[resource["Properties"]["Role"]["Fn::GetAtt"][0]]["Properties"]
                documents = [policy["PolicyDocument"] for policy in role.get("Policies", [])]
                for policy in role["ManagedPolicyArns"]:
                    # The other policies are those of conditions, none of which holds for the default parameters.
                    if isinstance(policy, dict) and "Ref" in policy:
                        documents.append(resources[policy["Ref"]]["Properties"]["PolicyDocument"])
                statements = [statement for document in documents for statement in _list(document["Statement"])]
                self.functions[name] = _resolved(statements)
        self._rights = subprocess.Popen([example("rights")], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        # One thread at a time sends a call and reads the answer.
        self._lock = threading.Lock()
        self._tell({"secret": NAMES["Secret"], "key": NAMES["Key.Arn"], "roles": self.functions})

    def _tell(self, line: dict[str, Any]) -> None:
        assert self._rights.stdin
        self._rights.stdin.write(json.dumps(line) + "\n")
        self._rights.stdin.flush()

    def require(self, function: str, target: str, call: dict[str, Any]) -> None:
        with self._lock:
            self._tell({"role": function, "target": target, "input": call})
            assert self._rights.stdout
            answer = self._rights.stdout.readline()
        if lacking := json.loads(answer):
            raise Denied(lacking)

    def close(self) -> None:
        assert self._rights.stdin
        self._rights.stdin.close()
        self._rights.wait(timeout=30)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _resolved(value: Any) -> Any:
    """Resolves the references in a value."""
    match value:
        case {"Ref": name}:
            return NAMES.get(name, name)
        case {"Fn::GetAtt": [name, attribute]}:
            return NAMES.get(f"{name}.{attribute}", f"{name}.{attribute}")
        case {"Fn::Sub": str(pattern)}:
            return re.sub(r"\$\{([^}]+)\}", lambda name: NAMES.get(name[1], name[1]), pattern)
        case dict():
            return {name: _resolved(member) for name, member in value.items()}
        case list():
            return [_resolved(member) for member in value]
    return value


def _tables(operation: str, call: dict[str, Any]) -> set[str]:
    """The tables of a call."""
    if operation.startswith("Transact"):
        return {part["TableName"] for item in call["TransactItems"] for part in item.values()}
    return set(call["RequestItems"]) if operation == "BatchGetItem" else {call["TableName"]}


class Door(ThreadingHTTPServer):
    """Forwards the calls that the function's role allows."""

    daemon_threads = True

    def __init__(self, host: str, roles: Roles, dynamodb: str, moto: str) -> None:
        super().__init__((host, 0), _Handler)
        self.roles = roles
        self.targets = {"DynamoDB_20120810": dynamodb, "secretsmanager": moto}
        # The refused calls. A correct template has none.
        self.denied: list[str] = []
        self.calls = 0
        # The table capacity that each function consumed, in read and write units.
        self.reads: Counter[str] = Counter()
        self.writes: Counter[str] = Counter()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host}:{port}"

    def check(self, service: str, operation: str, call: dict[str, Any]) -> tuple[str, str, str]:
        """The calling function, its name of the table or secret, and the real name."""
        (alias,) = _tables(operation, call) if service == "DynamoDB_20120810" else {call["SecretId"]}
        match alias.split("." if service == "DynamoDB_20120810" else "/"):
            case ["onerun", function]:
                real = TABLE if service == "DynamoDB_20120810" else SECRET
            case ["onerun-master-key", function]:
                real = MASTER_KEY
            # The event contains the secret's real name, and only one function gets such events.
            case _ if service == "secretsmanager":
                function, real = "RotateSecretFunction", alias
            case _:
                raise Denied(f"no function calls the table {alias}")
        real_call = json.loads(json.dumps(call).replace(json.dumps(alias), json.dumps(real)))
        self.roles.require(function, f"{service}.{operation}", real_call)
        return function, alias, real

    def count(self, function: str, operation: str, answer: dict[str, Any]) -> None:
        consumed = answer.get("ConsumedCapacity", [])
        units = sum(part["CapacityUnits"] for part in (consumed if isinstance(consumed, list) else [consumed]))
        reading = operation in ("GetItem", "BatchGetItem", "Query", "TransactGetItems")
        (self.reads if reading else self.writes)[function] += units


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Door

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        service, operation = self.headers["x-amz-target"].split(".")
        call = json.loads(body)
        self.server.calls += 1
        try:
            function, alias, real = self.server.check(service, operation, call)
        except Denied as denied:
            self.server.denied.append(str(denied))
            kind = "com.amazon.coral.service#AccessDeniedException"
            self.answer(400, "application/x-amz-json-1.1", json.dumps({"__type": kind, "Message": str(denied)}).encode())
            return
        if service == "DynamoDB_20120810":
            body = json.dumps(call | {"ReturnConsumedCapacity": "TOTAL"}).encode()
        quoted = [json.dumps(name).encode() for name in (alias, real)]
        # DynamoDB Local separates the tables of different access keys.
        authorization = re.sub("Credential=[^/]+", "Credential=local", self.headers["authorization"])
        headers = {"x-amz-target": self.headers["x-amz-target"], "authorization": authorization,
                   "content-type": self.headers["content-type"], "x-amz-date": self.headers["x-amz-date"]}
        target = urlsplit(self.server.targets[service])
        connection = http.client.HTTPConnection(target.hostname, target.port, timeout=30)
        try:
            connection.request("POST", "/", body.replace(*quoted), headers)
            response = connection.getresponse()
            found = response.read()
        finally:
            connection.close()
        if service == "DynamoDB_20120810":
            self.server.count(function, operation, json.loads(found))
            found = found.replace(quoted[1] + b":", quoted[0] + b":")
        self.answer(response.status, response.headers["content-type"], found)

    def answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
