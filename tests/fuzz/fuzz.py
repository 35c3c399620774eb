# SPDX-License-Identifier: Apache-2.0
"""Random graphs through the evaluator, -O0, -O3 and the oracle.

    ./dev fuzz                            10,000 seeds
    ./dev fuzz --start 500 --seeds 100    others
    ./dev fuzz --seed 1234                one; prints its model and the answers' differences
    ./dev fuzz --only Conv --seeds 200    graphs around one entry or family (ops_nn, patterns_norm)

A failing seed is made smaller, its first guilty rewrite is named, and its folder is kept below build/fuzz/.
"""

import argparse
import collections
import concurrent.futures
import multiprocessing
import os
import pathlib
import pickle
import shutil
import sys
import tempfile
import time
import traceback

import onnx

import case as cases
import tables
from graph import Refused

FEWEST = 50  # of every operator in a full run
FULL = 10000
BATCH = 50
BROKEN = "the generator failed: "


def arguments(argv):
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=FULL, help="how many (%(default)s)")
    parser.add_argument("--start", type=int, default=0, help="the first (%(default)s)")
    parser.add_argument("--seed", type=int, help="only this one, in detail")
    parser.add_argument("--only", help="graphs around one entry or family of the tables")
    parser.add_argument("--without", default="", help="entries or families to leave out, with commas between")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (%(default)s)")
    parser.add_argument("--most", type=int, default=40, help="groups of failures of which one is made smaller (%(default)s)")
    parser.add_argument("--keep", default=os.path.join(os.environ.get("TAMIS_BUILD", "build"), "fuzz"),
                        help="folder for failing cases (%(default)s)")
    parser.add_argument("--histogram", action="store_true", help="print how often each operator occurred")
    return parser.parse_args(argv)


def generate(seeds, only, path):
    """Cases of the seeds, pickled one after the other: a process of its own, since the oracle may crash."""
    with open(path, "ab") as file:
        for seed in seeds:
            try:
                made = cases.make_case(seed, only)
            except Refused as error:
                made = (seed, str(error))
            except Exception:  # an error of an entry fails the run, but not the other seeds
                made = (seed, BROKEN + traceback.format_exc(limit=-2))
            pickle.dump(made, file)
            file.flush()


def generate_guarded(seeds, only, folder):
    """The cases of the seeds, and {seed: why there is none}."""
    made, missing = [], {}
    seeds = list(seeds)
    path = folder / "cases.pickle"
    while seeds:
        path.unlink(missing_ok=True)
        child = multiprocessing.get_context("fork").Process(target=generate, args=(seeds, only, path))
        child.start()
        child.join(30 + 2 * len(seeds))
        if child.is_alive():
            child.kill()
            child.join()
        count = 0
        with open(path, "rb") as file:
            while True:
                try:
                    item = pickle.load(file)
                except (EOFError, pickle.UnpicklingError):
                    break
                count += 1
                if isinstance(item, tuple):
                    missing[item[0]] = item[1]
                else:
                    made.append(item)
        if child.exitcode == 0 and count == len(seeds):
            break
        missing[seeds[count]] = f"the oracle crashed or hung ({child.exitcode})"
        seeds = seeds[count + 1:]
    return made, missing


def run_batch(job):
    import votes

    seeds, only = job
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tamis-fuzz-"))
    try:
        made, missing = generate_guarded(seeds, only, folder)
        verdicts = votes.vote_on(made, folder) if made else {}
        return ([(c.seed, c.ops, c.oracle) for c in made], missing,
                [(c, verdicts[c.seed]) for c in made if verdicts[c.seed] is not None])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Report:
    def __init__(self):
        self.started = time.time()
        self.ops, self.oracles, self.missing = collections.Counter(), collections.Counter(), {}
        self.failures, self.shrunk, self.noisy, self.count = [], set(), 0, 0

    def take(self, made, missing, verdicts):
        self.count += len(made)
        self.missing.update(missing)
        for _, ops, oracle in made:
            self.ops.update(ops)
            self.oracles[oracle] += 1
        for case, verdict in verdicts:
            if verdict == "noise":
                self.noisy += 1
            else:
                self.failures.append((case, verdict))
                print(f"seed {case.seed}: {verdict}", flush=True)

    def groups(self):
        groups = collections.defaultdict(list)
        for case, failure in sorted(self.failures, key=lambda f: f[0].seed):
            groups[failure.group()].append((case, failure))
        return sorted(groups.items(), key=lambda g: -len(g[1]))

    def summary(self):
        seconds = time.time() - self.started
        why = collections.Counter(" ".join(text.split()[:8])[:70] for text in self.missing.values())
        lines = [f"{self.count} graphs in {seconds:.0f} s, {self.count / max(seconds, 1e-9):.1f} a second; "
                 + ", ".join(f"{n} {o}" for o, n in self.oracles.most_common()),
                 f"{len(self.missing)} seeds without a graph: "
                 + "; ".join(f"{n} {text}" for text, n in why.most_common(4)),
                 f"{self.noisy} ill-conditioned, {len(self.failures)} failures"]
        for group, members in self.groups():
            seeds = " ".join(str(case.seed) for case, _ in members[:12])
            lines.append(f"  {len(members)} times {group}: seeds {seeds}{' ...' if len(members) > 12 else ''}")
        return "\n".join(lines)


def operators():
    """Every operator of the standard, and every other one that an entry is named after."""
    named = {e.name for e in tables.entries() if not e.family.startswith("patterns_")}
    standard = {s.name for s in onnx.defs.get_all_schemas() if not s.deprecated}
    return sorted((named | standard) - tables.without)


def rare(report):
    return {op: report.ops.get(op, 0) for op in operators() if report.ops.get(op, 0) < FEWEST}


def run(options):
    tables.without.update(options.without.split(","))
    tables.entries()
    seeds = range(options.start, options.start + options.seeds)
    jobs = [(seeds[i:i + BATCH], options.only) for i in range(0, len(seeds), BATCH)]
    report = Report()
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(options.jobs, context) as pool:  # no daemons: they have children
        for done in concurrent.futures.as_completed([pool.submit(run_batch, job) for job in jobs]):
            report.take(*done.result())
            shrink_new_groups(report, options)
    return report


def shrink_new_groups(report, options):
    """Makes the first failure of each group small, while the other processes go on."""
    import shrink

    for group, members in report.groups():
        if group not in report.shrunk and len(report.shrunk) < options.most:
            report.shrunk.add(group)
            print("\n" + shrink.shrink(*members[0], pathlib.Path(options.keep)) + "\n", flush=True)


def main(argv=None):
    options = arguments(argv)
    if options.seed is not None:
        options.start, options.seeds, options.jobs = options.seed, 1, 1
    report = run(options)
    print(report.summary())
    broken = {seed: text for seed, text in report.missing.items() if text.startswith(BROKEN)}
    for seed, text in broken.items():
        print(f"seed {seed}: {text}")
    few = rare(report) if options.seeds >= FULL and options.only is None else {}
    if options.histogram or few:
        print("  ".join(f"{op} {n}" for op, n in sorted(report.ops.items(), key=lambda i: (i[1], i[0]))))
    for op, n in few.items():
        print(f"{op}: only {n} times")
    return 1 if report.failures or few or broken else 0


if __name__ == "__main__":
    sys.exit(main())
