# SPDX-License-Identifier: Apache-2.0
"""The rules that keep the tree readable, checked by reading it.

Arrows between folders point one way: base <- ir <- {frontend, passes} <- codegen <- compiler <- quantize <-
compress <- tools,
and the runtime stands apart: it must build where neither LLVM nor protobuf exists. Each rule is one
test; a failure lists every line that breaks it.
"""

import os
import pathlib
import re
import subprocess

import pytest

SOURCE = pathlib.Path(os.environ.get("TAMIS_SOURCE", pathlib.Path(__file__).parents[2]))
LIBRARIES = ["base", "ir", "frontend", "passes", "codegen", "compiler", "runtime", "quantize", "compress",
             "python"]
FOLDERS = LIBRARIES + ["include", "tools", "tests", "examples", "bench", "cmake"]
SUFFIXES = {".c", ".h", ".def", ".inc", ".py", ".sh", ".cmake"}
CONTRACT = {"tamis/artifact.h", "tamis/types.def", "tamis/failures.def"}
LISTS = ["base/letters.def", "base/regex.def"]  # plain data that kernels need too

# What a folder may include, as prefixes: its own and those of the layers below.
ALLOWED = {
    "base": ["base/"],
    "ir": ["base/", "ir/"],
    "frontend": ["base/", "ir/", "frontend/", "onnx.pb-c.h"],
    "passes": ["base/", "ir/", "passes/"],
    "codegen": ["base/", "ir/", "passes/", "codegen/", "tamis/"],
    "compiler": ["base/", "ir/", "frontend/", "passes/", "codegen/", "compiler/", "tamis/"],
    "quantize": ["base/", "ir/", "frontend/", "passes/", "codegen/", "compiler/", "quantize/", "tamis/"],
    "compress": ["base/", "ir/", "frontend/", "passes/", "codegen/", "compiler/", "quantize/", "compress/", "tamis/"],
    "runtime": ["tamis/", "runtime/", "ir/rows/", *LISTS],
    "python": ["tamis/", "python/"],
}
# The evaluator calls kernels, so it sees what they see, and is the host that gives them memory.
EVALUATOR = re.compile(r"ir/evaluate\w*\.[ch]$")


def files(folders, suffixes=SUFFIXES):
    for folder in folders:
        for path in sorted((SOURCE / folder).rglob("*")):
            if path.suffix in suffixes and path.is_file():
                yield path


def name(path):
    return path.relative_to(SOURCE).as_posix()


def includes(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            yield number, match[1], match[2]


def code_lines(path):
    """Lines without comments and string contents."""
    text = path.read_text()
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    text = pattern.sub(lambda m: '""' if m[0][0] == '"' else re.sub(r"[^\n]", " ", m[0]), text)
    return enumerate(text.splitlines(), 1)


def assert_none(broken):
    assert not broken, "\n" + "\n".join(broken)


@pytest.mark.parametrize("folder", ALLOWED)
def test_arrows_point_one_way(folder):
    broken = []
    for path in files([folder]):
        for number, quote, target in includes(path):
            if quote == "<":
                continue
            local = (path.parent / target).is_file() and "/" not in target
            fine = local or target in CONTRACT or any(target.startswith(p) for p in ALLOWED[folder])
            if EVALUATOR.search(name(path)) and target.startswith("runtime/"):
                fine = True
            if not fine:
                broken.append(f"{name(path)}:{number}: includes {target}")
    assert_none(broken)


@pytest.mark.parametrize("pattern, home", [
    (r"llvm-c/", "codegen/llvm/"),
    (r"protobuf-c/|onnx\.pb-c\.h", "frontend/"),
])
def test_foreign_headers_stay_in_their_folder(pattern, home):
    broken = [f"{name(path)}:{number}: includes {target}"
              for path in files(LIBRARIES + ["tools"]) for number, _, target in includes(path)
              if re.match(pattern, target) and not name(path).startswith(home)]
    assert_none(broken)


def test_libraries_neither_print_nor_die():
    banned = re.compile(r"\b(exit|abort|quick_exit|printf|vprintf|puts|putchar|perror|assert)\s*\(|\bstderr\b"
                        r"|\bfprintf\s*\(\s*stdout")
    broken = [f"{name(path)}:{number}: {line.strip()}"
              for path in files(LIBRARIES, {".c", ".h", ".inc"}) for number, line in code_lines(path)
              if banned.search(line)]
    assert_none(broken)


def test_arenas_own_the_memory():
    banned = re.compile(r"\b(malloc|calloc|realloc|free|strdup)\s*\(")
    broken = [f"{name(path)}:{number}: {line.strip()}"
              for path in files(["ir", "passes"], {".c"}) if not EVALUATOR.search(name(path))
              for number, line in code_lines(path) if banned.search(line)]
    assert_none(broken)


def test_files_are_short():
    broken = []
    for path in files(FOLDERS, SUFFIXES - {".def"}):
        count = len(path.read_text().splitlines())
        if count > 600:
            broken.append(f"{name(path)}: {count} lines")
    assert_none(broken)


def test_files_say_their_licence():
    extra = [SOURCE / "dev", SOURCE / "CMakeLists.txt", SOURCE / ".ci/run"]
    broken = [name(path) for path in list(files(FOLDERS)) + extra
              if "SPDX-License-Identifier: Apache-2.0" not in "\n".join(path.read_text().splitlines()[:3])]
    assert_none(broken)


def test_c_files_open_with_an_explanation():
    """Five lines or more; one sentence is enough for a short file, a test, or where a header has the essay."""
    broken = []
    for path in files(FOLDERS, {".c"}):
        text = path.read_text()
        match = re.match(r"/\*.*?\*/", text, re.S)
        comment = match[0] if match else ""
        brief = text.count("\n") <= 120 or re.search(r"see \w+\.h", comment) or name(path).startswith("tests/")
        if comment.count("\n") < (3 if brief else 4):
            broken.append(name(path))
    assert_none(broken)


def test_no_unfinished_marks():
    banned = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    broken = [f"{name(path)}:{number}: {line.strip()}"
              for path in files(FOLDERS) if path != pathlib.Path(__file__).resolve()
              for number, line in enumerate(path.read_text().splitlines(), 1) if banned.search(line)]
    assert_none(broken)


def pass_names():
    text = (SOURCE / "passes/passes.def").read_text()
    return re.findall(r"^TM_(?:OWN_|FINAL_)?PASS\((\w+)", text, re.M)


@pytest.mark.parametrize("pass_name", pass_names())
def test_a_pass_exports_one_function(pass_name):
    build = os.environ.get("TAMIS_BUILD")
    if not build:
        pytest.skip("TAMIS_BUILD is not set")
    found = pathlib.Path(build) / f"CMakeFiles/tamis_objects.dir/passes/{pass_name}.c.o"
    listing = subprocess.run([os.environ.get("LLVM_NM", "llvm-nm-19"), "--defined-only", "--extern-only",
                              "--format=just-symbols", found], capture_output=True, text=True, check=True).stdout
    assert listing.split() == [f"tm_pass_{pass_name}"]
