"""Runs every event in events/ through `sam local invoke`, and the SDK through `sam local start-api`.

The functions are built by `sam build` and run in containers under AWS's runtime emulator. DynamoDB Local and moto hold the
table and the secret, and access.py enforces the rights of template.yaml. `make sam-local` starts DynamoDB Local and a container
engine, and sets ONERUN_TEST_DYNAMODB and ONERUN_LAMBDA_IMAGE.

    tests/sam/local.py [--consumed] [EVENT…]
    tests/sam/local.py --up

With names of files in events/, it sends only these, and does not run the SDK. `--consumed` prints each function's consumed table
capacity. `--up` sends nothing: it prints commands to type, and keeps everything running until it is stopped. `make sam-local-up`
calls it.
"""

import base64
import gzip
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parent.parent.parent
SAM = [str(ROOT / ".tools/aws/bin/sam"), "local"]
IMAGE = "onerun-lambda-local"
# The table and the secret that the events use; see events/README.md.
REGION = "eu-central-1"
# Invalid credentials. SAM would pass real ones to functions, and first ask AWS for their owner,
# which takes seconds.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ |= {"AWS_DEFAULT_REGION": REGION, "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
               "AWS_EC2_METADATA_DISABLED": "true", "SAM_CLI_TELEMETRY": "0"}

from access import MASTER_KEY, SECRET, TABLE, Denied, Door, Roles, example  # noqa: E402, because samtranslator wants a region

# Each is busy for two thirds of its time and then waits for its container, so three use two cores.
AT_ONCE = 3
# The time limit in seconds of one command, and of a condition.
DEADLINE = 120
# The files for a user who types commands: the functions' variables, the commands, and the processes
# to stop.
VARIABLES, LINES, PID = (ROOT / ".aws-sam" / name for name in ("env.json", "local-lines.txt", "local.pid"))
# The job of run_simulation.json.
OVERDUE_JOB = "start_simulation:simulationToRun000000"
ROTATION = [f"rotate_secret.{step}_secret.json" for step in ("create", "set", "test", "finish")]


class Wrong(Exception):
    """A check failed."""


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise Wrong(what)


def run(*command: str, **options: Any) -> str:
    options = {"cwd": ROOT, "stdout": subprocess.PIPE, "timeout": DEADLINE, "text": True} | options
    done = subprocess.run(command, check=False, **options)
    expect(done.returncode == 0, f"{' '.join(command[:4])} … ended with {done.returncode}\n{done.stdout}")
    return done.stdout


def function_of(event: str) -> str:
    """`get_agent.unauthenticated.json` is an event of `GetAgentFunction`."""
    return "".join(word.capitalize() for word in event.split(".")[0].split("_")) + "Function"


def is_public(event: str) -> bool:
    return event.split(".")[0] in ("get_dashboard", "get_health", "get_openapi", "revoke_leaked_keys")


def body_of(answer: dict[str, Any]) -> bytes:
    """The decoded body of a function's reply."""
    body = base64.b64decode(answer["body"]) if answer.get("isBase64Encoded") else answer["body"].encode()
    compressed = (answer.get("headers") or {}).get("content-encoding") == "gzip"
    return gzip.decompress(body) if compressed else body


