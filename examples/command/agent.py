"""A sample agent: a support desk that reads and writes JSON lines. Let `answer` call your own agent instead."""

import json
import re
import sys


def answer(messages):
    """The agent's next message. `messages` is the conversation so far; the persona is `user`."""
    persona = " ".join(message["content"] for message in messages if message["role"] == "user")
    own = " ".join(message["content"] for message in messages if message["role"] == "assistant")
    number = re.search(r"\d{5,}", persona)
    if "order number" not in own:
        return "I am sorry for the trouble. Could you give me your order number, please?"
    if "started your refund" not in own:
        found = f"Thank you, I have found order {number[0]}." if number else "No matter, I have found your order."
        return f"{found} I have started your refund. Is there anything else that I can do for you?"
    return "You will get an e-mail that confirms it. Thank you for your patience, and goodbye."


for line in sys.stdin:
    turn = json.loads(line)
    print(json.dumps({"reply": answer(turn["messages"])}), flush=True)
