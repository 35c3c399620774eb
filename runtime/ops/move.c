/* SPDX-License-Identifier: Apache-2.0
 *
 * move.c: strided copies of any rank, one function for each element width.
 *
 * A move is first simplified: axes of size 1 go, neighbours that are one axis in both tensors merge
 * (a Transpose of [b, s, h, d] by 0213 with s = 1 becomes a plain copy). What is left is cut into
 * planes of two axes, rows and columns:
 *
 *     columns: the last axis; in nearly all ops contiguous in the output
 *     rows:    the axis that is contiguous in the input when columns are not (a transpose), otherwise
 *              the axis before the last
 *
 * A plane is copied by runs (memcpy), by fills (input stride 0), by square tiles that are transposed
 * in vector registers, or element by element. Planes and rows are one index space for tm_parallel.
 *
 * The tile transpose is log2(n) rounds of interleaving halves of a list of n vectors: after them,
 * vector i holds column i. Compilers make shuffles of it for each target.
 *
 * Packed elements (2 and 4 bits) move as bytes when runs and strides are whole bytes, otherwise one
 * by one and on one thread, for two elements share a byte.
 */
#include "runtime/ops/move.h"

#define PARALLEL_BYTES 65536 /* least work of a range */

/* Drops unit axes, merges neighbours, brings the row axis to rank - 2. False: nothing to move. */
static bool simplify(const tm_move *move, tm_move *out) {
    out->from = move->from;
    out->to = move->to;
    out->from_offset = move->from_offset;
    out->to_offset = move->to_offset;
    int32_t rank = 0;
    for (int32_t i = 0; i < move->rank; i++) {
        const int64_t dim = move->dims[i], from = move->from_strides[i], to = move->to_strides[i];
        if (dim == 0)
            return false;
        if (dim == 1)
            continue;
        if (rank > 0 && out->from_strides[rank - 1] == from * dim && out->to_strides[rank - 1] == to * dim) {
            out->dims[rank - 1] *= dim;
            out->from_strides[rank - 1] = from;
            out->to_strides[rank - 1] = to;
            continue;
        }
        out->dims[rank] = dim;
        out->from_strides[rank] = from;
        out->to_strides[rank] = to;
        rank++;
    }
    for (; rank < 2; rank++) {
        for (int32_t i = rank; i > 0; i--) {
            out->dims[i] = out->dims[i - 1];
            out->from_strides[i] = out->from_strides[i - 1];
            out->to_strides[i] = out->to_strides[i - 1];
        }
        out->dims[0] = 1;
        out->from_strides[0] = out->to_strides[0] = 0;
        if (rank == 0)
            out->from_strides[0] = out->to_strides[0] = 1;
    }
    out->rank = rank;
    return true;
}

static void bring_rows_last(tm_move *move) {
    const int32_t last = move->rank - 1;
    int32_t row = last - 1;
    if (move->to_strides[last] == 1 && move->from_strides[last] != 1 && move->from_strides[last] != 0)
        for (int32_t i = 0; i < last; i++)
            if (move->from_strides[i] == 1)
                row = i;
    const int64_t dim = move->dims[row], from = move->from_strides[row], to = move->to_strides[row];
    for (int32_t i = row; i < last - 1; i++) {
        move->dims[i] = move->dims[i + 1];
        move->from_strides[i] = move->from_strides[i + 1];
        move->to_strides[i] = move->to_strides[i + 1];
    }
    move->dims[last - 1] = dim;
    move->from_strides[last - 1] = from;
    move->to_strides[last - 1] = to;
}

/* One plane: `to` and `from` point at its first element. */
typedef struct plane {
    int64_t rows, columns;
    int64_t to_row, to_column, from_row, from_column;
} plane;
typedef void (*plane_function)(void *to, const void *from, const plane *plane);

typedef struct job {
    const tm_move *move;
    plane_function copy;
    int64_t bytes; /* of an element */
} job;

