// How core comes by net's pollers. Included by factory.cc and by tests that put other pollers in their place.
#pragma once

namespace heddle::net {

/// Registers net's pollers with core, again if a test has replaced them. Done once before main().
void register_pollers() noexcept;

}  // namespace heddle::net
