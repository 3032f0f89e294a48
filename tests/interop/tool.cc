#include "tool.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <heddle/core/context.h>

namespace heddle::test {

std::string find_tool(const std::string& name) {
  if (name.starts_with('/')) return name;
  const char* path = std::getenv("PATH");
  std::istringstream folders(std::string(path == nullptr ? "/usr/bin:/bin" : path) +
                             ":/usr/local/sbin:/usr/sbin:/sbin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string file = folder + "/" + name;
    if (!folder.empty() && ::access(file.c_str(), X_OK) == 0) return file;
  }
  return "";
}

net::Output run_tool(const std::string& name, std::vector<std::string> args, std::string_view input,
                     const std::vector<std::string>& env) {
  auto [ctx, cancel] = with_timeout({}, kToolPatience);
  net::Command command{.program = find_tool(name), .args = std::move(args)};
  command.ctx = ctx;
  command.own_group = true;  // go and chromium have children
  if (!env.empty()) {
    command.env = env;
    for (char** one = environ; *one != nullptr; ++one) command.env->emplace_back(*one);
  }
  net::OutputOptions options;
  options.input = input;
  options.limit = 64 << 20;
  auto output = net::output(command, options);
  if (!output) {
    ADD_FAILURE() << name << ": " << output.error().message();
    return {.status = {.code = -1}, .out = {}, .err = {}};
  }
  if (ctx.err()) ADD_FAILURE() << name << " took too long:\n" << output->out << output->err;
  cancel();
  return std::move(*output);
}

void expect_tool_succeeds(const std::string& name, std::vector<std::string> args, const std::vector<std::string>& env) {
  const net::Output output = run_tool(name, std::move(args), {}, env);
  EXPECT_TRUE(output.status.ok()) << name << ": " << output.status.to_string() << "\n" << output.out << output.err;
}

TempFolder::TempFolder() : path_((std::filesystem::temp_directory_path() / "heddle-interop-XXXXXX").string()) {
  if (::mkdtemp(path_.data()) == nullptr) std::abort();
}

TempFolder::~TempFolder() {
  std::error_code ignored;  // a browser may still write
  std::filesystem::remove_all(path_, ignored);
}

std::string TempFolder::write(const std::string& name, std::string_view text) const {
  const std::string path = path_ + "/" + name;
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

std::string TempFolder::read(const std::string& name) const {
  std::ostringstream text;
  text << std::ifstream(path_ + "/" + name, std::ios::binary).rdbuf();
  return text.str();
}

std::string noise(std::size_t size) {
  std::string bytes(size, '\0');
  std::uint64_t state = 88'172'645'463'325'252;
  for (char& c : bytes) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    c = static_cast<char>('0' + state % 75);
  }
  return bytes;
}

std::string script(const std::string& name) { return std::string(HEDDLE_INTEROP_FOLDER) + "/" + name; }

int effort() {
  const char* text = std::getenv("HEDDLE_INTEROP");
  return text == nullptr ? 1 : std::clamp(std::atoi(text), 1, 60);
}

std::string build_go(const std::string& source, const TempFolder& folder) {
  const std::string program = folder.path() + "/" + source + ".out";
  // The standard library alone: nothing is to be fetched. The cache may be there; it makes the second build a short one.
  std::vector<std::string> env{"GOPROXY=off", "GOFLAGS=-mod=mod", "GO111MODULE=off", "GOTOOLCHAIN=local",
                               "CGO_ENABLED=0"};
  if (std::getenv("HOME") == nullptr) env.push_back("GOCACHE=" + folder.path() + "/cache");
  const net::Output built = run_tool("go", {"build", "-o", program, script(source)}, {}, env);
  if (built.status.ok()) return program;
  ADD_FAILURE() << "go build " << source << ": " << built.status.to_string() << "\n" << built.err;
  return "";
}

}  // namespace heddle::test