/* Rows begin..end of all planes, counted through. */
static int32_t move_rows(void *arg, int64_t begin, int64_t end) {
    const job *work = arg;
    const tm_move *move = work->move;
    const int32_t outer = move->rank - 2;
    const int64_t rows = move->dims[outer];
    plane part = {.columns = move->dims[outer + 1],
                  .to_row = move->to_strides[outer],
                  .to_column = move->to_strides[outer + 1],
                  .from_row = move->from_strides[outer],
                  .from_column = move->from_strides[outer + 1]};
    int64_t index[TM_MOVE_RANK];
    int64_t from = move->from_offset, to = move->to_offset, number = begin / rows, row = begin % rows;
    for (int32_t i = outer - 1; i >= 0; i--) {
        index[i] = number % move->dims[i];
        number /= move->dims[i];
        from += index[i] * move->from_strides[i];
        to += index[i] * move->to_strides[i];
    }
    for (int64_t at = begin; at < end;) {
        part.rows = rows - row < end - at ? rows - row : end - at;
        work->copy((char *)move->to + (to + row * part.to_row) * work->bytes,
                   (const char *)move->from + (from + row * part.from_row) * work->bytes, &part);
        at += part.rows;
        row = 0;
        for (int32_t i = outer - 1; i >= 0; i--) {
            from += move->from_strides[i];
            to += move->to_strides[i];
            if (++index[i] < move->dims[i])
                break;
            from -= move->dims[i] * move->from_strides[i];
            to -= move->dims[i] * move->to_strides[i];
            index[i] = 0;
        }
    }
    return 0;
}

static int32_t move_bytes(tm_run *run, const tm_move *move, plane_function copy, int64_t bytes) {
    tm_move simple;
    if (!simplify(move, &simple))
        return 0;
    bring_rows_last(&simple);
    job work = {.move = &simple, .copy = copy, .bytes = bytes};
    const int64_t row_bytes = simple.dims[simple.rank - 1] * bytes;
    const int64_t grain = row_bytes >= PARALLEL_BYTES ? 1 : PARALLEL_BYTES / row_bytes;
    return tm_parallel(run, tm_product(simple.dims, 0, simple.rank - 1), grain, move_rows, &work);
}

/* Square tiles: N elements of type T in a vector. */
#define TILE(name, T, N, LOW, HIGH)                                                             \
    typedef T name##_vector __attribute__((vector_size(N * sizeof(T)), aligned(sizeof(T))));    \
    static inline void name##_tile(T *to, int64_t to_row, const T *from, int64_t from_column) { \
        name##_vector a[N], b[N];                                                               \
        for (int i = 0; i < N; i++)                                                             \
            __builtin_memcpy(&a[i], from + i * from_column, sizeof a[i]);                       \
        for (int round = 1; round < N; round *= 2) {                                            \
            for (int i = 0; i < N / 2; i++) {                                                   \
                b[2 * i] = __builtin_shufflevector(a[i], a[i + N / 2], LOW);                    \
                b[2 * i + 1] = __builtin_shufflevector(a[i], a[i + N / 2], HIGH);               \
            }                                                                                   \
            for (int i = 0; i < N; i++)                                                         \
                a[i] = b[i];                                                                    \
        }                                                                                       \
        for (int i = 0; i < N; i++)                                                             \
            __builtin_memcpy(to + i * to_row, &a[i], sizeof a[i]);                              \
    }
#define LOW_4 0, 4, 1, 5
#define HIGH_4 2, 6, 3, 7
#define LOW_8 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_8 4, 12, 5, 13, 6, 14, 7, 15
#define LOW_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
TILE(w1, uint8_t, 16, LOW_16, HIGH_16)
TILE(w1_half, uint8_t, 8, LOW_8, HIGH_8)
TILE(w2, uint16_t, 8, LOW_8, HIGH_8)
TILE(w4, uint32_t, 8, LOW_8, HIGH_8)
TILE(w8, uint64_t, 4, LOW_4, HIGH_4)
static inline void w16_tile(tm_w16 *to, int64_t to_row, const tm_w16 *from, int64_t from_column) {
    (void)to_row;
    (void)from_column;
    *to = *from;
}

