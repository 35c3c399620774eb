# SPDX-License-Identifier: Apache-2.0
"""Every operator of ai.onnx.ml over its attributes, against ONNX Runtime."""

import itertools
import os
import sys

import numpy
import pytest
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.dirname(__file__))
from nodes import Batch, texts  # noqa: E402

ML = "ai.onnx.ml"
TRANSFORMS = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"]
FLOATS = numpy.array([[0.5, -1.5, 2.0], [0.0, 3.25, -0.5], [1.0, 1.0, 1.0], [-4.0, 0.0, 7.5]], "float32")


def batch_of(version=3, **options):
    return Batch(opset=18, ml=version, **options)


# Its formula cancels digits near 1/2, and ONNX Runtime takes it in float.
PROBIT_TOLERANCE = 3e-4


def transformed(scores, post):
    """What the standard says of scores, row by row."""
    wide = scores.astype(float)
    if post.startswith("SOFTMAX"):
        powers = numpy.exp(wide - wide.max(1, keepdims=True))
        powers[(numpy.abs(wide) <= 1e-7) & (post == "SOFTMAX_ZERO")] = 0
        wide = powers / numpy.where(powers.sum(1, keepdims=True) == 0, 1, powers.sum(1, keepdims=True))
    elif post == "LOGISTIC":
        wide = 1 / (1 + numpy.exp(-wide))
    elif post == "PROBIT":
        with numpy.errstate(all="ignore"):
            x = 2 * wide - 1
            log = numpy.log((1 - x) * (1 + x))
            a = 2 / (numpy.pi * 0.147) + 0.5 * log
            wide = numpy.sqrt(2) * numpy.sign(x) * numpy.sqrt(numpy.sqrt(a * a - log / 0.147) - a)
    return wide.astype(scores.dtype)


# ---- elements ----

def test_scaler_binarizer_normalizer_imputer():
    batch = batch_of()
    for kind in ("float32", "float64", "int64", "int32"):
        x = FLOATS.astype(kind)
        batch.add("Scaler", [x], domain=ML, offset=[1.0, 2.0, 3.0], scale=[0.5, 2.0, -1.0])
        batch.add("Scaler", [x], domain=ML, offset=[1.5], scale=[0.25])
        batch.add("Scaler", [x[0]], domain=ML, offset=[1.0, 2.0, 3.0], scale=[0.5, 2.0, -1.0])
        for norm in ("MAX", "L1", "L2"):
            batch.add("Normalizer", [x], domain=ML, norm=norm)
            batch.add("Normalizer", [x * 0], domain=ML, norm=norm)
            batch.add("Normalizer", [-abs(x)], domain=ML, norm=norm)
            batch.add("Normalizer", [x[0]], domain=ML, norm=norm)
    for threshold in (None, 0.75, -1.5):
        batch.add("Binarizer", [FLOATS], domain=ML, threshold=threshold)
    holes = FLOATS.copy()
    holes[0, 0] = holes[2, 1] = numpy.nan
    for x in (holes, holes[0]):
        batch.add("Imputer", [x], domain=ML, imputed_value_floats=[9.0, 8.0, 7.0], replaced_value_float=numpy.nan)
        batch.add("Imputer", [x], domain=ML, imputed_value_floats=[9.0], replaced_value_float=numpy.nan)
        batch.add("Imputer", [x], domain=ML, imputed_value_floats=[9.0, 8.0, 7.0], replaced_value_float=0.5)
    whole = FLOATS.astype("int64")
    batch.add("Imputer", [whole], domain=ML, imputed_value_int64s=[9, 8, 7], replaced_value_int64=1)
    batch.add("Imputer", [whole], domain=ML, imputed_value_int64s=[9], replaced_value_int64=0)
    batch.check()


def test_feature_extractor_and_vectorizer():
    batch = batch_of()
    for kind in ("float32", "float64", "int64", "int32", "object"):
        x = FLOATS.astype(kind) if kind != "object" else texts([["a", "b", "c"], ["d", "", "f"]])
        for indices in ([[2, 0]], [1], [0, 0, 2]):
            batch.add("ArrayFeatureExtractor", [x, numpy.array(indices)], domain=ML)
            batch.add("ArrayFeatureExtractor", [x[0], numpy.array(indices)], domain=ML)
        batch.add("ArrayFeatureExtractor", [x[None], numpy.array([1])], domain=ML)
    for kind in ("float32", "float64", "int64", "int32"):
        x = FLOATS.astype(kind)
        batch.add("FeatureVectorizer", [x], domain=ML, inputdimensions=[3])
        batch.add("FeatureVectorizer", [x, x[:, :1], x[:, :2]], domain=ML, inputdimensions=[3, 1, 2])
        batch.add("FeatureVectorizer", [x, x[:, :2]], domain=ML, inputdimensions=[2, 3])
        batch.add("FeatureVectorizer", [x[0], x[1]], domain=ML, inputdimensions=[3, 3])
    batch.check()


