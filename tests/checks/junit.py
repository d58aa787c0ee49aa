"""Validates JUnit documents against a schema. Arguments: the schema and the documents."""

import sys

import xmlschema

schema = xmlschema.XMLSchema(sys.argv[1])
for path in sys.argv[2:]:
    schema.validate(path)
print(f"{len(sys.argv) - 2} documents are valid")
