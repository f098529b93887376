# SPDX-License-Identifier: Apache-2.0
# Included by llama.cpp's own project() call when scripts/llama_cpp.sh configures it. Its kernels (ggml) are built as they are. What prepares their
# work (files, graphs, tokenizers) and the common code of its tools is compiled for short building instead of speed, and headers that every file
# includes once.
function(espalier_build_shortly)
  target_compile_options(llama PRIVATE -O1)
  target_compile_options(llama-common PRIVATE -O0)
  target_compile_options(cpp-httplib PRIVATE -O0)
  target_precompile_headers(llama-common PRIVATE <algorithm> <fstream> <functional> <map> <regex> <sstream> <string> <vector> <nlohmann/json.hpp>)
  target_precompile_headers(llama PRIVATE "${CMAKE_SOURCE_DIR}/src/models/models.h")
  get_target_property(sources llama-common SOURCES)
  list(FILTER sources INCLUDE REGEX "parsers/[^/]*[.]cpp$")
  set_source_files_properties(${sources} TARGET_DIRECTORY llama-common PROPERTIES UNITY_GROUP parsers)
  set_target_properties(llama-common PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
endfunction()
cmake_language(DEFER CALL espalier_build_shortly)
