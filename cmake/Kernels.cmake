# SPDX-License-Identifier: Apache-2.0
#
# The C kernels. The same files are compiled
#
#   - for each target level into lib/tamis/TRIPLE/LEVEL/libkernels.a, from which the linker takes what a
#     model uses. No target toolchain and no target headers are needed: they see only clang's own.
#   - natively, as part of the compiler library: the evaluator's kernels. A table of all tm_k_* symbols
#     is generated from them; having a symbol is what makes an op and type supported.
#
# Not -ffreestanding: it would turn memcpy of four bytes into a call. What it is meant to keep out are calls of
# other functions, and those that LLVM might put in by itself are named below; tests/size
# checks the undefined symbols of each archive. __MM_MALLOC_H leaves out the one part of immintrin.h that wants
# a libc. -fno-plt: artifacts are bound when they are loaded, so stubs would be for nothing.

tm_glob(kernel_sources runtime/ops/*.c runtime/math/*.c)
file(GLOB support_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/runtime/support*.c)
list(APPEND kernel_sources ${support_sources})
list(SORT kernel_sources)

set(kernel_compile -std=c17 -O3 -fPIC -g0 -ffunction-sections -fdata-sections -fno-math-errno -ffp-contract=off
    -fno-builtin-memcmp -fno-builtin-bcmp -fno-builtin-strlen -fno-builtin-wcslen -fvisibility=hidden
    -fno-plt -fno-stack-protector -fno-unwind-tables -fno-asynchronous-unwind-tables -fno-ident
    -nostdlibinc -D__MM_MALLOC_H -ffile-prefix-map=${CMAKE_SOURCE_DIR}=.
    -I${CMAKE_SOURCE_DIR} -I${CMAKE_SOURCE_DIR}/include)

add_custom_target(kernels)

# tm_kernel_archive(TRIPLE LEVEL FLAGS...): target kernels-TRIPLE-LEVEL.
function(tm_kernel_archive triple level)
    set(folder ${CMAKE_BINARY_DIR}/lib/tamis/${triple}/${level})
    set(work ${CMAKE_BINARY_DIR}/kernels/${triple}/${level})
    set(objects)
    foreach(source ${kernel_sources})
        file(RELATIVE_PATH path ${CMAKE_SOURCE_DIR}/runtime ${source})
        string(REPLACE "/" "_" name ${path})
        string(REGEX REPLACE "[.]c$" "" name ${name})
        set(object ${work}/${name}.o)
        set(small)
        if(name MATCHES "^(support.*|ops_reduction|ops_elementwise)$") # runs once a call, stands in most artifacts
            set(small -Os)
        endif()
        add_custom_command(
            OUTPUT ${object}
            COMMAND ${TM_CCACHE} ${TM_CLANG} --target=${triple} ${ARGN} ${kernel_compile} ${small}
                -MD -MF ${object}.d -MT ${object} -c ${source} -o ${object}
            DEPENDS ${source}
            DEPFILE ${object}.d
            COMMENT "Kernel ${level} ${path}"
            VERBATIM)
        list(APPEND objects ${object})
    endforeach()
    file(MAKE_DIRECTORY ${work} ${folder})
    # A response file, and a fresh archive: members of deleted sources must not stay.
    string(REPLACE ";" "\n" lines "${objects}")
    file(CONFIGURE OUTPUT ${work}/objects.rsp CONTENT "${lines}\n" @ONLY)
    add_custom_command(
        OUTPUT ${folder}/libkernels.a
        COMMAND ${CMAKE_COMMAND} -E rm -f ${folder}/libkernels.a
        COMMAND ${TM_LLVM_AR} rcsD ${folder}/libkernels.a @${work}/objects.rsp
        DEPENDS ${objects} ${work}/objects.rsp
        COMMENT "Archive ${triple}/${level}"
        VERBATIM)
    # The vector math again as bitcode, to be inlined into generated loops.
    set(math ${CMAKE_SOURCE_DIR}/runtime/math/vector_math.c)
    set(bitcode)
    if(math IN_LIST kernel_sources)
        set(bitcode ${folder}/vector_math.bc)
        add_custom_command(
            OUTPUT ${bitcode}
            COMMAND ${TM_CCACHE} ${TM_CLANG} --target=${triple} ${ARGN} ${kernel_compile}
                -MD -MF ${work}/vector_math.bc.d -MT ${bitcode} -emit-llvm -c ${math} -o ${bitcode}
            DEPENDS ${math}
            DEPFILE ${work}/vector_math.bc.d
            COMMENT "Bitcode ${level} math"
            VERBATIM)
    endif()
    add_custom_target(kernels-${triple}-${level} ALL DEPENDS ${folder}/libkernels.a ${bitcode})
    add_dependencies(kernels kernels-${triple}-${level})
    # One after the other, in the order of this file: the first is what most tests need.
    if(TM_KERNEL_PREVIOUS)
        add_dependencies(kernels-${triple}-${level} ${TM_KERNEL_PREVIOUS})
    endif()
    set(TM_KERNEL_PREVIOUS kernels-${triple}-${level} PARENT_SCOPE)
endfunction()

# A second build of the same sources (a sanitizer's) can take the archives of the first.
set(TM_KERNELS_FROM "" CACHE PATH "build folder whose kernel archives are used")
if(TM_KERNELS_FROM)
    file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
    file(CREATE_LINK ${TM_KERNELS_FROM}/lib/tamis ${CMAKE_BINARY_DIR}/lib/tamis SYMBOLIC)
elseif(kernel_sources)
    tm_kernel_archive(x86_64-linux-gnu v3 -march=x86-64-v3)
    tm_kernel_archive(x86_64-linux-gnu v4 -march=x86-64-v4 -mprefer-vector-width=512)
    tm_kernel_archive(aarch64-linux-gnu generic -march=armv8-a)
    tm_kernel_archive(riscv64-linux-gnu generic -march=rv64gc -mabi=lp64d)
    tm_kernel_archive(riscv64-linux-gnu v -march=rv64gcv -mabi=lp64d)
endif()

# ---- native kernels ----
file(WRITE ${TM_GENERATED}/no_kernels.c "/* Keeps the library from being empty. */\nextern int tm_no_kernels;\n")
add_library(tamis_kernels_objects OBJECT ${kernel_sources} ${TM_GENERATED}/no_kernels.c)
target_include_directories(tamis_kernels_objects PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/include)
target_link_libraries(tamis_kernels_objects PRIVATE tm_flags)
target_compile_options(tamis_kernels_objects PRIVATE -fvisibility=hidden)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$")
    target_compile_options(tamis_kernels_objects PRIVATE -march=x86-64-v3)
endif()
add_library(tamis_kernels_native STATIC $<TARGET_OBJECTS:tamis_kernels_objects>)
set_target_properties(tamis_kernels_native PROPERTIES LINKER_LANGUAGE C ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/kernels)

add_custom_command(
    OUTPUT ${TM_GENERATED}/kernel_table.c
    COMMAND ${CMAKE_COMMAND} -DNM=${TM_LLVM_NM} -DARCHIVE=$<TARGET_FILE:tamis_kernels_native>
        -DOUTPUT=${TM_GENERATED}/kernel_table.c -P ${CMAKE_SOURCE_DIR}/cmake/KernelTable.cmake
    DEPENDS tamis_kernels_native $<TARGET_FILE:tamis_kernels_native> ${CMAKE_SOURCE_DIR}/cmake/KernelTable.cmake
    COMMENT "Kernel table"
    VERBATIM)
add_library(tamis_kernel_table OBJECT ${TM_GENERATED}/kernel_table.c)
target_include_directories(tamis_kernel_table PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/include)
target_link_libraries(tamis_kernel_table PRIVATE tm_flags)