# ---- labels ----

KEYS = {"strings": ["a", "b", "", "é"], "int64s": [1, -2, 0, 2**40], "floats": [0.5, -0.0, -1.0, 3.0]}
VALUES = {"strings": ["x", "", "日", "y"], "int64s": [5, 6, -7, 2**50], "floats": [0.25, -1.0, 2.0, float("inf")]}
DEFAULTS = {"strings": ("default_string", "none"), "int64s": ("default_int64", 42), "floats": ("default_float", 1.5)}
QUERIES = {"strings": texts([["a", "z"], ["", "é"]]), "int64s": numpy.array([[1, 7], [0, 2**40]]),
           "floats": numpy.array([[0.5, 9.0], [0.0, 3.0]], "float32")}


def test_label_encoder_2():
    batch = batch_of(2)
    for k, v in itertools.product(KEYS, VALUES):
        lists = {f"keys_{k}": KEYS[k], f"values_{v}": VALUES[v]}
        batch.add("LabelEncoder", [QUERIES[k]], domain=ML, **lists)
        batch.add("LabelEncoder", [QUERIES[k][0]], domain=ML, **lists, **dict([DEFAULTS[v]]))
    # NaN is a key, as in the standard's version 4; ONNX Runtime finds it there only.
    x = numpy.array([[0.5, 9.0], [0.0, numpy.nan]], "float32")
    batch.add("LabelEncoder", [x], domain=ML, keys_floats=[numpy.nan, 0.5], values_int64s=[7, 8],
              answers=[numpy.array([[8, -1], [-1, 7]])])
    batch.check()


def test_label_encoder_1():
    batch = batch_of(1)
    classes = ["a", "b", "", "é"]
    batch.add("LabelEncoder", [texts([["a", "z"], ["", "é"]])], domain=ML, classes_strings=classes)
    batch.add("LabelEncoder", [texts(["a", "z"])], domain=ML, classes_strings=classes, default_int64=9)
    batch.add("LabelEncoder", [numpy.array([[0, 3], [4, -1]])], domain=ML, classes_strings=classes)
    batch.add("LabelEncoder", [numpy.array([2, 9])], domain=ML, classes_strings=classes, default_string="?")
    batch.check()


def as_tensor(items, kind):
    if kind == "string":
        return helper.make_tensor("t", TensorProto.STRING, [len(items)], [item.encode() for item in items])
    return numpy_helper.from_array(numpy.array(items, kind))


def test_label_encoder_4():
    batch = batch_of(4)
    keys = {"string": ["a", "b", "", "é"], "int64": [1, -2, 0, 2**40], "float32": [0.5, -2.0, 0.0, 3.0],
            "double": [0.5, -2.0, 0.0, 1e300], "int16": [1, -2, 0, 300], "int32": [1, -2, 0, 70000]}
    # int16 and int32 are the standard's additions; ONNX Runtime has some pairs only.
    theirs = [("string", "int64"), ("string", "string"), ("string", "float32"), ("string", "int16"), ("int64", "string"),
              ("int64", "int64"), ("int64", "float32"), ("float32", "string"), ("float32", "int64"), ("float32", "float32"),
              ("double", "double"), ("double", "string"), ("string", "double")]
    for k, v in itertools.product(keys, keys):
        x = texts(["é", "q", "a"]) if k == "string" else numpy.array([keys[k][3], 8, keys[k][0]], k)
        tensors = {"keys_tensor": as_tensor(keys[k], k), "values_tensor": as_tensor(keys[v], v)}
        default = "none" if v == "string" else 7
        want = [keys[v][3], default, keys[v][0]]
        want = texts(want) if v == "string" else numpy.array(want, v)
        batch.add("LabelEncoder", [x], domain=ML, **tensors, default_tensor=as_tensor([default], v),
                  answers=None if (k, v) in theirs else [want])
    nan = numpy.array([numpy.nan, 1.0, -0.0], "float32")
    batch.add("LabelEncoder", [nan], domain=ML, keys_floats=[numpy.nan, 0.0], values_floats=[5.0, numpy.nan], default_float=3.0)
    batch.check()


