"""Prints template.yaml as JSON, expanded by SAM's own transform as AWS deploys it."""

import json
import os
from pathlib import Path
from typing import Any

# samtranslator needs a region, but does not use it.
os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")

from samcli.yamlhelper import yaml_parse  # noqa: E402
from samtranslator.translator.transform import transform  # noqa: E402

AWS_POLICIES = ("AWSLambdaBasicExecutionRole",)


class _NoAwsPolicies:
    def load(self) -> dict[str, str]:
        return {name: f"arn:aws:iam::aws:policy/{name}" for name in AWS_POLICIES}


def expanded(template: Path) -> dict[str, Any]:
    source = yaml_parse(template.read_text())
    # The package is irrelevant here, and a local path is not allowed in this step.
    source["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    return transform(source, {}, _NoAwsPolicies())


if __name__ == "__main__":
    print(json.dumps(expanded(Path(__file__).resolve().parent.parent.parent / "template.yaml")))
