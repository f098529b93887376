# SPDX-License-Identifier: Apache-2.0
# Faster builds when the tools are there: ccache, and mold or lld as linker. Nothing depends on them.
find_program(ESPALIER_CCACHE ccache)
if(ESPALIER_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Paths below the source folder count relative to it, so that another clone finds what this one compiled.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
    CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${ESPALIER_CCACHE})
endif()
find_program(ESPALIER_MOLD mold)
find_program(ESPALIER_LLD ld.lld)
if(CMAKE_CROSSCOMPILING)
  # the linker of the cross compiler
elseif(ESPALIER_MOLD)
  add_link_options(-fuse-ld=mold)
elseif(ESPALIER_LLD)
  add_link_options(-fuse-ld=lld)
endif()
