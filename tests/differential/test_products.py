# SPDX-License-Identifier: Apache-2.0
"""Float products over the class of shapes, at each level and on other processors, against NumPy.

The second operand is a constant, or computed: one matrix, one for each of the first, or broadcast.

Depths and widths go past the edges of panels, tiles and blocks of k; rows are a symbol that takes values
around those of tiles and units. The bound is that of any order of summation. Two properties are exact: a row
has the same bits whatever the number of rows beside it, and whatever the number of threads.
"""

import math
import os
import shutil
import subprocess

import numpy
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

TAMIS = os.environ.get("TAMIS", "build/bin/tamis")
DEPTHS = [1, 2, 3, 17, 64, 130, 192, 255, 256, 300, 387, 512, 771]
WIDTHS = [4, 15, 16, 17, 32, 33, 48, 49, 64, 65, 96, 100, 130, 256]
ROWS = [0, 1, 2, 5, 8, 13, 14, 29, 97, 131, 290]
LEVELS = {"both": [], "v3": ["-mcpu=x86-64-v3"], "v4": ["-mcpu=x86-64-v4"]}
# Leading dims of computed operands, and m, k, n; -1: the rows, a symbol.
COMPUTED = [
    ((), (), -1, 3, 3), ((), (), -1, 10, 10), ((2,), (2,), -1, 17, 29), ((2,), (), -1, 64, 33),
    ((), (3,), -1, 8, 100), ((2, 3), (3,), -1, 5, 48), ((1, 3), (2, 1, 3), -1, 31, 65),
    ((2,), (1,), -1, 1, 9), ((), (), -1, 300, 50), ((2,), (2,), -1, 257, 20), ((3,), (3,), 10, 10, 10),
    ((3,), (3,), 33, 17, 29),
    ((2,), (2,), 1, 64, 40), ((), (), 20, -1, 20), ((), (), 7, 40, -1), ((2,), (2,), -1, 300, -1),
    ((3, 1), (3, 2), -1, 4, 5), ((2, 1, 3), (1, 4, 1), -1, 6, 11), ((2, 3), (2, 1), 4, -1, 20),
    ((2,), (2,), -1, -1, -1), ((), (), 1, 30, 200), ((5,), (5,), 3, 3, 3), ((), (), 70, 512, 100),
]
EPILOGUES = ["none", "bias", "gelu", "residual", "positions"]
MAIN = """
#include "products.h"
#include <stdio.h>
#include <stdlib.h>
static void *buffer(long floats, const char *path) {
    void *data = aligned_alloc(64, ((size_t)floats * 4 + 63) / 64 * 64 + 64);
    FILE *file = path != NULL ? fopen(path, "rb") : NULL;
    if (file != NULL)
        (void)!fread(data, 4, (size_t)floats, file);
    return data;
}
int main(void) {
%s
    void *workspace = buffer(products_workspace_bytes() / 4 + 16, NULL);
    if (products_run(workspace, %s) != 0)
        return 1;
%s
    return 0;
}
"""


def shapes():
    """Each depth with some widths, each width with some depths."""
    pairs = [(k, WIDTHS[(3 * i + 5 * j) % len(WIDTHS)]) for i, k in enumerate(DEPTHS) for j in range(3)]
    return pairs + [(1024, 32), (1024, 64), (512, 20), (1536, 48)]


class Product:
    """y = f(x w): the nodes, the inputs, and the answer with its bound."""

    def __init__(self, number, k, n, random):
        self.name, self.k, self.n = f"p{number}", k, n
        self.kind = EPILOGUES[number % len(EPILOGUES)]
        self.batched = self.kind == "positions"
        self.w = (random.standard_normal((k, n)) / k**0.5).astype(numpy.float32)
        self.b = random.standard_normal(n).astype(numpy.float32)

    def dims(self, rows, columns):
        return [2, rows, columns] if self.batched else [rows, columns]

    def nodes(self):
        x, y = f"x{self.name}", f"y{self.name}"
        made = [helper.make_node("MatMul", [x, f"w{self.name}"], [f"{y}_0"])]

        def more(op, *others):
            made.append(helper.make_node(op, [made[-1].output[0], *others], [f"{y}_{len(made)}"]))

        if self.kind != "none":
            more("Add", f"b{self.name}")
        if self.kind == "gelu":
            more("Gelu")
        if self.kind in ("residual", "positions"):
            more("Add", f"r{self.name}")
        made[-1].output[0] = y
        return made

    def constants(self):
        given = {"w": self.w, "b": self.b}
        return [numpy_helper.from_array(array, name + self.name) for name, array in given.items()]

    def output(self, rows):
        return self.dims(rows, self.n)

    def inputs(self, rows):
        """Names and dims."""
        made = [(f"x{self.name}", self.dims(rows, self.k))]
        if self.kind in ("residual", "positions"):
            made.append((f"r{self.name}", [rows, self.n]))
        return made

    def check(self, feeds, found):
        x = feeds[f"x{self.name}"].astype(numpy.float64)
        y = x @ self.w
        bound = numpy.abs(x) @ numpy.abs(self.w)
        if self.kind != "none":
            y, bound = y + self.b, bound + numpy.abs(self.b)
        r = feeds.get(f"r{self.name}")
        if r is not None:
            y, bound = y + r, bound + numpy.abs(r)
        check(self.name, found, y, bound, self.k, self.kind == "gelu")


