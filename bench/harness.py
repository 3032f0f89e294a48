# What the scripts here share: starting servers, loading them with wrk, reading what wrk says, the flags they all have.
#
# A server is started anew for each measurement, says where it listens (`listening on http://127.0.0.1:PORT`), and is
# ended by its process id. A measurement that proves nothing raises Fault; what is not installed or not built is left out
# and named, never fetched.

import argparse
import ctypes
import glob
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM = "bench/" + os.path.basename(sys.argv[0])
PATH = "/plaintext"
BODY = b"Hello, World!"
POLLERS = ("auto", "io_uring", "epoll")


class Parser(argparse.ArgumentParser):
    """The flags that every script has."""

    def __init__(self, description, servers, rounds, poller, more_servers=()):
        super().__init__(prog=PROGRAM, description=description)
        self.known_servers = [*servers, *more_servers]
        self.add_argument("--rounds", type=int, default=rounds, metavar="N", help=f"default {rounds}")
        self.add_argument("--duration", type=int, default=5, metavar="S", help="seconds of load per round; default 5")
        self.add_argument("--servers", type=words, default=servers, metavar="NAME,…",
                          help="default " + ",".join(servers)
                          + ("; also " + ", ".join(more_servers) if more_servers else ""))
        self.add_argument("--poller", type=words, default=poller, metavar="NAME,…",
                          help=f"heddle's back ends, each measured: {', '.join(POLLERS)}; default {','.join(poller)}")
        self.add_argument("--build", default=os.path.join(ROOT, "build"), metavar="DIR", help="default build")
        self.add_argument("--json", metavar="FILE", help="also write every round's numbers there")

    def parse(self, at_least_one=()):
        """The options, checked. `at_least_one`: the script's own flags that must be, or hold, numbers above 0."""
        options = self.parse_args()
        self.check_names("server", options.servers, self.known_servers)
        self.check_names("poller", options.poller, POLLERS)
        for flag in ("rounds", "duration", *at_least_one):
            value = getattr(options, flag)
            if min(value if isinstance(value, list) else [value]) < 1:
                self.error(f"--{flag} must be at least 1")
        return options

    def check_names(self, what, names, known):
        for name in names:
            if name not in known:
                self.error(f"no such {what}: {name}")

    def error(self, message):
        self.print_usage(sys.stderr)
        stop(message, 64)


def numbers(text):
    return [int(n) for n in text.split(",")]


def words(text):
    return text.split(",")


def prepare():
    """What must be so before the first server starts."""
    if not shutil.which("wrk"):
        stop("wrk is not installed: it makes the load (Debian package: wrk)", 69)
    exit_on_sigterm()


