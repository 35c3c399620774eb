# SPDX-License-Identifier: Apache-2.0
"""Measuring one case: compile, open every engine, compare the answers, take turns, put down what was found.

The result is a dict that goes into the JSON file as it is:

    {"case": "bert-base/128", "what": ...,
     "compiled": {"tamis": {"seconds", "cpu_seconds", "memory", "bytes"}},
     "rows": [{"engine", "precision", "threads", "seconds", "spread", "ratio", "distance", "load_seconds",
               "memory"} or {"engine", "precision", "threads", "why"}],
     "against_best": [{"engine", "threads", "best", "ratio", "load_ratio"}],
     "scaling": {"tamis": 1.9}}

`ratio` is time of tamis (of the same precision and threads) / time of the engine, from the rounds: below 1
tamis is faster. The best peer is the one against which tamis looks worst.
"""

import engines
from compiling import compile_model
from peaks import Peak
from rounds import Rounds
from worker import EngineError

OURS = {"f32": engines.TAMIS, "bf16": engines.TAMIS_BF16}
OPTIONS = {engines.TAMIS: [], engines.TAMIS_BF16: ["--precision=bf16"]}
LOADS = 5


def compile_all(model, chosen, scratch, result):
    """{engine: artifact}; a model that does not compile has its reason in the rows."""
    artifacts = {}
    for engine in chosen:
        if engine not in OPTIONS:
            continue
        artifact = scratch / f"{model.stem}-{engine.precision}.so"
        try:
            tries = [compile_model(model, artifact, *OPTIONS[engine]) for _ in range(3)]
        except EngineError as error:
            result["failures"][engine.name] = str(error)
            continue
        best = min(tries, key=lambda compiled: compiled.cpu_seconds)
        result["compiled"][engine.name] = best._asdict() | {"path": str(artifact)}
        artifacts[engine] = artifact
    return artifacts


def row_of(rounds, contestant):
    engine, threads = contestant
    row = {"engine": engine.name, "precision": engine.precision, "threads": threads}
    if contestant in rounds.failures:
        return row | {"why": rounds.failures[contestant]}
    row |= {
        "seconds": rounds.median(contestant),
        "spread": rounds.spread(contestant),
        "distance": rounds.distances[contestant],
        "memory": rounds.opened[contestant]["memory"],
    }
    if contestant in rounds.loads:
        loads = sorted(rounds.loads[contestant])
        row["load_seconds"] = loads[len(loads) // 2]
    ours = (OURS[engine.precision], threads)
    if ours in rounds.times:
        row["ratio"] = rounds.ratio(ours, contestant)
    return row


def against_best(rounds, threads):
    """For each precision of tamis: the peer against which it looks worst, at run time and at load. Peers of
    bfloat16 are those of float32 too: on a CPU without a unit for it, theirs is slower."""
    for precision, ours in OURS.items():
        if (ours, threads) not in rounds.times:
            continue
        peers = [
            key
            for key in rounds.workers
            if key[1] == threads
            and key[0].precision in ("f32", precision)
            and key[0].library not in ("tamis", "peak")
        ]
        if not peers:
            continue
        best = max(peers, key=lambda peer: rounds.ratio((ours, threads), peer))
        found = {"engine": ours.name, "threads": threads, "best": best[0].name}
        found["ratio"] = rounds.ratio((ours, threads), best)
        loads = [peer for peer in peers if peer in rounds.loads]
        if loads:
            found["load_ratio"] = max(rounds.ratio((ours, threads), peer, rounds.loads) for peer in loads)
        yield found


def measure(case, chosen, threads, count, clock, scratch, limits):
    """chosen: the engines; threads: numbers of threads; limits: the program of the peaks, and its names."""
    model, inputs = case.prepare()
    result = {"case": case.name, "what": case.what, "compiled": {}, "failures": {}, "rows": []}
    artifacts = compile_all(model, chosen, scratch, result)
    with Rounds(inputs, clock) as rounds:
        for engine in chosen:
            if engine.library == "tamis" and engine not in artifacts:
                continue
            for number in threads:
                rounds.add(engine, artifacts.get(engine, model), number)
        rounds.check()
        peaks = {}
        program, known = limits
        for precision in {engine.precision for engine in chosen if case.flops} & set(known):
            peaks[precision] = (engines.Engine(f"peak {precision}", "peak", precision), 1)
            rounds.watch(peaks[precision], Peak(program, precision, clock))
        rounds.run(count)
        rounds.load(LOADS)
        contestants = [key for key in rounds.workers if key[0].library != "peak"]
        result["rows"] = [row_of(rounds, key) for key in [*contestants, *rounds.failures]]
        result["against_best"] = [found for number in threads for found in against_best(rounds, number)]
        result["scaling"] = {
            engine.name: rounds.ratio((engine, threads[0]), (engine, threads[-1]))
            for engine in chosen
            if len(threads) > 1 and all((engine, n) in rounds.times for n in (threads[0], threads[-1]))
        }
        for row, (engine, number) in zip(result["rows"], contestants, strict=False):
            if case.flops and number == 1 and engine.precision in peaks:
                peak = rounds.ratio(peaks[engine.precision], (engine, number))
                row["share_of_peak"] = case.flops * peak
                row["flops_per_second"] = case.flops / row["seconds"]
    return result
