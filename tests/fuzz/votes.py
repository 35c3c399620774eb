# SPDX-License-Identifier: Apache-2.0
"""The votes: each case through the evaluator, -O0 and -O3 (`tamis check` over a folder of cases), compared with the
recorded answers of the oracle and with each other.

Integers, bools, strings and floats that were only moved must be equal. Other floats may differ by the tolerance of
their type, in proportion to the largest magnitude of the output. What exceeds it is judged by noise: the graph is
computed again by the oracle with every rounded float moved by some units in the last place; a difference
within the spread of those answers says that the graph is ill-conditioned, not that an engine is wrong. Without an oracle
there is no such spread: magnitudes below 1 count as 1, so that numbers near 1 may cancel (1 - tanh(x)^2). Graphs with special
values are compiled with --math=strict, which keeps subnormals.
"""

import copy
import json
import os
import pathlib
import re
import subprocess

import numpy
import onnx

import case as cases
import oracle
from elements import BF16, C64, C128, F16, F32, F64, FLOATS, epsilon, type_of

TAMIS = os.environ.get("TAMIS", "tamis")
VOTES = {"evaluate": ["--evaluate"], "O0": ["-O0"], "O3": ["-O3"]}
STEPS = {F32: 96, F64: 1 << 34, F16: 12, BF16: 6, C64: 96, C128: 1 << 34}  # units of the type's precision
NOISE = 24  # how far beyond the spread a difference may lie


