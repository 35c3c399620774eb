# SPDX-License-Identifier: Apache-2.0
"""What the tables of planted patterns share.

A pattern writes out a form that a pass recognises. Each of its details asks `p.twist()`: mostly no, so that the
form is whole; now and then yes, and the form differs by that detail, so that a pass that looks too little is found.
"""

import numpy

from elements import F32


class Pattern:
    def __init__(self, g, name):
        self.g = g
        self.rate = g.pick([0.0, 0.05, 0.12])
        g.count("pattern " + name)

    def twist(self):
        """Shall this detail be wrong?"""
        return self.g.chance(self.rate)

    def inner(self, value):
        """A value inside of the form: now and then it has another use, or is an output."""
        if self.twist():
            self.g.root.forced.append(value)
        elif self.twist():
            self.g.node("Neg", [value])
        return value

    def number(self, value):
        """A constant of one element, in one of the ways exporters write it."""
        if self.twist():
            value = value * self.g.pick([1.5, -1.0, 0.9])
        shape = self.g.pick([[], [], [1], [1, 1]])
        array = numpy.full(shape, value, numpy.float32)
        return self.g.input(array) if self.twist() else self.g.constant(array)

    def both(self, op, a, b):
        """A commutative node, its operands in either order."""
        return self.inner(self.g.node(op, [a, b] if self.g.chance(0.6) else [b, a]))

    def node(self, op, inputs, **attributes):
        return self.inner(self.g.node(op, inputs, **attributes))

    def weights(self, shape, low=-2.0, high=2.0):
        shape = self.g.broadcast(shape) if self.twist() else shape
        constant = not self.g.chance(0.15)
        return self.g.fresh(F32, shape, low, high, special=0.0, constant=constant)

    def reduce(self, op, x, axes):
        """A reduction that keeps dims, in the form of the graph's opset."""
        g = self.g
        if self.twist():
            axes = g.axes(x)
        keep = 1 if g.chance(0.7) else None
        if g.opset < (13 if op == "ReduceSum" else 18):
            return self.inner(g.node(op, [x], axes=axes, keepdims=keep))
        return self.inner(g.node(op, [x, g.constant(numpy.array(axes, numpy.int64))], keepdims=keep))

    def transpose(self, x, perm):
        if self.twist():
            perm = [int(p) for p in self.g.random.permutation(len(perm))]
        return self.inner(self.g.node("Transpose", [x], perm=perm))

    def reshape(self, x, shape):
        return self.inner(self.g.node("Reshape", [x, self.g.ints(shape)]))