def check(name, found, y, bound, k, gelu):
    if gelu:
        erf = numpy.vectorize(math.erf, otypes=[float])
        y, bound = y / 2 * (1 + erf(y / 2**0.5)), 2 * bound + numpy.abs(y)
    assert found.shape == y.shape, name
    wrong = ~(numpy.abs(found - y) <= (k + 8) * numpy.finfo(numpy.float32).eps * bound)
    assert not wrong.any(), (name, y.shape, k, numpy.argwhere(wrong)[:4].tolist())


class Computed:
    """y = f(a b), both inputs."""

    def __init__(self, number, left, right, m, k, n):
        self.name, self.left, self.right, self.sizes = f"c{number}", left, right, (m, k, n)
        self.gelu = number % 3 == 0
        self.k = k

    def dims(self, rows):
        return [rows if size < 0 else size for size in self.sizes]

    def nodes(self):
        y = f"y{self.name}"
        first = f"{y}_0" if self.gelu else y
        made = [helper.make_node("MatMul", [f"a{self.name}", f"b{self.name}"], [first])]
        return made + [helper.make_node("Gelu", [f"{y}_0"], [y])] if self.gelu else made

    def constants(self):
        return []

    def inputs(self, rows):
        m, k, n = self.dims(rows)
        return [(f"a{self.name}", [*self.left, m, k]), (f"b{self.name}", [*self.right, k, n])]

    def output(self, rows):
        m, _, n = self.dims(rows)
        return [*numpy.broadcast_shapes(self.left, self.right), m, n]

    def check(self, feeds, found):
        a, b = (feeds[letter + self.name].astype(numpy.float64) for letter in "ab")
        check(self.name, found, a @ b, numpy.abs(a) @ numpy.abs(b), a.shape[-1], self.gelu)


class Several(Product):
    """Products of one x that are alike: y is their sum."""

    def __init__(self, number, k, n, count, random):
        super().__init__(number, k, n, random)
        self.name, self.kind, self.batched = f"s{number}", "several", False
        self.ws = [(random.standard_normal((k, n)) / k**0.5).astype(numpy.float32) for _ in range(count)]
        self.bs = [random.standard_normal(n).astype(numpy.float32) for _ in range(count)]

    def nodes(self):
        made, sums = [], []
        for i in range(len(self.ws)):
            product, biased, end = (f"{letter}{i}{self.name}" for letter in "mqr")
            made += [helper.make_node("MatMul", [f"x{self.name}", f"w{i}{self.name}"], [product]),
                     helper.make_node("Add", [product, f"b{i}{self.name}"], [biased]),
                     helper.make_node("Relu", [biased], [end])]
            sums.append(end)
        return made + [helper.make_node("Sum", sums, [f"y{self.name}"])]

    def constants(self):
        given = [(f"w{i}", w) for i, w in enumerate(self.ws)] + [(f"b{i}", b) for i, b in enumerate(self.bs)]
        return [numpy_helper.from_array(array, name + self.name) for name, array in given]

    def check(self, feeds, found):
        x = feeds[f"x{self.name}"].astype(numpy.float64)
        y = sum(numpy.maximum(x @ w + b, 0) for w, b in zip(self.ws, self.bs))
        bound = sum(numpy.abs(x) @ numpy.abs(w) + numpy.abs(b) for w, b in zip(self.ws, self.bs))
        check(self.name, found, y, bound, self.k, False)