/* Two to four planes of bytes side by side, as the colours of pixels, which fill no tile; loops that
 * compilers make shuffles of. Returns whether it was that. */
#define INTERLEAVE(count)                                                                                \
    static void interleave_##count(uint8_t *restrict to, const uint8_t *restrict from, int64_t distance, \
                                   int64_t rows) {                                                       \
        for (int64_t r = 0; r < rows; r++)                                                               \
            for (int64_t c = 0; c < count; c++)                                                          \
                to[r * count + c] = from[c * distance + r];                                              \
    }
INTERLEAVE(2)
INTERLEAVE(3)
INTERLEAVE(4)

static bool w1_interleaved(uint8_t *to, const uint8_t *from, const plane *p) {
    if (p->columns < 2 || p->columns > 4 || p->to_row != p->columns)
        return false;
    (p->columns == 2   ? interleave_2
     : p->columns == 3 ? interleave_3
                       : interleave_4)(to, from, p->from_column, p->rows);
    return true;
}
#define w2_interleaved(to, from, p) false
#define w4_interleaved(to, from, p) false
#define w8_interleaved(to, from, p) false
#define w16_interleaved(to, from, p) false

/* Runs of 1 to 127 bytes, by words of which the last two may overlap: loops over bytes would go one by one
 * where a run is shorter than a vector. The distances are in bytes. */
static __attribute__((noinline)) void copy_runs(char *to, int64_t to_row, const char *from, int64_t from_row,
                                                int64_t rows, int64_t bytes) {
#define WORDS(size)                                                                         \
    for (int64_t r = 0; r < rows; r++, to += to_row, from += from_row) {                    \
        for (int64_t at = 0; at < bytes - size; at += size)                                 \
            __builtin_memcpy(to + at, from + at, size);                                     \
        __builtin_memcpy(to + bytes - size, from + bytes - size, size);                     \
    }
    if (bytes >= 16) {
        WORDS(16)
    } else if (bytes >= 8) {
        WORDS(8)
    } else if (bytes >= 4) {
        WORDS(4)
    } else {
        WORDS(1)
    }
#undef WORDS
}

/* Planes of elements of type T. The tiled case: rows are contiguous in the input, columns in the output. */
#define TILED(name, T, N)                                                                              \
    static void name##_plane_tiled(T *to, const T *from, const plane *p) {                             \
        const int64_t line = N * (int64_t)sizeof(T) < 64 ? 64 / (int64_t)sizeof(T) : N;                \
        const int64_t rows = p->rows / N * N, columns = p->columns / N * N;                            \
        for (int64_t block = 0; block < rows; block += line)                                           \
            for (int64_t c = 0; c < columns; c += N)                                                   \
                for (int64_t r = block; r < rows && r < block + line; r += N)                          \
                    name##_tile(to + r * p->to_row + c, p->to_row, from + c * p->from_column + r,      \
                                p->from_column);                                                       \
        for (int64_t r = 0; r < p->rows; r++)                                                          \
            for (int64_t c = r < rows ? columns : 0; c < p->columns; c++)                              \
                to[r * p->to_row + c] = from[c * p->from_column + r];                                  \
    }
TILED(w1, uint8_t, 16)
TILED(w1_half, uint8_t, 8)
TILED(w2, uint16_t, 8)
TILED(w4, uint32_t, 8)
TILED(w8, uint64_t, 4)
TILED(w16, tm_w16, 1)

/* Few channels fill no large tile of bytes. */
static void bytes_tiled(uint8_t *to, const uint8_t *from, const plane *p) {
    (p->rows % 16 >= 8 || p->columns % 16 >= 8 ? w1_half_plane_tiled : w1_plane_tiled)(to, from, p);
}