def test_one_hot_encoder():
    batch = batch_of()
    for x in (numpy.array([[1, 5], [-3, 7]]), numpy.array([5, 9]), numpy.array([[1.0, 5.0]], "float32"), numpy.array([5.5, 7.0])):
        batch.add("OneHotEncoder", [x], domain=ML, cats_int64s=[5, 7, -3, 1])
        batch.add("OneHotEncoder", [x], domain=ML, cats_int64s=[5, 7], zeros=1)
    batch.add("OneHotEncoder", [texts([["a", "b"], ["", "q"]])], domain=ML, cats_strings=["b", "", "a"])
    batch.add("OneHotEncoder", [texts(["a"])], domain=ML, cats_strings=["b", "", "a"], zeros=0)
    batch.check()


# ---- linear models ----

def test_linear_regressor():
    """ONNX Runtime applies no transform but PROBIT to a single target."""
    reference, batch, cases = batch_of(), batch_of(), []
    x = abs(FLOATS) / 16 + 0.01
    for targets, post, offsets in itertools.product((1, 2), TRANSFORMS, (None, [0.125, 0.0625])):
        attributes = dict(coefficients=[0.5, 0.25, 0.125, 0.0625, 0.5, 0.25][:3 * targets], targets=targets,
                          intercepts=offsets and offsets[:targets])
        for rows in (x, x[0]):
            cases.append((rows, attributes, post))
            reference.add("LinearRegressor", [rows], domain=ML, **attributes)
    expected = reference.expected()
    for k, (rows, attributes, post) in enumerate(cases):
        batch.add("LinearRegressor", [rows], domain=ML, post_transform=post, answers=[transformed(expected[f"y{k}_0"], post)],
                  tolerance=PROBIT_TOLERANCE if post == "PROBIT" else None, **attributes)
    batch.check()


@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "int32"])
def test_linear_classifier(kind):
    batch = batch_of()
    for post, multi, (classes, rows) in itertools.product(TRANSFORMS, (0, 1), ((2, 1), (2, 2), (3, 3))):
        weights, offsets = numpy.round(numpy.linspace(-1, 1.5, 3 * rows), 3), numpy.linspace(-0.5, 0.75, rows)
        x = FLOATS.astype(kind)
        if post == "PROBIT":
            if rows == 1:
                continue  # ONNX Runtime fills half a row
            weights, offsets, x = abs(weights) / 32 + 0.01, abs(offsets) / 8 + 0.1, abs(x)
        for labels in (dict(classlabels_ints=[4, -2, 9][:classes]), dict(classlabels_strings=["p", "q", "r"][:classes])):
            batch.add("LinearClassifier", [x], outputs=2, domain=ML, coefficients=weights.tolist(), intercepts=offsets.tolist(),
                      post_transform=post, multi_class=multi, tolerance=PROBIT_TOLERANCE if post == "PROBIT" else None, **labels)
    batch.check()


# ---- support vectors ----

KERNELS = [("LINEAR", [0.0, 0.0, 0.0]), ("POLY", [0.5, 1.0, 3.0]), ("RBF", [0.25, 0.0, 0.0]), ("SIGMOID", [0.125, 0.5, 0.0])]


def test_svm_regressor():
    """ONNX Runtime applies no transform but PROBIT."""
    vectors = [0.5, 1.0, -1.0, 2.0, 0.0, 0.5, -0.5, 1.5, 1.0]
    reference, batch, cases = batch_of(), batch_of(), []
    for kernel, parameters in KERNELS:
        cases.append(dict(kernel_type=kernel, kernel_params=parameters, n_supports=3, coefficients=[0.5, -1.0, 0.75],
                          support_vectors=vectors, rho=[0.25]))
    cases.append(dict(kernel_type="LINEAR", kernel_params=[0.0, 0.0, 0.0], coefficients=[0.5, 0.25, -1.0], rho=[0.5]))
    for attributes in cases:
        reference.add("SVMRegressor", [FLOATS], domain=ML, **attributes)
        batch.add("SVMRegressor", [FLOATS], domain=ML, one_class=1, **attributes)
    expected = reference.expected()
    for k, attributes in enumerate(cases):
        for post in TRANSFORMS[:4]:
            batch.add("SVMRegressor", [FLOATS], domain=ML, post_transform=post, answers=[transformed(expected[f"y{k}_0"], post)],
                      **attributes)
    batch.check()


