"""gdb commands for programs built on heddle: goroutines of a live process or of a core dump.

    (gdb) source deploy/heddle-gdb.py
    (gdb) info goroutines                 id, status or wait reason, name, where it was started
    (gdb) goroutine 18 bt                 the stack of one
    (gdb) goroutine all bt                of every one
    (gdb) goroutine 18 frame 3            any command, in the context of that goroutine

A parked goroutine's registers lie on its stack (core/internal/context.h). While a command runs for it, an unwinder tells
gdb that the caller of the selected thread's newest frame is that goroutine: nothing is written, so core dumps work as
live processes do. A goroutine that runs is shown by the thread that runs it. The thread's own newest function is left out
of `bt`, so a goroutine's frames are numbered from 1 or a little more, and commands like `frame` take these numbers.

I1. Offsets and sizes come from the program's debug information: sched.cc and stack.cc are built with it at any level.
    What gdb cannot know, the order of the saved registers, is written here as context.h has it.
I2. Only memory of the inferior is read; no function is called in it.

A core that gdb itself makes (gcore) lacks the stacks where their guards are markers in the page tables (Linux 6.13 and
later): gdb gives up at the first page that it cannot read. The kernel's own cores have them; so does gcore's of a program
that runs with HEDDLE_STACK_GUARD=mapping.

Needs gdb 12 or later, with Python.
"""

import gdb
import gdb.unwinder
import re

# The words of core/wait_reason.cc, by enumerator; others are shown by their names.
REASONS = {
    "kNone": "waiting", "kChanReceive": "chan receive", "kChanSend": "chan send",
    "kChanReceiveNil": "chan receive (nil chan)", "kChanSendNil": "chan send (nil chan)", "kSelect": "select",
    "kSelectNoCases": "select (no cases)", "kSleep": "sleep", "kMutexLock": "sync.Mutex.Lock",
    "kSemAcquire": "semacquire", "kWaitGroupWait": "sync.WaitGroup.Wait",
    "kRWMutexRLock": "sync.RWMutex.RLock", "kRWMutexLock": "sync.RWMutex.Lock", "kCondWait": "sync.Cond.Wait",
    "kIoWait": "IO wait", "kAccept": "accept", "kConnect": "connect", "kHttpBody": "http body read",
    "kHttpWrite": "http write", "kTaskJoin": "task join", "kWorkPoolSubmit": "work pool submit",
    "kWorkPoolIdle": "work pool (idle)", "kWorkPoolWait": "work pool wait", "kBlocking": "blocking call",
    "kOther": "waiting",
}

# What heddle_switch pushes, from the saved stack pointer up (context.h), and the size of it all.
SAVED = {
    "i386:x86-64": (["r15", "r14", "r13", "r12", "rbx", "rbp", "rip"], 56, "rsp", "rip"),
    "aarch64": (["x%d" % i for i in range(19, 31)], 160, "sp", "pc"),
}


def atomic(value):
    """The value in a std::atomic (libstdc++): of a class type it is in a member of the name, of a number in a base's."""
    for _ in range(4):
        t = value.type.strip_typedefs()
        if t.code != gdb.TYPE_CODE_STRUCT:
            return value
        names = [f.name for f in t.fields()]
        for name in ("_M_i", "_M_p", "_M_b"):
            if name in names:
                value = value[name]
                break
        else:
            value = value[t.fields()[0]]
    return value


def enumerator(value):
    return str(value).split("::")[-1]


def text_at(pointer):
    try:
        return pointer.string() if int(pointer) else None
    except gdb.error:
        return None


class Goroutine:
    def __init__(self, g):
        self.id = int(atomic(g["id"]))
        self.status = enumerator(atomic(g["status"]))
        self.reason = enumerator(atomic(g["wait_reason"]))
        self.name = text_at(atomic(g["name"]))
        self.creator = int(atomic(g["creator"]))
        self.file = text_at(atomic(g["site_file"]))
        self.line = int(atomic(g["site_line"]))
        self.sp = int(g["sp"])
        self.lo = int(g["stack_lo"])
        self.hi = int(g["stack_hi"])

    def lives(self):
        return self.status not in ("kIdle", "kDead")

    def parked(self):
        return self.status in ("kRunnable", "kWaiting")

    def state(self):
        if self.status == "kWaiting":
            return REASONS.get(self.reason, self.reason)
        return {"kRunnable": "runnable", "kRunning": "running", "kSyscall": "syscall", "kPreempted": "preempted"}.get(
            self.status, self.status)

    def header(self):
        name = ' "%s"' % self.name if self.name else ""
        by = "created by goroutine %d" % self.creator if self.creator else "created"
        return "goroutine %d [%s]%s, %s at %s:%d" % (self.id, self.state(), name, by, self.file or "?", self.line)

    def thread(self):
        """The thread that stands on this goroutine's stack, or on a signal stack that it came to from there."""
        before = gdb.selected_thread()
        try:
            for thread in gdb.selected_inferior().threads():
                thread.switch()
                frame = gdb.newest_frame()
                for _ in range(30):
                    if frame is None:
                        break
                    if self.lo <= int(frame.read_register(registers()[2])) <= self.hi:
                        return thread
                    try:
                        frame = frame.older()
                    except gdb.error:
                        break
        finally:
            if before is not None:
                before.switch()
        return None


def registers():
    name = gdb.selected_inferior().architecture().name()
    if name not in SAVED:
        raise gdb.GdbError("heddle: goroutines are known on %s, not on %s" % (" and ".join(SAVED), name))
    return SAVED[name]