#define PLANE(name, T, tiled)                                                                          \
    static void name##_plane(void *to_data, const void *from_data, const plane *p) {                   \
        T *to = to_data;                                                                               \
        const T *from = from_data;                                                                     \
        if (p->to_column == 1 && p->from_column == 1) {                                                \
            const int64_t bytes = p->columns * (int64_t)sizeof(T);                                     \
            if (bytes >= 128) {                                                                        \
                for (int64_t r = 0; r < p->rows; r++)                                                  \
                    memcpy(to + r * p->to_row, from + r * p->from_row, (size_t)bytes);                 \
                return;                                                                                \
            }                                                                                          \
            copy_runs((char *)to, p->to_row * (int64_t)sizeof(T), (const char *)from,                  \
                      p->from_row * (int64_t)sizeof(T), p->rows, bytes);                               \
        } else if (p->to_column == 1 && p->from_column == 0) {                                         \
            for (int64_t r = 0; r < p->rows; r++) {                                                    \
                const T value = from[r * p->from_row];                                                 \
                for (int64_t c = 0; c < p->columns; c++)                                               \
                    to[r * p->to_row + c] = value;                                                     \
            }                                                                                          \
        } else if (p->to_column == 1 && p->from_row == 1) {                                            \
            if (!name##_interleaved(to, from, p))                                                      \
                tiled(to, from, p);                                                                    \
        } else {                                                                                       \
            for (int64_t r = 0; r < p->rows; r++)                                                      \
                for (int64_t c = 0; c < p->columns; c++)                                               \
                    to[r * p->to_row + c * p->to_column] = from[r * p->from_row + c * p->from_column]; \
        }                                                                                              \
    }                                                                                                  \
    int32_t tm_move_##name(tm_run *run, const tm_move *move) {                                         \
        return move_bytes(run, move, name##_plane, (int64_t)sizeof(T));                                \
    }
PLANE(w1, uint8_t, bytes_tiled)
PLANE(w2, uint16_t, w2_plane_tiled)
PLANE(w4, uint32_t, w4_plane_tiled)
PLANE(w8, uint64_t, w8_plane_tiled)
PLANE(w16, tm_w16, w16_plane_tiled)

/* A simplified move of packed elements whose columns are whole bytes, turned into one of bytes. */
static bool whole_bytes(tm_move *move, int bits) {
    const int64_t per_byte = 8 / bits;
    const int32_t last = move->rank - 1;
    if (move->from_strides[last] != 1 || move->to_strides[last] != 1 || move->dims[last] % per_byte != 0 ||
        move->from_offset % per_byte != 0 || move->to_offset % per_byte != 0)
        return false;
    for (int32_t i = 0; i < last; i++)
        if (move->from_strides[i] % per_byte != 0 || move->to_strides[i] % per_byte != 0)
            return false;
    for (int32_t i = 0; i < last; i++) {
        move->from_strides[i] /= per_byte;
        move->to_strides[i] /= per_byte;
    }
    move->dims[last] /= per_byte;
    move->from_offset /= per_byte;
    move->to_offset /= per_byte;
    return true;
}

static void move_one_by_one(const tm_move *move, int bits) {
    const int32_t last = move->rank - 1;
    int64_t index[TM_MOVE_RANK] = {0};
    int64_t from = move->from_offset, to = move->to_offset;
    for (;;) {
        for (int64_t c = 0; c < move->dims[last]; c++)
            tm_bits_set(move->to, to + c * move->to_strides[last], bits,
                        tm_bits_get(move->from, from + c * move->from_strides[last], bits));
        int32_t i = last - 1;
        for (; i >= 0; i--) {
            from += move->from_strides[i];
            to += move->to_strides[i];
            if (++index[i] < move->dims[i])
                break;
            from -= move->dims[i] * move->from_strides[i];
            to -= move->dims[i] * move->to_strides[i];
            index[i] = 0;
        }
        if (i < 0)
            return;
    }
}

static int32_t move_packed(tm_run *run, const tm_move *move, int bits) {
    tm_move simple;
    if (!simplify(move, &simple))
        return 0;
    if (whole_bytes(&simple, bits))
        return tm_move_w1(run, &simple);
    move_one_by_one(&simple, bits);
    return 0;
}

int32_t tm_move_b2(tm_run *run, const tm_move *move) {
    return move_packed(run, move, 2);
}
int32_t tm_move_b4(tm_run *run, const tm_move *move) {
    return move_packed(run, move, 4);
}