@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "int32"])
def test_svm_classifier(kind):
    random = numpy.random.default_rng(9)
    batch = batch_of(tolerance=1e-5)
    for classes, (kernel, parameters), post in itertools.product((2, 3, 4), KERNELS, TRANSFORMS):
        if post == "PROBIT" or (kind != "float32" and kernel != "POLY"):
            continue
        per_class = [2, 1, 2, 1][:classes]
        supports, pairs = sum(per_class), classes * (classes - 1) // 2
        vectors = numpy.round(random.uniform(-2, 2, (supports, 3)), 2)
        coefficients = numpy.round(random.uniform(-1, 1, (classes - 1, supports)), 2)
        rho = numpy.round(random.uniform(-1, 1, pairs), 2)
        for chances, labels in itertools.product((False, True), (dict(classlabels_ints=[4, -2, 9, 1][:classes]),
                                                                 dict(classlabels_strings=["p", "q", "r", "s"][:classes]))):
            lists = dict(prob_a=numpy.linspace(-2, -0.5, pairs).tolist(), prob_b=numpy.linspace(-0.2, 0.3, pairs).tolist())
            lists = lists if chances else {}
            batch.add("SVMClassifier", [FLOATS.astype(kind)], outputs=2, domain=ML, kernel_type=kernel, kernel_params=parameters,
                      vectors_per_class=per_class, support_vectors=vectors.ravel().tolist(), coefficients=coefficients.ravel().tolist(),
                      rho=rho.tolist(), post_transform=post, **lists, **labels)
    for post, classes in itertools.product(TRANSFORMS, (2, 3)):
        if post == "PROBIT":
            continue
        for labels in (dict(classlabels_ints=[4, -2, 9][:classes]), dict(classlabels_strings=["p", "q", "r"][:classes])):
            batch.add("SVMClassifier", [FLOATS.astype(kind)], outputs=2, domain=ML, kernel_type="LINEAR", kernel_params=[0.0, 0.0, 0.0],
                      coefficients=numpy.linspace(-1, 1, 3 * classes).tolist(), rho=[0.25], post_transform=post, **labels)
    batch.check()


# ---- trees ----

MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]


def forest(random, trees, depth=3, modes=MODES, features=3, tracks=None):
    """Complete trees of a depth: lists of nodes, and (tree, node) of the leaves."""
    nodes = {key: [] for key in ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids", "hitrates",
                                 "missing_value_tracks_true")}
    leaves = []
    for tree in range(trees):
        for node in range(2**(depth + 1) - 1):
            leaf = node >= 2**depth - 1
            nodes["treeids"].append(tree)
            nodes["nodeids"].append(node)
            nodes["featureids"].append(0 if leaf else int(random.integers(features)))
            nodes["modes"].append("LEAF" if leaf else modes[int(random.integers(len(modes)))])
            nodes["values"].append(0.0 if leaf else float(random.choice([-1.5, -0.5, 0.0, 0.5, 1.0, 2.0])))
            nodes["truenodeids"].append(0 if leaf else 2 * node + 1)
            nodes["falsenodeids"].append(0 if leaf else 2 * node + 2)
            nodes["hitrates"].append(1.0)
            nodes["missing_value_tracks_true"].append(0 if leaf or not tracks else int(random.integers(2)))
            if leaf:
                leaves.append((tree, node))
    if not tracks:
        del nodes["missing_value_tracks_true"]
    return {f"nodes_{key}": items for key, items in nodes.items()}, leaves


SAMPLES = numpy.array(list(itertools.product([-1.5, 0.0, 0.5, 3.0], repeat=2)) + [(numpy.nan, 1.0), (2.0, numpy.nan)], "float32")
SAMPLES = numpy.concatenate([SAMPLES, SAMPLES[:, :1] - 0.5], 1)


def regressor(random, leaves, targets, per_leaf=1):
    lists = {"target_treeids": [], "target_nodeids": [], "target_ids": [], "target_weights": []}
    for tree, node in leaves:
        for target in random.choice(targets, min(per_leaf, targets), replace=False):
            lists["target_treeids"].append(tree)
            lists["target_nodeids"].append(node)
            lists["target_ids"].append(int(target))
            lists["target_weights"].append(float(numpy.round(random.uniform(0.01, 0.25), 3)))
    return lists


