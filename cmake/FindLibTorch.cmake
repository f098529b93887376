# SPDX-License-Identifier: Apache-2.0
# LibTorch from the pip wheel of torch: its own include/ and lib/, never the wheel's CMake config (which asks for a CUDA
# toolkit when the wheel is a CUDA build). Looks at LibTorch_ROOT, then the project's .venv, then the python3 on PATH.
# Gives LibTorch::torch, LibTorch_VERSION, LibTorch_CUDA (whether the wheel carries CUDA libraries), LibTorch_COMPILE_OPTIONS for files that
# include its headers.
set(candidates)
if(LibTorch_ROOT)
  list(APPEND candidates ${LibTorch_ROOT})
endif()
if(DEFINED ENV{LibTorch_ROOT})
  list(APPEND candidates $ENV{LibTorch_ROOT})
endif()
file(GLOB in_venv ${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch)
list(APPEND candidates ${in_venv})
if(NOT candidates)
  find_program(ESPALIER_PYTHON3 python3)
  if(ESPALIER_PYTHON3)
    execute_process(COMMAND ${ESPALIER_PYTHON3} -c "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
                    OUTPUT_VARIABLE from_python OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(from_python)
      list(APPEND candidates ${from_python})
    endif()
  endif()
endif()

find_path(LibTorch_INCLUDE_DIR torch/csrc/api/include/torch/torch.h PATHS ${candidates} PATH_SUFFIXES include NO_DEFAULT_PATH)
find_library(LibTorch_LIBRARY torch PATHS ${candidates} PATH_SUFFIXES lib NO_DEFAULT_PATH)
find_library(LibTorch_CPU_LIBRARY torch_cpu PATHS ${candidates} PATH_SUFFIXES lib NO_DEFAULT_PATH)
find_library(LibTorch_C10_LIBRARY c10 PATHS ${candidates} PATH_SUFFIXES lib NO_DEFAULT_PATH)
# The version stands in torch/version.py of the wheel.
if(LibTorch_INCLUDE_DIR AND EXISTS ${LibTorch_INCLUDE_DIR}/../version.py)
  file(STRINGS ${LibTorch_INCLUDE_DIR}/../version.py version_line REGEX "^__version__ = ")
  string(REGEX REPLACE ".*'([0-9.]+).*" "\\1" LibTorch_VERSION "${version_line}")
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_LIBRARY LibTorch_INCLUDE_DIR LibTorch_CPU_LIBRARY LibTorch_C10_LIBRARY VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "LibTorch is taken from the pip wheel: 'python3 -m venv .venv && .venv/bin/pip install torch==2.13.0' in the source folder, or pass -DLibTorch_ROOT=<site-packages/torch>")
get_filename_component(LibTorch_LIB_DIR ${LibTorch_LIBRARY} DIRECTORY)
find_library(LibTorch_CUDA_LIBRARY torch_cuda PATHS ${LibTorch_LIB_DIR} NO_DEFAULT_PATH)
find_library(LibTorch_C10_CUDA_LIBRARY c10_cuda PATHS ${LibTorch_LIB_DIR} NO_DEFAULT_PATH)
set(LibTorch_CUDA OFF)
set(libraries ${LibTorch_LIBRARY} ${LibTorch_CPU_LIBRARY} ${LibTorch_C10_LIBRARY})
if(LibTorch_CUDA_LIBRARY AND LibTorch_C10_CUDA_LIBRARY)
  set(LibTorch_CUDA ON)
  # Registration of the CUDA back end happens in static initialisers: the library must be linked although nothing names it.
  list(APPEND libraries -Wl,--no-as-needed ${LibTorch_CUDA_LIBRARY} ${LibTorch_C10_CUDA_LIBRARY} -Wl,--as-needed)
endif()
message(STATUS "LibTorch ${LibTorch_VERSION} in ${LibTorch_LIB_DIR} (CUDA build: ${LibTorch_CUDA})")
add_library(LibTorch::torch INTERFACE IMPORTED)
target_include_directories(LibTorch::torch SYSTEM INTERFACE ${LibTorch_INCLUDE_DIR} ${LibTorch_INCLUDE_DIR}/torch/csrc/api/include)
target_link_libraries(LibTorch::torch INTERFACE ${libraries})
target_link_options(LibTorch::torch INTERFACE -Wl,-rpath,${LibTorch_LIB_DIR})
# at::parallel_for is a template: compiled without OpenMP it runs on one thread and says nothing. The library loaded is the wheel's libgomp.
set(LibTorch_COMPILE_OPTIONS)
if(EXISTS ${LibTorch_INCLUDE_DIR}/ATen/Config.h)
  file(STRINGS ${LibTorch_INCLUDE_DIR}/ATen/Config.h with_openmp REGEX "define AT_PARALLEL_OPENMP 1")
  if(with_openmp)
    set(LibTorch_COMPILE_OPTIONS -fopenmp)
    target_link_options(LibTorch::torch INTERFACE -fopenmp)
  endif()
endif()
