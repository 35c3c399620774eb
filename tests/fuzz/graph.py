# SPDX-License-Identifier: Apache-2.0
"""The graph builder: every node that an entry of the op tables adds is computed at once by the oracle.

    g = Graph(random, opset=17)
    x = g.take(FLOATS, min_rank=1)              # a value of the pool, or a new input or constant
    y = g.node("Softmax", [x], axis=g.axis(x))  # y.sample is its answer; raises Refused if there is none

Because samples are known, types and dims of all values are known too. Two rules keep the votes comparable:

- A float that was rounded on its way (`not value.exact`) may differ in its last bits from engine to engine. So it must
  not reach an operator that jumps (Floor, comparisons, casts to integers, ArgMax, ...): node() refuses that.
- Floats stay moderate, unless the graph has special values; results that grow beyond are refused.
"""

import numpy
import onnx
from onnx import helper

import oracle
from elements import C64, C128, DTYPES, F16, F32, FLOATS, I64, is_float, is_integer, random_array, type_of
from oracle import Refused

# Bits of these do not depend on rounding: they move, select or change the sign of floats.
EXACT = frozenset("""Identity Reshape Flatten Squeeze Unsqueeze Transpose Slice Split Concat Expand Tile Pad Trilu
DepthToSpace SpaceToDepth ReverseSequence CenterCropPad Gather GatherElements GatherND TensorScatter Compress Unique Scatter
Where Abs Neg Relu Max Min Floor Ceil Round Sign Clip MaxPool GlobalMaxPool ReduceMax ReduceMin TopK ConstantOfShape
EyeLike OneHot Constant If Loop Scan SequenceConstruct SequenceEmpty SequenceInsert SequenceErase SequenceAt
ConcatFromSequence SplitToSequence Optional OptionalGetElement Hardmax MaxUnpool MaxRoiPool Dropout BitCast
ArrayFeatureExtractor Binarizer OneHotEncoder LabelEncoder Cast CastLike""".split())
JUMPS = frozenset("""Floor Ceil Round Sign Mod ThresholdedRelu Shrink Hardmax Binarizer OneHotEncoder LabelEncoder
TreeEnsemble TreeEnsembleRegressor TreeEnsembleClassifier BitCast GridSample RoiAlign ReduceLogSum Log Range
NonMaxSuppression MaxRoiPool MaxUnpool ArrayFeatureExtractor Resize Upsample OneHot DynamicQuantizeMatMul
DynamicQuantizeLSTM""".split())
# Their integer or bool outputs do not look at the floats.
BLIND = frozenset("Shape Size SequenceLength OptionalHasElement".split())


class Value:
    """A name with the answer of the oracle: an array, a dict for a map, a list of them for a sequence; None: only we
    run it."""

    def __init__(self, name, sample, owner, exact=True, constant=False):
        self.name, self.sample, self.owner, self.exact, self.constant = name, sample, owner, exact, constant
        self.range = None  # of random numbers that may be drawn again, for other sizes
        self.fixed = False  # its dims decide a rank, so they stay numbers

    is_tensor = property(lambda self: isinstance(self.sample, numpy.ndarray))
    type = property(lambda self: type_of(self.sample))
    shape = property(lambda self: list(self.sample.shape))
    rank = property(lambda self: self.sample.ndim)
    size = property(lambda self: self.sample.size)

    def small(self, most=1000):
        """Integers whose squares and sums do not overflow: what happens then is left open."""
        return not is_integer(self.type) or bool(numpy.all(abs(self.sample.astype(object)) <= most))

    def finite(self):
        if not self.is_tensor or not is_float(self.type):
            return True
        return bool(numpy.isfinite(self.sample.astype(numpy.float64)).all())


