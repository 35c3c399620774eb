# SPDX-License-Identifier: Apache-2.0
"""ImageDecoder: small images whose files are written here, so that their pixels are known."""

import struct
import zlib

import numpy

from tables import entry


def pnm(g, pixels):
    """A PPM or, of one channel, a PGM; of bytes or of text."""
    height, width, channels = pixels.shape
    text = g.chance(0.3)
    kind = {1: (5, 2), 3: (6, 3)}[channels][text]
    comment = "# made of numbers\n" if g.chance(0.3) else ""
    head = f"P{kind}\n{comment}{width} {height}\n255\n".encode()
    return head + (" ".join(str(v) for v in pixels.flatten()).encode() + b"\n" if text else pixels.tobytes())


def bmp(g, pixels):
    """24 or 32 bits, rows from the bottom or, with a negative height, from the top; each a multiple of four bytes."""
    height, width, _ = pixels.shape
    wide, down = g.chance(0.3), g.chance(0.3)
    rows = pixels[:, :, ::-1]
    if wide:
        rows = numpy.concatenate([rows, numpy.full((height, width, 1), 255, numpy.uint8)], 2)
    pad = b"\0" * (-width * rows.shape[2] % 4)
    body = b"".join(row.tobytes() + pad for row in (rows if down else rows[::-1]))
    head = struct.pack("<IiiHHIIiiII", 40, width, -height if down else height, 1, 8 * rows.shape[2], 0, len(body), 2835,
                       2835, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + len(body), 0, 0, 54) + head + body


def png(g, pixels):
    height, width, channels = pixels.shape

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = []
    for y in range(height):
        method = g.integer(0, 2)  # none, the pixel to the left, the one above
        row = pixels[y].astype(int)
        before = numpy.zeros_like(row)
        if method == 1:
            before[1:] = row[:-1]
        elif method == 2 and y:
            before = pixels[y - 1].astype(int)
        rows.append(bytes([method]) + (row - before).astype(numpy.uint8).tobytes())
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")


@entry("ImageDecoder", since=20)
def image_decoder(g):
    write = g.pick([pnm, bmp, png])
    kind = g.pick([None, "RGB", "BGR", "Grayscale"])
    # grey from colours is rounded in several ways; equal channels have one
    grey = kind == "Grayscale" or (g.chance(0.2) and write is not bmp)
    shape = [g.integer(1, 5), g.integer(1, 5)]
    pixels = g.random.integers(0, 256, size=[*shape, 1 if grey else 3]).astype(numpy.uint8)
    stored = numpy.repeat(pixels, 3, 2) if grey and (write is bmp or g.chance(0.5)) else pixels
    data = numpy.frombuffer(write(g, stored), numpy.uint8).copy()
    colours = pixels if kind == "Grayscale" else numpy.repeat(pixels, 3, 2) if grey else pixels
    want = numpy.ascontiguousarray(colours[:, :, ::-1] if kind == "BGR" else colours)
    g.known("ImageDecoder", [g.fixed(g.place(data))], [want], pixel_format=kind)
