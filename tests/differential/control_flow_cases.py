# SPDX-License-Identifier: Apache-2.0
"""The cases of test_control_flow.py: a graph in ONNX's text form and lists of inputs, for which zero iterations, both
branches and several sizes are chosen by hand. `float` is a scalar there, `float[]` a tensor of any rank.
"""

import ml_dtypes
import numpy as np

f32 = np.float32


def floats(*dims):
    """Whole and half numbers, so that sums are exact in any order."""
    count = int(np.prod(dims, dtype=int))
    return ((np.arange(count) * 7 % 11 - 5) / 2).astype(f32).reshape(dims)


def i64(*values):
    return np.array(values[0] if len(values) == 1 else values, np.int64)


def flag(value):
    return np.array(value, bool)


CASES = {}


def case(name, text, *feeds, expected=None):
    """`expected` maps a list of inputs to the list of outputs, where ONNX Runtime is not asked."""
    CASES[name] = (text, feeds, expected)


# ---- Loop: how it ends ----

case("trip_count_only", """
    g (int64 n, float[k] x) => (float[k] y, float[m, k] all) {
      y, all = Loop (n, , x) <body = b (int64 i, bool c, float[k] s) => (bool d, float[k] t, float[k] o) {
        d = Identity (c)
        f = Cast <to = 1> (i)
        t = Add (s, f)
        o = Mul (s, f)
      }>
    }""", *[[i64(n), floats(k)] for n, k in ((0, 3), (1, 3), (4, 2), (3, 0))])

def only_equal(c, x, y):
    return [x + y if c else x]


# What a body asks of dims, and the memory that its values would take, matter only when it runs.
case("dims_of_a_branch_that_is_not_taken", """
    g (bool c, float[a] x, float[b] y) => (float[r] z) {
      z = If (c) <then_branch = t () => (float[p] u) { u = Add (x, y) }, else_branch = e () => (float[q] v) { v = Identity (x) }>
    }""", [flag(True), floats(3), floats(3)], [flag(False), floats(3), floats(4)], [flag(False), floats(2), floats(0)],
     expected=only_equal)

case("dims_of_a_loop_that_never_runs", """
    g (int64 n, float[a] x, float[b] y) => (float[a] z) {
      z = Loop (n, , x) <body = b (int64 i, bool c, float[a] s) => (bool d, float[a] t) {
        d = Identity (c)
        sum = Add (y, x)
        twice = Mul (sum, sum)
        total = ReduceSum <keepdims = 0> (twice)
        t = Add (s, total)
      }>
    }""", [i64(2), floats(3), floats(3)], [i64(0), floats(3), floats(4)], expected=lambda n, x, y: [
        x + f32(n * ((x + y) ** 2).sum()) if n else x])

case("condition_only", """
    g (float x) => (float y, float[m] all) {
      yes = Constant <value = bool {1}> ()
      y, all = Loop (, yes, x) <body = b (int64 i, bool c, float s) => (bool d, float t, float o) {
        two = Constant <value = float {2}> ()
        limit = Constant <value = float {100}> ()
        t = Mul (s, two)
        d = Less (t, limit)
        o = Identity (s)
      }>
    }""", [f32(1)], [f32(99)], [f32(1000)])

case("neither_from_the_start", """
    g (int64 n, bool go, float[k] x) => (float[k] y, float[m, k] all) {
      y, all = Loop (n, go, x) <body = b (int64 i, bool c, float[k] s) => (bool d, float[k] t, float[k] o) {
        three = Constant <value = int64 {3}> ()
        d = Less (i, three)
        t = Neg (s)
        o = Abs (s)
      }>
    }""", *[[i64(n), flag(go), floats(2)] for n in (-1, 0, 2, 9) for go in (0, 1)])

case("trip_count_from_data", """
    g (float[k] x) => (int64 steps, float[m] seen) {
      zero = Constant <value = float {0}> ()
      start = Constant <value = int64 {0}> ()
      p = Greater (x, zero)
      q = Cast <to = 7> (p)
      n = ReduceSum <keepdims = 0> (q)
      steps, seen = Loop (n, , start) <body = b (int64 i, bool c, int64 s) => (bool d, int64 t, float o) {
        d = Identity (c)
        o = Gather (x, i)
        t = Add (s, i)
      }>
    }""", [floats(7)], [-np.abs(floats(4))])