def exit_on_sigterm():
    """So that `finally` runs, and no server outlives us."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def run(main):
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)


def find_servers(options, finders):
    """Those of --servers that are here, and why the others are not; `finders[name]()` returns (servers, why not)."""
    servers, left_out = [], {}
    for name in options.servers:
        found, why = finders[name]()
        servers.extend(found)
        if not found:
            print(f"left out: {name}: {why}")
            left_out[name] = why
    if not servers:
        stop("no server to measure", 69)
    return servers, left_out


class Server:
    """How one server is started. `command(port)` is its argv; those that pick a port themselves are given port 0."""

    def __init__(self, name, command, environment=None, own_port=True):
        self.name, self.command, self.environment, self.own_port = name, command, environment or {}, own_port


def built_servers(options, folder, program, *variants):
    """A program of the build, once for each variant: (name, arguments)."""
    binary = os.path.join(options.build, folder, program)
    if not os.access(binary, os.X_OK):
        return [], f"{binary} is not built"
    return [Server(name, lambda port, a=arguments: [binary, "--listen", f"127.0.0.1:{port}", *a])
            for name, arguments in variants], ""


def heddle_servers(options, folder, program, procs, *arguments):
    """A heddle program on each back end of --poller."""
    return built_servers(options, folder, program, *(
        ("heddle" if options.poller == ["auto"] else f"heddle {poller}",
         ["--procs", str(procs), "--poller", poller, *arguments]) for poller in options.poller))


def go_servers(name, procs, scratch):
    """bench/go/<name>, built on the spot."""
    binary, why = build_go(name, scratch)
    if not binary:
        return [], why
    return [Server("go", lambda port: [binary, "-listen", f"127.0.0.1:{port}"], {"GOMAXPROCS": str(procs)})], ""


def build_go(name, scratch):
    # Debian's versioned packages stay off the PATH, and are newer than what is on it: the newest of all.
    found = sorted(glob.glob("/usr/lib/go-*/bin/go"), key=lambda p: [int(n) for n in re.findall(r"\d+", p)])
    go = found[-1] if found else shutil.which("go")
    if not go:
        return None, "no Go toolchain on the PATH or in /usr/lib/go-*"
    binary = os.path.join(scratch, "go-" + name)
    environment = dict(os.environ, GOTOOLCHAIN="local", GOPROXY="off", GOFLAGS="", GO111MODULE="auto")
    environment.setdefault("HOME", scratch)
    build = subprocess.run([go, "build", "-o", binary, os.path.join(ROOT, "bench", "go", name, "main.go")],
                           env=environment, cwd=scratch, capture_output=True, text=True, check=False)
    if build.returncode != 0:
        return None, "go build failed: " + build.stderr.strip()
    return binary, ""


def assign_cpus(cores):
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < cores or (cores == 1 and len(cpus) < 2):
        stop(f"needs at least {max(cores, 2)} CPUs; this process may use {len(cpus)}", 69)
    if len(cpus) < 2 * cores:
        return cpus[:cores], cpus[:cores]
    return cpus[:cores], cpus[cores:2 * cores]


def measure(servers, rounds, one_round, what=""):
    """A row for each server, of the samples that `one_round(server)` returns."""
    rows = [Row(server.name) for server in servers]
    for n in range(rounds):
        # Every second round goes backwards: nobody always runs behind the same neighbour.
        for i in (range(len(servers)) if n % 2 == 0 else reversed(range(len(servers)))):
            progress(f"{what}round {n + 1} of {rounds}: {servers[i].name}")
            try:
                rows[i].samples.append(one_round(servers[i]))
            except Fault as fault:
                rows[i].faults.append(f"round {n + 1}: {fault}")
    progress("")
    return rows


class Row:
    """One server's rounds."""

    def __init__(self, name):
        self.name, self.samples, self.faults = name, [], []

    def median(self, key):
        return statistics.median(sample[key] for sample in self.samples)

    def span(self, key):
        values = [sample[key] for sample in self.samples]
        return f"{min(values):.2f}-{max(values):.2f}"

    def valid(self):
        return bool(self.samples) and not self.faults

    def as_dict(self, keys):
        summary = {key: self.median(key) for key in keys} if self.valid() else None
        return {"server": self.name, "median": summary, "rounds": self.samples, "faults": self.faults}


class Fault(Exception):
    """A round that proves nothing."""


class NoAnswer(Fault):
    """No request was answered at all, for so long."""

    def __init__(self, seconds):
        super().__init__(f"no answer in {seconds} s")
        self.seconds = seconds


def start(server, cpus):
    port = 0 if server.own_port else free_port()
    output = tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace")
    process = subprocess.Popen(server.command(port), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                               env=dict(os.environ, **server.environment), preexec_fn=lambda: become_child(cpus))
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            said = os.pread(output.fileno(), 65536, 0).decode(errors="replace")
            if process.poll() is not None:
                raise Fault(f"ended with status {process.returncode} instead of listening: {said.strip()[-400:]}")
            if server.own_port:
                ready = re.search(r"listening on \S*?127\.0\.0\.1:([1-9]\d*)", said)
                if ready:
                    return process, int(ready.group(1)), output
            elif accepts(port):
                return process, port, output
            time.sleep(0.02)
        raise Fault(f"not listening after 10 s; it said: {said.strip()[-400:]}")
    except BaseException:
        end(process)
        output.close()
        raise


