# SPDX-License-Identifier: Apache-2.0
"""The registry of entries. An entry adds one node (or a planted pattern) to a graph; the tables in ops_*.py and
patterns_*.py register theirs with @entry when they are imported."""

import dataclasses
import functools
import importlib
import pathlib

TABLES = sorted(p.stem for p in pathlib.Path(__file__).parent.glob("*.py")
                if p.stem.startswith(("ops_", "patterns_")))
_entries = []
# Names and families that are left out: those of left_out.txt, and what --without adds.
without = {line.split()[0] for line in (pathlib.Path(__file__).parent / "left_out.txt").read_text().splitlines()
           if line and not line.startswith("#")}


@dataclasses.dataclass(frozen=True)
class Entry:
    name: str  # of the operator, or of the pattern
    family: str  # the table's file
    since: int  # opsets of ai.onnx that it can be made in
    until: int
    generate: object
    weight: int = 1


def entry(*names, since=7, until=99, weight=1):
    """Registers a function of a graph for each name; with several names it is called with (graph, name). weight:
    more than 1 for what is often refused."""

    def register(function):
        for name in names:
            generate = functools.partial(_call, function, name) if len(names) > 1 else function
            _entries.append(Entry(name, function.__module__, since, until, generate, weight))
        return function

    return register


def _call(function, name, graph):
    return function(graph, name)


@functools.cache
def entries():
    for table in TABLES:
        importlib.import_module(table)
    return tuple(sorted((e for e in _entries if not {e.name, e.family} & without), key=lambda e: (e.family, e.name)))


def _times(entry):
    """An entry that fits into few graphs is drawn more often there: half of them have one of the last five opsets, the
    others any (case.make_graph)."""
    share = sum(0.5 / 21 + (0.1 if opset >= 23 else 0) for opset in range(7, 28) if entry.since <= opset <= entry.until)
    return entry.weight * max(1, round(0.5 / share))


@functools.cache
def _of_opset(opset):
    return tuple(e for e in entries() if e.since <= opset <= e.until for _ in range(_times(e)))


def choose(random, opset):
    fitting = _of_opset(opset)
    return fitting[int(random.integers(len(fitting)))]
