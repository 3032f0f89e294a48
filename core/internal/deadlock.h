// Deadlock: every goroutine waits, and nobody is left who could wake one.
#pragma once

namespace heddle {

/// Prints Go's report and ends the process with status 2 if no goroutine can ever run again. To be called by sysmon when
/// nothing has run for a while; costs a few loads unless it looks like one.
void check_deadlock();

}  // namespace heddle
