# SPDX-License-Identifier: Apache-2.0
#
# Install rules. The kernel archives go to lib/tamis, where command and library look for them
# relative to themselves, so a tree can be moved as a whole.

set(CMAKE_INSTALL_LIBDIR lib CACHE PATH "library folder")
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(libraries tamis_static tamis_shared)
if(TARGET tamis_runtime_static)
    list(APPEND libraries tamis_runtime_static tamis_runtime_shared tamis_images)
endif()
if(TARGET tamis_command)
    list(APPEND libraries tamis_command)
endif()
install(TARGETS ${libraries}
    RUNTIME DESTINATION bin LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${public_headers} DESTINATION include/tamis)
install(DIRECTORY ${CMAKE_BINARY_DIR}/lib/tamis/ DESTINATION lib/tamis FILES_MATCHING
    PATTERN libkernels.a PATTERN *.bc)
if(TARGET tamis_python)
    install(TARGETS tamis_python LIBRARY DESTINATION lib/tamis/python/tamis)
    install(FILES ${python_files} DESTINATION lib/tamis/python/tamis)
endif()

foreach(name tamis tamis_runtime)
    configure_file(${CMAKE_SOURCE_DIR}/cmake/${name}.pc.in ${CMAKE_BINARY_DIR}/${name}.pc @ONLY)
    install(FILES ${CMAKE_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/tamis)
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/tamisConfig.cmake.in
    ${CMAKE_BINARY_DIR}/tamisConfig.cmake INSTALL_DESTINATION ${package})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/tamisConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/tamisConfig.cmake ${CMAKE_BINARY_DIR}/tamisConfigVersion.cmake DESTINATION ${package})
