"""An agent worker as a OneRun user writes it: the published SDK's `run` with an async entrypoint.

The agent is a refund desk that follows rules instead of a language model, so that a run needs no network and ends the
same way each time. `--raise-first` and `--crash-after` make it as unreliable as real workers are.

The SDK's logger is left as the SDK configures it: the tests read the log for errors.
"""

import argparse
import asyncio
import os
import signal

import onerun
from onerun.connect import RunConversationContext, WorkerOptions, run
from onerun.types import ResponseInputMessageParams, ResponseInputTextParams

GREETING = "Hello, this is the refund desk. How can I help you?"


def reply(turn: int, said: str) -> str:
    """The agent's reply in its `turn`-th turn (from 0) to the persona's message `said`."""
    if turn == 0:
        return "I am sorry to hear that. Could you tell me your order number, please?"
    if turn == 1:
        return "Thank you, I have found the order. I have started the refund; it arrives within five days."
    if "?" in said:
        return "Yes. The refund goes back to the card you paid with, and you get an email about it."
    return "The refund is confirmed. Is there anything else I can do for you?"


class Agent:
    """Holds conversations over one client, and fails as the options request."""

    def __init__(self, client: onerun.Client, options: argparse.Namespace) -> None:
        self.responses = client.simulations.conversations.responses
        self.options = options
        self.seen: set[str] = set()

    async def converse(self, context: RunConversationContext) -> None:
        """The entrypoint: holds one conversation."""
        first_visit = context.conversation_id not in self.seen
        self.seen.add(context.conversation_id)
        nth = len(self.seen)

        turn = 0
        response = await self.say(context, GREETING if self.options.single_turn else None)
        while not response.ended:
            said = " ".join(block.text for item in response.output for block in item.content)
            response = await self.say(context, reply(turn, said))
            turn += 1
            if first_visit and nth <= self.options.raise_first:
                raise RuntimeError(f"asked to fail on the first {self.options.raise_first} conversations")
            if nth == self.options.crash_after:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.options.single_turn:
                return

    async def say(self, context: RunConversationContext, text: str | None) -> onerun.types.Response:
        """Sends one message, or none to let the persona open, and returns the persona's reply."""
        message = text and ResponseInputMessageParams(
            type="message", content=[ResponseInputTextParams(type="text", text=text)]
        )
        # In a thread, because the SDK's call blocks, and other conversations must not wait for it.
        return await asyncio.to_thread(
            self.responses.create,
            project_id=context.project_id,
            simulation_id=context.simulation_id,
            conversation_id=context.conversation_id,
            input=[message] if message else None,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--project", required=True, help="id of the project")
    parser.add_argument("--agent", required=True, help="id of the agent whose conversations to hold")
    parser.add_argument("--port", type=int, default=0, help="of the worker's own /health; 0 picks a free one")
    parser.add_argument("--single-turn", action="store_true", help="open with a greeting, answer once, stop")
    parser.add_argument("--raise-first", type=int, default=0, metavar="N",
                        help="raise in the middle of the first N conversations, each at its first attempt")
    parser.add_argument("--crash-after", type=int, default=0, metavar="N",
                        help="kill this process with SIGKILL in the middle of the Nth conversation")
    parser.add_argument("--timeout", type=int, default=30, metavar="SECONDS",
                        help="how long the client waits for each byte; the default is the SDK's")
    options = parser.parse_args()

    client = onerun.Client(timeout=options.timeout)
    run(
        WorkerOptions(
            project_id=options.project,
            agent_id=options.agent,
            client=client,
            entrypoint=Agent(client, options).converse,
            task_poll_interval=1,
            server_host="127.0.0.1",
            server_port=options.port,
        )
    )


if __name__ == "__main__":
    main()
