# SPDX-License-Identifier: Apache-2.0
# One static library esp_<room> for each room in lib/DEPENDS: sources found by folder, links taken from its line. Each tower is an include root.
# A room that (directly) uses @torch is left out with ESPALIER_TRAIN=OFF, and so is all that depends on it.

add_library(esp_flags INTERFACE)
target_compile_options(esp_flags INTERFACE -Wall -Wextra -Wshadow -Wconversion -Wold-style-cast -Wnon-virtual-dtor -Werror=switch
  $<$<BOOL:${ESPALIER_WERROR}>:-Werror>
  # In a file that another includes, GCC takes a member of an unnamed type for a mistake.
  $<$<BOOL:${CMAKE_UNITY_BUILD}>:-Wno-subobject-linkage>)
# Where fused multiply-adds are part of the baseline, GCC would form them from any product and sum, and what encoders, decoders and the
# reference compute would differ from x86-64. The instruction sets ask for them again (lib/device/kernels/CMakeLists.txt).
if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  add_compile_options(-ffp-contract=off)
endif()
if(ESPALIER_SANITIZE)
  # Null pointers and objects too small stop AddressSanitizer as well; leaving those checks out saves a third of compiling.
  add_compile_options(-fsanitize=${ESPALIER_SANITIZE} -fno-sanitize=null,vptr,object-size -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${ESPALIER_SANITIZE})
endif()

# An object library that carries precompiled headers (the rest of the words) for targets with the same flags.
function(espalier_carry_headers carrier)
  file(WRITE ${CMAKE_BINARY_DIR}/${carrier}.cpp "// Carries precompiled headers.\n")
  add_library(${carrier} OBJECT ${CMAKE_BINARY_DIR}/${carrier}.cpp)
  target_link_libraries(${carrier} PRIVATE esp_dep_json esp_flags)
  if(ESPALIER_CCACHE)
    target_compile_options(${carrier} PRIVATE -fpch-preprocess)
  endif()
  target_precompile_headers(${carrier} PRIVATE ${ARGN})
endfunction()
function(espalier_reuse_headers target carrier)
  # Executables would get -fPIE, and GCC then silently ignores the header that was compiled with -fPIC.
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "EXECUTABLE")
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${target} PRIVATE -fPIC)
  endif()
  target_precompile_headers(${target} REUSE_FROM ${carrier})
  if(ESPALIER_CCACHE)
    target_compile_options(${target} PRIVATE -fpch-preprocess)
  endif()
endfunction()

# The one precompiled <torch/types.h> (with json beside it); every torch target reuses it, so their flags must be identical. <torch/torch.h> would bring the
# module library, whose templates GCC instantiates again in every file: 18 s a file instead of 3.
function(espalier_use_torch target)
  target_link_libraries(${target} PUBLIC esp_dep_torch)
  target_compile_options(${target} PRIVATE -Wno-conversion -Wno-shadow ${LibTorch_COMPILE_OPTIONS})
  espalier_reuse_headers(${target} esp_torch_pch)
endfunction()

# The same of json for the libraries that use it without LibTorch: parsing it anew costs 4 s a file.
function(espalier_use_json target)
  espalier_reuse_headers(${target} esp_json_pch)
endfunction()

