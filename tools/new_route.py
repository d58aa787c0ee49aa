#!/usr/bin/env python3
"""Write the binary and the sample events of a new operation.

usage: new_route.py OPERATION

The operation must be in openapi.json (`make openapi`). Files that exist are kept. The entry for template.yaml is printed,
because you must decide about its role.
"""

import collections
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
EVENTS = ROOT / "events"
MODEL = "get_agent.json"


def find(operation):
    document = json.loads((ROOT / "openapi.json").read_text())
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            if described["operationId"] == operation:
                return path, method.upper(), described
    sys.exit(f"new_route: `{operation}` is not in openapi.json: declare it in crates/api, then run `make openapi`")


def known_ids():
    """The id that most events use, for each parameter."""
    ids = collections.defaultdict(collections.Counter)
    for file in sorted(EVENTS.glob("*.json")):
        event = json.loads(file.read_text())
        for kind in ("pathParameters", "queryStringParameters"):
            for name, value in (event.get(kind) or {}).items():
                if name.endswith("_id"):
                    ids[name][value] += 1
    return {name: values.most_common(1)[0][0] for name, values in ids.items()}


def event(path, method, described):
    event = json.loads((EVENTS / MODEL).read_text())
    ids = known_ids()
    names = re.findall(r"{(\w+)}", path)
    parameters = {name: ids.get(name, "A" * 21) for name in names}
    real_path = re.sub(r"{(\w+)}", lambda match: parameters[match[1]], path)
    required = [one["name"] for one in described["parameters"] if one["in"] == "query" and one["required"]]
    query = {name: ids.get(name, "1") for name in required}
    event.update(
        routeKey=f"{method} {path}",
        rawPath=real_path,
        rawQueryString="&".join(f"{name}={value}" for name, value in query.items()),
    )
    event["requestContext"]["routeKey"] = event["routeKey"]
    event["requestContext"]["http"].update(method=method, path=real_path)
    for field, value in (("queryStringParameters", query), ("pathParameters", parameters)):
        event.pop(field, None)
        if value:
            event[field] = value
    if "requestBody" in described:
        event["body"] = json.dumps(described["requestBody"]["content"]["application/json"]["example"])
        event["headers"].update({"content-length": str(len(event["body"])), "content-type": "application/json"})
    event["headers"] = dict(sorted(event["headers"].items()))
    return event


def write(file, text):
    if file.exists():
        print(f"kept    {file.relative_to(ROOT)}")
        return
    file.write_text(text)
    print(f"written {file.relative_to(ROOT)}")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    operation = sys.argv[1]
    path, method, described = find(operation)
    write(
        ROOT / "functions/src/bin" / f"{operation}.rs",
        f"//! `{method} {path}`\n\nfn main() -> std::process::ExitCode {{\n"
        f"    onerun_lambda::serve(&onerun_lambda::routes::{operation.upper()})\n}}\n",
    )
    authenticated = event(path, method, described)
    write(EVENTS / f"{operation}.json", json.dumps(authenticated, indent=2) + "\n")
    del authenticated["headers"]["x-api-key"]
    write(EVENTS / f"{operation}.unauthenticated.json", json.dumps(authenticated, indent=2) + "\n")
    logical_id = "".join(part.capitalize() for part in operation.split("_")) + "Function"
    writes = "" if method == "GET" else "        - !Ref LeaveKeysPolicy\n"
    api = "Api: {{ Type: HttpApi, Properties: {{ ApiId: !Ref HttpApi, Method: {}, Path: '{}' }} }}"
    events = [api.format(method, path)]
    if method == "GET":
        events.append(api.format("HEAD", path).replace("Api:", "Head:", 1))
    listed = "\n".join(f"        {line}" for line in events)
    actions = "dynamodb:GetItem" if method == "GET" else "dynamodb:GetItem, dynamodb:PutItem"
    print(
        f"""
Add to template.yaml, with the actions that the handler needs on the table:

  {logical_id}:
    Type: AWS::Serverless::Function
    Metadata: {{ BuildMethod: rust-cargolambda, BuildProperties: {{ Binary: {operation} }} }}
    Properties:
      Events:
{listed}
      Policies:
        - !Ref AuthenticatePolicy
        - !Ref EncryptedTablePolicy
{writes}        - Statement:
            - Effect: Allow
              Action: [{actions}]
              Resource: !GetAtt Table.Arn"""
    )


if __name__ == "__main__":
    main()