# ---- Loop: state ----

case("state_changes_shape", """
    g (int64 n, float[k] x) => (float[m] y) {
      y = Loop (n, , x) <body = b (int64 i, bool c, float[q] s) => (bool d, float[r] t) {
        d = Identity (c)
        head = Constant <value = int64[1] {0}> ()
        one = Constant <value = int64[1] {1}> ()
        first = Slice (s, head, one)
        t = Concat <axis = 0> (s, first, x)
      }>
    }""", *[[i64(n), floats(3)] for n in (0, 1, 3)])

case("state_shrinks_to_nothing", """
    g (float[k, 2] x) => (float[m, 2] rest, float[n, 2] firsts) {
      size = Shape <start = 0, end = 1> (x)
      n0 = Squeeze (size)
      rest, firsts = Loop (n0, , x) <body = b (int64 i, bool c, float[q, 2] s) => (bool d, float[r, 2] t, float[2] o) {
        d = Identity (c)
        zero = Constant <value = int64 {0}> ()
        one = Constant <value = int64[1] {1}> ()
        many = Constant <value = int64[1] {1000}> ()
        o = Gather <axis = 0> (s, zero)
        t = Slice (s, one, many)
      }>
    }""", [floats(0, 2)], [floats(1, 2)], [floats(5, 2)])

case("states_swap", """
    g (int64 n, float[k] x, float[l] z) => (float[p] a, float[q] b, float[m, r] last) {
      one = Constant <value = float[1] {1}> ()
      a, b, last = Loop (n, , x, z) <body = w (int64 i, bool c, float[s] u, float[t] v)
          => (bool d, float[t] v2, float[s] u2, float[1] o) {
        d = Identity (c)
        v2 = Identity (v)
        u2 = Identity (u)
        o = Identity (one)
      }>
    }""", *[[i64(n), floats(2), floats(5)] for n in (0, 1, 2, 3)])

case("body_hands_on_what_it_got", """
    g (int64 n, float[k] x) => (float[k] y, int64[m] turns, float[m, k] same, bool[m] conditions) {
      y, turns, same, conditions = Loop (n, , x) <body = b (int64 i, bool c, float[k] s)
          => (bool c, float[k] x, int64 i, float[k] s, bool c) {
      }>
    }""", expected=lambda n, x: [x, np.arange(max(n, 0)), np.tile(x, (max(int(n), 0), 1)), np.ones(max(int(n), 0), bool)],
     *[[i64(n), floats(2)] for n in (0, 1, 3)])

case("counts_of_all_types", """
    g (int64 n, int32 a, bool b, double c, string s) => (int32 a1, bool b1, double c1, string s1, string[m] words) {
      a1, b1, c1, s1, words = Loop (n, , a, b, c, s) <body = w (int64 i, bool k, int32 p, bool q, double r, string t)
          => (bool go, int32 p1, bool q1, double r1, string t1, string o) {
        go = Identity (k)
        p1 = Add (p, p)
        q1 = Not (q)
        r1 = Mul (r, r)
        t1 = Identity (t)
        o = Cast <to = 8> (i)
      }>
    }""", *[[i64(n), np.int32(3), flag(1), np.float64(1.5), np.array("ab", object)] for n in (0, 1, 4)])

case("collatz", """
    g (int64 x) => (int64 y, int64[m] path) {
      one = Constant <value = int64 {1}> ()
      two = Constant <value = int64 {2}> ()
      three = Constant <value = int64 {3}> ()
      zero = Constant <value = int64 {0}> ()
      more = Greater (x, one)
      y, path = Loop (, more, x) <body = b (int64 i, bool c, int64 s) => (bool d, int64 t, int64 s) {
        rest = Mod (s, two)
        even = Equal (rest, zero)
        t = If (even) <then_branch = h () => (int64 half) { half = Div (s, two) },
                       else_branch = u () => (int64 up) { m3 = Mul (s, three)  up = Add (m3, one) }>
        d = Greater (t, one)
      }>
    }""", [i64(1)], [i64(6)], [i64(27)])

# ---- nesting and capturing ----

