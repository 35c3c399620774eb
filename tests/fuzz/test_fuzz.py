# SPDX-License-Identifier: Apache-2.0
"""A short run of fixed seeds, and the tester's own tests: it sees wrong answers, makes cases smaller, names rewrites."""

import os

import numpy
import pytest

import case as cases
import fuzz
import oracle
import shrink
import tables
import votes
from graph import Graph, Refused

pytestmark = pytest.mark.skipif(os.environ.get("TAMIS") is None, reason="TAMIS is not set")
SEEDS = 150


def test_short_run(tmp_path):
    options = fuzz.arguments(["--seeds", str(SEEDS), "--start", "500000", "--most", "3", "--keep", str(tmp_path)])
    report = fuzz.run(options)
    broken = [text for text in report.missing.values() if text.startswith(fuzz.BROKEN)]
    assert not broken, broken[0]
    assert not report.failures, "\n".join(f"seed {case.seed}: {failure}" for case, failure in report.failures)
    assert report.count > 0.8 * SEEDS


def test_a_seed_is_always_the_same_case():
    for seed in (3, 500007):
        first, second = cases.make_case(seed), cases.make_case(seed)
        assert first.model.SerializeToString(deterministic=True) == second.model.SerializeToString(deterministic=True)


def chain(*ops):
    g = Graph(numpy.random.default_rng(1), 17)
    x = g.input(numpy.linspace(-1, 1, 6, dtype=numpy.float32).reshape(2, 3))
    for op in ops:
        x = g.node(op, [x])
    model, _ = cases.make_model(g, [x], {})
    feeds = {v.name: v.sample for v in g.inputs}
    return cases.Case(1, model, [(feeds, {x.name: x.sample})], {x.name: x.exact}, {})


def test_a_right_answer_passes(tmp_path):
    assert votes.vote_on([chain("Tanh", "Neg")], tmp_path) == {1: None}


@pytest.mark.parametrize("op, error", [("Neg", 1e-6), ("Exp", 1e-3)])
def test_a_wrong_answer_is_seen(tmp_path, op, error):
    case = chain(op)
    outputs = case.sets[0][1]
    outputs.update({name: (value * numpy.float32(1 + error)) for name, value in outputs.items()})
    failure = votes.vote_on([case], tmp_path)[1]
    assert (failure.vote, failure.kind, failure.op) == ("evaluate", "differs", op)


def test_rounded_floats_do_not_reach_jumps():
    g = Graph(numpy.random.default_rng(1), 17)
    x = g.node("Exp", [g.input(numpy.ones(3, numpy.float32))])
    with pytest.raises(Refused):
        g.node("Floor", [x])


def test_shrinking(tmp_path, monkeypatch):
    """An oracle that is wrong about Tanh: of the chain only that node must stay, of its dims the smallest."""
    evaluate = oracle.evaluate_model

    def lie(model, feeds):
        wrong = any(node.op_type == "Tanh" for node in model.graph.node)
        return [a + numpy.float32(wrong) for a in evaluate(model, feeds)]

    monkeypatch.setattr(oracle, "evaluate_model", lie)
    case = chain("Neg", "Exp", "Tanh", "Relu", "Neg")
    name = case.model.graph.output[0].name
    case.sets[0][1][name] = lie(case.model, case.sets[0][0])[0]
    failure = votes.vote_on([case], tmp_path / "first")[1]
    small = shrink.Shrinker(case, failure, tmp_path / "small").run()
    assert "Tanh" in [n.op_type for n in small.model.graph.node]
    assert len(small.model.graph.node) <= 3 and all(a.size == 1 for a in shrink.tensors(small).values())


def test_the_guilty_rewrite_is_named(tmp_path, monkeypatch):
    case = chain("Neg", "Neg")
    case.model.graph.node[1].input[0] = case.model.graph.node[0].output[0]
    shrinker = shrink.Shrinker(case, votes.Failure("O3", "differs", "of the oracle"), tmp_path / "work")
    limits = []

    def fails(_, options):
        limits.append(int(options[0].rpartition("=")[2]))
        return limits[-1] >= 1

    monkeypatch.setattr(shrinker, "fails", fails)
    assert shrinker.guilty() == "rewrite 1 of 1: form_map_regions"


@pytest.mark.parametrize("op", ["Add", "ZipMap", "OptionalGetElement", "com.microsoft.QMoE"])
def test_a_full_run_fails_when_an_operator_is_rare(monkeypatch, op):
    report = fuzz.Report()
    report.ops.update({name: fuzz.FEWEST for name in fuzz.operators()})
    monkeypatch.setattr(fuzz, "run", lambda options: report)
    assert fuzz.main([]) == 0
    report.ops[op] -= 1
    assert fuzz.main([]) == 1
    assert fuzz.main(["--seeds", "100"]) == 0


def makes_something(entry):
    for seed in range(40):
        random = numpy.random.default_rng(seed)
        g = Graph(random, int(random.integers(entry.since, min(entry.until, cases.NEWEST) + 1)))
        try:
            entry.generate(g)
            return True
        except Refused:
            continue
    return False


def test_every_entry_makes_something():
    """An entry that is always refused would go unnoticed. In children, since ONNX Runtime may crash."""
    entries, silent, at = tables.entries(), [], 0
    while at < len(entries):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            for entry in entries[at:]:
                os.write(writer, b"1" if makes_something(entry) else b"0")
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as answers:
            made = answers.read()
        os.waitpid(child, 0)
        silent += [entry.name for entry, one in zip(entries[at:], made) if one == ord("0")]
        at += len(made) + 1  # one that crashed has made something
    assert not silent
