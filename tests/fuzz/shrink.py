# SPDX-License-Identifier: Apache-2.0
"""Makes a failing case smaller while it fails in the same way, and names the first rewrite that breaks it.

Steps, each repeated while it helps: one data set, one output; nodes away (what they made becomes an input with the
value it had); inputs to constants; dims cut to less; values rounded or set to one number. A candidate counts when the oracle
still answers and the same vote fails with the same kind.
"""

import copy
import pathlib
import re
import shutil
import subprocess
import tempfile

import numpy
import onnx
from onnx import helper, numpy_helper

import case as cases
import oracle
import votes
from elements import is_float, type_of

TRIALS = 160  # of one failure


class Shrinker:
    def __init__(self, case, failure, folder):
        self.case, self.failure, self.folder, self.trials = case, failure, folder, 0
        against = re.search(r" of (evaluate|O0)$", failure.text)
        wanted = {failure.vote} | ({against[1]} if against else set())
        self.votes = {vote: flags for vote, flags in votes.VOTES.items() if vote in wanted}

    def verdict(self, case, options=()):
        shutil.rmtree(self.folder, ignore_errors=True)
        return votes.vote_on([case], self.folder, self.votes, options=options)[case.seed]

    def fails(self, case, options=()):
        verdict = self.verdict(case, options)
        same = isinstance(verdict, votes.Failure) and verdict.kind == self.failure.kind
        if same and not options:
            self.failure = verdict
        return same

    def attempt(self, model, feeds, exact=None):
        """Takes a candidate when the oracle answers it and it fails in the same way."""
        if self.trials >= TRIALS:
            return False
        self.trials += 1
        names = [o.name for o in model.graph.output]
        case = copy.copy(self.case)
        case.model = model
        case.exact = {name: self.case.exact.get(name, False) for name in names}
        feeds = {i.name: feeds[i.name] for i in model.graph.input if i.name in feeds}
        try:
            if case.oracle == "none":
                answers = [None] * len(names)
            elif case.oracle == "reference":
                known = known_values(model, feeds)
                answers = [known[n] for n in names]
            else:
                answers = oracle.evaluate_model(model, feeds)
        except (oracle.Refused, KeyError):
            return False
        case.sets = [(feeds, dict(zip(names, answers)))]
        if not self.fails(case):
            return False
        self.case = case
        return True

    # ---- steps ----

    def one_set(self):
        for k in range(len(self.case.sets)):
            if self.attempt(self.case.model, self.case.sets[k][0]):
                return

    def one_output(self):
        for output in list(self.case.model.graph.output):
            if len(self.case.model.graph.output) > 1:
                model = clone(self.case.model)
                del model.graph.output[:]
                model.graph.output.append(output)
                if self.attempt(prune(model), self.case.sets[0][0]):
                    return

    def fewer_nodes(self):
        size = max(1, len(self.case.model.graph.node) // 2)
        while size >= 1:
            at = 0
            while at < len(self.case.model.graph.node) and len(self.case.model.graph.node) > 1:
                if not self.without(at, size):
                    at += size
            size //= 2

    def without(self, at, size):
        model, feeds = clone(self.case.model), dict(self.case.sets[0][0])
        try:
            known = known_values(model, feeds)
        except (oracle.Refused, KeyError):
            return False
        gone = list(model.graph.node)[at:at + size]
        kept = [n for i, n in enumerate(model.graph.node) if not at <= i < at + size]
        made = {name for node in gone for name in node.output if name}
        if made & {o.name for o in model.graph.output} or not kept:
            return False
        reads = cases.read_names(helper.make_graph(kept, "g", [], []))
        del model.graph.node[:]
        model.graph.node.extend(kept)
        for name in sorted(made & reads):
            if name not in known:
                return False
            model.graph.input.append(oracle.value_info(name, known[name]))
            feeds[name] = known[name]
        return self.attempt(prune(model), feeds)

    def constants(self):
        for info in list(self.case.model.graph.input):
            feeds = self.case.sets[0][0]
            if isinstance(feeds.get(info.name), numpy.ndarray):
                model = clone(self.case.model)
                remove_input(model, info.name)
                model.graph.initializer.append(oracle.tensor_proto(feeds[info.name], info.name))
                self.attempt(model, feeds)

    def plain_dims(self):
        model = clone(self.case.model)
        feeds = self.case.sets[0][0]
        for info in model.graph.input:
            if isinstance(feeds.get(info.name), numpy.ndarray):
                info.CopyFrom(oracle.value_info(info.name, feeds[info.name]))
        self.attempt(model, feeds)

    def smaller_dims(self):
        while True:
            arrays = tensors(self.case)
            sizes = sorted({d for a in arrays.values() for d in a.shape if d > 1}, reverse=True)
            for size, less in [(s, n) for s in sizes for n in dict.fromkeys((1, 2, s // 2, s - 1)) if n < s]:
                if self.with_arrays({n: cut(a, size, less) for n, a in arrays.items()}):
                    break
            else:
                return

    def plain_values(self):
        for name, array in list(tensors(self.case).items()):
            if not is_float(type_of(array)):
                continue
            with numpy.errstate(all="ignore"):
                wide = array.astype(numpy.float64)
                for plain in (numpy.ones_like(wide), numpy.round(wide)):
                    if not numpy.array_equal(plain, wide) and self.with_arrays({name: plain.astype(array.dtype)}):
                        break

    def with_arrays(self, arrays):
        """The case with other values of inputs and initializers."""
        model, feeds = clone(self.case.model), dict(self.case.sets[0][0])
        for name, array in arrays.items():
            if name in feeds:
                feeds[name] = array
        initializers = [oracle.tensor_proto(arrays[i.name], i.name) if i.name in arrays else i
                        for i in model.graph.initializer]
        del model.graph.initializer[:]
        model.graph.initializer.extend(initializers)
        for info in model.graph.input:
            if isinstance(arrays.get(info.name), numpy.ndarray):
                symbols = [d.dim_param for d in info.type.tensor_type.shape.dim]
                info.CopyFrom(oracle.value_info(info.name, arrays[info.name]))
                for dim, symbol in zip(info.type.tensor_type.shape.dim, symbols):
                    if symbol:
                        dim.dim_param = symbol
        return self.attempt(model, feeds)

    def run(self):
        for step in (self.one_set, self.one_output, self.fewer_nodes, self.one_output, self.plain_dims,
                     self.smaller_dims, self.constants, self.fewer_nodes, self.plain_values):
            step()
        return self.case

    # ---- the guilty rewrite ----

    def guilty(self):
        if "evaluate" in self.votes:
            return "no rewrite: the evaluator fails"
        level = "-" + self.failure.vote
        path = self.folder.parent / "guilty.onnx"
        path.write_bytes(self.case.model.SerializeToString())
        command = [votes.TAMIS, "opt", str(path), level, "--print-rewrites", "-o", "/dev/null"]
        log = subprocess.run(command, capture_output=True, text=True, check=False).stderr
        names = re.findall(r"^; rewrite \d+: (.*)$", log, re.M)
        low, high = 0, len(names)
        if self.fails(self.case, ["--opt-bisect-limit=0"]):
            return "no rewrite: code generation or a kernel"
        while high - low > 1:
            middle = (low + high) // 2
            if self.fails(self.case, [f"--opt-bisect-limit={middle}"]):
                high = middle
            else:
                low = middle
        return f"rewrite {high} of {len(names)}: {names[high - 1]}" if names else "unknown"


def clone(model):
    return onnx.ModelProto.FromString(model.SerializeToString())


def cut(array, size, less):
    return array[tuple(slice(less) if d == size else slice(None) for d in array.shape)]


def tensors(case):
    feeds = {n: v for n, v in case.sets[0][0].items() if isinstance(v, numpy.ndarray)}
    return feeds | {i.name: oracle.tidy(numpy_helper.to_array(i)) for i in case.model.graph.initializer}


def remove_input(model, name):
    kept = [i for i in model.graph.input if i.name != name]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def prune(model):
    """Without nodes, inputs and initializers that no output needs."""
    needed = {o.name for o in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            kept.insert(0, node)
            needed |= cases.read_names(helper.make_graph([node], "g", [], []))
    model = clone(model)
    graph = model.graph
    for field, items in ((graph.node, kept), (graph.input, [i for i in graph.input if i.name in needed]),
                         (graph.initializer, [i for i in graph.initializer if i.name in needed])):
        items = [copy.deepcopy(i) for i in items]
        del field[:]
        field.extend(items)
    return model


def known_values(model, feeds):
    """Every value of the main graph, by the oracle, node by node."""
    opsets = {o.domain: o.version for o in model.opset_import}
    known = dict(feeds) | {i.name: oracle.tidy(numpy_helper.to_array(i)) for i in model.graph.initializer}
    for node in model.graph.node:
        reads = cases.read_names(helper.make_graph([node], "g", [], []))
        samples = {n: known[n] for n in reads if n in known}
        if any(n and n not in known for n in node.input):
            continue  # behind a node that the oracle does not run
        try:
            known.update(oracle.evaluate(node, opsets, samples, False, model.functions))
        except oracle.Refused:
            try:
                known.update(oracle.evaluate(node, opsets, samples, True, model.functions))
            except oracle.Refused:
                continue
    return known


def shrink(case, failure, keep):
    """Shrinks one failure, saves its folder and returns what is to be said of it."""
    work = pathlib.Path(tempfile.mkdtemp(prefix="tamis-shrink-"))
    try:
        shrinker = Shrinker(case, failure, work / "work")
        small = shrinker.run()
        guilty = shrinker.guilty()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    target = keep / str(case.seed)
    cases.write_case(small, target)
    text = f"seed {case.seed}: {shrinker.failure}\n  {guilty}\n  {target}\n{show(small)}"
    (target / "failure.txt").write_text(text)
    return text


def show(case):
    text = onnx.printer.to_text(case.model)
    lines = [text if len(text) < 6000 else text[:6000] + " ..."]
    for name, value in case.sets[0][0].items():
        numbers = str(value).replace("\n", " ")
        lines.append(f"  {name} = {numbers[:300]}")
    for name, value in case.sets[0][1].items():
        lines.append(f"  wanted {name} = {str(value)[:300]}".replace("\n", " "))
    return "\n".join(lines)