case("nested_loops_capture", """
    g (int64 n, int64 m, float[k] x, float w) => (float[k] y, float[a, b, k] all) {
      y, all = Loop (n, , x) <body = outer (int64 i, bool c, float[k] s) => (bool d, float[k] t, float[b, k] rows) {
        d = Identity (c)
        fi = Cast <to = 1> (i)
        t, rows = Loop (m, , s) <body = inner (int64 j, bool e, float[k] u) => (bool f, float[k] v, float[k] o) {
          f = Identity (e)
          fj = Cast <to = 1> (j)
          p = Mul (fi, w)
          q = Add (p, fj)
          v = Add (u, q)
          o = Add (v, x)
        }>
      }>
    }""", *[[i64(n), i64(m), floats(2), f32(0.5)] for n in (1, 3) for m in (0, 1, 2)])

case("if_in_loop_changes_shape", """
    g (int64 n, float[k] x) => (float[m] y, int64[l] sizes) {
      y, sizes = Loop (n, , x) <body = b (int64 i, bool c, float[p] s) => (bool d, float[q] t, int64 size) {
        d = Identity (c)
        two = Constant <value = int64 {2}> ()
        zero = Constant <value = int64 {0}> ()
        rest = Mod (i, two)
        even = Equal (rest, zero)
        t = If (even) <then_branch = grow () => (float[r] g1) { g1 = Concat <axis = 0> (s, x) },
                       else_branch = cut () => (float[v] c1) {
                         one = Constant <value = int64[1] {1}> ()
                         many = Constant <value = int64[1] {99}> ()
                         c1 = Slice (s, one, many)
                       }>
        size = Size (t)
      }>
    }""", *[[i64(n), floats(2)] for n in (0, 1, 2, 5)])

case("loop_in_if", """
    g (bool c, int64 n, float[k] x) => (float[k] y, float[m, k] all) {
      y, all = If (c) <then_branch = t () => (float[k] y1, float[a, k] all1) {
          y1, all1 = Loop (n, , x) <body = b (int64 i, bool go, float[k] s) => (bool d, float[k] u, float[k] o) {
            d = Identity (go)
            u = Add (s, x)
            o = Neg (u)
          }>
        }, else_branch = e () => (float[k] y2, float[b, k] all2) {
          y2 = Abs (x)
          axes = Constant <value = int64[1] {0}> ()
          all2 = Unsqueeze (x, axes)
        }>
    }""", *[[flag(c), i64(n), floats(3)] for c in (0, 1) for n in (0, 2)])

case("ifs_in_ifs", """
    g (bool a, bool b, float[k] x) => (float[m] y, float z) {
      one = Constant <value = float {1}> ()
      y, z = If (a) <then_branch = t () => (float[p] y1, float z1) {
          u = Add (x, one)
          y1, z1 = If (b) <then_branch = tt () => (float[q] y2, float one) { y2 = Concat <axis = 0> (u, x) },
                           else_branch = te () => (float[k] u, float s) { s = ReduceSum <keepdims = 0> (u) }>
        }, else_branch = e () => (float[r] y3, float z3) {
          y3 = If (b) <then_branch = et () => (float[k] n) { n = Neg (x) }, else_branch = ee () => (float[k] x) { }>
          z3 = ReduceMax <keepdims = 0> (y3)
        }>
    }""", expected=lambda a, b, x: (
        [np.concatenate([x + 1, x]), f32(1)] if a and b else [x + 1, (x + 1).sum()] if a else
        [-x, (-x).max()] if b else [x, x.max()]),
     *[[flag(a), flag(b), floats(3)] for a in (0, 1) for b in (0, 1)])

case("loop_of_loops_of_unknown_length", """
    g (int64[k] counts) => (int64 total, int64[m] sums) {
      zero = Constant <value = int64 {0}> ()
      n = Size (counts)
      total, sums = Loop (n, , zero) <body = b (int64 i, bool c, int64 s) => (bool d, int64 t, int64 u) {
        d = Identity (c)
        m = Gather (counts, i)
        _last, list = Loop (m, , zero) <body = w (int64 j, bool e, int64 p) => (bool f, int64 q, int64 o) {
          f = Identity (e)
          q = Add (p, i)
          o = Mul (j, j)
        }>
        u = ReduceSum <keepdims = 0> (list)
        t = Add (s, u)
      }>
    }""", [i64([])], [i64([3])], [i64([0, 2, 5])])

