"""A sample agent behind HTTP, with the standard library alone: `python3 service.py 8000`.

POST /v1/chat/completions speaks the API of OpenAI's chat completions, and POST /chat a form of its own.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def answer(messages):
    own = " ".join(message["content"] for message in messages if message["role"] == "assistant")
    if "order number" not in own:
        return "I am sorry for the trouble. Could you give me your order number, please?"
    if "started your refund" not in own:
        return "Thank you. I have started your refund. Is there anything else that I can do for you?"
    return "You will get an e-mail that confirms it. Goodbye."


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/chat/completions":
            message = {"role": "assistant", "content": answer(body["messages"])}
            document = {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
        elif self.path == "/chat":
            document = {"output": [{"text": answer(body["history"])}], "done": False}
        else:
            return self.send_error(404)
        data = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000), Handler)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
