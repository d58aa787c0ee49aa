"""Holds webhooks against a network of private addresses. tests/it/webhooks/real.rs runs it in network and mount namespaces
of its own, so the addresses and the names are nobody else's.

usage: private_network.py ONERUN DATA HOSTS

Prints one JSON object: the error of each delivery by the name that it called, the URLs that were accepted at creation,
and the local addresses to which connections came.
"""

import http.client
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time

# The first one is public. It shows that the listener would have noticed connections to the others.
PUBLIC = "93.184.215.14"
ADDRESSES = {
    "public.test": PUBLIC,
    "metadata.test": "169.254.169.254",
    "metadata6.test": "fd00:ec2::254",
    "ten.test": "10.20.30.40",
    "shared.test": "100.64.1.1",
    "home.test": "192.168.7.7",
    "mapped.test": "::ffff:10.20.30.40",
    "local.test": "127.0.0.1",
    "local6.test": "::1",
}
PORTS = (80, 443, 8443)
LITERALS = [
    "https://169.254.169.254/latest/meta-data/",
    "http://169.254.169.254/latest/meta-data/",
    "https://2852039166/",
    "https://0xa9fea9fe/",
    "https://0xa9.0xfe.0xa9.0xfe/",
    "https://0251.0376.0251.0376/",
    "https://169.16689662/",
    "https://169.254.43518/",
    "https://[fd00:ec2::254]/",
    "https://[fd00:0ec2:0:0::254]/",
    "https://[::ffff:169.254.169.254]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[::169.254.169.254]/",
    "https://[64:ff9b::169.254.169.254]/",
    "https://[2002:a9fe:a9fe::]/",
    "https://10.20.30.40/",
    "https://10.1331240/",
    "https://012.024.036.050/",
    "https://user@10.20.30.40/",
    "https://10.20.30.40:8443/",
    "https://127.0.0.1:8443/",
    "https://[::1]:8443/",
    "https://0/",
    "https://0.0.0.0/",
]

reached = []


def listen():
    listeners = []
    for port in PORTS:
        listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
        listeners.append(listener)

    def accept():
        while True:
            for listener in select.select(listeners, [], [])[0]:
                connection, _ = listener.accept()
                reached.append(connection.getsockname()[0].removeprefix("::ffff:"))
                connection.close()

    threading.Thread(target=accept, daemon=True).start()


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def name_addresses(hosts, addresses):
    with open(hosts, "w", encoding="utf-8") as file:
        file.write("127.0.0.1 localhost\n")
        file.writelines(f"{address} {name}\n" for name, address in addresses.items())


class Api:
    def __init__(self, url, key):
        self.host = url.removeprefix("http://").strip("/")
        self.headers = {"x-api-key": key, "content-type": "application/json"}
        self.project = self.send("POST", "/v1/projects", {"name": "Webhooks"})[1]["id"]

    def send(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.host, timeout=30)
        if path != "/v1/projects":
            path += f"?project_id={self.project}"
        connection.request(method, path, body=json.dumps(body) if body is not None else None, headers=self.headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    def create(self, url):
        return self.send("POST", "/v1/webhooks", {"url": url})

    def deliver(self, webhook):
        """The error of the first attempt of a test."""
        status, delivery = self.send("POST", f"/v1/webhooks/{webhook}/test", {})
        assert status == 200, delivery
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            delivery = self.send("GET", f"/v1/webhooks/{webhook}/deliveries/{delivery['id']}")[1]
            if delivery["attempts"]:
                return delivery["attempts"][0]["error"]
            time.sleep(0.05)
        raise SystemExit(f"no attempt: {delivery}")


def serve(onerun, data):
    environment = {"PATH": os.environ.get("PATH", ""), "HTTPS_PROXY": f"http://{ADDRESSES['ten.test']}:80"}
    server = subprocess.Popen(
        [onerun, "serve", "--port", "0", "--data", data],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    for line in server.stdout:
        if line.startswith("listening on "):
            return server, line.removeprefix("listening on ").strip()
    raise SystemExit("the server does not listen")


def main():
    onerun, data, hosts = sys.argv[1:]
    run("ip", "link", "set", "lo", "up")
    for name, address in ADDRESSES.items():
        if name in ("local.test", "local6.test", "mapped.test"):
            continue
        if ":" in address:
            run("ip", "-6", "address", "add", f"{address}/128", "dev", "lo", "nodad")
        else:
            run("ip", "address", "add", f"{address}/32", "dev", "lo")
    name_addresses(hosts, ADDRESSES)
    run("mount", "--bind", hosts, "/etc/hosts")
    listen()
    server, url = serve(onerun, data)
    try:
        with open(os.path.join(data, "api-key"), encoding="utf-8") as file:
            api = Api(url, file.read().strip())
        accepted = [literal for literal in LITERALS if api.create(literal)[0] == 200]
        errors = {}
        for name in ADDRESSES:
            status, webhook = api.create(f"https://{name}:8443/hook")
            assert status == 200, webhook
            errors[name] = api.deliver(webhook["id"])
        # A name that is public when the webhook is created and private when it is called.
        webhook = api.create("https://public.test/hook")[1]["id"]
        name_addresses(hosts, {**ADDRESSES, "public.test": ADDRESSES["metadata.test"]})
        errors["rebound.test"] = api.deliver(webhook)
    finally:
        server.terminate()
        server.wait()
    print(json.dumps({"errors": errors, "accepted": accepted, "reached": sorted(set(reached))}))


main()