case("data_dependent_dims_inside", """
    g (int64 n, float[k] x) => (float[m] y) {
      y = Loop (n, , x) <body = b (int64 i, bool c, float[p] s) => (bool d, float[q] t) {
        d = Identity (c)
        zero = Constant <value = float {0}> ()
        half = Constant <value = float {0.5}> ()
        keep = Greater (s, zero)
        kept = Compress <axis = 0> (s, keep)
        t = Sub (kept, half)
      }>
    }""", *[[i64(n), floats(9)] for n in (0, 1, 2, 8)])

case("outputs_left_out", """
    g (int64 n, float[k] x) => (float[m, k] all) {
      , , all = Loop (n, , x, x) <body = b (int64 i, bool c, float[k] s, float[k] z)
          => (bool d, float[k] t, float[k] z, float[k] t) {
        d = Identity (c)
        t = Add (s, z)
      }>
    }""", *[[i64(n), floats(2)] for n in (1, 4)], expected=lambda n, x: [
        np.stack([x * (i + 2) for i in range(n)])])

# ---- branches of different ranks ----

case("ranks_that_a_broadcast_hides", """
    g (bool c, float[k] x, float[1] one) => (float[k] y, float[m, k] z) {
      zero = Constant <value = float {0.5}> ()
      s = If (c) <then_branch = t () => (float a) { a = Identity (zero) }, else_branch = e () => (float[1] b) { b = Neg (one) }>
      u = Neg (s)
      v = Identity (u)
      y = Mul (x, v)
      axes = Constant <value = int64[1] {0}> ()
      wide = Unsqueeze (x, axes)
      z = Where (c, wide, s)
    }""", *[[flag(c), floats(k), floats(1)] for c in (0, 1) for k in (0, 1, 3)])

case("ranks_that_a_computed_condition_decides", """
    g (float[k] x) => (float[m, n] y) {
      list = Constant <value = float[3] {1, 2, 3}> ()
      limit = Constant <value = float {2.5}> ()
      most = ReduceMax <keepdims = 0> (list)
      high = Greater (most, limit)
      y = If (high) <then_branch = t () => (a) { axes = Constant <value = int64[1] {1}> ()  a = Unsqueeze (x, axes) },
                     else_branch = e () => (b) { b = Neg (x) }>
    }""", [floats(3)])

# ---- Scan ----

case("scan_states_and_outer_values", """
    g (float[k] s0, float[n, k] x, float w) => (float[k] s1, float[n, k] y, float[n] z) {
      s1, y, z = Scan <num_scan_inputs = 1, body = b (float[k] s, float[k] r) => (float[k] t, float[k] o, float p) {
        q = Mul (r, w)
        t = Add (s, q)
        o = Identity (t)
        p = ReduceSum <keepdims = 0> (r)
      }> (s0, x)
    }""", *[[floats(2), floats(n, 2), f32(2)] for n in (1, 4)])

case("scan_axes_and_directions", """
    g (float[a, n, b] x, float[n, c] z) => (float[a, b, n] y, float[c, n] w) {
      y, w = Scan <num_scan_inputs = 2, scan_input_axes = [1, 0], scan_input_directions = [0, 1],
                   scan_output_axes = [2, -1], scan_output_directions = [1, 0],
                   body = s (float[a, b] p, float[c] q) => (float[a, b] o, float[c] r) {
        o = Neg (p)
        r = Abs (q)
      }> (x, z)
    }""", [floats(2, 3, 4), floats(3, 5)], [floats(1, 1, 1), floats(1, 2)])

case("scans_in_scans", """
    g (float[n, m] x) => (float total, float[n, m] sums) {
      zero = Constant <value = float {0}> ()
      total, sums = Scan <num_scan_inputs = 1, body = rows (float s, float[m] row) => (float t, float[m] o) {
        t, o = Scan <num_scan_inputs = 1, body = cells (float u, float e) => (float v, float p) {
          v = Add (u, e)
          p = Add (v, s)
        }> (s, row)
      }> (zero, x)
    }""", [floats(1, 1)], [floats(3, 4)])

