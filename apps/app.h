// What every heddle program shares: its flags, its log, its debug pages, and how it stops.
//
//   int main(int argc, char** argv) {
//     App app("heddle-hello", "serves a greeting over HTTP/1.1", {"127.0.0.1:8080"}, "127.0.0.1:6060");
//     return app.run(argc, argv, [&] { … serve …; app.ready("http://127.0.0.1:8080"); app.wait_for_stop(); … });
//   }
//
// Exit codes: 0 after a stop by signal, also if connections had to be cut; 1 if it could not start, or a second signal ended
// it at once; 2 for wrong flags, as Go's programs.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/error.h>
#include <heddle/core/poller.h>
#include <heddle/http/access_log.h>
#include <heddle/http/options.h>
#include <heddle/http/server.h>
#include <heddle/net/endpoint.h>
#include <heddle/net/listen_options.h>

namespace heddle::apps {

class DebugPages;
class StopSignal;

/// The check of a flag in seconds: 0 to a year, so that they can be counted in nanoseconds.
[[nodiscard]] CLI::Validator seconds_check();

/// A check of a flag without a note of it in the help, where the flag's own text says what there is to say.
[[nodiscard]] CLI::Validator quietly(CLI::Validator check);

class App {
 public:
  /// `debug` is where the debug pages are by default: "off" or an address.
  App(std::string name, const std::string& description, std::vector<std::string> listen, std::string debug);
  ~App();

  /// For flags of the program's own, before run().
  CLI::App& flags() noexcept { return flags_; }
  /// The flags of a program that serves HTTP: --access-log, --access-log-format. Before run().
  void add_http_flags();

  /// Parses the flags, starts the scheduler and the debug pages, and runs `body` as the main goroutine. Returns the
  /// process's exit code: the body's, or that of a flag's or address's error.
  int run(int argc, char** argv, const std::function<int()>& body);

  // ---- inside the body ----

  /// What --listen says, parsed.
  [[nodiscard]] const std::vector<net::Endpoint>& endpoints() const noexcept { return endpoints_; }
  /// How to listen on them.
  [[nodiscard]] net::ListenOptions listen_options() const { return {.reuse_port = reuse_port_}; }
  [[nodiscard]] std::chrono::nanoseconds grace() const noexcept;

  /// How to serve HTTP, as the flags of add_http_flags() say.
  [[nodiscard]] http::ServerOptions http_options() const;

  /// Serves HTTP on all addresses until SIGTERM or SIGINT, then shuts down within the grace. Returns the exit code.
  int serve(http::Server& server);

  /// Logs the one line that says what is served where: "listening on http://127.0.0.1:8080 (io_uring, 2 procs)".
  void ready(const std::vector<std::string>& where);
  /// Logs why `what`, a flag with its value, failed, and what to do about it. Returns exit code 1.
  int failed(std::string_view what, const Error& error);

  /// Parks until SIGTERM or SIGINT. A second one, later, ends the process at once.
  void wait_for_stop();

  /// Logs how it ended: `whole` if all work ended within the grace, else connections were cut.
  static void stopped(bool whole);

 private:
  void add_flags();
  bool parse_addresses();
  bool start_debug_pages();
  bool open_access_log();

  const std::string name_;
  CLI::App flags_;
  std::vector<std::string> listen_;
  std::string debug_;
  const std::string default_debug_;
  int procs_ = 0;
  std::string poller_ = "auto";
  std::string log_level_ = "info";
  double grace_seconds_ = 10;
  bool reuse_port_ = false;
  std::string access_log_path_;  // empty: none
  std::string access_log_format_ = "json";
  std::shared_ptr<http::AccessLog> access_log_;
  std::vector<net::Endpoint> endpoints_;
  std::unique_ptr<StopSignal> stop_;
  std::unique_ptr<DebugPages> debug_pages_;
};

}  // namespace heddle::apps
