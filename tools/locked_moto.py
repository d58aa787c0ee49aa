"""moto's server, one request at a time, with the idempotency tokens of DynamoDB.

moto stores data in dictionaries and serves each request on its own thread, so data that a transaction or condition has read
may change before it writes. On AWS they are atomic. The lock makes every request atomic here, too.

moto ignores `ClientRequestToken`. On AWS, a transaction that is sent again with its token is not applied again, and succeeds
if the first one did. Without this, a client that sends a transaction again after a slow response finds its own writes.

moto copies a transaction's whole table once for each of its operations, to undo them if one is refused. Here a copy shares the
items that the transaction does not name, because no transaction changes those. Tests with many items are several times faster.
"""

import copy
import io
import json
import sys
import threading
from collections import defaultdict

from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

application = DomainDispatcherApplication(create_backend_app)
lock = threading.Lock()
# The responses to applied transactions, by token: status, headers and body.
applied = {}
# The keys of the items in the present transaction.
named = []


def copy_table(table, _):
    twin = copy.copy(table)
    twin.items = defaultdict(dict, {partition: dict(items) for partition, items in table.items.items()})
    for key in named:
        partition, sort = (DynamoType(key[name]) for name in (table.hash_key_attr, table.range_key_attr))
        if partition in twin.items and sort in twin.items[partition]:
            twin.items[partition][sort] = copy.deepcopy(twin.items[partition][sort])
    if table.stream_shard is not None:
        twin.stream_shard = copy.copy(table.stream_shard)
        twin.stream_shard.table = twin
        twin.stream_shard.items = list(table.stream_shard.items)
    return twin


Table.__deepcopy__ = copy_table


class Handler(MotoRequestHandler):
    # Keep connections open, as AWS does; the default closes them after each response.
    protocol_version = "HTTP/1.1"

    def log_request(self, *_):
        pass


def transaction_of(environ):
    """The body of a request that writes a transaction. It is read and put back."""
    if environ.get("HTTP_X_AMZ_TARGET") != "DynamoDB_20120810.TransactWriteItems":
        return {}
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    environ["wsgi.input"] = io.BytesIO(body)
    return json.loads(body)


def serve(environ, start_response):
    transaction = transaction_of(environ)
    token = transaction.get("ClientRequestToken")
    operations = [operation for item in transaction.get("TransactItems", []) for operation in item.values()]
    with lock:
        named[:] = [operation.get("Key") or operation["Item"] for operation in operations]
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
