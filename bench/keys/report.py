"""Prints the tables of `make bench-keys` from the output of both programs: `report.py OURS PYTHON`. Each file has one line
for each round. The best round of each figure counts, because disturbances only make it slower."""

import json
import sys


def best(path):
    rounds = [json.loads(line) for line in open(path)]
    return {name: min(one[name] for one in rounds) for name in rounds[0]}, rounds


ours, rounds = best(sys.argv[1])
python, others = best(sys.argv[2])
print("| check | p50 ns, each round | p50 ns | p99 ns | p99.9 ns | allocations | bytes |")
print("|---|---|---:|---:|---:|---:|---:|")
for name, figures, each in (("onerun-auth", ours, rounds), ("Python", python, others)):
    shown = " / ".join(str(one["p50_ns"]) for one in each)
    counted = f"{figures['allocations']} | {figures['allocated_bytes']}" if "allocations" in figures else "|"
    print(f"| {name} | {shown} | {figures['p50_ns']} | {figures['p99_ns']} | {figures['p999_ns']} | {counted} |")
ratio = {at: python[at] / ours[at] for at in ("p50_ns", "p99_ns")}
print(f"\nPython takes {ratio['p50_ns']:.1f} times as long at p50, {ratio['p99_ns']:.1f} times at p99.")
print(f"Reading the clock twice, which is in every figure, takes {ours['clock_ns']} ns in the first.")
