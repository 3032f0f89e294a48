#include "app.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cerrno>

#include <heddle/core/run.h>

#include "debug_pages.h"
#include "stop_signal.h"

namespace heddle::apps {
namespace {

PollerKind poller_of(const std::string& text) {
  if (text == "io_uring") return PollerKind::kIoUring;
  if (text == "epoll") return PollerKind::kEpoll;
  return PollerKind::kAuto;
}

// What to do about it; empty if that is plain, or not for us to know.
std::string_view advice(const Error& error) {
  switch (error.sys) {
    case EADDRINUSE: return "; stop who is there, or choose another place";
    case EADDRNOTAVAIL: return "; this machine has no such address: `ip address` lists what it has";
    case EACCES:
    case EPERM: return "; this user may not: ports below 1024 need CAP_NET_BIND_SERVICE, files the right to write";
    case ENOENT: return "; make the folder first";
    case EMFILE: return "; raise the limit of open files (ulimit -n)";
    default: return "";
  }
}

void not_a_place(std::string_view flag, const std::string& text, const Error& error) {
  spdlog::error(
      "{} {}: {}; wanted is an IP address with a port, such as 127.0.0.1:8080, [::1]:8080 or :8080, or unix:PATH", flag,
      text, error.message());
}

// Of HTTP served there, for people.
std::string url_of(const net::Endpoint& where) {
  return where.local() == nullptr ? "http://" + where.to_string() : where.to_string();
}

}  // namespace

CLI::Validator seconds_check() {
  return CLI::Validator(
      [](std::string& text) {
        constexpr double kYear = 366.0 * 24 * 3600;
        double value = -1;
        const bool fits = CLI::detail::lexical_cast(text, value) && value >= 0 && value <= kYear;  // false for nan
        return fits ? "" : text + " is no number of seconds from 0 to 31622400, a year";
      },
      "");
}

CLI::Validator quietly(CLI::Validator check) { return std::move(check.description("")); }

App::App(std::string name, const std::string& description, std::vector<std::string> listen, std::string debug)
    : name_(std::move(name)),
      flags_(name_ + ": " + description),
      listen_(std::move(listen)),
      debug_(std::move(debug)),
      default_debug_(debug_) {
  flags_.failure_message([this](const CLI::App*, const CLI::Error& e) {
    return name_ + ": " + e.what() + "\nRun " + name_ + " --help for all flags.\n";
  });
  add_flags();
}

App::~App() = default;

void App::add_flags() {
  flags_
      .add_option("--listen", listen_,
                  "Where to serve: an IP address and port (port 0: a free one), unix:PATH or unix:@NAME. Repeatable.")
      ->type_name("WHERE")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->capture_default_str();
  flags_.add_option("--debug", debug_, "Where the debug pages are, as in --listen, or off")
      ->type_name("WHERE")
      ->capture_default_str();
  flags_.add_option("--procs", procs_, "How many goroutines run at once, at most 256; 0: as many as there are CPUs")
      ->type_name("N")
      ->check(quietly(CLI::Range(0, 256)))
      ->capture_default_str();
  flags_.add_option("--poller", poller_, "Back end: auto, io_uring or epoll")
      ->type_name("KIND")
      ->check(quietly(CLI::IsMember({"auto", "io_uring", "epoll"})))
      ->capture_default_str();
  flags_.add_option("--log-level", log_level_, "trace, debug, info, warning, error or off")
      ->type_name("LEVEL")
      ->check(quietly(CLI::IsMember({"trace", "debug", "info", "warning", "error", "off"})))
      ->capture_default_str();
  flags_.add_option("--grace", grace_seconds_, "Seconds that running work gets to end after SIGTERM or SIGINT")
      ->type_name("SECONDS")
      ->check(seconds_check())
      ->capture_default_str();
  flags_.add_flag("--reuse-port", reuse_port_,
                  "Share the ports of --listen with other processes that do, such as a successor: SO_REUSEPORT");
}

int App::run(int argc, char** argv, const std::function<int()>& body) {
  try {
    flags_.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return flags_.exit(e) == 0 ? 0 : 2;  // --help is not an error
  }
  auto log = spdlog::stderr_logger_mt(name_);
  log->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %n: %v");
  log->set_level(spdlog::level::from_str(log_level_));
  spdlog::set_default_logger(log);
  if (!parse_addresses()) return 2;
  if (!open_access_log()) return 1;
  stop_ = std::make_unique<StopSignal>();
  const int status = heddle::run(
      [&] {
        if (!start_debug_pages()) return 1;
        const int result = body();
        if (debug_pages_ != nullptr) debug_pages_->close();
        return result;
      },
      RunOptions{.procs = procs_, .poller = poller_of(poller_)});
  stop_.reset();
  if (access_log_ != nullptr) {
    access_log_->flush();
    if (const std::uint64_t lost = access_log_->dropped(); lost != 0)
      spdlog::warn("the access log lacks {} lines: its file was too slow", lost);
  }
  return status;
}

void App::add_http_flags() {
  flags_.add_option("--access-log", access_log_path_, "File that gets a line for each request; -: standard output")
      ->type_name("FILE");
  flags_.add_option("--access-log-format", access_log_format_, "json or text")
      ->type_name("FORMAT")
      ->check(quietly(CLI::IsMember({"json", "text"})))
      ->capture_default_str();
}

bool App::open_access_log() {
  if (access_log_path_.empty()) return true;
  auto log = http::AccessLog::open(
      {.path = access_log_path_,
       .format = access_log_format_ == "text" ? http::AccessLogFormat::kText : http::AccessLogFormat::kJson});
  if (!log) {
    failed("--access-log " + access_log_path_, log.error());
    return false;
  }
  access_log_ = std::move(*log);
  return true;
}

http::ServerOptions App::http_options() const {
  http::ServerOptions options;
  if (access_log_ != nullptr) options.on_request_done = http::access_log(access_log_);
  return options;
}

bool App::parse_addresses() {
  for (const std::string& text : listen_) {
    auto endpoint = net::Endpoint::parse(text);
    if (!endpoint) {
      not_a_place("--listen", text, endpoint.error());
      return false;
    }
    endpoints_.push_back(*endpoint);
  }
  if (debug_ != "off") {
    if (auto endpoint = net::Endpoint::parse(debug_); !endpoint) {
      not_a_place("--debug", debug_, endpoint.error());
      return false;
    }
  }
  return true;
}

bool App::start_debug_pages() {
  if (debug_ == "off") return true;
  debug_pages_ = std::make_unique<DebugPages>();
  const auto bound = debug_pages_->listen(*net::Endpoint::parse(debug_));
  if (bound) {
    spdlog::info("debug pages on {}{}/debug/", url_of(*bound), bound->local() != nullptr ? ", at " : "");
    return true;
  }
  // Asked for: an error. The default, taken by another program on this machine: not worth refusing service.
  if (debug_ != default_debug_) {
    failed("--debug " + debug_, bound.error());
    return false;
  }
  spdlog::warn("no debug pages: {}: {}{}", debug_, bound.error().message(), advice(bound.error()));
  return true;
}

std::chrono::nanoseconds App::grace() const noexcept {
  return std::chrono::nanoseconds(static_cast<std::int64_t>(grace_seconds_ * 1e9));
}

int App::serve(http::Server& server) {
  std::vector<std::string> where;
  for (const net::Endpoint& endpoint : endpoints()) {
    const Result<net::Endpoint> bound = server.listen(endpoint, listen_options());
    if (!bound) {
      server.shutdown({});
      return failed("--listen " + endpoint.to_string(), bound.error());
    }
    where.push_back(url_of(*bound));
  }
  ready(where);
  wait_for_stop();
  stopped(server.shutdown(grace()));
  return 0;
}

void App::ready(const std::vector<std::string>& where) {
  std::string text;
  for (const std::string& w : where) text.append(text.empty() ? "" : ", ").append(w);
  spdlog::info("listening on {} ({}, {} proc{})", text, poller_name(), procs(), procs() == 1 ? "" : "s");
}

int App::failed(std::string_view what, const Error& error) {
  spdlog::error("{}: {}{}", what, error.message(), advice(error));
  return 1;
}

void App::wait_for_stop() {
  stop_->wait();
  spdlog::info("stopping: what runs has {:g} s to end; a second signal ends it at once", grace_seconds_);
}

void App::stopped(bool whole) {
  if (!whole) spdlog::warn("stopped: the grace was over, connections were cut");
}

}  // namespace heddle::apps
