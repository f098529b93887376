# SPDX-License-Identifier: Apache-2.0
# cmake --install: the programs, libespalier with its header, and what find_package(Espalier) and pkg-config ask for. Components: "runtime"
# (espalier-run and libespalier), "development" (the header and the package files), "tools" (espalier, which needs its LibTorch where it is).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
# Whoever passes a program or the library on has to pass these on too, so that every component brings them.
foreach(component runtime development tools)
  install(FILES ${CMAKE_SOURCE_DIR}/LICENSE ${CMAKE_SOURCE_DIR}/NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT ${component})
endforeach()
install(TARGETS espalier-run RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT runtime)
if(TARGET espalier)
  set_target_properties(espalier PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
  install(TARGETS espalier RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT tools)
endif()
if(TARGET espalier_c)
  set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Espalier)
  install(TARGETS espalier_c EXPORT Espalier
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT development)
  install(FILES ${CMAKE_SOURCE_DIR}/include/espalier/espalier.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/espalier COMPONENT development)
  install(EXPORT Espalier NAMESPACE Espalier:: DESTINATION ${package_dir} COMPONENT development)
  file(WRITE ${CMAKE_BINARY_DIR}/package/EspalierConfig.cmake.in
    "@PACKAGE_INIT@\ninclude(\"\${CMAKE_CURRENT_LIST_DIR}/Espalier.cmake\")\ncheck_required_components(Espalier)\n")
  configure_package_config_file(${CMAKE_BINARY_DIR}/package/EspalierConfig.cmake.in ${CMAKE_BINARY_DIR}/package/EspalierConfig.cmake INSTALL_DESTINATION ${package_dir})
  # Before 1.0 a minor version may change the interface.
  write_basic_package_version_file(${CMAKE_BINARY_DIR}/package/EspalierConfigVersion.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${CMAKE_BINARY_DIR}/package/EspalierConfig.cmake ${CMAKE_BINARY_DIR}/package/EspalierConfigVersion.cmake DESTINATION ${package_dir} COMPONENT development)
  # Relative to the file, so that the folder may be moved.
  file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/package/espalier.pc @ONLY CONTENT [[
prefix=${pcfiledir}/@up@
Name: espalier
Description: Runs language models in GGUF files on the CPU
Version: @PROJECT_VERSION@
Cflags: -I${prefix}/@CMAKE_INSTALL_INCLUDEDIR@
Libs: -L${prefix}/@CMAKE_INSTALL_LIBDIR@ -lespalier
]])
  set(pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
  install(FILES ${CMAKE_BINARY_DIR}/package/espalier.pc DESTINATION ${pc_dir} COMPONENT development)
endif()
