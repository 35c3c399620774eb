/* SPDX-License-Identifier: Apache-2.0
 *
 * cast_text.c: Cast between strings and numbers.
 *
 * Text to number reads integers exactly and floats rounded once, whatever their length, with the
 * literals INF and NaN in any case; text that is no number is a failure. So is, for integers, one that 64
 * bits do not hold; narrower integers keep the low bits, unsigned ones those of negative numbers too. Number
 * to text writes the shortest digits that read back as the same number, plain from 1e-4 to 1e16 ("0.1",
 * "3.0") and scientific beyond ("1e-05", "2.5e+20"), as NumPy does; bools are True and False.
 *
 * Both ways need a product m 10^e to more digits than any machine type has. cast_decimal.h does it with
 * a small array of words, exactly.
 */
#include "runtime/ops/cast_any.h"
#include "runtime/ops/cast_decimal.h"

/* ---- text to number ---- */

typedef struct number {
    bool valid, negative, whole; /* whole: only digits, that fit */
    uint64_t integer;
    double f64;
    float f32;
} number;

static bool same_letters(const char *text, int64_t size, const char *lower) {
    int64_t i = 0;
    for (; i < size && lower[i] != 0; i++)
        if ((text[i] | 0x20) != lower[i])
            return false;
    return i == size && lower[i] == 0;
}

static bool is_digit(const char *text, int64_t size, int64_t i) {
    return i < size && text[i] >= '0' && text[i] <= '9';
}

/* "e-12" at position *i; false when there is an e without digits. */
static bool read_exponent(const char *text, int64_t size, int64_t *i, int64_t *out) {
    *out = 0;
    if (*i >= size || (text[*i] | 0x20) != 'e')
        return true;
    ++*i;
    bool negative = *i < size && text[*i] == '-';
    if (*i < size && (text[*i] == '-' || text[*i] == '+'))
        ++*i;
    if (!is_digit(text, size, *i))
        return false;
    for (; is_digit(text, size, *i); ++*i)
        *out = *out < 100000 ? *out * 10 + (text[*i] - '0') : *out;
    *out = negative ? -*out : *out;
    return true;
}

static number read_number(const char *text, int64_t size) {
    number result = {0};
    while (size > 0 && (text[0] == ' ' || text[0] == '\t')) {
        text++;
        size--;
    }
    while (size > 0 && (text[size - 1] == ' ' || text[size - 1] == '\t'))
        size--;
    if (size > 0 && (text[0] == '-' || text[0] == '+')) {
        result.negative = text[0] == '-';
        text++;
        size--;
    }
    if (same_letters(text, size, "inf") || same_letters(text, size, "infinity") ||
        same_letters(text, size, "nan")) {
        result.valid = true;
        result.f64 = (text[0] | 0x20) == 'i' ? tm_inf_f64() : tm_nan_f64();
        result.f32 = (float)result.f64;
        return result;
    }
    uint64_t digits = 0;
    int64_t i = 0, dropped = 0, fraction = 0, written;
    bool any = false, sticky = false, point = false, full = false;
    for (; i < size && (is_digit(text, size, i) || (text[i] == '.' && !point)); i++) {
        if (text[i] == '.') {
            point = true;
            continue;
        }
        any = true;
        uint64_t digit = (uint64_t)(text[i] - '0');
        full |= digits > (UINT64_MAX - digit) / 10;
        if (!full) {
            digits = digits * 10 + digit;
            fraction += point;
        } else {
            sticky |= digit != 0;
            dropped += !point;
        }
    }
    bool integer = i == size && !point && dropped == 0;
    if (!any || !read_exponent(text, size, &i, &written) || i != size)
        return result;
    result.valid = true;
    result.whole = integer;
    result.integer = digits;
    tm_scaled value = tm_scale_by_ten(digits, 0, dropped - fraction + written);
    value.sticky |= sticky;
    result.f64 = tm_scaled_to_f64(value);
    result.f32 = tm_scaled_to_f32(value);
    return result;
}

/* Is it in the range of int64, or for unsigned types above -2^64 and below 2^64? NaN is in none. */
static bool fits_integers(const number *value, bool is_unsigned) {
    if (value->whole)
        return is_unsigned || value->integer <= (uint64_t)INT64_MAX + value->negative;
    double end = is_unsigned ? 0x1p64 : 0x1p63;
    return value->f64 < end || (value->negative && !is_unsigned && value->f64 == end);
}

static bool is_unsigned_type(int32_t type) {
    return type == TAMIS_TYPE_UINT8 || type == TAMIS_TYPE_UINT16 || type == TAMIS_TYPE_UINT32 ||
           type == TAMIS_TYPE_UINT64 || type == TAMIS_TYPE_UINT4 || type == TAMIS_TYPE_UINT2;
}

