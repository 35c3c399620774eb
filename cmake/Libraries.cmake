# SPDX-License-Identifier: Apache-2.0
#
# What comes from the system. tm_dependencies carries what the compiler library links.
#
# LLVM is asked through llvm-config rather than its CMake package: the package looks for the C++ side
# and its optional libraries, none of which the C API needs. One LLVM: the version of clang. It is not
# linked but loaded when needed (codegen/llvm/library.h).

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

execute_process(COMMAND ${TM_CLANG} -dumpversion OUTPUT_VARIABLE clang_version OUTPUT_STRIP_TRAILING_WHITESPACE)
string(REGEX MATCH "^[0-9]+" TM_LLVM_VERSION "${clang_version}")
foreach(tool llvm-config llvm-ar llvm-nm llvm-readelf ld.lld)
    string(TOUPPER ${tool} variable)
    string(REGEX REPLACE "[.-]" "_" variable TM_${variable})
    find_program(${variable} NAMES ${tool}-${TM_LLVM_VERSION} ${tool} REQUIRED)
endforeach()
find_program(TM_PROTOC_C NAMES protoc-c REQUIRED)

execute_process(COMMAND ${TM_LLVM_CONFIG} --includedir OUTPUT_VARIABLE llvm_include OUTPUT_STRIP_TRAILING_WHITESPACE)
execute_process(COMMAND ${TM_LLVM_CONFIG} --libdir OUTPUT_VARIABLE llvm_libdir OUTPUT_STRIP_TRAILING_WHITESPACE)
find_library(TM_LLVM_LIBRARY NAMES LLVM-${TM_LLVM_VERSION} LLVM PATHS ${llvm_libdir} REQUIRED)

execute_process(COMMAND ${TM_LLVM_READELF} --dynamic ${TM_LLVM_LIBRARY} OUTPUT_VARIABLE dynamic)
string(REGEX MATCH "SONAME[^[]*\\[([^]]+)\\]" found "${dynamic}")
set(TM_LLVM_SONAME ${CMAKE_MATCH_1})

pkg_check_modules(protobuf_c REQUIRED IMPORTED_TARGET libprotobuf-c)
pkg_check_modules(json_c REQUIRED IMPORTED_TARGET json-c)
pkg_check_modules(zlib REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)

# For GPTQ: not linked but loaded when it is needed (quantize/algebra.h).
find_path(TM_CBLAS_INCLUDE cblas.h PATH_SUFFIXES openblas openblas-pthread openblas/include REQUIRED)
find_library(TM_OPENBLAS_LIBRARY NAMES openblas REQUIRED)
execute_process(COMMAND ${TM_LLVM_READELF} --dynamic ${TM_OPENBLAS_LIBRARY} OUTPUT_VARIABLE dynamic)
string(REGEX MATCH "SONAME[^[]*\\[([^]]+)\\]" found "${dynamic}")
set(TM_OPENBLAS_SONAME ${CMAKE_MATCH_1})

# For the command: what it links statically, it need not load to run an artifact.
find_library(TM_PROTOBUF_C_ARCHIVE NAMES libprotobuf-c.a PATHS ${protobuf_c_LIBRARY_DIRS})
if(NOT TM_PROTOBUF_C_ARCHIVE)
    set(TM_PROTOBUF_C_ARCHIVE PkgConfig::protobuf_c)
endif()

add_library(tm_dependencies INTERFACE)
target_include_directories(tm_dependencies SYSTEM INTERFACE ${llvm_include})
target_link_libraries(tm_dependencies INTERFACE
    PkgConfig::protobuf_c PkgConfig::json_c PkgConfig::zlib PkgConfig::xxhash Threads::Threads ${CMAKE_DL_LIBS} m)
