"""The published SDK's worker in front of the agent, as a user of the SDK writes it."""

import argparse
import asyncio

import httpx
import onerun
from onerun.connect import RunConversationContext, WorkerOptions, run
from onerun.types import ResponseInputMessageParams, ResponseInputTextParams

parser = argparse.ArgumentParser()
parser.add_argument("--project", required=True)
parser.add_argument("--agent", required=True)
parser.add_argument("--url", required=True)
parser.add_argument("--concurrency", type=int, required=True)
parser.add_argument("--poll-seconds", type=int, required=True)
options = parser.parse_args()

client = onerun.Client()
limits = httpx.Limits(max_connections=None, max_keepalive_connections=options.concurrency)
http = httpx.AsyncClient(timeout=60, limits=limits)


async def say(context: RunConversationContext, text: str | None) -> onerun.types.Response:
    message = text and ResponseInputMessageParams(
        type="message", content=[ResponseInputTextParams(type="text", text=text)]
    )
    # In a thread, because the SDK's call blocks, and other conversations must not wait for it.
    return await asyncio.to_thread(
        client.simulations.conversations.responses.create,
        project_id=context.project_id,
        simulation_id=context.simulation_id,
        conversation_id=context.conversation_id,
        input=[message] if message else None,
    )


async def converse(context: RunConversationContext) -> None:
    response = await say(context, None)
    while not response.ended:
        said = " ".join(block.text for item in response.output for block in item.content)
        reply = await http.post(options.url, json={"message": said})
        response = await say(context, reply.json()["text"])


run(
    WorkerOptions(
        project_id=options.project,
        agent_id=options.agent,
        client=client,
        entrypoint=converse,
        max_concurrent_tasks=options.concurrency,
        task_poll_interval=options.poll_seconds,
        server_host="127.0.0.1",
        server_port=0,
    )
)