@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "int32"])
def test_tree_regressor(kind):
    """ONNX Runtime has floats only, and applies no transform but PROBIT to a single target."""
    random = numpy.random.default_rng(10)
    x = numpy.nan_to_num(SAMPLES) if "int" in kind else SAMPLES
    x = numpy.trunc(x) if "int" in kind else x
    reference, cases = batch_of(3), []
    for targets, aggregate, post in itertools.product((1, 3), ("SUM", "AVERAGE", "MIN", "MAX"), TRANSFORMS):
        nodes, leaves = forest(random, 3, tracks=targets == 3, modes=MODES[:1] if post == "NONE" else MODES)
        attributes = dict(n_targets=targets, aggregate_function=aggregate, **nodes, **regressor(random, leaves, targets, targets),
                          base_values=None if post == "LOGISTIC" else [0.0625 * (t + 1) for t in range(targets)])
        cases.append((attributes, post))
        reference.add("TreeEnsembleRegressor", [x.astype("float64" if kind == "float64" else "float32")], domain=ML, **attributes)
    expected = reference.expected()
    batch = batch_of(3)
    for k, (attributes, post) in enumerate(cases):
        want = transformed(expected[f"y{k}_0"], post)
        batch.add("TreeEnsembleRegressor", [x.astype(kind)], domain=ML, post_transform=post, answers=[want], **attributes,
                  tolerance=PROBIT_TOLERANCE if post == "PROBIT" else None)
    batch.check()


def test_base_of_a_target_that_no_leaf_knows():
    """It is added all the same; ONNX Runtime leaves 0."""
    nodes, leaves = forest(numpy.random.default_rng(12), 1)
    lists = dict(target_treeids=[0], target_nodeids=[leaves[0][1]], target_ids=[0], target_weights=[0.0])
    batch = batch_of(3)
    batch.add("TreeEnsembleRegressor", [FLOATS], domain=ML, n_targets=2, base_values=[0.5, -0.25], **nodes, **lists,
              answers=[numpy.tile(numpy.array([[0.5, -0.25]], "float32"), (4, 1))])
    batch.check()


@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "int32"])
def test_tree_classifier(kind):
    random = numpy.random.default_rng(11)
    batch = batch_of(3)
    x = numpy.nan_to_num(SAMPLES).astype(kind) if "int" in kind else SAMPLES.astype(kind)
    for post, base, only in itertools.product(TRANSFORMS, (False, True), (None, 0, 1)):
        # With one class that has weights: a single base value where that class is the first. PROBIT fills half a row there.
        if only is not None and (post == "PROBIT" or (base and only == 1)):
            continue
        for signs in ((1, -1) if only is not None else (1,)):
            classes = 3 if only is None else 2
            nodes, leaves = forest(random, 3, tracks=base)
            lists = regressor(random, leaves, classes if only is None else 1, per_leaf=classes)
            lists = {key.replace("target", "class"): items for key, items in lists.items()}
            if only is not None:
                lists["class_ids"] = [only] * len(lists["class_ids"])
                lists["class_weights"] = [w if i % 2 else w * signs for i, w in enumerate(lists["class_weights"])]
            bases = ([0.03125] if only is not None else [0.03125 * (c + 1) for c in range(classes)]) if base else None
            for labels in (dict(classlabels_int64s=[4, -2, 9][:classes]), dict(classlabels_strings=["p", "q", "r"][:classes])):
                batch.add("TreeEnsembleClassifier", [x], outputs=2, domain=ML, post_transform=post, base_values=bases, **nodes, **lists,
                          **labels, tolerance=PROBIT_TOLERANCE if post == "PROBIT" else None)
    batch.check()


def test_tree_classifier_of_two_classes_with_weights():
    """The larger score decides; ONNX Runtime answers 0 and 1 instead of labels, and mixes the base values."""
    random = numpy.random.default_rng(13)
    reference, cases = batch_of(3), []
    for post, base in itertools.product(TRANSFORMS, (False, True)):
        nodes, leaves = forest(random, 3)
        attributes = dict(n_targets=2, base_values=[0.03125, 0.0625] if base else None, **nodes, **regressor(random, leaves, 2, 2))
        cases.append((attributes, post))
        reference.add("TreeEnsembleRegressor", [SAMPLES], domain=ML, **attributes)
    expected = reference.expected()
    batch = batch_of(3)
    for k, (attributes, post) in enumerate(cases):
        del attributes["n_targets"]
        attributes = {key.replace("target", "class"): items for key, items in attributes.items()}
        scores = expected[f"y{k}_0"]
        labels = texts([["p", "q"][c] for c in scores.argmax(1)])
        batch.add("TreeEnsembleClassifier", [SAMPLES], outputs=2, domain=ML, post_transform=post, classlabels_strings=["p", "q"],
                  answers=[labels, transformed(scores, post)], tolerance=PROBIT_TOLERANCE, **attributes)
    batch.check()


