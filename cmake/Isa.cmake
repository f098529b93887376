# SPDX-License-Identifier: Apache-2.0
# espalier_add_isa(<name> REQUIRES <feature>... [FLAGS <flag>...]): compiles lib/device/kernels/isa/<name>.cpp with the flags, or with
# -m<feature>... when none are named, into esp_kernels and lists it, with the run-time test for the same features, in isa_list.inc (order
# of the calls = order of preference, last runnable wins).
# Only for a target processor: lib/device/kernels/CMakeLists.txt guards the calls by CMAKE_SYSTEM_PROCESSOR.
set_property(GLOBAL PROPERTY ESPALIER_ISA_LIST "")
function(espalier_add_isa name)
  cmake_parse_arguments(isa "" "" "REQUIRES;FLAGS" ${ARGN})
  add_library(esp_isa_${name} OBJECT ${CMAKE_SOURCE_DIR}/lib/device/kernels/isa/${name}.cpp)
  set_target_properties(esp_isa_${name} PROPERTIES UNITY_BUILD OFF)
  target_include_directories(esp_isa_${name} PRIVATE ${CMAKE_SOURCE_DIR}/lib/base ${CMAKE_SOURCE_DIR}/lib/device)
  target_link_libraries(esp_isa_${name} PRIVATE esp_flags)
  set(flags ${isa_FLAGS})
  if(NOT flags)
    set(flags ${isa_REQUIRES})
    list(TRANSFORM flags REPLACE "_" "-")
    list(TRANSFORM flags PREPEND "-m")
  endif()
  # GCC 12 warns about its own "undefined" vectors inside the intrinsics header (GCC bug 105593). Its two passes that reorder
  # expressions would move every addition of an unrolled tile behind all the products, which then spill: measured 1.3 times slower.
  target_compile_options(esp_isa_${name} PRIVATE $<IF:$<BOOL:${ESPALIER_SANITIZED}>,-O1,-O3> ${flags} -Wno-old-style-cast
    $<$<CONFIG:Release>:-fno-exceptions;-fno-asynchronous-unwind-tables>  # nothing is thrown through a kernel; the program stays small
    $<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized -Wno-maybe-uninitialized -fno-tree-reassoc -fno-tree-ter>)
  target_sources(esp_kernels PRIVATE $<TARGET_OBJECTS:esp_isa_${name}>)
  list(TRANSFORM isa_REQUIRES REPLACE "(.+)" "cpu_has(CpuFeature::\\1)" OUTPUT_VARIABLE tests)
  list(JOIN tests " && " test)
  set_property(GLOBAL APPEND_STRING PROPERTY ESPALIER_ISA_LIST "ESP_ISA(${name}, ${test})\n")
  add_test(NAME isa_object_${name} COMMAND sh ${CMAKE_SOURCE_DIR}/scripts/check_isa_objects.sh $<TARGET_OBJECTS:esp_isa_${name}>)
  set_tests_properties(isa_object_${name} PROPERTIES LABELS "isa" ENVIRONMENT "NM=${CMAKE_NM}")
endfunction()
