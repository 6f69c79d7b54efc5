# Sets rcache as the compiler launcher of C, C++, Objective-C and Objective-C++, unless one is set.
#
#   cmake -B build -DCMAKE_PROJECT_TOP_LEVEL_INCLUDES=/usr/share/cmake/rcache/rcache.cmake      (CMake 3.24)
#   include(rcache.cmake)                        before the first target, in CMakeLists.txt or a toolchain file
#
# RCACHE_PROGRAM names the program if it is not in PATH; RCACHE_DISABLE switches all of this off.

if(DEFINED RCACHE_CMAKE_INCLUDED OR RCACHE_DISABLE)
  return()
endif()
set(RCACHE_CMAKE_INCLUDED TRUE)

find_program(RCACHE_PROGRAM rcache DOC "The compiler cache")
if(NOT RCACHE_PROGRAM)
  message(STATUS "rcache: not found, compiling without a cache")
  return()
endif()

foreach(rcache_language C CXX OBJC OBJCXX)
  set(rcache_launcher "CMAKE_${rcache_language}_COMPILER_LAUNCHER")
  if(DEFINED ${rcache_launcher} OR DEFINED ENV{${rcache_launcher}})
    message(STATUS "rcache: ${rcache_launcher} is set already, left as it is")
  else()
    set(${rcache_launcher} "${RCACHE_PROGRAM}" CACHE STRING "Set by rcache.cmake")
  endif()
endforeach()

# What keeps calls out of the cache, or hits from coming.
if(DEFINED MSVC AND MSVC)
  message(WARNING "rcache: cl.exe and clang-cl are not cached (/Z7, /Zi and the like are theirs); "
                  "gcc and clang are")
endif()
if(CMAKE_GENERATOR MATCHES "Visual Studio|Xcode")
  message(WARNING "rcache: the generator \"${CMAKE_GENERATOR}\" does not use compiler launchers; "
                  "use Ninja or Unix Makefiles")
endif()
if(CMAKE_UNITY_BUILD)
  message(STATUS "rcache: CMAKE_UNITY_BUILD joins units, so that one edit recompiles many")
endif()
