"""What each function may do by template.yaml, and a door to local DynamoDB and Secrets Manager that lets nothing else in.

No local counterpart of AWS knows of roles, so a function that lacks a permission would be found out in production. Here the
template is transformed as AWS does it, and every call is held against the policies of the function that makes it.

Each function is told of a table and a secret of its own name: `onerun.GetAgentFunction`, `onerun/GetAgentFunction`. That is
how it is known again; it is given the real ones.
"""

import http.client
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

TABLE, SECRET = "onerun-local", "onerun-local"
AWS_POLICIES = ("AWSLambdaBasicExecutionRole",)


class Denied(Exception):
    """A call that the function's role does not allow."""


class _NoAwsPolicies:
    def load(self) -> dict[str, str]:
        return {name: f"arn:aws:iam::aws:policy/{name}" for name in AWS_POLICIES}


def _text(value: Any) -> str:
    """An ARN of the template as text: `Table.Arn`, `Table.Arn/index/by-made`, `Secret`."""
    match value:
        case str():
            return value
        case {"Ref": name}:
            return name
        case {"Fn::GetAtt": [name, attribute]}:
            return f"{name}.{attribute}"
        case {"Fn::Sub": str(pattern)}:
            return re.sub(r"\$\{([^}]+)\}", r"\1", pattern)
    raise ValueError(f"not understood: {value!r}")


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


class Roles:
    """What each function's role allows: pairs of an action and a resource."""

    def __init__(self, template: Path) -> None:
        source = yaml_parse(template.read_text())
        # What is packaged is no matter here, and a path is not allowed at this point any more.
        source["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
        resources = transform(source, {}, _NoAwsPolicies())["Resources"]
        self.functions: dict[str, set[tuple[str, str]]] = {}
        for name, resource in resources.items():
            if resource["Type"] == "AWS::Lambda::Function":
                role = resources[resource["Properties"]["Role"]["Fn::GetAtt"][0]]["Properties"]
                documents = [policy["PolicyDocument"] for policy in role.get("Policies", [])]
                for policy in role["ManagedPolicyArns"]:
                    if isinstance(policy, dict):
                        documents.append(resources[policy["Ref"]]["Properties"]["PolicyDocument"])
                statements = [statement for document in documents for statement in _list(document["Statement"])]
                self.functions[name] = {allowed for statement in statements for allowed in _allowed(statement)}

    def require(self, function: str, wanted: set[tuple[str, str]]) -> None:
        lacking = sorted(wanted - self.functions[function])
        if lacking:
            raise Denied(f"{function} lacks " + ", ".join(f"{action} on {resource}" for action, resource in lacking))


def _allowed(statement: dict[str, Any]) -> set[tuple[str, str]]:
    if statement["Effect"] != "Allow":
        raise ValueError("only what is allowed is understood")
    service = ""
    if condition := statement.get("Condition"):
        # `dynamodb.${AWS::Region}.amazonaws.com`
        (service,) = {_text(_list(value)[0]).split(".")[0] for value in condition["StringEquals"].values()}
    pairs = set()
    for action in _list(statement["Action"]):
        for resource in map(_text, _list(statement["Resource"])):
            if "*" in action + resource:
                raise ValueError(f"a wildcard: {action} on {resource}")
            pairs.add((action, f"{resource} through {service}" if service else resource))
    return pairs


# The parts of transactions, and the actions that they take.
_WRITES = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}


def _dynamodb(operation: str, call: dict[str, Any]) -> tuple[set[str], set[tuple[str, str]]]:
    """The tables that a call names, and what it takes to make it."""
    match operation:
        case "TransactGetItems":
            parts = [("GetItem", item["Get"]["TableName"]) for item in call["TransactItems"]]
        case "TransactWriteItems":
            parts = [(_WRITES[kind], part["TableName"]) for item in call["TransactItems"] for kind, part in item.items()]
        case "BatchGetItem":
            parts = [(operation, table) for table in call["RequestItems"]]
        case _:
            parts = [(operation, call["TableName"])]
    index = f"/index/{call['IndexName']}" if "IndexName" in call else ""
    wanted = {(f"dynamodb:{action}", f"Table.Arn{index}") for action, _ in parts}
    key = {"Decrypt"} | {"GenerateDataKey" for action, _ in parts if action in ("PutItem", "UpdateItem")}
    wanted |= {(f"kms:{action}", "Key.Arn through dynamodb") for action in key}
    return {table for _, table in parts}, wanted


def _secretsmanager(operation: str, call: dict[str, Any]) -> tuple[set[str], set[tuple[str, str]]]:
    key = {"GetSecretValue": {"Decrypt"}, "PutSecretValue": {"Decrypt", "GenerateDataKey"}}.get(operation, set())
    wanted = {(f"secretsmanager:{operation}", "Secret")}
    wanted |= {(f"kms:{action}", "Key.Arn through secretsmanager") for action in key}
    return {call["SecretId"]}, wanted


class Door(ThreadingHTTPServer):
    """Forwards what functions call, if their roles allow it."""

    daemon_threads = True

    def __init__(self, host: str, roles: Roles, dynamodb: str, moto: str) -> None:
        super().__init__((host, 0), _Handler)
        self.roles = roles
        self.targets = {"DynamoDB_20120810": dynamodb, "secretsmanager": moto}
        # What was refused: nothing, if the template is right.
        self.denied: list[str] = []
        self.calls = 0
        # What each function has consumed of the table, in units of reading and of writing.
        self.reads: Counter[str] = Counter()
        self.writes: Counter[str] = Counter()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host}:{port}"

    def check(self, service: str, operation: str, call: dict[str, Any]) -> tuple[str, str, str]:
        """The function that calls, the name by which it calls the table or secret, and the real one."""
        names, wanted = (_dynamodb if service == "DynamoDB_20120810" else _secretsmanager)(operation, call)
        (alias,) = names
        match alias.split("." if service == "DynamoDB_20120810" else "/"):
            case ["onerun", function]:
                real = TABLE if service == "DynamoDB_20120810" else SECRET
            # The event names the secret itself, and only one function is sent such events.
            case _ if service == "secretsmanager":
                function, real = "RotateSecretFunction", alias
            case _:
                raise Denied(f"nobody calls a table {alias}")
        self.roles.require(function, wanted)
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
        # DynamoDB Local keeps the tables of one access key from those of another.
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
