"""moto's server, one request at a time, with the idempotency tokens of DynamoDB.

moto stores data in dictionaries and serves each request on its own thread, so data that a transaction or condition has read
may change before it writes. On AWS they are atomic. The lock makes every request atomic here, too.

moto ignores `ClientRequestToken`. On AWS, a transaction that is sent again with its token is not applied again, and succeeds
if the first one did. Without this, a client that sends a transaction again after a slow response finds its own writes.
"""

import io
import json
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

application = DomainDispatcherApplication(create_backend_app)
lock = threading.Lock()
# The responses to applied transactions, by token: status, headers and body.
applied = {}


class Handler(MotoRequestHandler):
    # Keep connections open, as AWS does; the default closes them after each response.
    protocol_version = "HTTP/1.1"

    def log_request(self, *_):
        pass


def token_of(environ):
    """The token of a request that writes a transaction. The body is read and put back."""
    if environ.get("HTTP_X_AMZ_TARGET") != "DynamoDB_20120810.TransactWriteItems":
        return None
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    environ["wsgi.input"] = io.BytesIO(body)
    return json.loads(body).get("ClientRequestToken")


def serve(environ, start_response):
    token = token_of(environ)
    with lock:
        if token in applied:
            status, headers, body = applied[token]
            start_response(status, headers)
            return body
        started = []

        def start(status, headers, *rest):
            started[:] = [status, headers]
            return start_response(status, headers, *rest)

        body = list(application(environ, start))
        if token and started[0].startswith("200"):
            applied[token] = (*started, body)
        return body


make_server("127.0.0.1", int(sys.argv[1]), serve, threaded=True, request_handler=Handler).serve_forever()
