# SPDX-License-Identifier: Apache-2.0
"""Comparing the speed of engines on one model, fairly.

A machine gets faster and slower while one measures: other processes, clocks, temperature. So each engine
runs for a short while in turn, many rounds of that, and what counts is the median over the rounds. The ratio
of two engines is the median of the ratios within the rounds, where both saw the same conditions.

    with Rounds(inputs) as rounds:
        rounds.add(engines.TAMIS, "m.so", threads=1)
        rounds.add(engines.ONNX_RUNTIME, "m.onnx", threads=1)
        rounds.check()
        rounds.run(15)
        rounds.ratio((engines.TAMIS, 1), (engines.ONNX_RUNTIME, 1))

Two clocks are kept. The wall's is what a user waits. On a machine that other work keeps busy, the CPU time of
the process says more, for one thread: it leaves out the time in which the process did not run.
"""

import contextlib
import pathlib
import pickle
import statistics
import tempfile

import answers
import engines
from worker import EngineError, Worker


def take_turns(workers, count, clock="wall", slice_seconds=0.03):
    """{contestant: seconds of one call in each round}; every second round goes in reverse order."""
    repeats, times = {}, {contestant: [] for contestant in workers}
    for contestant, worker in workers.items():
        first = min(worker.ask("time", 1)[clock], worker.ask("time", 2)[clock])
        repeats[contestant] = max(1, min(2000, int(slice_seconds / max(first, 1e-7))))
    for turn in range(count):
        for contestant in list(workers) if turn % 2 == 0 else reversed(workers):
            times[contestant].append(workers[contestant].ask("time", repeats[contestant])[clock])
    return times


def ratio(times, one, other):
    """The median over the rounds of time of one / time of the other."""
    return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))


class Rounds:
    """Contestants are pairs (engine, threads). Those that fail, or answer otherwise than the reference, are
    in `failures` with the reason and have no times."""

    def __init__(self, inputs, clock="wall", slice_seconds=0.03):
        self.clock, self.slice_seconds = clock, slice_seconds
        self.stack = contextlib.ExitStack()
        folder = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="tamis-bench-"))
        self.folder = pathlib.Path(folder)
        (self.folder / "inputs.pickle").write_bytes(pickle.dumps(inputs))
        self.workers, self.failures = {}, {}
        self.opened, self.times, self.loads, self.distances = {}, {}, {}, {}

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.stack.close()

    def add(self, engine, path, threads=1):
        worker = Worker()
        self.stack.callback(worker.close)
        try:
            self.opened[engine, threads] = worker.open(engine, path, self.folder / "inputs.pickle", threads)
            self.workers[engine, threads] = worker
        except EngineError as error:
            self.failures[engine, threads] = str(error).splitlines()[0][:300]

    def watch(self, contestant, worker):
        """Something else that is timed in every round."""
        self.stack.callback(worker.close)
        self.workers[contestant] = worker

    def fail(self, contestant, why):
        self.failures[contestant] = why
        self.workers.pop(contestant, None)

    def answers(self, contestant):
        return self.workers[contestant].answers(self.folder / "answers.pickle")

    def check(self, reference=engines.ONNX_RUNTIME):
        """Takes out who answers otherwise than the reference does (by outputs that both give)."""
        source = next((key for key in self.workers if key[0] == reference), None)
        if source is None:
            raise EngineError(f"{reference.name} gives no answer to compare with: {self.failures}")
        want = self.answers(source)
        for contestant in list(self.workers):
            try:
                got = self.answers(contestant)
            except EngineError as error:
                self.fail(contestant, str(error).splitlines()[0][:300])
                continue
            names = [name for name in want if name in got]
            far = answers.distance([got[name] for name in names], [want[name] for name in names])
            self.distances[contestant] = far
            if not names or not far <= answers.CLOSE[contestant[0].precision]:
                self.fail(contestant, f"wrong answer (distance {far:.2g} from that of {reference.name})")

    def run(self, count):
        self.times = take_turns(self.workers, count, self.clock, self.slice_seconds)

    def load(self, count):
        """Sessions are made `count` times more, in turns."""
        self.loads = {key: [] for key in self.workers if key[0].library not in ("torch", "peak")}
        for _ in range(count):
            for contestant in self.loads:
                self.loads[contestant].append(self.workers[contestant].ask("load")["seconds"])

    def median(self, contestant):
        return statistics.median(self.times[contestant])

    def spread(self, contestant):
        """Half the distance between the quartiles, as a share of the median."""
        times = self.times[contestant]
        if len(times) < 2:
            return 0.0
        low, middle, high = statistics.quantiles(times, n=4)
        return (high - low) / 2 / middle

    def ratio(self, one, other, times=None):
        """The median over the rounds of time of one / time of the other."""
        return ratio(times or self.times, one, other)
