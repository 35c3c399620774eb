# SPDX-License-Identifier: Apache-2.0
"""Random convolutions and small ConvNets for test_convolution_regions.py, made with the Model of test_regions.py.

Every case keeps its windows inside of the padded image for all sizes of its symbols: batches are from 0 on, spatial
dims from 9 on. A Model with `fixed` set gets no symbols.
"""

import numpy

CHANNELS = [1, 2, 3, 4, 5, 8, 12, 16, 17, 24, 32, 33, 40]
FILTERS = [1, 3, 4, 5, 8, 16, 20, 24, 33, 40, 48, 64, 70]
SPACE = {1: [9, 10, 14, 28, 50, 100, 170, 260], 2: [9, 10, 12, 14, 15, 17, 28], 3: [9, 10]}
LEAST_SPACE = 9


def batch(m):
    if m.chance(0.6) or getattr(m, "fixed", False):
        return int(m.random.integers(1, 4))
    m.symbols.append(f"n{len(m.symbols)}")
    return m.symbols[-1]


def space(m, axes, symbolic=0.3):
    made = []
    for _ in range(axes):
        if m.chance(symbolic) and not getattr(m, "fixed", False):
            m.symbols.append(f"s{len(m.symbols)}")
            made.append(m.symbols[-1])
        else:
            made.append(int(m.pick(SPACE[axes])))
    return made


def image(m, axes, channels, symbolic=0.3):
    return m.input("f", [batch(m), channels, *space(m, axes, symbolic)])


def windows(m, axes, most=7):
    """Attributes whose window is at most LEAST_SPACE wide."""
    kernel, strides, dilations = [], [], []
    for _ in range(axes):
        kernel.append(int(m.pick([1, 2, 3, 3, 5, most] if axes < 3 else [1, 2, 3])))
        strides.append(int(m.pick([1, 1, 2, 3])))
        fits = (LEAST_SPACE - 1) // max(kernel[-1] - 1, 1)
        dilations.append(int(m.pick([1, 1, 2])) if fits > 1 else 1)
    return {"kernel_shape": kernel, "strides": strides, "dilations": dilations}


def padding(m, attributes, x):
    choice = int(m.random.integers(6))
    axes = len(attributes["kernel_shape"])
    if choice == 0:
        attributes["auto_pad"] = "VALID"
    elif choice == 1 and (max(attributes["strides"]) == 1 or all(isinstance(d, int) for d in x.dims[2:])):
        attributes["auto_pad"] = m.pick(["SAME_UPPER", "SAME_LOWER"])
        attributes["dilations"] = [1] * axes  # ONNX Runtime refuses others
    elif choice > 1:
        half = [int(m.random.integers(0, k)) for k in attributes["kernel_shape"]]
        attributes["pads"] = half + ([int(m.random.integers(0, k)) for k in attributes["kernel_shape"]]
                                     if m.chance(0.5) else half)
    return attributes