class Local:
    """The local services that functions need."""

    def __init__(self, moto: str) -> None:
        self.dynamodb, self.moto = os.environ["ONERUN_TEST_DYNAMODB"], moto
        self.aws = boto3.Session(aws_access_key_id="local", aws_secret_access_key="local", region_name=REGION)
        self.secrets = self.aws.client("secretsmanager", endpoint_url=moto)
        self.table = self.aws.resource("dynamodb", endpoint_url=self.dynamodb).Table(TABLE)
        self.roles = Roles(ROOT / "template.yaml")
        self.expected = json.loads((ROOT / "events/expected.json").read_text())
        # The key in the events.
        self.key = json.loads((ROOT / "events/get_whoami.json").read_text())["headers"]["x-api-key"]
        gateway = run("docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
        # On the address of this machine for containers.
        self.door = Door(gateway, self.roles, self.dynamodb, self.moto)
        self.api = f"http://{gateway}:{free_port(gateway)}"
        self.common = self._prepare()
        self._warm_up()

    def _prepare(self) -> list[str]:
        """Fills the table and the secret, builds the image, and writes the functions' variables."""
        self.secrets.create_secret(Name=SECRET, SecretString=self.key)
        self.secrets.create_secret(Name=MASTER_KEY, SecretString=base64.b64encode(os.urandom(48)).decode())
        # Managed keys by their placeholders in events.
        self.managed = json.loads(run(example("seed"), self.dynamodb, TABLE))
        # SAM passes only variables of the template, and the template has no addresses of AWS
        # services. So they are in the image, and SAM's layer of an earlier image must be removed.
        for tag in ("run", f"rapid-{machine()}"):
            subprocess.run(["docker", "image", "rm", "--force", f"{IMAGE}:{tag}"], capture_output=True, check=False)
        container = run("docker", "create", os.environ["ONERUN_LAMBDA_IMAGE"], "sh").strip()
        run("docker", "commit", "--change", f"ENV AWS_ENDPOINT_URL={self.door.url}", container, f"{IMAGE}:run")
        run("docker", "rm", container)
        variables: dict[str, dict[str, str]] = {
            function: {
                "ONERUN_TABLE": f"onerun.{function}",
                "AUTH_SECRET_ID": f"onerun/{function}",
                "ONERUN_MASTER_KEY_SECRET_ID": f"onerun-master-key/{function}",
            }
            for function in self.roles.functions
        }
        variables["RotateSecretFunction"]["ONERUN_API_URL"] = self.api
        VARIABLES.write_text(json.dumps(variables, indent=2))
        return ["--env-vars", str(VARIABLES.relative_to(ROOT)), "--invoke-image", f"{IMAGE}:run", "--skip-pull-image",
                "--parameter-overrides", f"Architecture={machine()}"]

    def _warm_up(self) -> None:
        """Reads the table and the secret as a function does. The first calls of moto and of the proxy's rights take seconds,
        after which a function would answer 503."""
        retries = Config(connect_timeout=DEADLINE, read_timeout=DEADLINE, retries={"total_max_attempts": 1})
        at = {"endpoint_url": self.door.url, "config": retries}
        self.aws.client("dynamodb", **at).get_item(
            TableName="onerun.GetAgentFunction", Key={"pk": {"S": "p3Xk81LmQzTb"}, "sk": {"S": "agent#a7Gd20HsWvYc"}})
        secrets = self.aws.client("secretsmanager", **at)
        secrets.describe_secret(SecretId="onerun/GetAgentFunction")
        secrets.get_secret_value(SecretId="onerun/GetAgentFunction")

    def invoke(self, event: str) -> tuple[Any, str]:
        """The function's reply to an event, and its log."""
        text = (ROOT / "events" / event).read_text()
        for name, key in self.managed.items():
            text = text.replace(f"<{name}>", key)
        command = [*SAM, "invoke", function_of(event), "--event", "-", *self.common]
        done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, timeout=DEADLINE,
                              check=False)
        lines = done.stdout.strip().splitlines()
        if done.returncode != 0 or not lines:
            raise Wrong(f"{event}: `sam local invoke` ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return json.loads(lines[-1]), done.stderr

    def check(self, event: str) -> str:
        """Sends an event and compares the reply with the expected one."""
        answer, log = self.invoke(event)
        try:
            return self._compare(event, answer)
        except Wrong as wrong:
            raise Wrong(f"{wrong}\n{log[-4000:]}") from None

    def _compare(self, event: str, answer: Any) -> str:
        expected = self.expected.get(event, {})
        if "answer" in expected:
            expect(answer == expected["answer"], f"{event}: answered {answer}")
            return f"{event}: {json.dumps(answer)}"
        if event.endswith(".unauthenticated.json") and not is_public(event):
            expected = {"status": 401, "code": "missing_api_key"}
        status, code = expected.get("status", 200), expected.get("code")
        expect(isinstance(answer, dict) and "statusCode" in answer, f"{event}: answered {answer}")
        if event.endswith(".head.json"):
            got = (answer["statusCode"], answer["headers"]["content-type"], answer["body"])
            expect(got == (status, "application/json", ""), f"{event}: answered {answer}")
            return f"{event}: {status}"
        is_page = (answer.get("headers") or {}).get("content-type", "").startswith("text/html")
        expect(is_page == event.startswith("get_dashboard."), f"{event}: answered {answer}")
        is_lines = (answer.get("headers") or {}).get("content-type") == "application/jsonl"
        body = {} if is_page or is_lines else json.loads(body_of(answer))
        if is_lines:
            expect([*json.loads(body_of(answer).splitlines()[0])] == ["conversation"], f"{event}: answered {answer}")
        got = (answer["statusCode"], body.get("code") if status >= 400 else None)
        expect(got == (status, code), f"{event}: answered {answer}")
        return f"{event}: {status} {code or ''}".rstrip()

    def get(self, path: str, key: str | None = None) -> tuple[int, Any]:
        """The API's reply through `sam local start-api`."""
        request = urllib.request.Request(self.api + path, headers={"x-api-key": key} if key else {})
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def head(self, path: str, key: str | None = None) -> int:
        """The API's status for HEAD."""
        headers = {"x-api-key": key} if key else {}
        request = urllib.request.Request(self.api + path, headers=headers, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE) as response:
                return response.status
        except urllib.error.HTTPError as error:
            return error.code

    def lines(self) -> list[str]:
        """Commands to type in the root of the repository: an invocation, a scheduled one, the API, and a request to it."""
        options = " ".join(self.common)
        engine = os.environ.get("DOCKER_HOST")
        return [
            f'export PATH="$PWD/.tools/aws/bin:$PATH" AWS_DEFAULT_REGION={REGION} SAM_CLI_TELEMETRY=0',
            *([f"export DOCKER_HOST={engine}"] if engine else []),
            f"sam local invoke GetWhoamiFunction --event events/get_whoami.json {options}",
            f"sam local invoke TickFunction --event events/tick.json {options}",
            f"sam local start-api --warm-containers LAZY {options}",
            f"curl -s http://127.0.0.1:3000/v1/whoami -H 'x-api-key: {self.key}'",
        ]

    def job(self, name: str) -> dict[str, Any] | None:
        """A job's item, if it is in the table."""
        found = self.table.get_item(Key={"pk": f"jobs#{name}", "sk": name}, ConsistentRead=True)
        return found.get("Item")

    @contextmanager
    def started_api(self) -> Iterator[None]:
        host, port = self.api.removeprefix("http://").split(":")
        command = [*SAM, "start-api", "--host", host, "--port", port, "--warm-containers", "LAZY", *self.common]
        # It replies once it has a working function.
        with started(command, f"{self.api}/health", "start-api"):
            yield


@contextmanager
def started(command: list[str], url: str, name: str) -> Iterator[None]:
    """A server that answers at `url`, stopped on exit."""
    log = ROOT / f".aws-sam/{name}.log"
    with log.open("w") as output, subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output) as server:
        try:
            deadline = time.monotonic() + DEADLINE
            while True:
                expect(server.poll() is None and time.monotonic() < deadline, f"{name} does not answer")
                try:
                    urllib.request.urlopen(url, timeout=DEADLINE).close()
                    break
                except urllib.error.URLError:
                    time.sleep(0.2)
            yield
        except BaseException:
            print(log.read_text()[-4000:], file=sys.stderr)
            raise
        finally:
            # It stops its containers, if it has any.
            server.terminate()
            server.wait(timeout=DEADLINE)


