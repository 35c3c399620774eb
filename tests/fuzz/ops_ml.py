# SPDX-License-Identifier: Apache-2.0
"""Classical machine learning (ai.onnx.ml)."""

import numpy

from elements import F32, F64, I32, I64, STRING, random_array
from graph import Refused
from oracle import tensor_proto
from tables import entry

ML = "ai.onnx.ml"


def table(g, kinds=(F32,), **how):
    x = g.take(kinds, shape=[g.dim(), g.integer(1, 5)], exact=True, finite=True, reuse=0.3, **how)
    if 0 in x.shape:
        raise Refused("no rows")
    x.fixed = True  # attributes depend on the number of columns
    return x


def floats(g, count, low=-1.5, high=1.5):
    return [float(numpy.float32(v)) for v in g.random.uniform(low, high, count)]


POST = [None, "NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"]


@entry("LinearRegressor")
def linear_regressor(g):
    x, targets = table(g), g.integer(1, 3)
    intercepts = floats(g, targets) if g.chance(0.7) else None
    g.node("LinearRegressor", [x], domain=ML, coefficients=floats(g, targets * x.shape[1]), targets=targets,
           intercepts=intercepts, post_transform=g.pick([None, "NONE"]))


def labels(g, classes):
    if g.chance(0.5):
        return {"ints": [10 * i for i in range(classes)]}
    return {"strings": [f"c{i}" for i in range(classes)]}


@entry("LinearClassifier")
def linear_classifier(g):
    x, classes = table(g), g.integer(2, 4)
    key, names = next(iter(labels(g, classes).items()))
    g.node("LinearClassifier", [x], 2, domain=ML, coefficients=floats(g, classes * x.shape[1]),
           intercepts=floats(g, classes), post_transform=g.pick(POST[:4]), exact=False,
           **{f"classlabels_{key}": names})


@entry("SVMRegressor")
def svm_regressor(g):
    x, n = table(g), g.integer(1, 4)
    g.node("SVMRegressor", [x], domain=ML, coefficients=floats(g, n), support_vectors=floats(g, n * x.shape[1]),
           kernel_params=[0.5, 0.1, 2.0], kernel_type=g.pick(["LINEAR", "POLY", "RBF", "SIGMOID"]), rho=floats(g, 1),
           n_supports=n)


@entry("SVMClassifier")
def svm_classifier(g):
    x, classes = table(g), 2
    per = [g.integer(1, 2) for _ in range(classes)]
    n = sum(per)
    key, names = next(iter(labels(g, classes).items()))
    g.node("SVMClassifier", [x], 2, domain=ML, coefficients=floats(g, n * (classes - 1)),
           support_vectors=floats(g, n * x.shape[1]), kernel_params=[0.5, 0.1, 2.0],
           kernel_type=g.pick(["LINEAR", "RBF", "SIGMOID"]), rho=floats(g, 1), vectors_per_class=per, exact=False,
           **{f"classlabels_{key}": names})


@entry("Imputer")
def imputer(g):
    x = table(g)
    sample = x.sample.copy()
    sample[g.random.random(sample.shape) < 0.4] = numpy.nan
    g.node("Imputer", [g.place(sample)], domain=ML, imputed_value_floats=floats(g, g.pick([1, x.shape[1]])),
           replaced_value_float=float("nan"))


@entry("Normalizer")
def normalizer(g):
    g.node("Normalizer", [table(g)], domain=ML, norm=g.pick([None, "MAX", "L1", "L2"]))


@entry("Scaler")
def scaler(g):
    x = table(g, (F32, F64, I64, I32))
    n = g.pick([1, x.shape[1]])
    g.node("Scaler", [x], domain=ML, offset=floats(g, n), scale=floats(g, n))


@entry("Binarizer")
def binarizer(g):
    g.node("Binarizer", [table(g, (F32,))], domain=ML, threshold=g.pick([None, 0.25, -1.0]))


@entry("ArrayFeatureExtractor")
def array_feature_extractor(g):
    x = table(g, (F32, F64, I64, I32, STRING))
    places = g.random.integers(0, x.shape[-1], size=g.integer(1, 4))
    g.node("ArrayFeatureExtractor", [x, g.place(places)], domain=ML)


@entry("FeatureVectorizer")
def feature_vectorizer(g):
    rows = g.integer(1, 3)
    values = [g.take([F32], shape=[rows, g.integer(1, 3)]) for _ in range(g.integer(1, 3))]
    g.node("FeatureVectorizer", values, domain=ML, inputdimensions=[v.shape[1] for v in values],
           exact=all(v.exact for v in values))