def check(folder, options, outputs=None, jobs=1, timeout=120):
    """The report of `tamis check` by case name: status and detail."""
    command = [TAMIS, "check", "--json", "-j", str(jobs), "--timeout", str(timeout), *options, str(folder)]
    if outputs is not None:
        command[2:2] = ["--outputs", str(outputs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise RuntimeError(f"tamis check: exit code {done.returncode}: {done.stderr}") from error
    return {c["name"]: (c["status"], c["detail"]) for c in report["cases"]}


def tolerance(want, element_type, magnitude):
    # float64 results: some kernels of both sides accumulate what was float32
    unit = epsilon(element_type) if element_type not in (F64, C128) else 2.0**-52
    finite = want[numpy.isfinite(want)]
    steps = STEPS[element_type] if element_type not in (F64, C128) else 4096
    return steps * unit * max(float(numpy.abs(finite).max(initial=magnitude)), 1e-3 if element_type == F16 else 1e-30)


def differ(have, want, exact, flushed=False, magnitude=0.0):
    """Why two answers differ, as text, or None; `flushed`: what is too small for a normal float may be 0; `magnitude`: what
    rounded floats are at least taken for."""
    if isinstance(want, list) or isinstance(have, list):
        if not (isinstance(want, list) and isinstance(have, list)) or len(have) != len(want):
            return f"{len(have)} items, not {len(want)}"
        magnitude = max([magnitude, *(largest(item) for item in want if is_rounded(item))])
        return next((f"item {i}: {text}" for i, pair in enumerate(zip(have, want))
                     if (text := differ(*pair, exact, flushed, magnitude)) is not None), None)
    if isinstance(want, dict):
        if not isinstance(have, dict) or have.keys() != want.keys():
            return f"{have}, not {want}"
        return next((f"key {k}: {text}" for k in want
                     if (text := differ(have[k], want[k], exact, flushed, magnitude)) is not None), None)
    if have.shape != want.shape or have.dtype != want.dtype:
        return f"is {have.dtype}{list(have.shape)}, not {want.dtype}{list(want.shape)}"
    if want.size == 0:
        return None
    same = have == want
    if want.dtype != object:
        with numpy.errstate(all="ignore"):
            same = same | ((have != have) & (want != want))
    element_type = type_of(want)
    if flushed and want.dtype in (numpy.float32, numpy.float64):
        least = numpy.finfo(want.dtype).smallest_normal
        same = same | ((abs(have) < least) & (abs(want) < least))
    if not exact and element_type in FLOATS + (C64, C128):
        wide = numpy.complex128 if want.dtype.kind == "c" else numpy.float64
        have, want = have.astype(wide), want.astype(wide)
        with numpy.errstate(all="ignore"):
            same = same | (numpy.abs(have - want) <= tolerance(want, element_type, magnitude))
    if same.all():
        return None
    at = tuple(int(i) for i in numpy.argwhere(~numpy.atleast_1d(same))[0])
    first = [numpy.atleast_1d(a)[at] for a in (have, want)]
    return f"{list(want.shape)} at {list(at)}: {first[0]}, not {first[1]}; {int((~same).sum())} differ"


def is_rounded(sample):
    return isinstance(sample, numpy.ndarray) and type_of(sample) in FLOATS


def within_noise(case, k, name, have, want):
    """Does the oracle's own answer move as much when its floats are rounded differently?"""
    if not is_rounded(want) or case.oracle == "none" or have.shape != want.shape:
        return False
    answers = noisy_answers(case, k, name)
    if len(answers) < 2:
        return False
    with numpy.errstate(all="ignore"):
        clean, *others = [a.astype(numpy.float64) for a in answers]
        spread = numpy.max([numpy.abs(a - clean) for a in others], axis=0)
        difference = numpy.abs(have.astype(numpy.float64) - want.astype(numpy.float64))
        same = (have == want) | ((have != have) & (want != want))
        finite = numpy.isfinite(spread)
        widest = float(spread[finite].max(initial=0))
        return bool((same | ~finite | (difference <= NOISE * widest)).all())


def largest(sample):
    wide = numpy.abs(sample.astype(numpy.float64))
    return float(wide[numpy.isfinite(wide)].max(initial=0))


def moved(random, sample, operands):
    """A result with an error as a good kernel has it: some units of each number, and a part of a unit of the largest
    number that it saw, since sums cancel (1 + erf(x) in Gelu, the cosines of a window)."""
    unit = epsilon(type_of(sample))
    with numpy.errstate(all="ignore"):
        wide = sample.astype(numpy.float64)
        width = 2 * unit * numpy.abs(wide) + unit / 4 * max(map(largest, [sample, *operands]))
        return (wide + width * random.uniform(-1, 1, sample.shape)).astype(sample.dtype)


def noisy_answers(case, k, name, trials=5):
    """Answers of the oracle node by node, with the floats of all but the first moved."""
    graph = case.model.graph
    opsets = {o.domain: o.version for o in case.model.opset_import}
    answers = []
    for trial in range(trials):
        random = numpy.random.default_rng([case.seed, trial])
        known = dict(case.sets[k][0])
        known.update({i.name: oracle.tidy(cases.numpy_helper.to_array(i)) for i in graph.initializer})
        try:
            for node in graph.node:
                reads = {n for n in node.input if n} | {
                    n for a in node.attribute if a.HasField("g") for n in cases.read_names(a.g)}
                samples = {n: known[n] for n in reads if n in known}
                made = oracle.evaluate(node, opsets, samples, case.oracle == "reference", case.model.functions)
                for output, sample in made.items():
                    if trial > 0 and is_rounded(sample) and node.op_type != "Constant":
                        sample = moved(random, sample, [s for s in samples.values() if is_rounded(s)])
                    known[output] = sample
            if known[name].shape == case.sets[k][1][name].shape:
                answers.append(known[name])
        except (oracle.Refused, KeyError):
            continue
    return answers


class Failure:
    """What is wrong with a case: the kind stays the same while the case is made smaller."""

    def __init__(self, vote, kind, text, op=""):
        self.vote, self.kind, self.text, self.op = vote, kind, text, op

    def group(self):
        """What failures of one cause mostly share."""
        return f"{self.vote} {self.kind} {self.op}".strip()

    def __str__(self):
        return f"{self.vote} {self.kind} {self.op}: {self.text}"


def error_kind(detail):
    """The number of the error, and of a crash the signal."""
    at = detail.find("error E")
    return detail[at + 6:at + 11] if at >= 0 else " ".join(detail.split()[:2])


def error_op(detail):
    """The operator that a message names: "main:node 3:Add '': error ..."."""
    found = re.search(r":node \d+:([\w.]+)", detail)
    return found[1] if found else ""


def maker(case, name):
    return next((n.op_type for n in case.model.graph.node if name in n.output), "an input")


def judge(case, reports, outputs):
    """The first failure of a case, or None. reports: by vote, status and detail; outputs: by vote, a folder."""
    found = {}
    for vote in reports:
        status, detail = reports[vote]
        if status in ("unsupported", "crash"):
            return Failure(vote, f"{status} {error_kind(detail)}", detail, error_op(detail))
        sets = [cases.read_outputs(case, outputs[vote], k) for k in range(len(case.sets))]
        if None in sets:
            return Failure(vote, f"fails {error_kind(detail)}", detail, error_op(detail))
        found[vote] = sets
    noisy = False
    for k, (_, wanted) in enumerate(case.sets):
        for name, want in wanted.items():
            base, other = want, "the oracle"
            for vote, sets in found.items():
                have = sets[k][name]
                if base is None:
                    base, other = have, vote
                    continue
                text = differ(have, base, case.exact[name], not case.special, float(case.oracle == "none"))
                if text is None:
                    continue
                if not case.exact[name] and within_noise(case, k, name, have, base):
                    noisy = True
                    continue
                return Failure(vote, "differs", f"set {k} {name} {text} of {other}", maker(case, name))
    return "noise" if noisy else None


def vote_on(batch, folder, votes=VOTES, jobs=1, options=()):
    """Writes the cases of a batch into folder and returns {seed: failure, "noise" or None}."""
    folder = pathlib.Path(folder)
    reports = {vote: {} for vote in votes}
    for group, more in (("fast", []), ("strict", ["--math=strict"])):
        chosen = [c for c in batch if c.special == (group == "strict")]
        for case in chosen:
            cases.write_case(case, folder / group / str(case.seed))
        for vote, flags in votes.items():
            if chosen:
                reports[vote] |= check(folder / group, [*flags, *more, *options], folder / vote, jobs)
    verdicts = {c.seed: judge(c, {v: reports[v][str(c.seed)] for v in votes},
                              {v: folder / v / str(c.seed) for v in votes}) for c in batch}
    if not options:
        again = [static(c) for c in batch if needs_ranks(c, verdicts[c.seed])]
        if again:
            verdicts |= vote_on(again, folder / "static", votes, jobs)
    return verdicts


def dims_of(model):
    return [d for i in model.graph.input if i.type.HasField("tensor_type") for d in i.type.tensor_type.shape.dim]


def needs_ranks(case, verdict):
    """A rank that depends on a symbolic dim is refused, or a Squeeze without axes when it meets a further dim of 1, as
    docs/limits.md says; with given dims it must not be."""
    return isinstance(verdict, Failure) and (verdict.kind, verdict.op) in (
        ("unsupported E0203", verdict.op), ("fails E0302", "Squeeze")) and any(d.dim_param for d in dims_of(case.model))


def static(case):
    case = copy.copy(case)
    case.model, case.sets = onnx.ModelProto.FromString(case.model.SerializeToString()), case.sets[:1]
    for info in case.model.graph.input:
        if info.type.HasField("tensor_type"):
            info.CopyFrom(oracle.value_info(info.name, case.sets[0][0].get(info.name, initializer(case, info.name))))
    return case


def initializer(case, name):
    return next((cases.numpy_helper.to_array(i) for i in case.model.graph.initializer if i.name == name), None)