case("scan_in_loop_over_its_state", """
    g (int64 n, float[k, 2] x) => (float[m, 2] y, float[l, 2] sums) {
      y, sums = Loop (n, , x) <body = b (int64 i, bool c, float[p, 2] s) => (bool d, float[q, 2] t, float[2] total) {
        d = Identity (c)
        zero = Constant <value = float[2] {0, 0}> ()
        total = Scan <num_scan_inputs = 1, body = add (float[2] a, float[2] r) => (float[2] e) { e = Add (a, r) }> (zero, s)
        t = Concat <axis = 0> (s, x)
      }>
    }""", *[[i64(n), floats(2, 2)] for n in (0, 1, 3)])

def nibbles(*dims):
    return (np.arange(int(np.prod(dims, dtype=int))) % 16 - 8).astype(ml_dtypes.int4).reshape(dims)


case("rows_of_half_bytes", """
    g (int4[n, 3] x) => (int4[n, 3] y, int4[3, n] z, int4[m, 3] w, int4[m] first) {
      y, z = Scan <num_scan_inputs = 1, scan_output_axes = [0, 1], body = b (int4[3] r) => (int4[3] o, int4[3] p) {
        o = Identity (r)
        p = Identity (r)
      }> (x)
      size = Shape <start = 0, end = 1> (x)
      count = Squeeze (size)
      same, w, first = Loop (count, , size) <body = l (int64 i, bool c, int64[1] s) => (bool c, int64[1] s, int4[3] o2, int4 o3) {
        o2 = Gather (x, i)
        zero = Constant <value = int64 {1}> ()
        o3 = Gather (o2, zero)
      }>
    }""", [nibbles(5, 3)], [nibbles(2, 3)], expected=lambda x: [x, x.T, x, x[:, 1]])

# ---- sequences ----

case("loop_collects_a_sequence", """
    g (int64 n, float[k] x) => (seq(float[q]) all, float[m] joined, int64 count) {
      none = SequenceEmpty ()
      some = SequenceInsert (none, x)
      all = Loop (n, , some) <body = b (int64 i, bool c, seq(float[p]) s) => (bool d, seq(float[p]) t) {
        d = Identity (c)
        last = Constant <value = int64 {-1}> ()
        item = SequenceAt (s, last)
        long = Concat <axis = 0> (item, x)
        t = SequenceInsert (s, long)
      }>
      joined = ConcatFromSequence <axis = 0> (all)
      count = SequenceLength (all)
    }""", *[[i64(n), floats(2)] for n in (0, 1, 3)])

case("if_gives_sequences", """
    g (bool c, float[k, 2] x) => (seq(float[m, 2]) s, float[n, 2] y) {
      s = If (c) <then_branch = t () => (seq(float[1, 2]) parts) { parts = SplitToSequence <axis = 0> (x) },
                  else_branch = e () => (seq(float[k, 2]) both) { z = Neg (x)  both = SequenceConstruct (x, z) }>
      zero = Constant <value = int64 {0}> ()
      y = SequenceAt (s, zero)
    }""", *[[flag(c), floats(k, 2)] for c in (0, 1) for k in (1, 3)])

case("sequence_as_input", """
    g (seq(float[k, 2]) s, int64 at) => (seq(float[m, 2]) t, float[n, 2] y, int64 size) {
      y = SequenceAt (s, at)
      z = Neg (y)
      t = SequenceInsert (s, z, at)
      size = SequenceLength (t)
    }""", [[floats(1, 2), floats(3, 2)], i64(-1)], [[floats(2, 2)], i64(0)])

case("captured_sequence", """
    g (seq(float[k]) s) => (float[m] y, float[n] lengths) {
      n0 = SequenceLength (s)
      empty = Constant <value = float[0] {}> ()
      y, lengths = Loop (n0, , empty) <body = b (int64 i, bool c, float[p] a) => (bool d, float[q] t, float l) {
        d = Identity (c)
        item = SequenceAt (s, i)
        t = Concat <axis = 0> (a, item)
        size = Size (item)
        l = Cast <to = 1> (size)
      }>
    }""", [[floats(1), floats(3), floats(2)]], [[floats(4)]])

