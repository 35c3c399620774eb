# SPDX-License-Identifier: Apache-2.0
"""What was measured, for people: Markdown, and one HTML page with bars that needs no other file."""

import html


def duration(seconds):
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds < 100 * size else f"{seconds / size:.0f} {unit}"
    return f"{1e9 * seconds:.0f} ns"


def amount(value, unit="B"):
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def setup_lines(report):
    setup = report["setup"]
    lines = [
        f"{setup['cpu']}; {setup['rounds']} rounds, clock: {setup['clock']}; "
        + ", ".join(f"{name} {version}" for name, version in setup["versions"].items())
    ]
    lines += [f"Left out: {name}: {why}." for name, why in setup["left_out"].items()]
    return lines


def peak_lines(peaks):
    if not peaks:
        return []
    texts = []
    for name, peak in peaks.items():
        flops = peak.get("flops_per_second")
        texts.append(f"{name} {amount(flops, 'FLOPS') if flops else amount(peak['bytes_per_second'], 'B/s')}")
    return ["Peaks of one core, measured: " + ", ".join(texts) + "."]


def best_rows(report):
    """A row for each case and precision of tamis: the figure that counts."""
    for case in report["cases"]:
        for found in case["against_best"]:
            rows = {(row["engine"], row["threads"]): row for row in case["rows"]}
            ours, best = rows[found["engine"], found["threads"]], rows[found["best"], found["threads"]]
            yield [
                case["case"],
                found["engine"],
                str(found["threads"]),
                duration(ours["seconds"]),
                f"{100 * ours['spread']:.0f} %",
                f"{found['best']}, {duration(best['seconds'])}",
                f"{found['ratio']:.2f}",
                f"{found['load_ratio']:.3f}" if "load_ratio" in found else "",
                f"{100 * ours['share_of_peak']:.0f} %" if "share_of_peak" in ours else "",
            ]


BEST_HEAD = [
    "case",
    "engine",
    "threads",
    "time",
    "spread",
    "best peer",
    "time / best peer's",
    "load / fastest peer's",
    "share of peak",
]


def engine_cells(row):
    name = f"{row['engine']}, {row['threads']} thread{'s' if row['threads'] > 1 else ''}"
    if "why" in row:
        return [name, row["why"], "", "", "", "", ""]
    return [
        name,
        duration(row["seconds"]),
        f"{100 * row['spread']:.0f} %",
        f"{row['ratio']:.2f}" if "ratio" in row else "",
        duration(row["load_seconds"]) if "load_seconds" in row else "",
        amount(row["memory"]),
        f"{row['distance']:.1e}",
    ]


ENGINE_HEAD = ["engine", "time", "spread", "tamis / it", "load", "memory", "distance"]


def case_notes(case):
    notes = []
    for engine, compiled in case["compiled"].items():
        notes.append(
            f"{engine}: compiled in {duration(compiled['seconds'])} ({duration(compiled['cpu_seconds'])} of "
            f"CPU, {amount(compiled['memory'])} of memory) to {amount(compiled['bytes'])}."
        )
    notes += [f"{engine}: {why}" for engine, why in case["failures"].items()]
    if case["scaling"]:
        gains = ", ".join(f"{engine} {gain:.2f}" for engine, gain in case["scaling"].items())
        notes.append(f"Most threads against fewest: {gains}.")
    return notes


def markdown(report):
    lines = ["# Benchmark", ""]
    for line in setup_lines(report) + peak_lines(report["peaks"]):
        lines += [line, ""]
    lines += table(BEST_HEAD, list(best_rows(report))) + [""]
    for case in report["cases"]:
        lines += [f"## {case['case']}", "", f"{case['what']}.", ""]
        lines += table(ENGINE_HEAD, [engine_cells(row) for row in case["rows"]]) + [""]
        for note in case_notes(case):
            lines += [f"- {note}"]
        lines += [""]
    return "\n".join(lines)


STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem }
h2 { margin: 2.2rem 0 .2rem; font-size: 1.1rem }
p { margin: .3rem 0 }
table { border-collapse: collapse; margin: 1rem 0; font-size: .9rem }
td, th { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left }
.note { color: #666; font-size: .88rem }
.bars { display: grid; grid-template-columns: max-content 1fr; gap: .25rem .8rem; align-items: center }
.name { text-align: right; font-size: .9rem }
.bar { height: 1.05rem; background: #9db4c8; border-radius: 2px }
.ours { background: #c4632d }
.cell { display: flex; align-items: center; gap: .5rem; font-size: .85rem }
.why { color: #a33; font-size: .85rem }
@media (prefers-color-scheme: dark) {
  body { background: #181a1c; color: #ddd }
  td, th { border-color: #444 }
  .note { color: #999 }
  .bar { background: #56718a }
  .ours { background: #d9793f }
  .why { color: #e88 }
}
"""


def bars(case):
    longest = max((row["seconds"] for row in case["rows"] if "seconds" in row), default=1)
    lines = ['<div class="bars">']
    for row in case["rows"]:
        name = html.escape(row["engine"] + (f" · {row['threads']} threads" if row["threads"] > 1 else ""))
        lines.append(f'<div class="name">{name}</div>')
        if "why" in row:
            lines.append(f'<div class="why">{html.escape(row["why"])}</div>')
            continue
        ours = " ours" if row["engine"].startswith("tamis") else ""
        width = 75 * row["seconds"] / longest
        text = duration(row["seconds"])
        if "ratio" in row and not ours:
            text += f" · tamis / it {row['ratio']:.2f}"
        bar = f'<div class="bar{ours}" style="width:{width:.2f}%"></div>'
        lines.append(f'<div class="cell">{bar}{html.escape(text)}</div>')
    return lines + ["</div>"]


def html_table(head, rows):
    def cells(tag, row):
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"

    return ["<table>", cells("th", head), *(cells("td", row) for row in rows), "</table>"]


def page(report):
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8"><title>tamis: benchmark</title>',
        '<meta name="viewport" content="width=device-width">',
        f"<style>{STYLE}</style></head><body>",
        "<h1>tamis: benchmark</h1>",
    ]
    lines += [f"<p>{html.escape(line)}</p>" for line in setup_lines(report) + peak_lines(report["peaks"])]
    lines += html_table(BEST_HEAD, best_rows(report))
    for case in report["cases"]:
        lines += [f"<h2>{html.escape(case['case'])}</h2>", f"<p>{html.escape(case['what'])}</p>", *bars(case)]
        lines += [f'<p class="note">{html.escape(note)}</p>' for note in case_notes(case)]
        lines += [
            "<details><summary>figures</summary>",
            *html_table(ENGINE_HEAD, [engine_cells(row) for row in case["rows"]]),
            "</details>",
        ]
    return "\n".join(lines + ["</body></html>", ""])