def become_child(cpus):
    os.sched_setaffinity(0, cpus)
    # Should we be killed the hard way, it goes, too (prctl PR_SET_PDEATHSIG).
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def end(process):
    pids = tree(process.pid)
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()


def tree(root):
    """The process and its descendants, by id."""
    children = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            continue  # gone since
        pid, parent = int(text.split(" ", 1)[0]), int(text.rsplit(")", 1)[1].split()[1])
        children.setdefault(parent, []).append(pid)
    found = [root]
    for pid in found:
        found.extend(sorted(children.get(pid, [])))
    return found


def cpu_nanoseconds(pids):
    """CPU time, user and system, of all threads these processes have or had."""
    # A process's CPU clock by its id, as clock_getcpuclockid(3) makes it: the scheduler's sum over its threads, with
    # those that have ended (their /proc entries are gone), in nanoseconds.
    return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in pids)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def accepts(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def check_answer(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{PATH}", timeout=5) as answer:
            body = answer.read()
            if answer.status != 200 or body != BODY or answer.headers.get_content_type() != "text/plain":
                raise Fault(f"answers {answer.status} {answer.headers['Content-Type']} {body[:40]!r}")
    except (OSError, ValueError) as error:
        raise Fault(f"does not answer {PATH}: {error}") from error


def wrk_command(port, path, threads, connections, seconds, options=(), arguments=()):
    return ["wrk", "--latency", "-t", str(threads), "-c", str(connections), "-d", f"{seconds}s", *options,
            f"http://127.0.0.1:{port}{path}", *(["--", *arguments] if arguments else [])]


def run_wrk(command, seconds, cpus):
    """Runs a wrk_command of `seconds` and returns what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 30,
                              preexec_fn=lambda: become_child(cpus))
    except subprocess.TimeoutExpired as late:
        raise Fault(f"wrk did not end in {seconds + 30} s") from late
    result = parse_wrk(done.returncode, done.stdout, done.stderr)
    if result["requests"] == 0:
        raise NoAnswer(seconds)
    return result


def parse_wrk(status, out, complaints):
    total = re.search(r"(\d+) requests in", out)
    rate = re.search(r"Requests/sec:\s*([\d.]+)", out)
    times = {"p50_us": r"^\s*50%", "p99_us": r"^\s*99%", "max_us": r"^\s*Latency\s+[\d.]+\w+\s+[\d.]+\w+"}
    times = {key: re.search(before + r"\s+([\d.]+)(us|ms|s|m|h)\b", out, re.M) for key, before in times.items()}
    if status != 0 or not (total and rate and all(times.values())):
        raise Fault(f"wrk failed: {(out + complaints).strip()[-400:]}")
    for trouble in (r"Socket errors: .*", r"Non-2xx or 3xx responses: .*"):
        found = re.search(trouble, out)
        if found:
            raise Fault("wrk reports " + found.group(0))
    scale = {"us": 1, "ms": 1000, "s": 1000000, "m": 60000000, "h": 3600000000}
    return {"requests": int(total.group(1)), "rate": float(rate.group(1)),
            **{key: float(found.group(1)) * scale[found.group(2)] for key, found in times.items()}}


def milliseconds(us):
    # wrk itself prints 0 where its histogram lost count, which happens with pipelining.
    return f"{us / 1000:.2f}" if us > 0 else "-"


def write_report(options, left_out, results):
    """--json, written anew after each table: an interrupted run leaves what it has."""
    if options.json:
        report = {"machine": machine(), "options": vars(options), "left_out": left_out, "results": results}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


def machine():
    model = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        found = re.search(r"^model name\s*:\s*(.*)$", file.read(), re.M)
        if found:
            model = found.group(1)
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}, load {os.getloadavg()[0]:.1f}"


def cpu_list(cpus):
    return ",".join(str(cpu) for cpu in cpus)


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def stop(text, status):
    print(f"{PROGRAM}: {text}", file=sys.stderr)
    sys.exit(status)