static bool write_number(const number *value, int32_t type, void *data, int64_t at) {
    tm_wide wide;
    tm_cast_rules rules = {true, TM_E8M0_UP};
    if (type == TAMIS_TYPE_FLOAT) {
        tm_set_f32(data, at, value->negative ? -value->f32 : value->f32);
        return true;
    }
    bool to_float = type == TAMIS_TYPE_DOUBLE || type == TAMIS_TYPE_FLOAT16 || type == TAMIS_TYPE_BFLOAT16 ||
                    (type >= TAMIS_TYPE_FLOAT8E4M3FN && type <= TAMIS_TYPE_FLOAT8E5M2FNUZ) ||
                    type == TAMIS_TYPE_FLOAT8E8M0 || type == TAMIS_TYPE_FLOAT4E2M1;
    bool to_integer = !to_float && type != TAMIS_TYPE_BOOL;
    if (to_integer && !fits_integers(value, is_unsigned_type(type)))
        return false;
    uint64_t size = value->whole ? value->integer : tm_f64_to_u64(value->f64);
    wide.floats[0] = value->negative ? -value->f64 : value->f64;
    wide.integers[0] = (int64_t)(value->negative ? 0 - size : size);
    wide.is_unsigned = !value->negative;
    wide.is_float = to_float || (!to_integer && !value->whole);
    return tm_wide_write(&wide, type, data, at, 1, rules);
}

/* Truth values are written both as numbers and as words. */
static bool read_truth(const tamis_string *text, number *out) {
    bool yes = same_letters(text->data, text->size, "true");
    if (!yes && !same_letters(text->data, text->size, "false"))
        return false;
    *out = (number){.valid = true, .whole = true, .integer = yes};
    return true;
}

int32_t tm_text_to_numbers(tm_run *run, const tm_call *call, const tamis_tensor *x, const tamis_tensor *y) {
    const tamis_string *texts = x->data;
    int64_t count = tm_count(x);
    for (int64_t i = 0; i < count; i++) {
        number value;
        if (y->type != TAMIS_TYPE_BOOL || !read_truth(&texts[i], &value))
            value = read_number(texts[i].data, texts[i].size);
        if (!value.valid || !write_number(&value, y->type, y->data, i))
            return tm_fail(run, call, TM_RUN_NOT_A_NUMBER, i, texts[i].size);
    }
    return 0;
}

int32_t tm_cast_from_text(tm_run *run, const tm_call *call);
int32_t tm_cast_from_text(tm_run *run, const tm_call *call) {
    return tm_text_to_numbers(run, call, tm_in(run, call, 0), tm_out(run, call, 0));
}

/* ---- number to text ---- */

#define TEXT_MAX 32

static int64_t put(char *text, const char *word) {
    int64_t n = 0;
    for (; word[n] != 0; n++)
        text[n] = word[n];
    return n;
}

static int64_t put_digits(char *text, uint64_t value) {
    char reversed[20];
    int64_t n = 0;
    do
        reversed[n++] = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    for (int64_t i = 0; i < n; i++)
        text[i] = reversed[n - 1 - i];
    return n;
}

/* digits d1 d2 ... dn stand for d1.d2...dn * 10^exponent */
static int64_t put_scientific(char *text, const char *digits, int64_t count, int64_t exponent) {
    int64_t n = 0;
    text[n++] = digits[0];
    if (count > 1)
        text[n++] = '.';
    for (int64_t i = 1; i < count; i++)
        text[n++] = digits[i];
    text[n++] = 'e';
    text[n++] = exponent < 0 ? '-' : '+';
    uint64_t size = (uint64_t)(exponent < 0 ? -exponent : exponent);
    if (size < 10)
        text[n++] = '0';
    return n + put_digits(text + n, size);
}

static int64_t put_plain(char *text, const char *digits, int64_t count, int64_t exponent) {
    int64_t n = 0;
    if (exponent < 0) {
        n = put(text, "0.");
        for (int64_t i = exponent + 1; i < 0; i++)
            text[n++] = '0';
    }
    for (int64_t i = 0; i <= exponent; i++)
        text[n++] = i < count ? digits[i] : '0';
    if (exponent >= 0) {
        text[n++] = '.';
        if (count <= exponent + 1)
            text[n++] = '0';
    }
    for (int64_t i = exponent < 0 ? 0 : exponent + 1; i < count; i++)
        text[n++] = digits[i];
    return n;
}

