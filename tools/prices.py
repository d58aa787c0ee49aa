#!/usr/bin/env python3
"""Compares crates/model-chat/prices.json with LiteLLM's table of prices, and prints each model that differs.

The table is `model_prices_and_context_window_backup.json` in LiteLLM's wheel, which need not be installed:
`pip download --no-deps litellm==VERSION` and unzip it. Usage: tools/prices.py TABLE
"""

import json
import pathlib
import sys

PRICES = pathlib.Path(__file__).parent.parent / "crates/model-chat/prices.json"

# Our fields, with LiteLLM's fields of prices for one token.
FIELDS = {
    "input": "input_cost_per_token",
    "cached_input": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "output": "output_cost_per_token",
}


def upstream(row):
    """A row of LiteLLM's table in our form: prices for a million tokens."""
    prices = {field: round(row[theirs] * 1e6, 6) for field, theirs in FIELDS.items() if row.get(theirs)}
    if row.get("deprecation_date"):
        prices["retires"] = row["deprecation_date"]
    return prices


def main(table):
    rows = json.loads(pathlib.Path(table).read_text())
    differences = 0
    for ours in json.loads(PRICES.read_text())["models"]:
        model = ours.pop("model")
        theirs = rows.get(model.split(":", 1)[1])
        theirs = upstream(theirs) if theirs else None
        if theirs == ours:
            continue
        differences += 1
        print(f"{model}: {json.dumps(ours)} here, {json.dumps(theirs) if theirs else 'missing'} there")
    return 1 if differences else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