def grow(random, trees, mode_of):
    """Lists of TreeEnsemble for trees of depth 3, with their sets as (node, members)."""
    lists = {key: [] for key in ("featureids", "splits", "modes", "truenodeids", "falsenodeids", "trueleafs", "falseleafs",
                                 "missing_value_tracks_true")}
    roots, sets, leaves = [], {}, 0
    for _ in range(trees):
        first = len(lists["modes"])
        roots.append(first)
        for node in range(7):
            mode = mode_of()
            if mode == 6:
                sets[first + node] = random.choice([-1.5, 0.0, 0.5, 3.0], 2, replace=False).tolist()
            lists["featureids"].append(int(random.integers(3)))
            lists["modes"].append(mode)
            lists["splits"].append(0.0 if mode == 6 else float(random.choice([-1.5, -0.5, 0.0, 0.5, 1.0])))
            lists["missing_value_tracks_true"].append(int(random.integers(2)))
            for side, child in (("true", 2 * node + 1), ("false", 2 * node + 2)):
                lists[f"{side}nodeids"].append(leaves if node >= 3 else first + child)
                lists[f"{side}leafs"].append(int(node >= 3))
                leaves += node >= 3
    return lists, roots, sets, leaves


def walk(lists, root, sets, x):
    """The leaf of a row."""
    node = root
    while True:
        value, split = x[lists["featureids"][node]], lists["splits"][node]
        tests = [value <= split, value < split, value >= split, value > split, value == split, value != split,
                 value in sets.get(node, [])]
        yes = tests[lists["modes"][node]] or (numpy.isnan(value) and lists["missing_value_tracks_true"][node])
        side = "true" if yes else "false"
        if lists[f"{side}leafs"][node]:
            return lists[f"{side}nodeids"][node]
        node = lists[f"{side}nodeids"][node]


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("sets_too", [False, True])
def test_tree_ensemble(kind, sets_too):
    """Version 5: nodes and leaves apart, modes as numbers, sets as splits. ONNX Runtime has sets of integers only and takes numbers
    between for members of them, so a walk in Python tells what is right."""
    random = numpy.random.default_rng(14)
    x = SAMPLES.astype(kind)
    batch = batch_of(5)
    number = helper.np_dtype_to_tensor_dtype(numpy.dtype(kind))
    for targets, aggregate in itertools.product((1, 3), range(4)):
        lists, roots, sets, leaves = grow(random, 3, lambda: 6 if sets_too and random.integers(3) == 0 else int(random.integers(6)))
        ids, weights = random.integers(targets, size=leaves), numpy.round(random.uniform(0.01, 0.25, leaves), 3).astype(kind)
        attributes = {f"nodes_{key}": items for key, items in lists.items()}
        attributes["nodes_splits"] = helper.make_tensor("s", number, [len(lists["splits"])], lists["splits"])
        attributes["nodes_modes"] = helper.make_tensor("m", TensorProto.UINT8, [len(lists["modes"])], lists["modes"])
        if sets:
            members = [member for node in sorted(sets) for member in [*sets[node], numpy.nan]]
            attributes["membership_values"] = helper.make_tensor("v", number, [len(members)], members)
        attributes["leaf_weights"] = helper.make_tensor("w", number, [leaves], weights)
        attributes |= dict(leaf_targetids=ids.tolist(), tree_roots=roots, n_targets=targets, aggregate_function=aggregate)
        scores = numpy.zeros((len(x), targets))
        for row, score in zip(x, scores):
            hit = [walk(lists, root, sets, row) for root in roots]
            for target in range(targets):
                own = [float(weights[leaf]) for leaf in hit if ids[leaf] == target]
                whole = [sum(own) / len(roots), sum(own), min(own, default=0), max(own, default=0)]
                score[target] = whole[aggregate]
        for post, name in enumerate(TRANSFORMS):
            answers = None if post == 0 and not sets_too else [transformed(scores, name).astype(kind)]
            batch.add("TreeEnsemble", [x], domain=ML, post_transform=post, answers=answers, **attributes,
                      tolerance=PROBIT_TOLERANCE if name == "PROBIT" else None)
    batch.check()
