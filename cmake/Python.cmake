# SPDX-License-Identifier: Apache-2.0
#
# The Python package, ready to import from BUILD/python: python/tamis/*.py beside the compiled module.
#
# The module keeps to the limited API of CPython 3.11, so the headers of any CPython from 3.11 on will do:
# those of the interpreter in use, or, where that one came without, the system's.

if(NOT Python_EXECUTABLE AND EXISTS ${CMAKE_SOURCE_DIR}/.venv/bin/python)
    set(Python_EXECUTABLE ${CMAKE_SOURCE_DIR}/.venv/bin/python)
endif()
set(Python_FIND_VIRTUALENV FIRST)
find_package(Python 3.11 COMPONENTS Interpreter)

tm_glob(python_sources python/*.c)
tm_glob(python_files python/tamis/*.py)
foreach(file ${python_files})
    get_filename_component(name ${file} NAME)
    configure_file(${file} ${CMAKE_BINARY_DIR}/python/tamis/${name} COPYONLY)
endforeach()

if(NOT TM_PYTHON OR NOT python_sources OR TM_SANITIZE)
    return()
endif()

if(Python_EXECUTABLE)
    execute_process(COMMAND ${Python_EXECUTABLE} -c "import sysconfig; print(sysconfig.get_path('include'))"
        OUTPUT_VARIABLE python_include OUTPUT_STRIP_TRAILING_WHITESPACE)
endif()
file(GLOB system_includes /usr/include/python3.1[1-9])
find_path(TM_PYTHON_INCLUDE Python.h PATHS ${python_include} ${system_includes} NO_DEFAULT_PATH)
if(NOT TM_PYTHON_INCLUDE)
    message(WARNING "Python.h not found: the Python module is left out")
    return()
endif()

# The module's name is what its init function says.
set(module_name _tamis)
foreach(source ${python_sources})
    file(STRINGS ${source} init REGEX "PyInit_[A-Za-z0-9_]+" LIMIT_COUNT 1)
    if(init MATCHES "PyInit_([A-Za-z0-9_]+)")
        set(module_name ${CMAKE_MATCH_1})
    endif()
endforeach()

add_library(tamis_python MODULE ${python_sources})
target_include_directories(tamis_python PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/include)
target_include_directories(tamis_python SYSTEM PRIVATE ${TM_PYTHON_INCLUDE})
target_compile_definitions(tamis_python PRIVATE Py_LIMITED_API=0x030b0000)
target_link_libraries(tamis_python PRIVATE tm_flags tamis_shared $<TARGET_NAME_IF_EXISTS:tamis_runtime_shared>)
set_target_properties(tamis_python PROPERTIES
    PREFIX "" OUTPUT_NAME ${module_name} SUFFIX .abi3.so
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/python/tamis
    BUILD_RPATH "$ORIGIN/../../lib" INSTALL_RPATH "$ORIGIN/../../..")
