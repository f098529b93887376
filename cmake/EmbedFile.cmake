# SPDX-License-Identifier: Apache-2.0
# A file becomes the bytes of a C++ array, so that the program needs no data files: generated/<name>, for #include inside an initializer.
function(espalier_embed target file name)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/${name} CONTENT "@bytes@\n" @ONLY)
  target_include_directories(${target} PRIVATE ${CMAKE_BINARY_DIR}/generated)
endfunction()
