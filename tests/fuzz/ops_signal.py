# SPDX-License-Identifier: Apache-2.0
"""Signals, windows, random draws and text."""

import numpy

from elements import F32, F64, I32, I64, STRING
from graph import Refused
from tables import entry


@entry("DFT", since=17)
def dft(g):
    last = g.pick([1, 2])
    shape = [g.integer(1, 3), g.integer(1, 9)] + ([g.integer(1, 5)] if g.chance(0.3) else [])
    x = g.fresh(g.pick([F32, F64]), shape + [last], special=0.0)
    axis = g.integer(1, len(shape) - 1)
    inverse = g.integer(0, 1)
    one = 1 if last == 1 and not inverse and g.chance(0.4) else 0
    length = g.ints([g.integer(1, 8)], runtime=0.0) if g.chance(0.3) else None
    if length is not None:
        length = g.constant(length.sample.reshape(()))
    attributes = {"inverse": inverse or None, "onesided": one or None,
                  "reference": x.type == F64}  # ONNX Runtime has the factors of float64 in float32
    if g.opset < 20:
        return g.node("DFT", [x, length], axis=axis, **attributes)
    return g.node("DFT", [x, length, g.constant(numpy.array(axis)) if g.chance(0.8) else None], **attributes)


@entry("STFT", since=17)
def stft(g):
    length, frame = g.integer(8, 20), g.integer(2, 6)
    x = g.fresh(F32, [g.integer(1, 2), length, 1], special=0.0)
    step = g.constant(numpy.array(g.integer(1, 4)))
    window = g.fresh(F32, [frame], 0, 1, special=0.0) if g.chance(0.6) else None
    size = g.constant(numpy.array(frame)) if window is None or g.chance(0.5) else None
    g.node("STFT", [x, step, window, size], onesided=g.pick([None, 0, 1]))


@entry("HannWindow", "HammingWindow", "BlackmanWindow", since=17, weight=2)
def window(g, op):
    size = g.place(numpy.array(g.integer(3, 12), g.pick([numpy.int64, numpy.int32])), g.chance(0.6))
    # both oracles compute those of float64 in float32
    g.node(op, [size], periodic=g.pick([None, 0, 1]), output_datatype=g.pick([None, F32]))


@entry("MelWeightMatrix", since=17)
def mel_weight_matrix(g):
    numbers = [numpy.array(g.integer(2, 6)), numpy.array(g.pick([16, 32, 64])), numpy.array(g.pick([8000, 16000])),
               numpy.array(float(g.integer(0, 100)), numpy.float32),
               numpy.array(float(g.integer(2000, 4000)), numpy.float32)]
    g.node("MelWeightMatrix", [g.place(n, g.chance(0.7)) for n in numbers])


@entry("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial", weight=3)
def random_draw(g, op):
    """The numbers are not compared, only their type and dims."""
    if op == "Bernoulli":
        if g.opset < 15:
            raise Refused("a later operator")
        inputs, attributes = [g.fresh(F32, g.shape(0, 3), 0, 1, special=0.0)], {}
    elif op == "Multinomial":
        inputs = [g.fresh(F32, [g.integer(1, 3), g.integer(1, 4)], special=0.0)]
        attributes = {"sample_size": g.integer(1, 5), "dtype": g.pick([None, I32, I64])}
    elif op.endswith("Like"):
        inputs, attributes = [g.take([F32, F64])], {"dtype": g.pick([None, F32, F64])}
    else:
        inputs, attributes = [], {"shape": g.shape(1, 3), "dtype": g.pick([None, F32, F64])}
    drawn = g.node(op, inputs, seed=g.pick([None, 1.5]), **attributes)
    g.pool.remove(drawn)
    drawn.exact = True  # times zero
    g.node("Shape", [drawn])
    if g.opset >= 9:
        zero = g.node("Mul", [drawn, g.scalar(0, drawn.type)], exact=True)
        g.pool.remove(zero)
        g.node("Equal", [g.node("Abs", [zero], exact=True), g.scalar(0, drawn.type)]) if g.opset >= 11 else None


@entry("TfIdfVectorizer", since=9)
def tf_idf(g):
    kind = g.pick([I64, I32])
    x = g.fresh(kind, g.pick([[g.integer(1, 8)], [g.integer(1, 3), g.integer(1, 8)]]), 0, 5, special=0.0)
    g.node("TfIdfVectorizer", [x], mode=g.pick(["TF", "IDF", "TFIDF"]), min_gram_length=1, max_gram_length=2,
           max_skip_count=g.integer(0, 2), ngram_counts=[0, 3], ngram_indexes=[0, 1, 2, 3, 4, 5],
           pool_int64s=[1, 2, 3, 1, 2, 2, 3, 3, 1],
           weights=g.pick([None, [0.5, 1.0, 2.0, 0.25, 1.5, 3.0]]))


@entry("StringConcat", since=20)
def string_concat(g):
    x = g.take([STRING])
    g.node("StringConcat", [x, g.take([STRING], shape=g.broadcast(x.shape))])


@entry("StringSplit", since=20, weight=2)
def string_split(g):
    # an empty string has one part, says the reference evaluator as Python does; ONNX Runtime finds none
    x = g.take([STRING], max_rank=3)
    delimiter = g.pick([None, " ", "a"]) if (x.sample != "").all() else None
    g.node("StringSplit", [x], 2, delimiter=delimiter,
           maxsplit=g.pick([None, 1, 2]), reference=True)


@entry("RegexFullMatch", since=20)
def regex_full_match(g):
    g.node("RegexFullMatch", [g.take([STRING])], pattern=g.pick(["[a-z]+", ".*", "a?b", r"-?\d+(\.\d+)?"]))


@entry("StringNormalizer", since=10)
def string_normalizer(g):
    x = g.fresh(STRING, g.pick([[g.integer(1, 6)], [1, g.integer(1, 6)]]))
    g.node("StringNormalizer", [x], case_change_action=g.pick([None, "NONE"]), is_case_sensitive=1,
           stopwords=g.pick([None, ["a", "b"]]))
