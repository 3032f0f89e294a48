// heddle-httpbin: HTTP for who tests clients, after httpbin.org. The endpoints are in httpbin.h; here are flags and the server.
#include "httpbin.h"

#include <heddle/http/catch_failures.h>
#include <heddle/http/server.h>

#include "app.h"

namespace {

using namespace heddle;
using heddle::http::ServerOptions;

struct Flags {
  std::string root;
  std::uint64_t max_body = ServerOptions{}.max_body;
  std::size_t max_header_bytes = ServerOptions{}.max_head_bytes;
  double header_timeout = std::chrono::duration<double>(ServerOptions{}.header_timeout).count();
  double idle_timeout = std::chrono::duration<double>(ServerOptions{}.idle_timeout).count();
};

void add_flags(CLI::App& to, Flags& flags) {
  using apps::quietly;
  // CLI11 reads "-1", and what is too large, as the largest number there is.
  constexpr std::size_t kMostDigits = 18;
  const CLI::Validator size(
      [](std::string& text) {
        const bool fits =
            !text.starts_with('-') && std::min(text.find_first_not_of("0123456789"), text.size()) <= kMostDigits;
        return fits ? "" : text + " is no size in bytes";
      },
      "");
  to.add_option("--root", flags.root, "Folder whose files are served at /static/")->type_name("FOLDER");
  to.add_option("--max-body", flags.max_body, "Bytes that a request's body may have: more is 413. Suffixes K, M, G")
      ->type_name("BYTES")
      ->transform(quietly(CLI::AsSizeValue(false)))
      ->transform(size)
      ->capture_default_str();
  to.add_option("--max-header-bytes", flags.max_header_bytes,
                "Bytes that a request's head may have, 256 to 16M: more is 431. Suffixes as above")
      ->type_name("BYTES")
      ->transform(quietly(CLI::AsSizeValue(false)))
      ->transform(size)
      ->check(quietly(CLI::Range(std::size_t{256}, std::size_t{16} << 20)))
      ->capture_default_str();
  to.add_option("--header-timeout", flags.header_timeout, "Seconds for a whole request head; 0: no limit")
      ->type_name("SECONDS")
      ->check(apps::seconds_check())
      ->capture_default_str();
  to.add_option("--idle-timeout", flags.idle_timeout, "Seconds of silence between two requests; 0: no limit")
      ->type_name("SECONDS")
      ->check(apps::seconds_check())
      ->capture_default_str();
}

std::chrono::nanoseconds seconds(double count) {
  return std::chrono::nanoseconds(static_cast<std::int64_t>(count * 1e9));
}

ServerOptions options_of(const Flags& flags, ServerOptions options) {
  options.max_body = flags.max_body;
  options.max_head_bytes = flags.max_header_bytes;
  options.max_target = std::min(options.max_target, flags.max_header_bytes);
  options.header_timeout = seconds(flags.header_timeout);
  options.idle_timeout = seconds(flags.idle_timeout);
  options.on_handler_error = http::log_failure;
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  apps::App app("heddle-httpbin", "answers as HTTP clients' tests need it; the page at / lists what there is",
                {"127.0.0.1:8080"}, "off");
  Flags flags;
  app.add_http_flags();
  add_flags(app.flags(), flags);
  return app.run(argc, argv, [&] {
    http::Mux mux;
    apps::httpbin::add_basics(mux);
    apps::httpbin::add_bodies(mux);
    apps::httpbin::add_showing(mux);
    apps::httpbin::add_fields(mux);
    apps::httpbin::add_formats(mux);
    apps::httpbin::add_ws(mux);
    apps::httpbin::add_page(mux);
    if (!flags.root.empty()) {
      if (const Result<void> added = apps::httpbin::add_static(mux, flags.root); !added) {
        return app.failed("--root " + flags.root, added.error());
      }
    }
    http::Server server(mux, options_of(flags, app.http_options()));
    return app.serve(server);
  });
}
