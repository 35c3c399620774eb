# SPDX-License-Identifier: Apache-2.0
#
# cmake -DNM=... -DOBJECTS=FILE -DSONAME=... -DPATH=... -DPROCESSOR=... -DOUTPUT=... -P LlvmForward.cmake
#
# Writes a C file with a forwarder for every LLVM function that the objects listed in FILE call; see
# codegen/llvm/library.h. Unchanged content leaves the file untouched.

file(STRINGS ${OBJECTS} objects)
execute_process(COMMAND ${NM} --undefined-only --format=just-symbols --quiet ${objects}
    OUTPUT_VARIABLE listing RESULT_VARIABLE result)
if(NOT result EQUAL 0)
    message(FATAL_ERROR "${NM} cannot read the objects of the compiler")
endif()
string(REGEX MATCHALL "LLVM[A-Za-z0-9_]+" symbols "${listing}")
list(REMOVE_DUPLICATES symbols)
list(SORT symbols COMPARE STRING)
list(LENGTH symbols count)

set(forwarders "")
set(names "")
set(offset 0)
foreach(symbol IN LISTS symbols)
    if(PROCESSOR MATCHES "^(aarch64|arm64)$")
        set(code "adrp x16, tm_llvm_functions+${offset}\\n ldr x16, [x16, :lo12:tm_llvm_functions+${offset}]\\n br x16")
    elseif(PROCESSOR MATCHES "^riscv64$")
        set(code "lla t3, tm_llvm_functions+${offset}\\n ld t3, 0(t3)\\n jr t3")
    else()
        set(code "jmpq *tm_llvm_functions+${offset}(%rip)")
    endif()
    string(APPEND forwarders "FORWARD void ${symbol}(void) { __asm__(\"${code}\"); }\n")
    string(APPEND names "    \"${symbol}\",\n")
    math(EXPR offset "${offset} + 8")
endforeach()

file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT [[
/* SPDX-License-Identifier: Apache-2.0
 *
 * llvm_forward.c: the LLVM functions that the code generator calls, each a jump through a table.
 *
 * Made by cmake/LlvmForward.cmake. The prototypes here do not matter: a forwarder leaves registers and
 * stack as they are, so the function behind it sees its caller's arguments.
 */
#include "codegen/llvm/library.h"

#include <dlfcn.h>
#include <pthread.h>

#define FORWARD __attribute__((naked, visibility("hidden")))

enum { COUNT = @count@ };

__attribute__((used, visibility("hidden"))) void *tm_llvm_functions[COUNT + 1];

static const char *const function_names[COUNT + 1] = {
@names@    NULL,
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *missing;

static void load(void) {
    void *library = dlopen("@SONAME@", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        library = dlopen("@PATH@", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        missing = "@SONAME@";
        return;
    }
    for (int i = 0; i < COUNT; i++) {
        tm_llvm_functions[i] = dlsym(library, function_names[i]);
        if (tm_llvm_functions[i] == NULL) {
            missing = function_names[i];
            return;
        }
    }
}

const char *tm_llvm_load(void) {
    pthread_once(&once, load);
    return missing;
}

@forwarders@]])
