// Everything of heddle's core: <heddle/heddle.h>.
#pragma once

#include <heddle/core/blocking.h>
#include <heddle/core/chan.h>
#include <heddle/core/clock.h>
#include <heddle/core/cond.h>
#include <heddle/core/context.h>
#include <heddle/core/defer.h>
#include <heddle/core/dump.h>
#include <heddle/core/error.h>
#include <heddle/core/go.h>
#include <heddle/core/goroutine_local.h>
#include <heddle/core/labels.h>
#include <heddle/core/mutex.h>
#include <heddle/core/once.h>
#include <heddle/core/panic.h>
#include <heddle/core/pool.h>
#include <heddle/core/run.h>
#include <heddle/core/rw_mutex.h>
#include <heddle/core/sched_stats.h>
#include <heddle/core/select.h>
#include <heddle/core/semaphore.h>
#include <heddle/core/singleflight.h>
#include <heddle/core/stack_stats.h>
#include <heddle/core/stop_the_world.h>
#include <heddle/core/timer.h>
#include <heddle/core/wait_group.h>