@entry("LabelEncoder")
def label_encoder(g):
    way = g.pick(["si", "is", "if", "sf", "ii", "ss"])
    names = {"s": "strings", "i": "int64s", "f": "floats"}
    keys = {"s": ["a", "b", "Tamis"], "i": [1, 2, -1]}[way[0]]
    values = {"s": ["x", "y", "z"], "i": [7, 8, 9], "f": [0.5, 1.5, 2.5]}[way[1]]
    x = g.take([STRING if way[0] == "s" else I64], max_rank=3)
    default = {"s": {"default_string": "no"}, "i": {"default_int64": -5}, "f": {"default_float": 9.0}}[way[1]]
    g.node("LabelEncoder", [x], domain=ML, **{f"keys_{names[way[0]]}": keys, f"values_{names[way[1]]}": values},
           **(default if g.chance(0.6) else {}))


@entry("OneHotEncoder")
def one_hot_encoder(g):
    if g.chance(0.5):
        return g.node("OneHotEncoder", [g.take([I64, F32, I32], max_rank=3, exact=True, finite=True)], domain=ML,
                      cats_int64s=[0, 1, 2, -1], zeros=g.pick([None, 1]))
    return g.node("OneHotEncoder", [g.take([STRING], max_rank=3)], domain=ML, cats_strings=["a", "b", "Tamis"])


