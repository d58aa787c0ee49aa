"""Holds calls to addresses that users name against a network of the test's own.

Each address of the world is on the network's only interface, so nothing that is called is far away, and every packet is
seen. A DNS server answers as an attacker's would: it changes its answers, mixes public and private addresses, and hides
private ones in other notations.

usage: private_network.py server ONERUN DATA    webhooks of `onerun serve`
       private_network.py program COMMAND…      calls of a program, which reads URLs as a JSON list, and prints a JSON list
                                                with the error of each call on a line of its own

It ends with an error if a call ended otherwise than it must, or if anything but the public addresses was reached.
"""

import collections
import http.client
import http.server
import ipaddress
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from dnslib import AAAA, CNAME, QTYPE, RCODE, RR, A
from dnslib.server import BaseResolver, DNSLogger, DNSServer

PUBLIC, PUBLIC6 = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
METADATA, METADATA6 = "169.254.169.254", "fd00:ec2::254"
TEN = "10.20.30.40"

# How calls end: as the public addresses have no certificates, calls to them fail only after a connection.
REACHED, REFUSED, REDIRECT = "connection_failed", "address_refused", "status"

# What names resolve to: the addresses, or the name, of each lookup. The last ones are those of all further lookups.
NAMES = {
    "public.test": [[PUBLIC]],
    "public6.test": [[PUBLIC6]],
    "metadata.test": [[METADATA]],
    "metadata6.test": [[METADATA6]],
    "task.test": [["169.254.170.2"]],
    "ten.test": [[TEN]],
    "ten-end.test": [["10.255.255.254"]],
    "azure.test": [["168.63.129.16"]],
    "shared.test": [["100.64.1.1"]],
    "home.test": [["192.168.7.7"]],
    "office.test": [["172.16.0.1"]],
    "local.test": [["127.0.0.1"]],
    "local6.test": [["::1"]],
    "zero.test": [["0.0.0.0"]],
    "zero6.test": [["::"]],
    "all-private.test": [[METADATA, TEN, METADATA6, "::1"]],
    # Addresses of IPv6 that embed the one of the metadata. Teredo's has it inverted at the end.
    "mapped.test": [[f"::ffff:{METADATA}"]],
    "mapped-ten.test": [[f"::ffff:{TEN}"]],
    "compatible.test": [[f"::{METADATA}"]],
    "translated.test": [[f"::ffff:0:{METADATA}"]],
    "nat64.test": [[f"64:ff9b::{METADATA}"]],
    "nat64-local.test": [[f"64:ff9b:1::{METADATA}"]],
    "six-to-four.test": [["2002:a9fe:a9fe::1"]],
    "teredo.test": [["2001:0:a9fe:a9fe:8000:63bf:5601:5601"]],
    # A public and a private address in one answer.
    "mixed.test": [[PUBLIC, METADATA]],
    "mixed-reversed.test": [[METADATA, PUBLIC]],
    "split.test": [[PUBLIC, METADATA6]],
    "split-reversed.test": [[METADATA, PUBLIC6]],
    "alias.test": [["metadata.test"]],
    "alias-of-alias.test": [["alias.test"]],
    "alias-of-mixed.test": [["mixed-reversed.test"]],
    # Names whose answer changes.
    "rebound.test": [[PUBLIC], [METADATA]],
    "rebound6.test": [[PUBLIC6], [METADATA6]],
    "rebound-alias.test": [["public.test"], ["ten.test"]],
    "alternating.test": [[PUBLIC], [METADATA]] * 8,
    "crossing.test": [[PUBLIC, METADATA6], [METADATA, PUBLIC6]] * 8,
    # The only one that may be called without TLS.
    "redirect.test": [[PUBLIC]],
}
ALLOWED = "redirect.test"

# Names whose lookups have a public address: each one, or only the first of two.
PUBLIC_NAMES = {
    "public.test",
    "public6.test",
    "mixed.test",
    "mixed-reversed.test",
    "split.test",
    "split-reversed.test",
    "alias-of-mixed.test",
    "crossing.test",
}
CHANGING = {"rebound.test", "rebound6.test", "rebound-alias.test", "alternating.test"}

