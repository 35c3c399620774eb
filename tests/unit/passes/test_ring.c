/* SPDX-License-Identifier: Apache-2.0
 *
 * Tests of the strips of a bottleneck: over many sizes, every tap of every strip that lies in the image is
 * among the columns that are made, at a place in the line, and each column of y is stored by one strip.
 */
#include "passes/ring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void check(int64_t wide, int64_t stride, int64_t kernel, int64_t head, int64_t tail, int64_t bytes) {
    int64_t out = (wide + head + tail - kernel) / stride + 1, covered = 0;
    tm_ring ring = tm_ring_cut(out, wide, stride, kernel, head, bytes);
    assert_true(ring.made >= 1 && ring.made <= wide && ring.strip >= 1 && ring.strip <= out);
    assert_true(ring.shared >= 0 && ring.shared < ring.strip);
    assert_true(ring.positions * bytes <= 24576 || ring.strip == 1);
    for (int64_t i = 0; i < ring.strips; i++) {
        int64_t from = i * ring.strip < out - ring.strip ? i * ring.strip : out - ring.strip;
        int64_t tap = from * stride - head, first = tap < 0 ? 0 : tap;
        first = first < wide - ring.made ? first : wide - ring.made;
        int64_t place = first - tap + ring.margin;
        bool last = i + 1 == ring.strips;
        assert_int_equal(from, last ? out - ring.strip : i * ring.strip);
        assert_int_equal(covered, from + (last ? ring.shared : 0));
        covered = from + ring.strip;
        assert_true(place >= 0 && place + ring.made <= ring.positions);
        assert_true(ring.margin + (ring.strip - 1) * stride + kernel <= ring.positions);
        for (int64_t column = tap; column < tap + (ring.strip - 1) * stride + kernel; column++)
            assert_true(column < 0 || column >= wide || (column >= first && column < first + ring.made));
    }
    assert_int_equal(covered, out);
}

static void all_sizes(void **state) {
    (void)state;
    for (int64_t wide = 1; wide < 140; wide += wide < 20 ? 1 : 17)
        for (int64_t stride = 1; stride <= 3; stride++)
            for (int64_t kernel = 1; kernel <= 31; kernel += kernel < 5 ? 1 : 13)
                for (int64_t head = 0; head < kernel; head += 1 + kernel / 4)
                    for (int64_t tail = 0; tail < kernel; tail += 1 + kernel / 4)
                        for (int64_t bytes = 64; bytes <= 3072 && wide + head + tail >= kernel; bytes *= 2)
                            check(wide, stride, kernel, head, tail, bytes);
}

/* A picture that fits is one strip; one twice as wide is two. */
static void fewest(void **state) {
    (void)state;
    assert_int_equal(tm_ring_cut(56, 56, 1, 3, 1, 384).strips, 1);
    tm_ring ring = tm_ring_cut(112, 112, 1, 3, 1, 384);
    assert_int_equal(ring.strips, 2);
    assert_int_equal(ring.strip, 56);
    assert_int_equal(ring.made, 58);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_sizes), cmocka_unit_test(fewest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