case("sequences_swap_and_mix", """
    g (int64 n, seq(string[k]) s, seq(string[l]) t) => (seq(string[a]) u, seq(string[b]) v) {
      u, v = Loop (n, , s, t) <body = b (int64 i, bool c, seq(string[p]) x, seq(string[q]) y)
          => (bool c, seq(string[r]) y, seq(string[w]) z) {
        zero = Constant <value = int64 {0}> ()
        first = SequenceAt (y, zero)
        z = SequenceInsert (x, first, zero)
      }>
    }""", *[[i64(n), [np.array(["a", "bc"], object)], [np.array([""], object), np.array(["d"], object)]] for n in (0, 1, 2, 3)])

case("sequence_map_captures", """
    g (seq(float[k]) s, float w, seq(float[1]) z) => (seq(float[m]) t, seq(int64) sizes) {
      t, sizes = SequenceMap (s, z) <body = b (float[p] x, float[1] y) => (float[p] u, int64 size) {
        a = Mul (x, w)
        u = Add (a, y)
        size = Size (u)
      }>
    }""", [[floats(2), floats(0), floats(3)], f32(2), [floats(1)] * 3], [[], f32(2), []],
     expected=lambda s, w, z: [[x * w + y for x, y in zip(s, z)], [np.array(x.size) for x in s]])

case("function_with_control_flow", """
    g (int64 n, float[k] x) => (float[m] y, optional(float[k]) o, bool has) {
      y = local.repeat <times = 2> (n, x)
      o, has = local.wrap (x)
    }
    <domain: "local", opset_import: ["" : 21]> repeat <times> (n, x) => (y) {
      two = Constant <value_int: int = @times> ()
      m = Mul (n, two)
      y = Loop (m, , x) <body = b (int64 i, bool c, float[p] s) => (bool c, float[q] t) { t = Concat <axis = 0> (s, x) }>
    }
    <domain: "local", opset_import: ["" : 21]> wrap (x) => (o, has) {
      o = Optional (x)
      has = OptionalHasElement (o)
    }""", *[[i64(n), floats(2)] for n in (0, 1, 2)], expected=lambda n, x: [np.tile(x, 1 + 2 * int(n)), x, flag(1)])

case("sequences_of_mixed_ranks", """
    g (bool c, int64 n, float[k] x) => (seq(float[]) s, int64 size) {
      half = Constant <value = float {0.5}> ()
      a = If (c) <then_branch = t () => (seq(float[]) u) { u = SequenceConstruct (x) },
                  else_branch = e () => (seq(float[]) v) { v = SequenceConstruct (half) }>
      b = SequenceConstruct (half)
      s = Loop (n, , b) <body = l (int64 i, bool d, seq(float[]) p) => (bool d, seq(float[]) q) { q = SequenceConstruct (x, x) }>
      both = SequenceLength (a)
      size = Mul (both, n)
    }""", *[[flag(c), i64(n), floats(2)] for c in (0, 1) for n in (0, 2)])

# ---- optionals: the oracle is what the case says ----

case("loop_carries_an_optional_sequence_at_first", """
    g (int64 n, optional(seq(float[k])) o) => (seq(float[m]) s) {
      s = Loop (n, , o) <body = b (int64 i, bool c, optional(seq(float[p])) q) => (bool c, seq(float[r]) t) {
        has = OptionalHasElement (q)
        u = If (has) <then_branch = h () => (seq(float[a]) e) { e = OptionalGetElement (q) },
                      else_branch = z () => (seq(float[b]) none) { none = SequenceEmpty () }>
        x = Constant <value = float[2] {1, 2}> ()
        t = SequenceInsert (u, x)
      }>
    }""", [i64(2), None], [i64(1), [floats(3)]], [i64(0), [floats(3)]], [i64(3), []],
     expected=lambda n, o: [(o or []) + [np.array([1, 2], f32)] * int(n)])

