# SPDX-License-Identifier: Apache-2.0
"""ImageDecoder: all formats and pixel formats, files written here byte by byte, and damaged ones."""

import os
import random
import shutil
import struct
import subprocess
import zlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.loader import DATA_DIR

import tamis

FORMATS = ["bmp", "jpeg", "jpeg2k", "png", "pnm", "tiff", "webp"]


@pytest.fixture(scope="module")
def decode(tmp_path_factory):
    """decode(bytes) -> {"RGB": array, "BGR": array, "Grayscale": array}"""
    kinds = ("RGB", "BGR", "Grayscale")
    nodes = [helper.make_node("ImageDecoder", ["x"], [kind], pixel_format=kind) for kind in kinds]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n"])],
                              [helper.make_tensor_value_info(k, TensorProto.UINT8, None) for k in kinds])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = tamis.SessionOptions()
    options.use_cache = False
    session = tamis.InferenceSession(model.SerializeToString(), options)

    def run(data):
        return dict(zip(kinds, session.run(list(kinds), {"x": np.frombuffer(data, np.uint8)})))

    return run


def recorded(name):
    folder = os.path.join(DATA_DIR, "node", f"test_image_decoder_decode_{name}_rgb", "test_data_set_0")
    arrays = []
    for file in ("input_0.pb", "output_0.pb"):
        tensor = onnx.TensorProto()
        with open(os.path.join(folder, file), "rb") as stream:
            tensor.ParseFromString(stream.read())
        arrays.append(numpy_helper.to_array(tensor))
    return arrays[0].tobytes(), arrays[1]


def gray(rgb):
    weights = np.array([19595, 38470, 7471], np.uint32)
    return ((rgb.astype(np.uint32) @ weights + 0x8000) >> 16).astype(np.uint8)[..., None]


def check(decode, data, want):
    found = decode(data)
    np.testing.assert_array_equal(found["RGB"], want)
    np.testing.assert_array_equal(found["BGR"], want[..., ::-1])
    np.testing.assert_array_equal(found["Grayscale"], gray(want))


@pytest.mark.parametrize("name", FORMATS)
def test_recorded_answers(decode, name):
    check(decode, *recorded(name))


IMAGE = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[9, 8, 7], [255, 255, 255], [0, 0, 0]]], np.uint8)


# ---- BMP ----

def bmp(bits, rows, palette=b"", height=2, compression=0, masks=b"", width=3):
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(rows), 0, 0, len(palette) // 4, 0)
    offset = 14 + len(head) + len(masks) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + head + masks + palette + rows


COLOURS = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7], [255, 255, 255], [0, 0, 0]]
PALETTE = b"".join(bytes([b, g, r, 0]) for r, g, b in COLOURS)


@pytest.mark.parametrize("data", [
    bmp(24, bytes([7, 8, 9, 255, 255, 255, 0, 0, 0, 0, 0, 0]) + bytes([0, 0, 255, 0, 255, 0, 255, 0, 0, 0, 0, 0])),
    bmp(24, bytes([0, 0, 255, 0, 255, 0, 255, 0, 0, 0, 0, 0]) + bytes([7, 8, 9, 255, 255, 255, 0, 0, 0, 0, 0, 0]), height=-2),
    bmp(8, bytes([3, 4, 5, 0, 0, 1, 2, 0]), PALETTE), bmp(4, bytes([0x34, 0x50, 0, 0, 0x01, 0x20, 0, 0]), PALETTE),
    bmp(32, struct.pack("<6I", 0x090807, 0xffffff, 0, 0xff0000, 0xff00, 0xff)),
    bmp(32, struct.pack("<6I", 0x07080900, 0xffffff00, 0, 0xff00, 0xff0000, 0xff000000), compression=3,
        masks=struct.pack("<3I", 0xff00, 0xff0000, 0xff000000)),
    bmp(8, bytes([0, 3, 3, 4, 5, 0, 0, 0, 1, 0, 1, 1, 1, 2, 0, 1]), PALETTE, compression=1),
    bmp(4, bytes([0, 3, 0x34, 0x50, 0, 0, 2, 0x01, 1, 0x20, 0, 1]), PALETTE, compression=2),
], ids=["24", "top down", "8", "4", "32", "masks", "runs of 8", "runs of 4"])
def test_bitmaps(decode, data):
    check(decode, data, IMAGE)


def test_bitmaps_of_few_bits(decode):
    two = bytes([0, 0, 0, 0, 255, 255, 255, 0])
    found = decode(bmp(1, bytes([0b01000000, 0, 0, 0, 0b10100000, 0, 0, 0]), two))["Grayscale"]
    np.testing.assert_array_equal(found[..., 0], [[255, 0, 255], [0, 255, 0]])
    found = decode(bmp(16, struct.pack("<8H", 0x7c00, 0x3e0, 0x1f, 0, 0x7fff, 0, 0x4210, 0)))["RGB"]
    np.testing.assert_array_equal(found, [[[255] * 3, [0] * 3, [131] * 3], [[255, 0, 0], [0, 255, 0], [0, 0, 255]]])
    masks = struct.pack("<3I", 0xf800, 0x7e0, 0x1f)
    found = decode(bmp(16, struct.pack("<4H", 0xf800, 0x7e0, 0x1f, 0), compression=3, masks=masks, height=1))["RGB"]
    np.testing.assert_array_equal(found, [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]])


