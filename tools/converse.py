"""Serves Amazon Bedrock's Converse on this machine, in front of a server with chat completions. The server is ministack.

ministack checks requests and builds replies. This script asks the other server instead of it, because ministack drops the
schema of a structured reply and the reason why a reply ended, and invents a text if the other server does not answer.

It prints `listening on http://127.0.0.1:PORT`, and exits when its standard input ends, that is, with the process that
started it. Usage: converse.py URL [PORT], where URL has no path; without a port, on a free one. It sends the key in
OPENAI_API_KEY.
"""

import asyncio
import contextvars
import json
import os
import socket
import sys
import threading
import urllib.error
import urllib.request

UPSTREAM = f"{sys.argv[1]}/v1/chat/completions"
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 0
# Longer than any deadline of a test.
SECONDS = 300
INFERENCE = {"maxTokens": "max_tokens", "temperature": "temperature", "topP": "top_p", "stopSequences": "stop"}

# ministack reads it when it is imported.
os.environ.setdefault("LOG_LEVEL", "WARNING")

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.app import app
from ministack.services import bedrock_runtime

converse = bedrock_runtime._converse
blocks_of = bedrock_runtime._converse_blocks_from_message
request = contextvars.ContextVar("request")


class Refused(Exception):
    """The reply of the other server, if it is no success."""


def forward(model, headers, body):
    request.set(json.loads(body or b"{}"))
    try:
        return converse(model, headers, body)
    except Refused as refused:
        status, code, message = refused.args
        return bedrock_runtime._error(code, message, status)


def schema():
    """The JSON schema of the reply, from `outputConfig` or from the tool that the model must use."""
    body = request.get()
    structure = body.get("outputConfig", {}).get("textFormat", {}).get("structure", {})
    if "jsonSchema" in structure:
        return json.loads(structure["jsonSchema"]["schema"])
    tools = body.get("toolConfig", {})
    if {"any", "tool"} & tools.get("toolChoice", {}).keys():
        return tools["tools"][0]["toolSpec"]["inputSchema"]["json"]
    return None


def ask(model, messages, system, inference, tools=None):
    """ministack's `_proxy_openai_chat_message`: the message, and the numbers of tokens in and out."""
    payload = {"model": model, "messages": bedrock_runtime._openai_messages(messages, system)}
    payload.update((INFERENCE[name], value) for name, value in (inference or {}).items() if name in INFERENCE)
    if wanted := schema():
        payload["response_format"] = {"type": "json_schema", "json_schema": {"name": "reply", "schema": wanted}}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', '')}"}
    sent = urllib.request.Request(UPSTREAM, json.dumps(payload).encode(), headers)
    try:
        with urllib.request.urlopen(sent, timeout=SECONDS) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        if error.code == 429:
            raise Refused(429, "ThrottlingException", "Too many requests, please wait before trying again.") from None
        if error.code < 500:
            raise Refused(400, "ValidationException", error.read(1000).decode(errors="replace")) from None
        raise Refused(503, "ServiceUnavailableException", f"the model answered {error.code}") from None
    except (OSError, ValueError) as error:
        raise Refused(503, "ServiceUnavailableException", f"the model did not answer: {error}") from None
    choice = answer["choices"][0]
    message = dict(choice["message"], finish_reason=choice.get("finish_reason"))
    usage = answer["usage"]
    return message, (usage["prompt_tokens"], usage["completion_tokens"])


def blocks(message):
    found, reason = blocks_of(message)
    tools = request.get().get("toolConfig")
    if message.get("finish_reason") == "length":
        return found, "max_tokens"
    if tools and schema() is not None:
        try:
            written = json.loads(message["content"])
        except ValueError:
            return found, "malformed_tool_use"
        name = tools["tools"][0]["toolSpec"]["name"]
        return [{"toolUse": {"toolUseId": "tooluse_0", "name": name, "input": written}}], "tool_use"
    return found, reason


bedrock_runtime._converse = forward
bedrock_runtime._proxy_openai_chat_message = ask
bedrock_runtime._converse_blocks_from_message = blocks

listener = socket.create_server(("127.0.0.1", PORT))
config = Config()
config.bind = [f"fd://{listener.fileno()}"]
config.loglevel = "WARNING"


async def main():
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch():
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=watch, daemon=True).start()
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    await serve(app, config, shutdown_trigger=ended.wait)


asyncio.run(main())
