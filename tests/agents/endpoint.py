"""Sample agents behind HTTP: a chat API at /v1/chat/completions, an endpoint of another form at /chat, and some that fail."""

import socket

import uvicorn
from fastapi import FastAPI, Header, HTTPException, Response
from pydantic import BaseModel

TOKEN = "a-secret-token"
REPLY = "I have started your refund."

app = FastAPI()


class Message(BaseModel):
    role: str
    content: str


class ChatRequest(BaseModel):
    model: str
    messages: list[Message]


class Turn(BaseModel):
    message: str
    session: str
    history: list[Message]


def check(authorization: str) -> None:
    if authorization != f"Bearer {TOKEN}":
        # As some APIs do, it repeats what it received.
        raise HTTPException(401, f"not accepted: {authorization}")


@app.post("/v1/chat/completions")
async def chat(request: ChatRequest, authorization: str = Header("")) -> dict:
    check(authorization)
    assert request.messages[0].role == "system" and request.messages[-1].role == "user"
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": REPLY}}
    return {"id": "1", "object": "chat.completion", "model": request.model, "choices": [choice]}


@app.post("/chat")
async def other(turn: Turn, authorization: str = Header("")) -> dict:
    check(authorization)
    assert turn.session and turn.history[-1].content == turn.message
    return {"output": [{"text": REPLY}], "done": len(turn.history) > 2}


@app.post("/crash")
async def crash() -> None:
    raise RuntimeError("the agent crashed")


@app.post("/page")
async def page() -> Response:
    return Response("<html>welcome</html>", media_type="text/html")


if __name__ == "__main__":
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