# ---- PNM ----

@pytest.mark.parametrize("data", [
    b"P6\n# a comment\n3 2 255\n" + IMAGE.tobytes(), b"P3 3 2 255 " + b" ".join(b"%d" % v for v in IMAGE.ravel()),
    b"P6 3 2 65535 " + (IMAGE.astype(">u2") * 257).tobytes(),
], ids=["bytes", "text", "two bytes"])
def test_portable_colours(decode, data):
    check(decode, data, IMAGE)


def test_portable_grays_and_bits(decode):
    want = [[0, 51, 255], [255, 102, 0]]
    for data in (b"P2 3 2 5 0 1 5 5 2 0", b"P5 3 2 5\n" + bytes([0, 1, 5, 5, 2, 0])):
        found = decode(data)
        np.testing.assert_array_equal(found["Grayscale"][..., 0], want)
        np.testing.assert_array_equal(found["RGB"], np.repeat(found["Grayscale"], 3, 2))
    for data in (b"P1 3 2 1 0 1 010", b"P4 3 2\n" + bytes([0b10100000, 0b01000000])):
        np.testing.assert_array_equal(decode(data)["Grayscale"][..., 0], [[0, 255, 0], [255, 0, 255]])


# ---- PNG ----

def png(kind, depth, rows, extra=b"", width=3, height=2):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def png_palette():
    data = b"".join(bytes(c) for c in COLOURS)
    return struct.pack(">I", len(data)) + b"PLTE" + data + struct.pack(">I", zlib.crc32(b"PLTE" + data))


@pytest.mark.parametrize("data", [
    png(2, 8, [row.tobytes() for row in IMAGE]),
    png(6, 8, [np.concatenate([row, np.full((3, 1), 77, np.uint8)], 1).tobytes() for row in IMAGE]),
    png(2, 16, [(row.astype(">u2") * 257).tobytes() for row in IMAGE]),
    png(3, 8, [bytes([0, 1, 2]), bytes([3, 4, 5])], png_palette()), png(3, 4, [bytes([0x01, 0x20]), bytes([0x34, 0x50])], png_palette()),
], ids=["8", "transparent", "16", "palette", "small palette"])
def test_portable_network_graphics(decode, data):
    check(decode, data, IMAGE)


def test_gray_network_graphics(decode):
    for data in (png(0, 8, [bytes([0, 85, 255]), bytes([170, 0, 85])]), png(0, 2, [bytes([0b00011100]), bytes([0b10000100])])):
        np.testing.assert_array_equal(decode(data)["Grayscale"][..., 0], [[0, 85, 255], [170, 0, 85]])


# ---- damaged files ----

@pytest.mark.parametrize("data", [b"", b"B", b"BM", b"P6", b"P5 9", b"II*\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\4\0\0\0WEBP",
                                  b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"GIF89a" + bytes(99), bytes(1000),
                                  b"P5 99999 99999 255 " + bytes(9), bmp(8, b"", PALETTE, width=2**30, height=2**30, compression=1)])
def test_no_image(decode, data):
    found = decode(data)
    assert [found[kind].shape for kind in ("RGB", "BGR", "Grayscale")] == [(0, 0, 3), (0, 0, 3), (0, 0, 1)]


@pytest.mark.parametrize("name", FORMATS)
def test_files_that_end_too_early(decode, name):
    data, want = recorded(name)
    for size in sorted({*range(0, min(len(data), 120), 3), *range(0, len(data), max(1, len(data) // 40))}):
        found = decode(data[:size])["RGB"]
        assert found.shape in ((0, 0, 3), want.shape), size
    assert decode(data[:len(data) // 2])["RGB"].size == 0


@pytest.mark.parametrize("name", FORMATS)
def test_flipped_bits(decode, name):
    """Anything but a crash; heads are hit more often than the rest."""
    data, _ = recorded(name)
    r = random.Random(name)
    for _ in range(120):
        damaged = bytearray(data)
        for _ in range(r.randrange(1, 4)):
            damaged[r.randrange(min(len(data), 200) if r.random() < 0.6 else len(data))] ^= 1 << r.randrange(8)
        found = decode(bytes(damaged))
        assert found["RGB"].shape[:2] == found["Grayscale"].shape[:2]


def test_without_library(tmp_path):
    """A tamis whose library of images is not to be found says so, and that it lacks something: exit code 69."""
    graph = helper.make_graph([helper.make_node("ImageDecoder", ["x"], ["y"], pixel_format="RGB")], "g",
                              [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n"])],
                              [helper.make_tensor_value_info("y", TensorProto.UINT8, None)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.frombuffer(recorded("png")[0], np.uint8))
    subprocess.run([os.environ["TAMIS"], "compile", "m.onnx", "-o", "m.so"], cwd=tmp_path, check=True)
    alone = shutil.copy(os.environ["TAMIS"], tmp_path)
    environment = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
    done = subprocess.run([alone, "run", "m.so", "-i", "x=x.npy"], cwd=tmp_path, env=environment, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 69 and "install libtamis_images" in done.stderr, done