def machine() -> str:
    return {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")


def free_port(host: str) -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def check_door(local: Local) -> None:
    """The proxy refuses calls that the template does not allow."""
    for call, function, partition in (
        ("PutItem", "GetAgentFunction", "p3Xk81LmQzTb"),
        ("UpdateItem", "GetAgentFunction", "keys"),
        ("UpdateItem", "CreateAgentFunction", "audit"),
        ("DeleteItem", "RunJobsFunction", "audit"),
        ("GetItem", "GetHealthFunction", "projects"),
        ("UpdateItem", "ListSimulationsFunction", "p3Xk81LmQzTb"),
        ("Scan", "TickFunction", None),
    ):
        key = {"Key": {"pk": {"S": partition}, "sk": {"S": "0"}}} if partition else {}
        if call == "UpdateItem":
            key |= {"UpdateExpression": "SET #body = :body", "ExpressionAttributeNames": {"#body": "body"}}
        if "Put" in call:
            key["Item"] = key.pop("Key")
        try:
            local.door.check("DynamoDB_20120810", call, {"TableName": f"onerun.{function}", **key})
        except Denied:
            continue
        raise Wrong(f"{function} may {call} in {partition}")


def check_all(local: Local, events: list[str]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for line in pool.map(local.check, events):
            print(f"  {line}", flush=True)


def check_jobs(local: Local) -> None:
    """The jobs of the queue's events have run: conversations are judged, and the jobs deleted."""
    for conversation in ("conversationToJudge00", "conversationTwice0000"):
        expect(not local.job(f"judge_conversation:{conversation}:1"), f"{conversation}: its job is still there")
        path = f"/v1/simulations/sV1StGXR8Z5jdHi6BmyT0/conversations/{conversation}?project_id=p3Xk81LmQzTb"
        status, found = local.get(path, local.key)
        expect((status, found.get("evaluation_status")) == (200, "completed"), f"{conversation}: {status} {found}")


def lose_message(local: Local) -> None:
    """As if a job's message had been sent long ago: no pipe reads this table."""
    job = local.job(OVERDUE_JOB)
    expect(job is not None, "run_simulation enqueued no job")
    due = f"0#{0:018}#{job['due'].split('#')[2]}"
    local.table.update_item(Key={"pk": job["pk"], "sk": job["sk"]}, UpdateExpression="SET due = :due",
                            ExpressionAttributeValues={":due": due})


def check_tick(local: Local) -> None:
    """The tick ended expired simulations, requeued the lost conversation, and sent the overdue job again."""
    path = "/v1/simulations/simulationToExpire000?project_id=p3Xk81LmQzTb"
    status, found = local.get(path, local.key)
    expect((status, found.get("status")) == (200, "expired"), f"{status} {found}")
    path = "/v1/simulations/simulationOfLost00000/conversations/conversationToLose000?project_id=p3Xk81LmQzTb"
    status, found = local.get(path, local.key)
    expect((status, found.get("status"), found.get("attempt")) == (200, "queued", 2), f"{status} {found}")
    job = local.job(OVERDUE_JOB)
    expect(job is not None and job["due"].count("#") == 3, f"the tick did not send a job again: {job}")


def check_lines(local: Local) -> None:
    """The commands that `make sam-local-up` prints work unchanged, and the README shows them."""
    *exports, whoami, tick, api, curl = local.lines()
    readme = (ROOT / "README.md").read_text()
    for line in (whoami, tick, api):
        shown = line.split(" --env-vars")[0].split(" --warm")[0]
        expect(shown in readme, f"the README does not show `{shown}`")

    def typed(line: str) -> Any:
        return json.loads(run("sh", "-c", "\n".join([*exports, line])).strip().splitlines()[-1])

    answer = typed(whoami)
    expect((answer["statusCode"], json.loads(answer["body"])["kind"]) == (200, "root"), f"whoami: {answer}")
    expect(typed(tick) is None, "a tick answered something")
    # Not the port of the printed command, which may be in use.
    port = free_port("127.0.0.1")
    command = ["sh", "-c", "\n".join([*exports, f"exec {api} --port {port}"])]
    with started(command, f"http://127.0.0.1:{port}/health", "start-api-by-hand"):
        url, header = curl.replace(":3000/", f":{port}/"), shlex.split(curl)[-1]
        request = urllib.request.Request(shlex.split(url)[2], headers=dict([header.split(": ", 1)]))
        with urllib.request.urlopen(request, timeout=DEADLINE) as response:
            expect(json.load(response)["kind"] == "root", "whoami by start-api")
        smoke = os.environ | {"ONERUN_API_BASE_URL": f"http://127.0.0.1:{port}", "ONERUN_API_KEY": local.key}
        print(run(sys.executable, "tests/smoke.py", "--without-jobs", env=smoke, timeout=600), end="", flush=True)


def stay(local: Local) -> None:
    """Prints the commands, and keeps everything running until it is stopped."""
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    PID.write_text(str(os.getpid()))
    try:
        # Written atomically, because another process waits for the file and reads it.
        new = LINES.with_suffix(".new")
        new.write_text("".join(f"{line}\n" for line in local.lines()))
        new.rename(LINES)
        signal.sigwait(ends)
    finally:
        for path in (LINES, PID):
            path.unlink(missing_ok=True)


def check_api(local: Local) -> None:
    """`sam local start-api` works with the unmodified SDK, and refuses missing keys and unknown paths."""
    status, found = local.get("/v1/projects")
    expect((status, found["code"]) == (401, "missing_api_key"), f"{status} {found}")
    status, found = local.get("/v2/projects", local.key)
    expect((status, found["code"]) == (404, "route_not_found"), f"{status} {found}")
    for path, key, wanted in (("/health", None, 200), ("/v1/projects", local.key, 200), ("/v1/projects", None, 401),
                              ("/v2/projects", local.key, 404)):
        status = local.head(path, key)
        expect(status == wanted, f"HEAD {path}: {status}")
    statuses = ["pending", "in_progress", "completed", "failed", "canceled", "expired"]
    simulations = [f"{('sdk' + status.replace('_', '')):0<21}={status}" for status in statuses]
    check = [str(ROOT / ".tools/venv/bin/python"), "tests/sdk/client_check.py", "--project", "projectOfSdk",
             "--agent", "agentOfSdk00", "--objective", "goalOfSdk000", "--name", "completed", "--one-by-one", *simulations]
    environment = os.environ | {"ONERUN_API_BASE_URL": local.api, "ONERUN_API_KEY": local.key}
    seen = json.loads(run(*check, env=environment, timeout=600))
    print(f"  SDK: {len(seen['simulations'])} simulations, {seen['combinations']} ways to list them, one made")


def check_rotation(local: Local) -> None:
    """A rotation as Secrets Manager drives it, against the API that `sam local start-api` runs."""
    event = json.loads((ROOT / "events" / ROTATION[0]).read_text())
    token = event["ClientRequestToken"]
    # moto would run the function itself; here the test runs the steps. It still needs a registered
    # function.
    config = json.dumps({"lambda": {"use_docker": False}}).encode()
    urllib.request.urlopen(urllib.request.Request(f"{local.moto}/moto-api/config", config,
                                                  {"content-type": "application/json"}), timeout=DEADLINE).close()
    role = local.aws.client("iam", endpoint_url=local.moto).create_role(RoleName="rotation", AssumeRolePolicyDocument="{}")
    function = local.aws.client("lambda", endpoint_url=local.moto).create_function(
        FunctionName="RotateSecretFunction", Runtime="provided.al2023", Role=role["Role"]["Arn"], Handler="bootstrap",
        Code={"ZipFile": b"PK\x05\x06" + bytes(18)})
    local.secrets.rotate_secret(SecretId=SECRET, ClientRequestToken=token, RotationLambdaARN=function["FunctionArn"],
                                RotationRules={"AutomaticallyAfterDays": 30})

    def labels() -> list[str]:
        return local.secrets.describe_secret(SecretId=SECRET)["VersionIdsToStages"].get(token, [])

    expect(labels() == ["AWSPENDING"], f"before the rotation: {labels()}")
    for step in ROTATION:
        print(f"  {local.check(step)}", flush=True)
        wanted = "AWSCURRENT" if step == ROTATION[-1] else "AWSPENDING"
        expect(wanted in labels(), f"after {step}: {labels()}")
    new = local.secrets.get_secret_value(SecretId=SECRET)["SecretString"]
    expect(new != local.key, "the key is still the old one")
    for name, key in (("new", new), ("old", local.key)):
        status, found = local.get("/v1/whoami", key)
        expect(status == 200, f"the {name} key: {status} {found}")
    print("  both keys are accepted")


def main() -> int:
    chosen = [argument for argument in sys.argv[1:] if argument not in ("--consumed", "--up")]
    every = sorted(path.name for path in (ROOT / "events").glob("*.json") if path.name != "expected.json")
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"sam local: {what} ({time.monotonic() - began:.0f} s)", flush=True)

    port = free_port("127.0.0.1")
    moto = f"http://127.0.0.1:{port}"
    denied: list[str] = []
    try:
        command = [str(ROOT / ".tools/aws/bin/moto_server"), "--host", "127.0.0.1", "--port", str(port)]
        with started(command, f"{moto}/moto-api/data.json", "moto"):
            local = Local(moto)
            denied = local.door.denied
            if "--up" in sys.argv:
                stay(local)
                local.roles.close()
                return 0
            check_door(local)
            # Alone, because it builds the image that the others use. It calls no local service, because the first container on
            # a slow machine may need longer than a function waits for one.
            check_all(local, ["get_health.json"])
            events = chosen or [event for event in every if event not in ROTATION and event != "tick.json"]
            say(f"{len(events)} events")
            check_all(local, events)
            if not chosen:
                say("what `make sam-local-up` prints")
                check_lines(local)
                with local.started_api():
                    say("what the jobs did")
                    check_jobs(local)
                    say("a tick")
                    lose_message(local)
                    check_all(local, ["tick.json"])
                    check_tick(local)
                    say("start-api")
                    check_api(local)
                    say("a rotation")
                    check_rotation(local)
            local.roles.close()
        expect(not denied, "roles lack permissions")
    except Wrong as wrong:
        print(f"sam local: {wrong}", file=sys.stderr)
        for refused in sorted(set(denied)):
            print(f"sam local: {refused}", file=sys.stderr)
        return 1
    if "--consumed" in sys.argv:
        for function in sorted(local.door.reads | local.door.writes):
            print(f"  {function}: {local.door.reads[function]} read units, {local.door.writes[function]} write units")
    say(f"passed: every call of {local.door.calls} was one that the caller's role allows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
