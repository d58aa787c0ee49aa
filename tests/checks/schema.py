"""Says of each file, in YAML or JSON, whether a JSON Schema accepts it. Arguments: the schema and the files."""

import json
import sys
from pathlib import Path

import jsonschema_rs
import yaml

validator = jsonschema_rs.validator_for(json.loads(Path(sys.argv[1]).read_text()))
for path in sys.argv[2:]:
    # JSON has no dates, which YAML's parser makes of `2027-01-31`.
    document = json.loads(json.dumps(yaml.safe_load(Path(path).read_text()), default=str))
    print("valid" if validator.is_valid(document) else "invalid")
