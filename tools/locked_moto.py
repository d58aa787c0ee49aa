"""moto's server, one request at a time.

moto stores data in dictionaries and serves each request on its own thread, so data that a transaction or condition has read
may change before it writes. On AWS they are atomic. The lock makes every request atomic here, too.
"""

import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

application = DomainDispatcherApplication(create_backend_app)
lock = threading.Lock()


class Handler(MotoRequestHandler):
    # Keep connections open, as AWS does; the default closes them after each response.
    protocol_version = "HTTP/1.1"

    def log_request(self, *_):
        pass


def serve(environ, start_response):
    with lock:
        return list(application(environ, start_response))


make_server("127.0.0.1", int(sys.argv[1]), serve, threaded=True, request_handler=Handler).serve_forever()
