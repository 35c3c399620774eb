# SPDX-License-Identifier: Apache-2.0
#
# cmake -DNM=... -DARCHIVE=... -DOUTPUT=... -P KernelTable.cmake
#
# Writes a C file with the sorted table of the archive's tm_k_* symbols and tm_kernel_find (ir/evaluate.h).
# Unchanged content leaves the file untouched, so nothing that depends on it is built again.

execute_process(COMMAND ${NM} --defined-only --extern-only --format=just-symbols --quiet ${ARCHIVE}
    OUTPUT_VARIABLE listing RESULT_VARIABLE result)
if(NOT result EQUAL 0)
    message(FATAL_ERROR "${NM} cannot read ${ARCHIVE}")
endif()
string(REGEX MATCHALL "tm_k_[A-Za-z0-9_]+" symbols "${listing}")
list(REMOVE_DUPLICATES symbols)
list(SORT symbols COMPARE STRING)
list(LENGTH symbols count)

set(declarations "")
set(rows "")
foreach(symbol IN LISTS symbols)
    string(APPEND declarations "int32_t ${symbol}(tm_run *run, const tm_call *call);\n")
    string(APPEND rows "    {\"${symbol}\", ${symbol}},\n")
endforeach()

file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT [[
/* SPDX-License-Identifier: Apache-2.0
 *
 * kernel_table.c: all kernels of this machine by name, in the order of strcmp.
 *
 * Made by cmake/KernelTable.cmake from the symbols of the kernel archive: a kernel is listed because it
 * exists, so the table cannot disagree with the code. The last row keeps the table from being empty.
 */
#include "ir/evaluate.h"

#include <string.h>

@declarations@
static const struct {
    const char *name;
    tm_kernel function;
} kernel_rows[] = {
@rows@    {NULL, NULL},
};

tm_kernel tm_kernel_find(const char *symbol) {
    size_t low = 0, high = @count@;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(kernel_rows[middle].name, symbol);
        if (order == 0)
            return kernel_rows[middle].function;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
]])