/* The shortest digits that read back as x, whose type has `places` significant digits at most. */
static int64_t write_float(char *text, double x, int places, bool is_f32) {
    int64_t n = 0;
    if (x != x)
        return put(text, "NaN");
    if (tm_bits_of_f64(x) >> 63 != 0)
        text[n++] = '-';
    double a = tm_abs_f64(x);
    if (a == tm_inf_f64())
        return n + put(text + n, "INF");
    if (a == 0)
        return n + put(text + n, "0.0");
    for (int count = 1;; count++) {
        int64_t exponent;
        uint64_t digits = tm_decimal_digits(a, count, &exponent);
        tm_scaled back = tm_scale_by_ten(digits, 0, exponent - count + 1);
        double read = is_f32 ? (double)tm_scaled_to_f32(back) : tm_scaled_to_f64(back);
        if (read != a && count < places)
            continue;
        char buffer[20];
        int64_t length = put_digits(buffer, digits);
        while (length > 1 && buffer[length - 1] == '0')
            length--;
        bool plain = exponent >= -4 && exponent < 16;
        return n + (plain ? put_plain : put_scientific)(text + n, buffer, length, exponent);
    }
}

static int64_t write_element(char *text, const tamis_tensor *x, int64_t i) {
    tm_wide wide;
    if (x->type == TAMIS_TYPE_BOOL)
        return put(text, tm_get_bool(x->data, i) != 0 ? "True" : "False");
    if (!tm_wide_read(&wide, x->type, x->data, i, 1))
        return -1;
    if (wide.is_float)
        return write_float(text, wide.floats[0], x->type == TAMIS_TYPE_DOUBLE ? 17 : 9,
                           x->type != TAMIS_TYPE_DOUBLE);
    bool negative = !wide.is_unsigned && wide.integers[0] < 0;
    text[0] = '-';
    return negative + put_digits(text + negative,
                                 negative ? 0 - (uint64_t)wide.integers[0] : (uint64_t)wide.integers[0]);
}

int32_t tm_cast_to_text(tm_run *run, const tm_call *call);
int32_t tm_cast_to_text(tm_run *run, const tm_call *call) {
    const tamis_tensor *x = tm_in(run, call, 0);
    tamis_string *texts = tm_out(run, call, 0)->data;
    int64_t count = tm_count(x);
    char *memory = tm_arena(run, call, count * TEXT_MAX);
    if (memory == NULL)
        return TM_RUN_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        int64_t size = write_element(memory, x, i);
        if (size < 0)
            return tm_fail(run, call, TM_RUN_TYPES, x->type, TAMIS_TYPE_STRING);
        texts[i] = (tamis_string){memory, size};
        memory += size;
    }
    return 0;
}

int32_t tm_k_Cast_str_str(tm_run *run, const tm_call *call) {
    const tamis_tensor *x = tm_in(run, call, 0);
    memmove(tm_out(run, call, 0)->data, x->data, (size_t)tm_count(x) * sizeof(tamis_string));
    return 0;
}
int32_t tm_k_CastLike_str_str(tm_run *run, const tm_call *call) __attribute__((alias("tm_k_Cast_str_str")));

#define WITH_TEXT(s)                                                                                         \
    int32_t tm_k_Cast_##s##_str(tm_run *run, const tm_call *call) __attribute__((alias("tm_cast_to_text"))); \
    int32_t tm_k_CastLike_##s##_str(tm_run *run, const tm_call *call)                                        \
        __attribute__((alias("tm_cast_to_text")));                                                           \
    int32_t tm_k_Cast_str_##s(tm_run *run, const tm_call *call) __attribute__((alias("tm_cast_from_text"))); \
    int32_t tm_k_CastLike_str_##s(tm_run *run, const tm_call *call)                                          \
        __attribute__((alias("tm_cast_from_text")));
WITH_TEXT(f32)
WITH_TEXT(f64) WITH_TEXT(f16) WITH_TEXT(bf16) WITH_TEXT(i8) WITH_TEXT(i16) WITH_TEXT(i32) WITH_TEXT(i64)
    WITH_TEXT(u8) WITH_TEXT(u16) WITH_TEXT(u32) WITH_TEXT(u64) WITH_TEXT(bool) WITH_TEXT(i4) WITH_TEXT(u4)
        WITH_TEXT(i2) WITH_TEXT(u2) WITH_TEXT(f8e4m3fn) WITH_TEXT(f8e4m3fnuz) WITH_TEXT(f8e5m2)
            WITH_TEXT(f8e5m2fnuz) WITH_TEXT(f8e8m0) WITH_TEXT(f4e2m1)
