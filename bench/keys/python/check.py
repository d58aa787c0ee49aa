"""The comparator: the same check of a key in Python, over a dict of 10,000 keys.

Written to be quick: nothing is parsed that does not have to be, records are slotted objects, and scopes are frozensets. The
headers come as an ASGI server hands them over.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import random
import time
import zlib

PREFIX = b"onr_"
SCOPES = frozenset({"agents:read", "simulations:read", "conversations:read", "conversations:write"})
PROJECT = "AbCdEf012345"
TTL = 5.0
NOTHING = hmac.digest(b"", b"", "sha256")


class Refused(Exception):
    pass


class Record:
    __slots__ = ("digest", "scopes", "projects", "not_before", "expires_at", "disabled", "revoked", "read_at", "running")

    def __init__(self, digest, now):
        self.digest = digest
        self.scopes = SCOPES
        self.projects = frozenset({PROJECT})
        self.not_before = None
        self.expires_at = now + 90 * 86_400
        self.disabled = self.revoked = False
        self.read_at, self.running = now, time.monotonic()


def check(headers, keys, scope, project):
    sent = [value for name, value in headers if name == b"x-api-key"]
    bearer = [value for name, value in headers if name == b"authorization"]
    if len(sent) != 1 or bearer:
        raise Refused
    text = sent[0].strip()
    if len(text) != 64 or not text.startswith(PREFIX):
        raise Refused
    data = base64.urlsafe_b64decode(text[4:])
    if zlib.crc32(data[:41]) != int.from_bytes(data[41:], "big"):
        raise Refused
    record = keys.get(text[4:16])
    now = time.time()
    if record is not None and not (0 <= now - record.read_at < TTL and time.monotonic() - record.running < TTL):
        raise LookupError
    digest = hashlib.sha256(data[9:41]).digest()
    if not hmac.compare_digest(digest, NOTHING if record is None else record.digest) or record is None:
        raise Refused
    if record.revoked or record.disabled or now >= record.expires_at:
        raise Refused
    if record.not_before is not None and now < record.not_before:
        raise Refused
    if scope not in record.scopes or project not in record.projects:
        raise Refused
    return True


def make():
    drawn = os.urandom(41)
    data = drawn + zlib.crc32(drawn).to_bytes(4, "big")
    return PREFIX + base64.urlsafe_b64encode(data), hashlib.sha256(drawn[9:]).digest()


def request(text):
    return [
        (b"host", b"api.example.com"),
        (b"user-agent", b"python-httpx/0.28.1"),
        (b"accept", b"*/*"),
        (b"accept-encoding", b"gzip, deflate"),
        (b"connection", b"keep-alive"),
        (b"content-type", b"application/json"),
        (b"x-api-key", text),
    ]


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--keys", type=int, default=10_000)
    options.add_argument("--samples", type=int, default=300_000)
    options = options.parse_args()
    made = [make() for _ in range(options.keys)]
    changed = made[0][0][:-1] + (b"B" if made[0][0].endswith(b"A") else b"A")
    keys = {}
    for wrong in (changed, made[0][0]):
        try:
            check(request(wrong), keys, "conversations:write", PROJECT)
        except Refused:
            continue
        raise SystemExit("a wrong key is let in")

    times = []
    filled = 0.0
    for index in range(options.samples * 11 // 10):
        if time.monotonic() - filled > 2:
            now = time.time()
            for text, digest in made:
                keys[text[4:16]] = Record(digest, now)
            filled = time.monotonic()
        # Built just before, like headers that were just parsed.
        headers = request(bytes(bytearray(random.choice(made)[0])))
        began = time.perf_counter_ns()
        let_in = check(headers, keys, "conversations:write", PROJECT)
        took = time.perf_counter_ns() - began
        assert let_in
        if index >= options.samples // 10:
            times.append(took)
    times.sort()
    at = lambda share: times[int((len(times) - 1) * share)]
    print(json.dumps({"keys": options.keys, "samples": len(times), "p50_ns": at(0.5), "p99_ns": at(0.99), "p999_ns": at(0.999)}))


if __name__ == "__main__":
    main()
