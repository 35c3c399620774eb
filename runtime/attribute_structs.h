/* SPDX-License-Identifier: Apache-2.0
 *
 * attribute_structs.h: struct tm_attrs_OP for each row of the file TM_ATTRIBUTE_ROWS, a field of 8 bytes for
 * each attribute. Included once for each file of rows, so that a new row of one domain leaves the kernels of
 * the others as they are:
 *
 *     #define TM_ATTRIBUTE_ROWS "ir/rows/ml.def"
 *     #include "runtime/attribute_structs.h"
 */
#define TM_I(name, value) int64_t name;
#define TM_F(name, value) double name;
#define TM_S(name, value) tm_list name;
#define TM_IS(name) tm_list name;
#define TM_FS(name) tm_list name;
#define TM_SS(name) tm_list name;
#define TM_T(name) tm_list name;
#define TM_G(name)
#define TM_NONE
#define TM_OP(name, domain, since, in_min, in_max, out_min, out_max, key, traits, exactness, infer, \
              attributes)                                                                           \
    typedef struct tm_attrs_##name {                                                                \
        attributes int64_t end_;                                                                    \
    } tm_attrs_##name;
#include TM_ATTRIBUTE_ROWS
#undef TM_OP
#undef TM_I
#undef TM_F
#undef TM_S
#undef TM_IS
#undef TM_FS
#undef TM_SS
#undef TM_T
#undef TM_G
#undef TM_NONE
#undef TM_ATTRIBUTE_ROWS
