"""Creates the comparator's database from a simulation returned by `onerun serve`.

    seed.py DATABASE < simulation.json
"""

import json
import sqlite3
import sys
from pathlib import Path


def seed(database: str, simulation: dict) -> None:
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(Path(__file__).with_name("schema.sql").read_text())

    def insert(table: str, row: dict) -> None:
        row = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in row.items()}
        marks = ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))

    def pick(source: dict, *names: str) -> dict:
        return {name: source[name] for name in names}

    insert("project", {"id": simulation["project_id"]})
    insert("agent", pick(simulation["agent"], "id", "project_id", "name", "description", "metadata", "created_at",
                         "updated_at"))
    insert("simulation", pick(simulation, "id", "project_id", "agent_id", "name", "scenario", "status", "auto_approve",
                              "max_turns", "target_conversations", "target_personas", "metadata", "created_at",
                              "updated_at", "expires_at", "last_failure_reason"))
    for position, objective in enumerate(simulation["objectives"]):
        insert("objective", pick(objective, "id", "project_id", "created_at", "updated_at"))
        insert("objective_version", {"objective_id": objective["id"]} | pick(objective, "version", "name", "criteria"))
        insert("simulation_objective", {"simulation_id": simulation["id"], "position": position,
                                        "objective_id": objective["id"], "version": objective["version"]})
    connection.commit()
    connection.close()


if __name__ == "__main__":
    seed(sys.argv[1], json.load(sys.stdin))
