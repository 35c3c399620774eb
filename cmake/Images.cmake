# SPDX-License-Identifier: Apache-2.0
#
# libtamis_images: decoders of image files, which the runtime loads when a model decodes its first image. Each
# format's library is used if it is there; a format without one is refused when an image of it comes.

set(image_formats)
foreach(row "JPEG libjpeg" "PNG libpng" "TIFF libtiff-4>=4.5" "WEBP libwebp" "JPEG2000 libopenjp2")
    string(REPLACE " " ";" row ${row})
    list(GET row 0 format)
    list(GET row 1 library)
    pkg_check_modules(image_${format} IMPORTED_TARGET ${library})
    if(image_${format}_FOUND)
        list(APPEND image_formats ${format})
    else()
        message(STATUS "${library} was not found: models cannot decode ${format} images")
    endif()
endforeach()

file(GLOB image_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/runtime/images/*.c)
add_library(tamis_images SHARED ${image_sources})
set_target_properties(tamis_images PROPERTIES
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR} LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/exports.map)
target_include_directories(tamis_images PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/include)
target_link_libraries(tamis_images PRIVATE tm_flags)
target_link_options(tamis_images PRIVATE -Wl,--version-script=${CMAKE_SOURCE_DIR}/cmake/exports.map)
foreach(format ${image_formats})
    target_compile_definitions(tamis_images PRIVATE TM_HAVE_${format})
    target_link_libraries(tamis_images PRIVATE PkgConfig::image_${format})
endforeach()