case("optional_sequences_from_nested_ifs", """
    g (bool a, bool b, seq(float[k]) s) => (optional(seq(float[m])) o, int64 size) {
      o = If (a) <then_branch = t () => (optional(seq(float[p])) u) {
          u = If (b) <then_branch = tt () => (optional(seq(float[k])) v) { v = Optional (s) },
                      else_branch = te () => (optional(seq(float[q])) w) { none = SequenceEmpty ()  w = Optional (none) }>
        }, else_branch = e () => (optional(seq(float[r])) z) { z = Optional <type = seq(float[l])> () }>
      has = OptionalHasElement (o)
      zero = Constant <value = int64 {-1}> ()
      size = If (has) <then_branch = x () => (int64 n) { g1 = OptionalGetElement (o)  n = SequenceLength (g1) },
                       else_branch = y () => (int64 zero) { }>
    }""", *[[flag(a), flag(b), [floats(2), floats(1)]] for a in (0, 1) for b in (0, 1)],
     expected=lambda a, b, s: [(s if b else []) if a else None, i64((2 if b else 0) if a else -1)])

case("optional_whose_type_has_no_shape", """
    g (int64 n, float[k] x) => (float[m] y) {
      none = Optional <type = float[]> ()
      o = Loop (n, , none) <body = b (int64 i, bool c, optional(float[q]) s) => (bool c, optional(float[p]) t) {
        has = OptionalHasElement (s)
        y1 = If (has) <then_branch = h () => (float[a] e) { e = OptionalGetElement (s) },
                       else_branch = u () => (float[k] x) { }>
        z = Concat <axis = 0> (y1, x)
        t = Optional (z)
      }>
      y = OptionalGetElement (o)
    }""", *[[i64(n), floats(2)] for n in (1, 3)], expected=lambda n, x: [np.tile(x, 1 + int(n))])

case("if_gives_optionals", """
    g (bool c, float[k] x) => (optional(float[k]) o, bool has) {
      o = If (c) <then_branch = t () => (optional(float[k]) some) { some = Optional (x) },
                  else_branch = e () => (optional(float[k]) none) { none = Optional <type = float[k]> () }>
      has = OptionalHasElement (o)
    }""", *[[flag(c), floats(3)] for c in (0, 1)], expected=lambda c, x: [x if c else None, flag(c)])

case("loop_carries_an_optional", """
    g (int64 n, float[k] x) => (optional(float[k]) o, bool[m] had) {
      none = Optional <type = float[k]> ()
      o, had = Loop (n, , none) <body = b (int64 i, bool c, optional(float[k]) s)
          => (bool d, optional(float[k]) t, bool has) {
        d = Identity (c)
        has = OptionalHasElement (s)
        y = If (has) <then_branch = h () => (float[k] twice) { e = OptionalGetElement (s)  twice = Add (e, e) },
                      else_branch = u () => (float[k] x) { }>
        t = Optional (y)
      }>
    }""", *[[i64(n), floats(2)] for n in (0, 1, 4)],
     expected=lambda n, x: [x * f32(2 ** (n - 1)) if n else None, np.arange(n) > 0])

case("optional_input_of_each_kind", """
    g (optional(float[k]) a, optional(seq(float[m])) b) => (bool has_a, bool has_b, float[n] y, seq(float[l]) s) {
      has_a = OptionalHasElement (a)
      has_b = OptionalHasElement (b)
      zero = Constant <value = float[1] {0}> ()
      y = If (has_a) <then_branch = t () => (float[p] e) { e = OptionalGetElement (a) },
                      else_branch = u () => (float[1] zero) { }>
      s = If (has_b) <then_branch = v () => (seq(float[q]) f) { f = OptionalGetElement (b) },
                      else_branch = w () => (seq(float[1]) one) { one = SequenceConstruct (zero) }>
    }""", [floats(3), [floats(2), floats(1)]], [None, None], [None, []], [floats(0), None],
     expected=lambda a, b: [flag(a is not None), flag(b is not None), np.zeros(1, f32) if a is None else a,
                            [np.zeros(1, f32)] if b is None else b])

case("element_of_what_is_no_optional", """
    g (float[k] x, seq(float[m]) s) => (float[k] y, bool has, seq(float[m]) t, bool hasnt, float[n] z) {
      y = OptionalGetElement (x)
      has = OptionalHasElement (x)
      t = OptionalGetElement (s)
      hasnt = OptionalHasElement ()
      o = Optional (s)
      e = OptionalGetElement (o)
      zero = Constant <value = int64 {0}> ()
      z = SequenceAt (e, zero)
    }""", [floats(2), [floats(3)]], expected=lambda x, s: [x, flag(1), s, flag(0), s[0]])