class Graph:
    def __init__(self, random, opset, parent=None, **profile):
        self.random, self.opset, self.parent = random, opset, parent
        self.root = parent.root if parent else self
        self.opsets = parent.opsets if parent else {"": opset, "com.microsoft": 1, "ai.onnx.ml": int(random.integers(2, 4))}
        self.pool, self.nodes, self.inputs, self.initializers, self.captured = [], [], [], [], {}
        self.depth = parent.depth + 1 if parent else 0
        if parent is None:
            self.special = profile.get("special", 0.0)
            self.constants = profile.get("constants", 0.4)
            self.symbolic = profile.get("symbolic", 0.0)
            self.ops, self.names, self.by_reference, self.ours_only = {}, 0, False, False
            self.least_size = 0  # of a symbolic dim: 1 where nothing has no defined answer
            self.functions, self.forced = [], []
        else:
            known = [v for v in parent.pool if v.sample is not None]
            self.pool = [known[i] for i in random.permutation(len(known))[:6]]
            self.special, self.constants, self.symbolic = parent.special, parent.constants, parent.symbolic

    # ---- choices ----

    def chance(self, probability):
        return bool(self.random.random() < probability)

    def pick(self, choices):
        choices = list(choices)
        if not choices:
            raise Refused("no choice")
        return choices[int(self.random.integers(len(choices)))]

    def integer(self, low, high):
        """Between low and high, both included."""
        return int(self.random.integers(low, high + 1))

    def dim(self, most=6):
        if self.chance(0.02):
            return 0
        if self.chance(0.02):
            return self.integer(7, 40)
        return self.integer(1, most)

    def shape(self, min_rank=0, max_rank=5, most=6):
        rank = self.integer(min_rank, max_rank)
        if max_rank >= 5 and self.chance(0.04):
            rank = self.integer(min_rank, 6)
        shape = [self.dim(most if rank < 4 else min(most, 4)) for _ in range(rank)]
        return shape

    def axis(self, value, extra=0):
        """An axis of a value, counted from the front or the back; extra 1: one past the last is allowed."""
        rank = (value.rank if isinstance(value, Value) else value) + extra
        if rank == 0:
            raise Refused("no axis")
        axis = self.integer(0, rank - 1)
        return axis - rank if self.chance(0.4) else axis

    def axes(self, value, least=1):
        rank = value.rank if isinstance(value, Value) else value
        if rank < least:
            raise Refused("no axes")
        chosen = [int(a) for a in self.random.permutation(rank)[:self.integer(least, rank)]]
        return [a - rank if self.chance(0.3) else a for a in chosen]

    def broadcast(self, shape):
        """A shape that broadcasts to the given one."""
        some = [1 if self.chance(0.25) else d for d in shape]
        return some[self.integer(0, len(some)):] if self.chance(0.3) else some

    def allowed(self, op, domain="", input=0):
        """The element types that the schema of this opset allows for an input, as a list (complex: not run by the oracle)."""
        schema = onnx.defs.get_schema(op, self.opsets[domain], domain)
        texts = schema.inputs[input].types
        return [t for t in DTYPES if f"tensor({oracle_type_text(t)})" in texts and t not in (C64, C128)]

    # ---- values ----

    def new_name(self):
        self.root.names += 1
        return f"v{self.root.names}"

    def add(self, sample, name=None, **how):
        value = Value(name or self.new_name(), sample, self, **how)
        self.pool.append(value)
        return value

    def is_visible(self, value):
        graph = self
        while graph is not None:
            if value.owner is graph:
                return True
            graph = graph.parent
        return False

    def input(self, sample, limits=None):
        if self.parent is not None:
            return self.root.input(sample, limits)
        value = self.add(sample)
        value.range = limits
        self.inputs.append(value)
        return value

    def constant(self, sample):
        """An initializer or a Constant node."""
        sample = numpy.asarray(sample)
        value = self.add(sample, constant=True)
        if self.chance(0.3) and type_of(sample) not in (C64, C128):
            node = helper.make_node("Constant", [], [value.name], value=oracle.tensor_proto(sample))
            self.nodes.append(node)
        else:
            self.initializers.append(value)
        return value

    def fresh(self, element_type, shape, low=-3.0, high=3.0, special=None, constant=None):
        special = self.special if special is None else special
        if self.chance(0.7):
            special = 0.0
        sample = random_array(self.random, element_type, shape, low, high, special)
        return self.place(sample, constant, (low, high))

    def place(self, sample, constant=None, limits=None):
        """Makes an input or a constant of an array."""
        constant = self.chance(self.constants) if constant is None else constant
        return self.constant(sample) if constant else self.input(numpy.asarray(sample), limits)

    def ints(self, numbers, element_type=I64, runtime=0.05):
        """A list of integers as an operand: mostly constant, sometimes computed from the shape of a value."""
        numbers = [int(n) for n in numbers]
        if element_type == I64 and numbers and self.opset >= 13 and self.chance(0.2):
            computed = self._from_shapes(numbers)
            if computed is not None:
                return computed
        array = numpy.array(numbers, DTYPES[element_type])
        return self.fixed(self.input(array) if self.chance(runtime) else self.constant(array))

    @staticmethod
    def fixed(value):
        value.fixed = True
        return value

    def _from_shapes(self, numbers):
        parts, found = [], False
        for number in numbers:
            source = next((v for v in reversed(self.pool) if v.is_tensor and not v.constant and number in v.shape),
                          None)
            if source is None or self.chance(0.3):
                parts.append(self.constant(numpy.array([number])))
                continue
            found = True
            axis = source.shape.index(number)
            shape = self.node("Shape", [source])
            parts.append(self.node("Gather", [shape, self.constant(numpy.array([axis]))]))
        if not found:
            return None
        return parts[0] if len(parts) == 1 else self.node("Concat", parts, axis=0)

    def scalar(self, number, element_type):
        return self.constant(numpy.array(number, DTYPES[element_type]))

    def take(self, types=(F32,), min_rank=0, max_rank=6, shape=None, where=None, exact=False, finite=False,
             reuse=0.65, low=-3.0, high=3.0):
        """A value of the pool that fits, or a new one."""
        types = tuple(types)
        if not types:
            raise Refused("no type")
        if self.chance(reuse):
            fits = [v for v in self.pool if v.is_tensor and v.type in types
                    and (shape is None and min_rank <= v.rank <= max_rank or shape is not None and v.shape == shape)
                    and (v.exact or not exact) and (where is None or where(v)) and (not finite or v.finite())]
            if fits:
                return self.pick(fits[-6:])
        common = [t for t in types if t == F32]
        element_type = common[0] if common and self.chance(0.5) else self.pick(types)
        for _ in range(20):
            made = self.shape(min_rank, min(max_rank, 5)) if shape is None else shape
            if where is None:
                return self.fresh(element_type, made, low, high, 0.0 if finite else None)
            sample = random_array(self.random, element_type, made, low, high, 0.0 if finite else self.special)
            if where(Value("", sample, self)):
                return self.place(sample, None, (low, high))
        raise Refused("nothing fits")

    # ---- nodes ----

    def node(self, op, inputs, outputs=1, domain="", bodies=(), reference=False, ours=False, plain=False,
             exact=None, **attributes):
        """Adds a node; the value of its output, or a list. None among the inputs is an omitted one."""
        if (reference or ours) and self.parent is not None:
            raise Refused("ONNX Runtime computes bodies as a whole")
        attributes = {k: v for k, v in attributes.items() if v is not None}
        names = [v.name if v is not None else "" for v in inputs]
        while names and names[-1] == "":
            names.pop()
        made = [self.new_name() for _ in range(outputs)] if isinstance(outputs, int) else \
            [self.new_name() if o else "" for o in outputs]
        empty = [k for k, v in attributes.items() if isinstance(v, list) and not v]
        node = helper.make_node(op, names, made, domain=domain,
                                **{k: v for k, v in attributes.items() if k not in empty})
        node.attribute.extend(helper.make_attribute(k, [], attr_type=onnx.AttributeProto.INTS) for k in empty)
        reads = {v.name: v for v in inputs if v is not None}
        for body in bodies:
            reads.update(body.captured)
        if any(v.sample is None for v in reads.values()):
            raise Refused("reads what the oracle does not know")
        results = dict.fromkeys([n for n in made if n])
        if not ours:
            samples = {name: v.sample for name, v in reads.items()}
            results = oracle.evaluate(node, self.opsets, samples, reference, self.root.functions)
        if op == "Loop" and any(isinstance(r, numpy.ndarray) and r.ndim > 0 and len(r) == 0 for r in results.values()):
            raise Refused("dims of items that no iteration made")
        exact = self._check(op, reads.values(), results.values(), exact) and not ours
        self.nodes.append(node)
        for value in reads.values():
            if value.owner is not self:
                self.captured[value.name] = value
        self.root.by_reference |= reference
        self.root.ours_only |= ours
        self.count(op, domain)
        values = [self.add(results[n], n, exact=exact) if n else None for n in made]
        return values[0] if outputs == 1 else values

    def known(self, op, inputs, samples, domain="", **attributes):
        """Adds a node that no oracle runs, but whose answer the entry knows; it has a value for each sample."""
        if self.parent is not None:
            raise Refused("ONNX Runtime computes bodies as a whole")
        values = [self.add(s) for s in samples]
        attributes = {k: v for k, v in attributes.items() if v is not None}
        self.nodes.append(helper.make_node(op, [v.name for v in inputs], [v.name for v in values], domain=domain, **attributes))
        self.root.by_reference = True
        self.count(op, domain)
        return values

    def count(self, op, domain=""):
        key = f"{domain}.{op}" if domain == "com.microsoft" else op
        self.root.ops[key] = self.root.ops.get(key, 0) + 1

    def _check(self, op, reads, results, exact):
        inexact = any(not v.exact for v in reads)
        floating = [r for r in results if isinstance(r, numpy.ndarray) and type_of(r) in FLOATS + (C64, C128)]
        if inexact and op not in BLIND:
            others = [r for r in results if isinstance(r, numpy.ndarray) and type_of(r) not in FLOATS + (C64, C128)]
            if others or op in JUMPS:
                raise Refused("rounded floats would reach a jump")
        if not self.special:
            for result in floating:
                limit = 200 if type_of(result) == F16 else 1e4
                with numpy.errstate(all="ignore"):
                    wide = numpy.abs(result.astype(numpy.complex128 if result.dtype.kind == "c" else numpy.float64))
                if result.size and not (wide <= limit).all() and not self.chance(0.05):
                    raise Refused("a large result")
        if exact is not None:
            return exact and not inexact
        if not floating and not any(isinstance(r, list) for r in results):
            return True
        return op in EXACT and not inexact

    # ---- subgraphs ----

    def body(self):
        return Graph(self.random, self.opset, self)

    def body_info(self, value, keep=False):
        """The declaration of a body's input or output: without shape, or the rank alone."""
        if not value.is_tensor:
            return oracle.value_info(value.name, value.sample)
        shape = [None] * value.rank if keep or self.chance(0.4) else None
        return helper.make_tensor_value_info(value.name, value.type, shape)

    def body_proto(self, inputs, outputs, name="body"):
        infos = [self.body_info(v, keep=v.is_tensor and v.rank == 0) for v in inputs]
        initializers = [oracle.tensor_proto(v.sample, v.name) for v in self.initializers]
        for value in outputs:
            if value.owner is not self:
                self.captured[value.name] = value
        for body_value in list(self.captured.values()):
            if body_value.owner is not self.parent and self.parent is not None:
                self.parent.captured[body_value.name] = body_value
        made = [self.body_info(v) for v in outputs]
        return helper.make_graph(self.nodes, name, infos, made, initializers)


def oracle_type_text(element_type):
    return onnx.TensorProto.DataType.Name(element_type).lower()

