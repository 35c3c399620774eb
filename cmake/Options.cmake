# SPDX-License-Identifier: Apache-2.0
#
# Flags of everything that is compiled here. tm_build: what any code needs; tm_flags: that and our warnings.

option(TM_WERROR "warnings are errors" OFF)
option(TM_HOSTILE "tiny capacities, freed memory overwritten, another hash seed" OFF)
option(TM_PYTHON "build the Python module" ON)
set(TM_SANITIZE "" CACHE STRING "address, undefined or thread")

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)

find_program(TM_CCACHE ccache)
if(TM_CCACHE)
    set(CMAKE_C_COMPILER_LAUNCHER ${TM_CCACHE})
endif()

add_library(tm_build INTERFACE)
target_compile_definitions(tm_build INTERFACE _GNU_SOURCE)
target_compile_options(tm_build INTERFACE
    -fno-math-errno -ffp-contract=off -ffile-prefix-map=${CMAKE_SOURCE_DIR}=.)
if(TM_HOSTILE)
    target_compile_definitions(tm_build INTERFACE TM_HOSTILE TM_HASH_SEED=0x5eed)
endif()
if(TM_SANITIZE)
    target_compile_options(tm_build INTERFACE
        -fsanitize=${TM_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(tm_build INTERFACE -fsanitize=${TM_SANITIZE})
endif()
if(TM_SANITIZE STREQUAL "thread")
    target_compile_definitions(tm_build INTERFACE TM_THREADED_EVALUATOR)
endif()
if(CMAKE_C_COMPILER_ID STREQUAL "Clang")
    target_link_options(tm_build INTERFACE -fuse-ld=lld)
endif()

target_link_options(tm_build INTERFACE -Wl,--as-needed)

add_library(tm_flags INTERFACE)
target_link_libraries(tm_flags INTERFACE tm_build)
target_compile_options(tm_flags INTERFACE
    -Wall -Wextra -Wconversion -Wno-sign-conversion -Wshadow $<$<BOOL:${TM_WERROR}>:-Werror>)

# tm_add_library(NAME OBJECTS...): NAME_static and NAME_shared. The shared one exports tamis_* only.
function(tm_add_library name)
    add_library(${name}_static STATIC ${ARGN})
    add_library(${name}_shared SHARED ${ARGN})
    set_target_properties(${name}_static ${name}_shared PROPERTIES OUTPUT_NAME ${name} LINKER_LANGUAGE C)
    set_target_properties(${name}_shared PROPERTIES
        VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
        LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/exports.map)
    target_link_libraries(${name}_static PRIVATE tm_build)
    target_link_libraries(${name}_shared PRIVATE tm_build)
    target_link_options(${name}_shared PRIVATE
        -Wl,--version-script=${CMAKE_SOURCE_DIR}/cmake/exports.map -Wl,--gc-sections
        $<$<NOT:$<BOOL:${TM_SANITIZE}>>:-Wl,--no-undefined>)
endfunction()