# They name the address themselves, and are refused without a lookup.
LITERALS = [
    f"https://{METADATA}/latest/meta-data/",
    f"http://{METADATA}/latest/meta-data/",
    "https://2852039166/",
    "https://0xa9fea9fe/",
    "https://0xa9.0xfe.0xa9.0xfe/",
    "https://0251.0376.0251.0376/",
    "https://025177524776/",
    "https://169.16689662/",
    "https://169.254.43518/",
    "https://169.254.169.254./",
    "https://%31%36%39.254.169.254/",
    "https://１６９.254.169.254/",
    "https://169。254。169。254/",
    "https://[fd00:ec2::254]/",
    "https://[fd00:0ec2:0:0::254]/",
    "https://[FD00:EC2:0:0:0:0:0:254]:8443/",
    f"https://[::ffff:{METADATA}]/",
    "https://[::ffff:a9fe:a9fe]/",
    f"https://[::{METADATA}]/",
    f"https://[::ffff:0:{METADATA}]/",
    f"https://[64:ff9b::{METADATA}]/",
    "https://[2002:a9fe:a9fe::]/",
    "https://[2001:0:a9fe:a9fe:8000:63bf:5601:5601]/",
    f"https://{TEN}/",
    "https://10.1331240/",
    "https://012.024.036.050/",
    "https://10.255.255.254/",
    f"https://user@{TEN}/",
    f"https://public.test@{METADATA}/",
    f"https://public.test\\@{METADATA}/",
    f"https://public.test:443@{METADATA}/",
    f"https://{TEN}:8443/",
    "https://127.0.0.1:8443/",
    "https://127.1/",
    "https://[::1]:8443/",
    "https://[::1%25lo]/",
    "https://0/",
    "https://0.0.0.0/",
    "https://[::]/",
]


def planned_calls():
    """Each URL and how its call must end, in order."""
    calls = [(literal, REFUSED) for literal in LITERALS]
    for name in NAMES:
        if name in CHANGING:
            calls += [(f"https://{name}:8443/hook", expected) for expected in (REACHED, REFUSED)]
        elif name != ALLOWED:
            calls.append((f"https://{name}:8443/hook", REACHED if name in PUBLIC_NAMES else REFUSED))
    calls += [("https://crossing.test/again", REACHED), ("https://METADATA.test./", REFUSED)]
    for status in (301, 302, 303, 307, 308):
        for target in (f"http://{METADATA}/", f"https://{METADATA}/", "https://metadata.test/", f"https://{TEN}:8443/"):
            calls.append((f"http://{ALLOWED}/{status}?{target}", REDIRECT))
    return calls


class Names(BaseResolver):
    """Answers with the addresses of the next lookup, which nobody may cache."""

    def __init__(self):
        self.lookups = collections.Counter()
        self.lock = threading.Lock()

    def resolve(self, request, handler):
        reply = request.reply()
        self.answer(reply, str(request.q.qname).rstrip(".").lower(), QTYPE[request.q.qtype])
        return reply

    def answer(self, reply, name, kind):
        if name not in NAMES:
            reply.header.rcode = RCODE.NXDOMAIN
            return
        with self.lock:
            lookup = self.lookups[name, kind]
            self.lookups[name, kind] += 1
        answers = NAMES[name]
        for answer in answers[min(lookup, len(answers) - 1)]:
            if answer in NAMES:
                reply.add_answer(RR(name, QTYPE.CNAME, rdata=CNAME(answer), ttl=0))
                self.answer(reply, answer, kind)
            elif (":" in answer) == (kind == "AAAA"):
                address = AAAA(tuple(ipaddress.ip_address(answer).packed)) if kind == "AAAA" else A(answer)
                reply.add_answer(RR(name, QTYPE.AAAA if kind == "AAAA" else QTYPE.A, rdata=address, ttl=0))


