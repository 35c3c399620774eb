# SPDX-License-Identifier: Apache-2.0
"""The benchmark itself: descriptions give the same file each time, wrong answers get no time, reports are whole."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import onnx
import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(SOURCE / "bench"), str(SOURCE / "examples"), str(SOURCE / "examples" / "minilm")]

import answers  # noqa: E402
import data  # noqa: E402
import model_convnet  # noqa: E402
import model_decoder  # noqa: E402
import model_encoder  # noqa: E402
import model_vit  # noqa: E402
import report  # noqa: E402
import rounds  # noqa: E402

needs_tamis = pytest.mark.skipif("TAMIS" not in os.environ, reason="TAMIS is not set")


@pytest.mark.parametrize(
    ("write", "sizes"),
    [
        (model_encoder.write, (1, 32, 4, 64)),
        (model_vit.write, (1, 32, 4, 64, 32, 16)),
        (model_convnet.write, (32,)),
        (model_decoder.write, (1, 32, 4, 2, 64, 50)),
    ],
)
def test_descriptions_are_valid_and_repeatable(write, sizes, tmp_path):
    write(tmp_path / "a.onnx", *sizes)
    write(tmp_path / "b.onnx", *sizes)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    onnx.checker.check_model(tmp_path / "a.onnx", full_check=True)


def test_distance_tells_noise_from_a_wrong_answer():
    right = np.random.default_rng(1).standard_normal((50, 20))
    noise = right * (1 + 1e-6)
    assert answers.distance([noise], [right]) < answers.CLOSE["f32"]
    assert answers.distance([right[:, ::-1]], [right]) > answers.CLOSE["bf16"]
    assert answers.distance([right[:10]], [right]) == float("inf")
    broken = right.copy()
    broken[0, 0] = np.nan
    assert answers.distance([broken], [right]) == float("inf")
    assert answers.differs([right], [right], 0, 0) is None
    assert "differs" in answers.differs([right + 1], [right], 1e-3, 1e-3)
    assert "shape" in answers.differs([right[:1]], [right], 1, 1)


def test_data_is_changed_where_time_could_depend_on_it(tmp_path):
    model_encoder.write(tmp_path / "a.onnx", 1, 32, 4, 64)
    model, inputs = onnx.load(tmp_path / "a.onnx"), {"x": np.ones((2, 3), np.float32), "ids": np.ones((2, 3), np.int64)}
    before = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    tiny, small = data.changed(data.KINDS["subnormal"], model, inputs)
    after = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in tiny.graph.initializer}
    norms = [name for name in before if before[name].ndim == 1 and before[name].dtype == np.float32 and before[name].size > 1]
    assert norms
    for name, array in before.items():
        assert after[name].shape == array.shape
        if name in norms:
            assert 0 < np.abs(after[name]).max() < np.finfo(np.float32).smallest_normal
        else:
            assert np.array_equal(after[name], array)
    assert 0 < small["x"].max() < np.finfo(np.float32).smallest_normal and (small["ids"] == 1).all()
    _, broken = data.changed(data.KINDS["not finite"], model, inputs)
    assert np.isnan(broken["x"][0, 0]) and np.isinf(broken["x"][1, 2]) and np.isfinite(inputs["x"]).all()


def test_ratios_are_taken_within_rounds():
    with rounds.Rounds({}) as found:
        found.times = {"a": [1.0, 2.0, 40.0], "b": [2.0, 4.0, 80.0]}  # the machine slowed down; the ratio stays
        assert found.ratio("a", "b") == 0.5
        assert found.median("a") == 2.0


@needs_tamis
def test_a_case_from_description_to_page(tmp_path):
    command = [sys.executable, SOURCE / "bench" / "bench.py", "--only", "gemm/7x13x5", "--rounds", "2"]
    command += ["--engines", "tamis,ONNX Runtime", "--output", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "bench.json").read_text())
    (case,) = found["cases"]
    assert [row["engine"] for row in case["rows"]] == ["tamis", "ONNX Runtime"]
    assert all(row["seconds"] > 0 and row["distance"] < 1e-6 for row in case["rows"])
    assert case["against_best"][0]["best"] == "ONNX Runtime" and case["compiled"]["tamis"]["bytes"] > 1000
    page = (tmp_path / "bench.html").read_text()
    assert page.count('class="bar') == 3 and "http" not in page and "src=" not in page
    assert (tmp_path / "bench.md").read_text() == report.markdown(found)


@needs_tamis
def test_quantised_forms_run_on_all_engines(tmp_path):
    command = [sys.executable, SOURCE / "bench" / "bench.py", "--quantized", "--only", "gemm/7x13x5"]
    done = subprocess.run([*command, "--rounds", "2", "--output", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (case,) = json.loads((tmp_path / "quantized.json").read_text())["cases"]
    ours = {row["form"]: row for row in case["rows"] if row["engine"] == "tamis"}
    assert list(ours) == ["float", "u8s8", "s8s8", "int8", "dynamic", "int8-dynamic"]
    assert all(row["seconds"] > 0 for row in ours.values())
    assert ours["float"]["distance"] < 1e-6
    assert all(0 < row["distance"] < 0.03 for form, row in ours.items() if form != "float")
    assert sorted(case["against_best"]) == sorted(set(ours) - {"float"})
    text = (tmp_path / "quantized.md").read_text()
    assert text.count("| gemm/7x13x5 |") == 6


@needs_tamis
def test_a_wrong_answer_has_no_time(tmp_path):
    import engines
    import model_gemm

    model_gemm.write(tmp_path / "right.onnx", 7, 13, 5, 1)
    model_gemm.write(tmp_path / "wrong.onnx", 7, 13, 5, 2)
    with rounds.Rounds(model_gemm.inputs(7, 13)) as found:
        found.add(engines.ONNX_RUNTIME, tmp_path / "right.onnx")
        found.add(engines.ONNX_RUNTIME_FLUSHED, tmp_path / "wrong.onnx")
        found.add(engines.TAMIS, tmp_path / "absent.so")
        found.check()
        found.run(1)
    assert list(found.times) == [(engines.ONNX_RUNTIME, 1)]
    assert "wrong answer" in found.failures[engines.ONNX_RUNTIME_FLUSHED, 1]
    assert (engines.TAMIS, 1) in found.failures
