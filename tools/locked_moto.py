"""moto's server, one request at a time.

moto keeps everything in dictionaries and answers each request on a thread of its own, so what a transaction or a
condition reads may change before it writes. AWS's do not do that. The lock makes every request atomic.
"""

import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

application = DomainDispatcherApplication(create_backend_app)
lock = threading.Lock()


class Handler(MotoRequestHandler):
    # Connections are kept, as AWS's are; the default closes each after its answer.
    protocol_version = "HTTP/1.1"

    def log_request(self, *_):
        pass


def serve(environ, start_response):
    with lock:
        return list(application(environ, start_response))


make_server("127.0.0.1", int(sys.argv[1]), serve, threaded=True, request_handler=Handler).serve_forever()