def make(products, rows):
    nodes = [node for p in products for node in p.nodes()]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
              for p in products for name, dims in p.inputs(rows)]
    outputs = [helper.make_tensor_value_info(f"y{p.name}", TensorProto.FLOAT, p.output(rows))
               for p in products]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [c for p in products for c in p.constants()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


def command(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr.decode()


def run(artifact, feeds, folder, threads):
    numpy.savez(folder / "in.npz", **feeds)
    files = ["--inputs", folder / "in.npz", "--outputs", folder / "out.npz"]
    command(TAMIS, "run", artifact, *files, "--threads", threads)
    with numpy.load(folder / "out.npz") as made:
        return {name: made[name] for name in made.files}


@pytest.fixture(scope="module")
def products():
    random = numpy.random.default_rng(1)
    made = [Product(i, k, n, random) for i, (k, n) in enumerate(shapes())]
    made += [Several(i, *form, random) for i, form in enumerate([(64, 48, 3), (300, 20, 2), (33, 100, 5)])]
    return made + [Computed(i, *form) for i, form in enumerate(COMPUTED)]


def feeds_of(products, rows):
    """The first rows of the same numbers each time."""
    made = {}
    for p in products:
        for (name, most), (_, dims) in zip(p.inputs(max(ROWS)), p.inputs(rows)):
            random = numpy.random.default_rng(sum(name.encode()))
            whole = random.standard_normal(most).astype(numpy.float32)
            made[name] = numpy.ascontiguousarray(whole[tuple(slice(d) for d in dims)])
    return made


@pytest.mark.parametrize("level", LEVELS)
def test_shapes(level, products, tmp_path):
    if level == "v4" and "avx512vl" not in open("/proc/cpuinfo").read():
        pytest.skip("no AVX-512")
    onnx.save(make(products, "m"), tmp_path / "products.onnx")
    artifact = tmp_path / "products.so"
    command(TAMIS, "compile", tmp_path / "products.onnx", "-o", artifact, *LEVELS[level])
    most = run(artifact, feeds_of(products, max(ROWS)), tmp_path, 2)
    for rows in ROWS:
        feeds = feeds_of(products, rows)
        found = run(artifact, feeds, tmp_path, 1)
        for p in products:
            y = found[f"y{p.name}"]
            p.check(feeds, y)
            if isinstance(p, Product) or p.sizes[1] > 0:  # not another depth
                part = most[f"y{p.name}"][tuple(slice(d) for d in y.shape)]
                assert y.tobytes() == part.tobytes(), (p.name, rows)


@pytest.mark.parametrize("processor, cpu, levels", [
    ("aarch64", "max,sve=off", []), ("aarch64", "max,sve256=on", []),
    ("aarch64", "max,sve512=on", ["-mcpu=armv8-a,armv8.2-a+sve512"]), ("riscv64", "rv64", [])])
def test_shapes_elsewhere(processor, cpu, levels, products, tmp_path):
    compiler, emulator = f"{processor}-linux-gnu-gcc", f"qemu-{processor}"
    for tool in (compiler, emulator):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}")
    rows, some = 15, products[::2]
    onnx.save(make(some, rows), tmp_path / "products.onnx")
    feeds = feeds_of(some, rows)
    lines, names, ends = [], [], []
    for name, dims in [entry for p in some for entry in p.inputs(rows)]:
        feeds[name].tofile(tmp_path / name)
        lines.append(f'    float *{name} = buffer({numpy.prod(dims)}, "{tmp_path}/{name}");')
        names.append(name)
    for p in some:
        size = int(numpy.prod(p.output(rows)))
        lines.append(f"    float *y{p.name} = buffer({size}, NULL);")
        names.append(f"y{p.name}")
        ends.append(f"    fwrite(y{p.name}, 4, {size}, stdout);")
    (tmp_path / "main.c").write_text(MAIN % ("\n".join(lines), ", ".join(names), "\n".join(ends)))
    command(TAMIS, "compile", tmp_path / "products.onnx", "-o", tmp_path / "products.o", "--emit=obj",
            "--name=products", f"--target={processor}-linux-gnu", *levels)
    command(compiler, "-std=c11", "-I", tmp_path, tmp_path / "main.c", tmp_path / "products.o",
            "-o", tmp_path / "main")
    done = subprocess.run([emulator, "-cpu", cpu, "-L", f"/usr/{processor}-linux-gnu", tmp_path / "main"],
                          capture_output=True, timeout=600, check=True)
    data = numpy.frombuffer(done.stdout, numpy.float32)
    for p in some:
        size = int(numpy.prod(p.output(rows)))
        p.check(feeds, data[:size].reshape(p.output(rows)))
        data = data[size:]
    assert data.size == 0