class Listener(http.server.ThreadingHTTPServer):
    """Redirects plain requests as their path and query say, and closes other connections."""

    address_family = socket.AF_INET6
    daemon_threads = True

    class RequestHandlerClass(http.server.BaseHTTPRequestHandler):
        def handle(self):
            if self.server.server_port == 80:
                super().handle()

        def do_POST(self):
            status, _, target = self.path.removeprefix("/").partition("?")
            self.send_response(int(status) if status.isdigit() else 204)
            self.send_header("location", target)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    def __init__(self, port):
        super().__init__(("::", port), self.RequestHandlerClass)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Recorder:
    """The targets of all TCP connections and UDP packets of this network, apart from the DNS server."""

    # ETH_P_ALL, PACKET_OUTGOING, and SOL_PACKET with PACKET_STATISTICS, which Python does not all name.
    EVERY_PROTOCOL, OUTGOING, STATISTICS = 3, 4, (263, 6)
    # A packet to this address shows that all earlier ones are recorded.
    MARK = ("127.0.0.1", 9)

    def __init__(self):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(self.EVERY_PROTOCOL))
        self.targets = set()
        self.marked = threading.Semaphore(0)
        threading.Thread(target=self.record, daemon=True).start()

    def record(self):
        while True:
            packet, (_, _, direction, *_) = self.socket.recvfrom(65_536)
            target = self.target(packet) if direction == self.OUTGOING else None
            if target == self.MARK:
                self.marked.release()
            elif target is not None:
                self.targets.add(target)

    @staticmethod
    def target(packet):
        if packet[0] >> 4 == 4:
            protocol, source, to, body = packet[9], packet[12:16], packet[16:20], packet[(packet[0] & 15) * 4 :]
        else:
            protocol, source, to, body = packet[6], packet[8:24], packet[24:40], packet[40:]
        if protocol not in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
            return None
        source, to = (str(ipaddress.ip_address(address)) for address in (source, to))
        source_port, port = struct.unpack("!HH", body[:4])
        # The first packet of a connection has the flag SYN without ACK.
        is_later = protocol == socket.IPPROTO_TCP and body[13] & 0x12 != 0x02
        is_dns = ("127.0.0.1", 53) in ((source, source_port), (to, port))
        return None if is_later or is_dns else (to, port)

    def take(self):
        """The targets until now, of which none is missing."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mark:
            mark.sendto(b"", self.MARK)
        assert self.marked.acquire(timeout=60), "the recorder sees nothing"
        _, lost = struct.unpack("II", self.socket.getsockopt(*self.STATISTICS, 8))
        assert lost == 0, f"{lost} packets were not recorded"
        targets, self.targets = self.targets, set()
        return targets


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def build_network():
    """Puts all addresses on the loopback interface, starts the listeners, and makes names resolve only by DNS."""
    run("ip", "link", "set", "lo", "up")
    for address in (METADATA, PUBLIC):
        run("ip", "address", "add", f"{address}/32", "dev", "lo")
    for address in (METADATA6, PUBLIC6):
        run("ip", "address", "add", f"{address}/128", "dev", "lo", "nodad")
    # Connections to each address are accepted here.
    for block in ("10.0.0.0/8", "0.0.0.0/0", "::/0"):
        run("ip", "route", "add", "local", block, "dev", "lo")
    with tempfile.TemporaryDirectory() as directory:
        # Each lookup is asked once. Without files and caches, each name is asked.
        for name, text in (
            ("resolv.conf", "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n"),
            ("nsswitch.conf", "hosts: dns\n"),
        ):
            path = os.path.join(directory, name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            run("mount", "--bind", path, f"/etc/{name}")
    names = Names()
    for tcp in (False, True):
        DNSServer(names, "127.0.0.1", 53, tcp=tcp, logger=DNSLogger(logf=DNSLogger.log_pass)).start_thread()
    for port in (80, 443, 8443):
        Listener(port)
    return names


def check_recorder(recorder):
    """Shows that a call to a private address would be accepted and noticed."""
    expected = set()
    for address in (METADATA, METADATA6, TEN, "10.255.255.254", "192.168.7.7", "64:ff9b::a9fe:a9fe"):
        socket.create_connection((address, 8443), timeout=30).close()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", (address, 123))
        address = str(ipaddress.ip_address(address))
        expected |= {(address, 8443), (address, 123)}
    seen = recorder.take()
    assert seen == expected, f"recorded instead: {seen ^ expected}"


def environment():
    """A proxy for everything, which nothing may use."""
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    names = [*proxies, *(name.lower() for name in proxies)]
    return {"PATH": os.environ["PATH"], **{name: f"http://{TEN}:80" for name in names}}


class Api:
    """The API of `onerun serve`, in one project."""

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
        text = response.read()
        return response.status, json.loads(text) if text else None

    def call(self, url):
        """How the first attempt of a webhook's test ends. It is deleted then, so that there is no further one."""
        status, webhook = self.send("POST", "/v1/webhooks", {"url": url})
        if url in LITERALS:
            assert status == 422, f"{url} was accepted: {webhook}"
            return REFUSED
        assert status == 200, f"{url}: {webhook}"
        path = f"/v1/webhooks/{webhook['id']}"
        status, delivery = self.send("POST", f"{path}/test", {})
        assert status == 200, delivery
        deadline = time.monotonic() + 60
        while not delivery["attempts"]:
            assert time.monotonic() < deadline, f"no attempt: {delivery}"
            time.sleep(0.02)
            delivery = self.send("GET", f"{path}/deliveries/{delivery['id']}")[1]
        self.send("DELETE", path)
        return delivery["attempts"][0]["error"]