def out_dims(m, x, filters, attributes):
    """Of a node over x: numbers where they are known, else new names, which nobody binds."""
    made = [x.dims[0], filters]
    for i, size in enumerate(x.dims[2:]):
        stride, reach = attributes["strides"][i], (attributes["kernel_shape"][i] - 1) * attributes["dilations"][i]
        pads = attributes.get("pads", [0] * 2 * len(attributes["strides"]))
        if not isinstance(size, int):
            plain = stride == 1 and (attributes.get("auto_pad", "").startswith("SAME") or
                                     pads[i] + pads[i + len(pads) // 2] == reach)
            made.append(size if plain else None)
        elif attributes.get("auto_pad", "").startswith("SAME"):
            made.append(-(-size // stride))
        else:
            made.append((size + pads[i] + pads[i + len(pads) // 2] - reach - 1) // stride + 1)
    return made


def convolve(m, x, filters, group=1, attributes=None, special=None):
    axes = len(x.dims) - 2
    attributes = attributes or padding(m, windows(m, axes), x)
    values = m.random.uniform(-1, 1, [filters, x.dims[1] // group, *attributes["kernel_shape"]])
    values *= 2 / numpy.sqrt(max(values[0].size, 1))
    if special is not None:
        values.flat[int(m.random.integers(values.size))] = special
    inputs = [x, m.constant(values)]
    if m.chance(0.7):
        inputs.append(m.weights(filters))
    return m.node("Conv", inputs, dims=out_dims(m, x, filters, attributes), group=group, **attributes)


def behind(m, y):
    """Elementwise nodes on y, some of which a region cannot take along."""
    for _ in range(int(m.random.integers(0, 4))):
        choice = int(m.random.integers(8))
        if choice == 0:
            y = m.node("Clip", [y, m.constant(0), m.constant(0.75)])
        elif choice == 1:
            y = m.node(m.pick(["Relu", "HardSwish", "Sigmoid", "Gelu", "LeakyRelu", "Elu"]), [y])
        elif choice == 2:
            y = m.node("PRelu", [y, m.weights(y.dims[1], *[1] * (len(y.dims) - 2))])
        elif choice == 3:
            y = m.node("Mul", [y, m.weights(1, y.dims[1], *[1] * (len(y.dims) - 2))], dims=y.dims)
        elif choice == 4 and None not in y.dims:
            y = m.node("Add", [m.input("f", y.dims), y], dims=y.dims)
        elif choice == 5:
            y = m.node("Add", [y, m.constant(0.25)])
        elif choice == 6 and None not in y.dims:
            y = m.node("Add", [y, m.input("f", [1, 1, *y.dims[2:]])], dims=y.dims)
        elif choice == 7:
            y = m.node("Mul", [y, m.node("Sigmoid", [y])])
    return y


def convolution_case(m, special=None):
    axes = int(m.pick([1, 2, 2, 3]))
    channels, filters, kind = int(m.pick(CHANNELS)), int(m.pick(FILTERS)), int(m.random.integers(4))
    group = 1
    if kind == 1:
        filters = group = channels
    elif kind == 2:
        group = int(m.pick([2, 3]))
        channels, filters = group * int(m.pick([1, 2, 4, 9])), group * int(m.pick([4, 5, 16, 18]))
    m.output(behind(m, convolve(m, image(m, axes, channels), filters, group, special=special)))


def pool(m, x, attributes=None):
    attributes = attributes or padding(m, windows(m, len(x.dims) - 2, 4), x)
    op = m.pick(["MaxPool", "AveragePool"])
    dims = out_dims(m, x, x.dims[1], attributes)
    if op == "AveragePool":
        attributes["count_include_pad"] = int(m.random.integers(2))
        # With auto_pad ONNX Runtime counts padding by its own rule.
        attributes["count_include_pad"] *= "auto_pad" not in attributes
    if "auto_pad" not in attributes and m.chance(0.3) and all(s <= k for s, k in zip(attributes["strides"],
                                                                                 attributes["kernel_shape"])):
        attributes["ceil_mode"] = 1
        attributes.pop("count_include_pad", None)
        dims = [*dims[:2], *[None] * (len(dims) - 2)]
    return m.node(op, [x], dims=dims, **attributes)


def pool_case(m):
    axes = int(m.pick([1, 2, 2, 3]))
    x = image(m, axes, int(m.pick(CHANNELS)))
    m.output(behind(m, pool(m, convolve(m, x, int(m.pick([4, 5, 16, 33])), attributes={
        "kernel_shape": [1] * axes, "strides": [1] * axes, "dilations": [1] * axes}))))


def squeeze(m, x):
    """Squeeze and excite."""
    axes, channels = len(x.dims) - 2, x.dims[1]
    point = {"kernel_shape": [1] * axes, "strides": [1] * axes, "dilations": [1] * axes}
    mean = m.node("GlobalAveragePool", [x], dims=[x.dims[0], channels, *[1] * axes])
    if m.chance(0.5):
        mean = m.node("ReduceMean", [x, m.constant(list(range(2, 2 + axes)), "i")],
                      dims=[x.dims[0], channels, *[1] * axes])
    small = m.node("Relu", [convolve(m, mean, 4, attributes=dict(point))])
    gate = m.node("HardSigmoid", [convolve(m, small, channels, attributes=dict(point))])
    return m.node("Mul", [x, gate], dims=x.dims)


def same(m, x, kernel=3):
    axes = len(x.dims) - 2
    return {"kernel_shape": [kernel] * axes, "strides": [1] * axes, "dilations": [1] * axes,
            "pads": [kernel // 2] * 2 * axes}


def layer(m, x):
    axes, channels = len(x.dims) - 2, x.dims[1]
    choice = int(m.random.integers(12))
    if choice == 0:
        return behind(m, convolve(m, x, int(m.pick([4, 8, 16, 24])), attributes=same(m, x, 1)))
    if choice == 1:
        return behind(m, convolve(m, x, channels, channels, same(m, x, int(m.pick([3, 5])))))
    if choice == 2:
        y = behind(m, convolve(m, x, channels, attributes=same(m, x)))
        return m.node("Add", [x, y] if m.chance(0.5) else [y, x], dims=x.dims)
    if choice == 3:
        return squeeze(m, x)
    if choice == 4:
        y = convolve(m, x, 8, attributes=same(m, x))
        return m.node("Concat", [x, y], dims=[x.dims[0], channels + 8, *x.dims[2:]], axis=m.pick([1, 1 - len(x.dims)]))
    if choice == 5:
        return pool(m, x, same(m, x))
    if choice == 6 and channels % 2 == 0:
        half = [x.dims[0], channels // 2, *x.dims[2:]]
        a = m.node("Split", [x], dims=half, axis=1, num_outputs=2)
        node = m.nodes[-1]
        node.output.append(a.name + "b")
        b = type(x)(a.name + "b", "f", half)
        return m.node("Mul", [a, m.node("Sigmoid", [b])], dims=half)
    if choice == 7:
        sliced = [x.dims[0], channels - 1, *x.dims[2:]]
        if channels > 4:
            return m.node("Slice", [x, m.constant([1], "i"), m.constant([channels], "i"), m.constant([1], "i")],
                          dims=sliced)
    if choice == 8 and axes == 2 and all(isinstance(d, int) and d <= 14 for d in x.dims[2:]):
        twice = [*x.dims[:2], *[2 * d for d in x.dims[2:]]]
        return m.node("Resize", [x, None, m.constant([1, 1, 2, 2])], dims=twice, mode=m.pick(["nearest", "linear"]))
    if choice == 9 and all(isinstance(d, int) for d in x.dims[2:]):
        around = [0, 0, *[1] * axes, 0, 0, *[0] * axes]
        return m.node("Pad", [x, m.constant(around, "i"), m.constant(0.5)],
                      dims=[*x.dims[:2], *[d + 1 for d in x.dims[2:]]])
    return behind(m, convolve(m, x, int(m.pick([4, 8, 16])), attributes=same(m, x)))


def net_case(m):
    axes = int(m.pick([1, 2, 2]))
    x = image(m, axes, int(m.pick([3, 4, 8])), 0.2)
    x = convolve(m, x, int(m.pick([8, 16])), attributes=same(m, x))
    for _ in range(int(m.random.integers(2, 6))):
        x = layer(m, x)
        if m.chance(0.15):
            m.output(m.node("Relu", [x]))
    end = int(m.random.integers(4))
    if end == 0:
        x = m.node("GlobalAveragePool", [x], dims=[*x.dims[:2], *[1] * axes])
        x = m.node("Flatten", [x], dims=x.dims[:2])
        x = m.node("Gemm", [x, m.weights(x.dims[1], 5), m.weights(5)], dims=[x.dims[0], 5])
    elif end == 1:
        x = m.node("Reshape", [x, m.constant([0, 0, -1], "i")], dims=[*x.dims[:2], None])
        x = m.node("Transpose", [x], dims=[x.dims[0], None, x.dims[1]], perm=[0, 2, 1])
        x = m.node("MatMul", [x, m.weights(x.dims[2], 6)], dims=[x.dims[0], None, 6])
    elif end == 2:
        perm = [0, *range(2, 2 + axes), 1]
        x = m.node("Transpose", [x], dims=[x.dims[p] for p in perm], perm=perm)
    m.output(x)


def bottleneck_case(m):
    """An image that is made wide and then convolved depthwise, large enough that the wide one is never stored."""
    channels, wide = int(m.pick([3, 8, 17])), int(m.pick([40, 48, 64, 67]))
    kernel = int(m.pick([1, 1, 3]))
    x = m.input("f", [batch(m), channels, int(m.pick([57, 64])), int(m.pick([60, 71, 131]))])
    first = {"kernel_shape": [kernel] * 2, "strides": [1, 1], "dilations": [1, 1], "pads": [kernel // 2] * 4}
    y = convolve(m, x, wide, attributes=first)
    if m.chance(0.7):
        y = m.node(m.pick(["Relu", "HardSwish", "Sigmoid"]), [y])
    window = [int(m.pick([2, 3, 5])), int(m.pick([3, 4, 11]))]
    second = {"kernel_shape": window, "dilations": [1, 1],
              "strides": [int(m.pick([1, 2])), int(m.pick([1, 2, 3]))],
              "pads": [int(m.random.integers(0, k)) for k in [*window, *window]]}
    m.output(behind(m, convolve(m, y, wide, wide, second)))


def branches_case(m):
    """A sum of convolutions of one input, of the input and of the input times a factor, some of which are one."""
    axes, channels, stride = int(m.pick([1, 2, 2])), int(m.pick([4, 5, 16, 20])), int(m.pick([1, 1, 2]))
    x = image(m, axes, channels, 0 if stride > 1 else 0.3)
    x.finite = True  # infinities of two branches meet in the weights of one (docs/limits.md)
    filters = channels if stride == 1 else int(m.pick([channels, 8]))
    terms = []
    for _ in range(int(m.random.integers(2, 6))):
        kernel, dilation = m.pick([(1, 1), (3, 1), (5, 1), (7, 1), (3, 2), (3, 3), (9, 1)])
        group = int(m.pick([1, channels, channels])) if filters == channels else 1
        if stride == 1 and m.chance(0.25):
            terms.append(x if m.chance(0.5) else
                         m.node("Mul", [x, m.weights(1, channels, *[1] * axes)], dims=x.dims))
            continue
        pad = (kernel - 1) * dilation // 2
        terms.append(convolve(m, x, filters, group, {
            "kernel_shape": [kernel] * axes, "strides": [stride] * axes, "dilations": [dilation] * axes,
            "pads": [pad] * 2 * axes}))
    while len(terms) > 1:
        a, b = terms.pop(int(m.random.integers(len(terms)))), terms.pop()
        terms.insert(0, m.node("Add", [a, b], dims=a.dims))
    m.output(behind(m, terms[0]))


def transposed_case(m):
    """ConvTranspose with and without groups, cropping and phases that lack taps."""
    axes, group = int(m.pick([1, 2, 2, 3])), int(m.pick([1, 1, 2, 3]))
    channels, filters = group * int(m.pick([1, 3, 8, 17])), int(m.pick([1, 2, 4, 5, 16]))
    x = m.input("f", [batch(m), channels, *space(m, axes)])
    stride = [int(m.pick([1, 2, 2, 3, 4])) for _ in range(axes)]
    kernel = [s * int(m.pick([1, 2])) if m.chance(0.5) else int(m.random.integers(1, 6)) for s in stride]
    pads = [int(m.random.integers(0, k)) if m.chance(0.7) else 0 for k in [*kernel, *kernel]]
    extra = [int(m.random.integers(0, s)) if m.chance(0.4) else 0 for s in stride]
    x.finite = any(k % s for k, s in zip(kernel, stride))  # zeros of a phase make NaN of infinities
    weights = m.constant(m.random.uniform(-1, 1, [channels, filters, *kernel]) / numpy.sqrt(channels))
    inputs = [x, weights, m.weights(filters * group)] if m.chance(0.6) else [x, weights]
    m.output(behind(m, m.node("ConvTranspose", inputs, dims=[x.dims[0], filters * group, *[None] * axes],
                              strides=stride, kernel_shape=kernel, pads=pads, output_padding=extra, group=group)))


def gated_case(m):
    """Squeeze and excite before a kernel of one, whose weights the gate scales, or before another one."""
    axes, channels, kernel = int(m.pick([1, 2, 2, 3])), int(m.pick([4, 6, 16, 20, 34])), int(m.pick([1, 1, 1, 3]))
    x = convolve(m, image(m, axes, int(m.pick([3, 8]))), channels, attributes={
        "kernel_shape": [1] * axes, "strides": [1] * axes, "dilations": [1] * axes})
    y = squeeze(m, x)
    if m.chance(0.3):
        gate = m.input("f", [1, channels, *[1] * axes])
        y = m.node("Mul", [gate, x], dims=x.dims)
    stride = int(m.pick([1, 1, 2])) if all(isinstance(d, int) for d in x.dims[2:]) else 1
    z = convolve(m, y, int(m.pick([4, 16, 24, 50])) * 2, int(m.pick([1, 1, 2])), {
        "kernel_shape": [kernel] * axes, "strides": [stride] * axes, "dilations": [1] * axes,
        "pads": [kernel // 2] * 2 * axes})
    m.output(behind(m, z))
    if m.chance(0.2):
        m.output(m.node("Relu", [y], dims=y.dims))


def weights_case(m):
    """A weight that is no number counts over padding too."""
    convolution_case(m, special=m.pick([numpy.nan, numpy.inf, -numpy.inf]))


FAMILIES = {"convolution": convolution_case, "pool": pool_case, "net": net_case, "bottleneck": bottleneck_case,
            "weights": weights_case, "branches": branches_case, "transposed": transposed_case, "gated": gated_case}


def sizes_of(m):
    """Sizes of the symbols: batches and spatial dims."""
    if not m.symbols:
        return [{}]
    spaces = [9, 11, 14, 16, 23, 40]
    made = [{s: int(m.random.integers(1, 4)) if s[0] == "n" else int(m.pick(spaces)) for s in m.symbols}
            for _ in range(2)]
    return [*made, {s: 0 if s[0] == "n" else 10 for s in m.symbols}]
