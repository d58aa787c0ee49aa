"""Decides check lines with Python's `re`, which shares no code with the server's engine.

Reads {"conversations": [{"messages": [[role, text], …], "outcomes": {check: outcome}}]} on standard input,
and prints one line for each outcome that differs.
"""

import json
import operator
import re
import sys
import unicodedata

QUOTES = {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "−": "-", "\u2028": "\n"}
COMPARE = {"<=": operator.le, ">=": operator.ge, "==": operator.eq, "<": operator.lt, ">": operator.gt}
FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}
ROLES = {"agent": "assistant", "persona": "user"}


def folded(text):
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(QUOTES.get(c, c) for c in text if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFKC", text)


def decide(check, messages):
    side, rule = re.fullmatch(r"check: (agent|persona) (.+)", check, re.DOTALL).groups()
    said = [folded(text) for role, text in messages if role == ROLES[side]]
    if counted := re.fullmatch(r"replies (\S+) (\d+)", rule):
        return COMPARE[counted[1]](len(said), int(counted[2]))
    never, pattern, flags = re.fullmatch(r"(never )?says /(.+)/([ims]*)", rule, re.DOTALL).groups()
    program = re.compile(pattern, sum(FLAGS[flag] for flag in flags))
    return any(program.search(text) for text in said) != bool(never)


for number, conversation in enumerate(json.load(sys.stdin)["conversations"], 1):
    for check, outcome in conversation["outcomes"].items():
        expected = "passed" if decide(check, conversation["messages"]) else "failed"
        if outcome != expected:
            print(f"conversation {number}: `{check}` {outcome}, but {expected} by Python")
