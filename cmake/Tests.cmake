# SPDX-License-Identifier: Apache-2.0
#
# Tests, found by directory scan; the first folder below tests/ is the label, the path is the name.
#
#   tests/unit/**/test_*.c   a CMocka program each, linked with the static libraries; those in tests/unit/memory/
#                            with malloc and its family wrapped
#   tests/**/*.sh            run by bash (names that start with "_" are helpers)
#   tests/**/test_*.py       run by pytest
#
# Scripts find things in the environment: TAMIS (the command), TAMIS_SOURCE, TAMIS_BUILD, TAMIS_PYTHON,
# LLVM_NM, LLVM_READELF; PYTHONPATH has the built package.

enable_testing()
find_package(PkgConfig REQUIRED)
pkg_check_modules(cmocka IMPORTED_TARGET cmocka)

set(test_environment
    TAMIS=${CMAKE_BINARY_DIR}/bin/tamis TAMIS_SOURCE=${CMAKE_SOURCE_DIR} TAMIS_BUILD=${CMAKE_BINARY_DIR}
    TAMIS_PYTHON=${Python_EXECUTABLE} LLVM_NM=${TM_LLVM_NM} LLVM_READELF=${TM_LLVM_READELF} PYTHONPATH=${CMAKE_BINARY_DIR}/python
    PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1)

# tm_test(FILE COMMAND...): registers it under its path.
function(tm_test file)
    file(RELATIVE_PATH path ${CMAKE_SOURCE_DIR}/tests ${file})
    string(REGEX REPLACE "[.][a-z]+$" "" name ${path})
    string(REGEX REPLACE "/.*" "" label ${path})
    add_test(NAME ${name} COMMAND ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES LABELS ${label} ENVIRONMENT "${test_environment}" TIMEOUT 1500)
endfunction()

file(GLOB_RECURSE c_tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/test_*.c)
file(GLOB_RECURSE shell_tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/*.sh)
file(GLOB_RECURSE python_tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/test_*.py)

# What tests need: `tested` builds these and nothing more.
add_custom_target(tested)
add_custom_target(tested_threads) # those of the tsan preset: the runtime, and kernels under several threads
if(TARGET tamis_command)
    add_dependencies(tested tamis_command tamis_images)
endif()

if(cmocka_FOUND)
    foreach(source ${c_tests})
        file(RELATIVE_PATH path ${CMAKE_SOURCE_DIR}/tests/unit ${source})
        string(REGEX REPLACE "[.]c$" "" target ${path})
        string(MAKE_C_IDENTIFIER unit_${target} target)
        add_executable(${target} ${source})
        set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
        target_include_directories(${target} PRIVATE
            ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/include ${TM_GENERATED})
        target_compile_definitions(${target} PRIVATE TM_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
        target_link_libraries(${target} PRIVATE
            tm_flags $<TARGET_NAME_IF_EXISTS:tamis_compress> tamis_static
            $<TARGET_NAME_IF_EXISTS:tamis_runtime_static> PkgConfig::cmocka)
        if(path MATCHES "^memory/") # their own malloc stands before that of the C library
            target_link_options(${target} PRIVATE
                -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc -Wl,--wrap=aligned_alloc)
        endif()
        add_dependencies(tested ${target})
        if(path MATCHES "^(runtime|ops)/")
            add_dependencies(tested_threads ${target})
        endif()
        tm_test(${source} $<TARGET_FILE:${target}>)
    endforeach()
endif()

foreach(script ${shell_tests})
    get_filename_component(name ${script} NAME)
    if(NOT name MATCHES "^_")
        tm_test(${script} bash ${script})
    endif()
endforeach()

if(Python_EXECUTABLE)
    foreach(file ${python_tests})
        tm_test(${file} ${Python_EXECUTABLE} -m pytest -q -p no:cacheprovider ${file})
    endforeach()
endif()