def stumps(g, features, trees):
    """Attributes of trees of depth one or two."""
    fields = {k: [] for k in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")}
    leaves = []

    def add(tree, node, mode, true=0, false=0):
        fields["treeids"].append(tree)
        fields["nodeids"].append(node)
        fields["featureids"].append(g.integer(0, features - 1) if mode != "LEAF" else 0)
        fields["values"].append(floats(g, 1)[0] if mode != "LEAF" else 0.0)
        fields["modes"].append(mode)
        fields["truenodeids"].append(true)
        fields["falsenodeids"].append(false)
        if mode == "LEAF":
            leaves.append((tree, node))

    modes = ["BRANCH_LEQ", "BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_GTE", "BRANCH_EQ", "BRANCH_NEQ"]
    mode = g.pick(modes)
    for tree in range(trees):
        add(tree, 0, mode, 1, 2)
        deep = g.chance(0.5)
        add(tree, 1, mode if deep else "LEAF", 3 if deep else 0, 4 if deep else 0)
        add(tree, 2, "LEAF")
        if deep:
            add(tree, 3, "LEAF")
            add(tree, 4, "LEAF")
    return {"nodes_" + k: v for k, v in fields.items()}, leaves


@entry("TreeEnsembleRegressor")
def tree_regressor(g):
    x, targets, trees = table(g, (F32, F64) if g.chance(0.3) else (F32,)), g.integer(1, 2), g.integer(1, 3)
    nodes, leaves = stumps(g, x.shape[1], trees)
    aggregate = g.pick([None, "SUM", "AVERAGE", "MIN", "MAX"])
    # every leaf has all targets: of one that no leaf has ONNX Runtime forgets the base value
    chosen = [(t, n, k) for t, n in leaves for k in range(targets)]
    g.node("TreeEnsembleRegressor", [x], domain=ML, n_targets=targets, target_treeids=[c[0] for c in chosen],
           target_nodeids=[c[1] for c in chosen], target_ids=[c[2] for c in chosen],
           target_weights=floats(g, len(chosen)), base_values=floats(g, targets) if g.chance(0.4) else None,
           aggregate_function=aggregate, **nodes)


@entry("TreeEnsembleClassifier")
def tree_classifier(g):
    x, classes, trees = table(g), g.integer(2, 4), g.integer(1, 3)
    nodes, leaves = stumps(g, x.shape[1], trees)
    # where both of two classes have weights, ONNX Runtime does not take the larger score
    chosen = [(t, n, c) for t, n in leaves for c in range(classes if classes > 2 else 1)]
    key, names = next(iter(labels(g, classes).items()))
    key = {"ints": "int64s"}.get(key, key)
    g.node("TreeEnsembleClassifier", [x], 2, domain=ML, class_treeids=[c[0] for c in chosen],
           class_nodeids=[c[1] for c in chosen], class_ids=[c[2] for c in chosen],
           class_weights=floats(g, len(chosen), 0, 1), post_transform=g.pick(POST[:3]), exact=False,
           **{f"classlabels_{key}": names}, **nodes)


@entry("TreeEnsemble")
def tree_ensemble(g):
    if g.opset < 13:
        raise Refused("a later operator")
    x, targets = table(g), g.integer(1, 2)
    kept, g.root.opsets[ML] = g.root.opsets[ML], 5
    try:
        if any(n.domain == ML for n in g.root.nodes):
            raise Refused("nodes of an older form")
        g.node("TreeEnsemble", [x], domain=ML, n_targets=targets, nodes_featureids=[g.integer(0, x.shape[1] - 1)],
               nodes_splits=tensor_proto(numpy.array(floats(g, 1), numpy.float32)),
               nodes_modes=tensor_proto(numpy.array([g.integer(0, 5)], numpy.uint8)), nodes_truenodeids=[0],
               nodes_trueleafs=[1], nodes_falsenodeids=[1], nodes_falseleafs=[1], tree_roots=[0],
               leaf_targetids=[g.integer(0, targets - 1) for _ in range(2)],
               leaf_weights=tensor_proto(numpy.array(floats(g, 2), numpy.float32)),
               aggregate_function=g.pick([None, 1, 0, 2, 3]), post_transform=g.pick([None, 0]))
    except Refused:
        g.root.opsets[ML] = kept
        raise


@entry("CategoryMapper")
def category_mapper(g):
    names, numbers = ["a", "b", "Tamis"], [3, 1, -1]
    x = g.take([STRING] if g.chance(0.5) else [I64], max_rank=3)
    default = {"default_int64": -7} if x.type == STRING else {"default_string": "none"}
    g.node("CategoryMapper", [x], domain=ML, cats_strings=names, cats_int64s=numbers, **default)


@entry("ZipMap")
def zip_map(g):
    x = table(g)
    key, names = next(iter(labels(g, x.shape[1]).items()))
    key = {"ints": "int64s"}.get(key, key)
    g.node("ZipMap", [x], domain=ML, exact=x.exact, **{f"classlabels_{key}": names})


def some_keys(g, vocabulary):
    return [vocabulary[i] for i in g.random.permutation(len(vocabulary))[:g.integer(1, len(vocabulary))]]


@entry("DictVectorizer")
def dict_vectorizer(g):
    way = g.pick(["sf", "si", "sd", "if", "is", "id"])
    words, numbers = ["a", "b", "Tamis", ""], [3, -1, 7, 0]
    vocabulary = words if way[0] == "s" else numbers
    kind = {"f": F32, "i": I64, "d": F64, "s": STRING}[way[1]]
    values = random_array(g.random, kind, [len(vocabulary)])
    sample = {k: numpy.asarray(v, values.dtype) for k, v in zip(some_keys(g, vocabulary), values)}
    names = {"string_vocabulary": words} if way[0] == "s" else {"int64_vocabulary": numbers}
    if way[1] == "f":
        return g.node("DictVectorizer", [g.input(sample)], domain=ML, exact=True, **names)
    # maps to other types cannot be given to ONNX Runtime from Python
    missing = "" if kind == STRING else 0
    want = numpy.array([[sample[k].item() if k in sample else missing for k in vocabulary]], values.dtype)
    return g.known("DictVectorizer", [g.input(sample)], [want], domain=ML, **names)


@entry("CastMap")
def cast_map(g):
    keys = some_keys(g, list(range(5)))
    texts = g.chance(0.4)
    sample = {k: numpy.asarray(str(g.integer(-9, 9)), object) if texts else numpy.float32(floats(g, 1)[0]) for k in keys}
    sample = {k: numpy.asarray(v) for k, v in sample.items()}
    to = g.pick(["TO_FLOAT", "TO_INT64"]) if texts else g.pick(["TO_FLOAT", "TO_FLOAT", None])
    form = {"map_form": "SPARSE", "max_map": g.integer(5, 7)} if to == "TO_FLOAT" and g.chance(0.4) else {}
    if not texts:
        return g.node("CastMap", [g.input(sample)], domain=ML, cast_to=to, exact=True, **form)
    want = [float(sample[k].item()) if k in sample else 0 for k in (range(form["max_map"]) if form else sorted(keys))]
    want = numpy.array([want], numpy.float32 if to == "TO_FLOAT" else numpy.int64)
    return g.known("CastMap", [g.input(sample)], [want], domain=ML, cast_to=to, **form)