# With CMAKE_UNITY_BUILD, which the presets "release" and "asan" set, the sources of a room are compiled together, several at a time: headers are parsed
# once, and a clean build takes half as long. Rows of a table that use the same names on purpose stay alone, if their names are not in a namespace of
# the row; so do kernels, whose code must not depend on their neighbours.
function(espalier_join_sources target room)  # sources follow
  if(room MATCHES "/kernels$")
    set_target_properties(${target} PROPERTIES UNITY_BUILD OFF)
  endif()
  set(alone ${ARGN})
  list(FILTER alone INCLUDE REGEX "^${room}/[^/]+/")
  list(FILTER alone EXCLUDE REGEX "^${room}/(criteria|schedules|statistics|template|terms)/")
  set_source_files_properties(${alone} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

function(espalier_add_libraries)
  espalier_carry_headers(esp_json_pch <nlohmann/json.hpp>)
  if(ESPALIER_TRAIN)
    espalier_carry_headers(esp_torch_pch <torch/types.h> <nlohmann/json.hpp>)
    target_link_libraries(esp_torch_pch PRIVATE esp_dep_torch Threads::Threads)
    target_compile_options(esp_torch_pch PRIVATE -Wno-conversion -Wno-shadow ${LibTorch_COMPILE_OPTIONS})
  endif()
  set(device_program "^(core|version|format|arch|text|kernels|runtime|capi)$")  # what espalier-run is made of
  file(STRINGS ${CMAKE_SOURCE_DIR}/lib/DEPENDS lines REGEX "^[a-z]")
  set(have "")
  set(places "")
  foreach(line IN LISTS lines)
    if(line MATCHES "^tower ([a-z]+):")
      set(tower ${CMAKE_MATCH_1})
      continue()
    endif()
    string(REGEX MATCH "^([a-z_]+): *(.*)$" matched "${line}")
    set(folder ${CMAKE_MATCH_1})
    string(REGEX REPLACE " +" ";" needs "${CMAKE_MATCH_2}")
    set(links esp_flags)
    set(torch FALSE)
    set(skip FALSE)
    foreach(need IN LISTS needs)
      if(need MATCHES "^@(.+)$")
        if(CMAKE_MATCH_1 STREQUAL "torch")
          set(torch TRUE)
        else()
          list(APPEND links esp_dep_${CMAKE_MATCH_1})
        endif()
      elseif(need MATCHES "^(.+)[?]$")  # used where it is built
        if(CMAKE_MATCH_1 IN_LIST have)
          list(APPEND links esp_${CMAKE_MATCH_1})
        endif()
      else()
        list(APPEND links esp_${need})
        if(NOT need IN_LIST have)
          set(skip TRUE)
        endif()
      endif()
    endforeach()
    if(NOT ESPALIER_TRAIN AND (torch OR skip))
      continue()
    endif()
    if(ESPALIER_DEVICE_ONLY AND NOT folder MATCHES "${device_program}")
      continue()
    endif()
    list(APPEND have ${folder})
    list(APPEND places ${tower}/${folder})
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/lib/${tower}/${folder}/*.cpp)
    if(NOT ESPALIER_TRAIN AND folder STREQUAL "stages")
      file(STRINGS ${CMAKE_SOURCE_DIR}/lib/${tower}/stages/stages.inc training REGEX "^ESP_TRAINING_STAGE")
      foreach(row IN LISTS training)
        string(REGEX REPLACE "^ESP_TRAINING_STAGE[(](.*)[)]$" "\\1" kind "${row}")
        list(FILTER sources EXCLUDE REGEX "/stages/${kind}[.]cpp$")
      endforeach()
    endif()
    list(FILTER sources EXCLUDE REGEX "/kernels/isa/")  # each has flags of its own: lib/device/kernels/CMakeLists.txt
    if(sources)
      add_library(esp_${folder} STATIC ${sources})
      espalier_join_sources(esp_${folder} ${CMAKE_SOURCE_DIR}/lib/${tower}/${folder} ${sources})
      set(scope PUBLIC)
      if(torch)
        espalier_use_torch(esp_${folder})
      elseif("esp_dep_json" IN_LIST links)
        espalier_use_json(esp_${folder})
      endif()
    else()
      add_library(esp_${folder} INTERFACE)
      set(scope INTERFACE)
    endif()
    if(folder MATCHES "${device_program}")  # what espalier-run does not use of them is left out by the linker
      target_compile_options(esp_${folder} PRIVATE -ffunction-sections -fdata-sections)
    endif()
    if(folder MATCHES "^(arch|core|version)$")  # tables, checks, files; nothing in them takes time
      target_compile_options(esp_${folder} PRIVATE $<$<CONFIG:Release>:-Os>)
    elseif(folder MATCHES "^(text|runtime|capi)$")  # the loops that count are in kernels and format
      target_compile_options(esp_${folder} PRIVATE $<$<CONFIG:Release>:-O2>)
    elseif(folder MATCHES "^(layerwise|calibrate|prune|plan|tasks|timing|verify|compare|report|stages|recipe)$")  # they call what takes time
      target_compile_options(esp_${folder} PRIVATE $<$<CONFIG:Release>:-O1>)
    endif()
    if(ESPALIER_TRAIN AND folder STREQUAL "stages")
      target_compile_definitions(esp_${folder} PRIVATE ESPALIER_WITH_TRAINING)
    endif()
    target_include_directories(esp_${folder} ${scope} ${CMAKE_SOURCE_DIR}/lib/${tower})
    target_link_libraries(esp_${folder} ${scope} ${links})
    if(EXISTS ${CMAKE_SOURCE_DIR}/lib/${tower}/${folder}/CMakeLists.txt)
      add_subdirectory(${CMAKE_SOURCE_DIR}/lib/${tower}/${folder} ${CMAKE_BINARY_DIR}/lib/${tower}/${folder})
    endif()
  endforeach()
  set(ESPALIER_ROOMS ${places} PARENT_SCOPE)  # "tower/room" each
endfunction()