def calls_of_server(urls, onerun, data):
    """How the calls of webhooks end, and the server's own address."""
    server = subprocess.Popen(
        [onerun, "serve", "--port", "0", "--data", data],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**environment(), "ONERUN_OUTBOUND_ALLOW": ALLOWED},
    )
    try:
        url = next(line.split()[-1] for line in server.stdout if line.startswith("listening on "))
        with open(os.path.join(data, "api-key"), encoding="utf-8") as file:
            api = Api(url, file.read().strip())
        address, port = api.host.split(":")
        return [api.call(url) for url in urls], {(address, int(port))}
    finally:
        server.terminate()
        server.wait()


def calls_of_program(urls, *command):
    """How the calls of a program end. It has no address of its own."""
    given = json.dumps(urls)
    program = subprocess.run(command, input=given, stdout=subprocess.PIPE, text=True, env=environment(), check=True)
    printed = next(line for line in program.stdout.splitlines() if line.startswith("["))
    return json.loads(printed), set()


def main(host, *arguments):
    names = build_network()
    recorder = Recorder()
    check_recorder(recorder)
    calls = planned_calls()
    urls = [url for url, _ in calls]
    errors, own = {"server": calls_of_server, "program": calls_of_program}[host](urls, *arguments)
    reached = recorder.take() - own
    wrong = [
        f"{url}: {error}, not {expected}"
        for (url, expected), error in zip(calls, errors, strict=True)
        if error != expected
    ]
    wrong += [f"not asked twice: {name}" for name in CHANGING if names.lookups[name, "A"] < 2]
    # Also the public addresses: the recorder would have noticed calls of others.
    if {address for address, _ in reached} != {PUBLIC, PUBLIC6}:
        wrong.append(f"reached: {sorted(reached)}")
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{len(calls)} calls, {sum(names.lookups.values())} lookups, reached {sorted(reached)}")


def enter_namespaces():
    """Starts this script again in network and mount namespaces of its own."""
    unshare = ["unshare", "--net", "--mount", "--map-root-user"]
    try:
        made = subprocess.run([*unshare, "true"], capture_output=True, text=True, check=False)
        failure = made.stderr if made.returncode else None
    except OSError as error:
        failure = str(error)
    if failure is not None:
        sys.exit(f"no network namespace, which this test needs (`unshare`, as root or with user namespaces): {failure}")
    os.execvp(unshare[0], [*unshare, sys.executable, __file__, "--inside", *sys.argv[1:]])


if __name__ == "__main__":
    os.environ.setdefault("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    if sys.argv[1:2] == ["--inside"]:
        main(*sys.argv[2:])
    else:
        enter_namespaces()