def goroutines():
    """Every live goroutine, by walking the stack arena as StackArena::for_each does."""
    try:
        arena = gdb.parse_and_eval("'heddle::(anonymous namespace)::arena'")
        layout = gdb.parse_and_eval("'heddle::(anonymous namespace)::stack_layout'")
        g_type = gdb.lookup_type("heddle::G")
    except gdb.error as e:
        raise gdb.GdbError("heddle: no goroutines here, or no debug information: %s" % e)
    found = []
    lost = 0
    classes = arena["classes_"]
    first, last = classes.type.strip_typedefs().range()
    for index in range(first, last + 1):
        c = classes[index]
        used = int(atomic(c["used"]))
        if used == 0:
            continue
        base = int(c["base"])
        for slot in range(used):
            top = base + (slot + 1) * int(layout["slot_bytes"][index])
            # colour_pad() in stack.cc.
            pad = slot * int(layout["colour_step"]) % int(layout["colours"]) * int(layout["colour_bytes"])
            address = top - pad - g_type.sizeof
            try:
                g = Goroutine(gdb.Value(address).cast(g_type.pointer()).dereference())
            except gdb.MemoryError:
                lost += 1
                continue
            if not base <= g.lo < address:  # a G knows its stack for ever, unless the core has zeros here
                lost += 1
            elif g.lives():
                found.append(g)
    if lost:
        print("warning: the memory of %d goroutines, dead ones included, is not in this core; see the head of heddle-gdb.py"
              % lost)
    return sorted(found, key=lambda g: g.id)


class FrameId:
    def __init__(self, sp, pc):
        self.sp = sp
        self.pc = pc


class ParkedUnwinder(gdb.unwinder.Unwinder):
    """While `sp` is set: the thread's newest function was called from where the goroutine parked at `sp` will go on."""

    def __init__(self):
        super().__init__("heddle-goroutine")
        self.sp = None
        self.newest = None  # (sp, pc) of the thread's newest function: frames inlined into it come before

    def __call__(self, pending):
        if self.sp is None:
            return None
        names, size, sp_name, pc_name = registers()
        pc = int(pending.read_register(pc_name))
        if (int(pending.read_register(sp_name)), pc) != self.newest:
            return None
        # A frame id of its own for each goroutine: gdb tells frames apart by it.
        info = pending.create_unwind_info(FrameId(gdb.Value(self.sp), gdb.Value(pc)))
        word = gdb.lookup_type("unsigned long")
        at = gdb.Value(self.sp).cast(word.pointer())
        for i, name in enumerate(names):
            info.add_saved_register(name, at[i])
            if name == "x30":
                info.add_saved_register(pc_name, at[i])
        info.add_saved_register(sp_name, gdb.Value(self.sp + size).cast(word))
        return info


unwinder = ParkedUnwinder()
gdb.unwinder.register_unwinder(None, unwinder, replace=True)


def newest_function():
    """The selected thread's newest frame that is not inlined into another."""
    frame = gdb.newest_frame()
    while frame.type() == gdb.INLINE_FRAME:
        frame = frame.older()
    return frame


def run_parked(g, command):
    own = newest_function()
    unwinder.newest = (int(own.read_register(registers()[2])), int(own.read_register(registers()[3])))
    last = own.level()
    unwinder.sp = g.sp
    gdb.invalidate_cached_frames()
    try:
        text = gdb.execute(command, to_string=True)
    finally:
        unwinder.sp = None
        gdb.invalidate_cached_frames()
    if re.match(r"(bt|backtrace|where)\b", command):
        # Without the thread's own.
        text = re.sub(r"\A#0 .*?(?=^#%d |\Z)" % (last + 1), "", text, flags=re.S | re.M)
    return text


def run_for(g, command):
    if g.parked():
        return run_parked(g, command)
    thread = g.thread()
    if thread is None:
        return "(running, but on no thread that gdb sees)\n"
    before = gdb.selected_thread()
    thread.switch()
    try:
        return "(on thread %d)\n" % thread.num + gdb.execute(command, to_string=True)
    finally:
        before.switch()


class InfoGoroutines(gdb.Command):
    """List the goroutines of a heddle program: status or wait reason, name, where each was started."""

    def __init__(self):
        super().__init__("info goroutines", gdb.COMMAND_STACK)

    def invoke(self, _argument, _from_tty):
        for g in goroutines():
            print(g.header())


class GoroutineCommand(gdb.Command):
    """Run a command in the context of a goroutine: goroutine N COMMAND, goroutine all COMMAND. Without COMMAND: bt."""

    def __init__(self):
        super().__init__("goroutine", gdb.COMMAND_STACK)

    def invoke(self, argument, _from_tty):
        which, _, command = argument.strip().partition(" ")
        command = command.strip() or "bt"
        everyone = goroutines()
        if which == "all":
            chosen = everyone
        elif which.isdigit():
            chosen = [g for g in everyone if g.id == int(which)]
            if not chosen:
                raise gdb.GdbError("no goroutine %s" % which)
        else:
            raise gdb.GdbError("goroutine N|all [COMMAND]")
        for g in chosen:
            print(g.header())
            try:
                print(run_for(g, command))
            except gdb.error as e:
                print("(%s)\n" % e)


InfoGoroutines()
GoroutineCommand()
# The runtime's own signal (core/internal/signals.h): nothing to stop for.
gdb.execute("handle SIGURG nostop noprint pass", to_string=True)
