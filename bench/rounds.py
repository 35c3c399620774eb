# SPDX-License-Identifier: Apache-2.0
"""Comparing the speed of several programs in one process, fairly.

A machine gets faster and slower while one measures: other processes, clocks, temperature. So each program
runs for a short while in turn, many rounds of that, and what counts is the median over the rounds. The
ratio of two programs is the median of the ratios within the rounds, where both saw the same conditions.

    medians, ratios = compare({"a": a, "b": b})    # seconds a call, times as slow as the first
"""

import statistics
import time


def _seconds(call, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def compare(calls, rounds=15, slice_seconds=0.03):
    """calls: {name: function}; the first is the reference of the ratios."""
    repeats = {}
    for name, call in calls.items():
        call()
        repeats[name] = max(1, min(2000, int(slice_seconds / max(_seconds(call, 1), 1e-6))))
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(_seconds(call, repeats[name]))
    medians = {name: statistics.median(values) for name, values in times.items()}
    first = times[next(iter(calls))]
    ratios = {
        name: statistics.median(value / base for value, base in zip(values, first))
        for name, values in times.items()
    }
    return medians, ratios


def tamis_session(path, threads=1):
    import tamis

    options = tamis.SessionOptions()
    options.intra_op_num_threads = threads
    return tamis.InferenceSession(str(path), options)


def onnxruntime_session(path, threads=1, flush=False):
    """flush: treat subnormal numbers as zero, as tamis does by default."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    if flush:
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
