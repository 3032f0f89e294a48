// main() of a fuzzer where there is no libFuzzer: runs its seeds, each seed's prefixes, and inputs made from the seeds.
//
//   heddle_fuzz_<name> <folder of seeds> [<dictionary>]      as ctest does
//   heddle_fuzz_<name> <file>...                             these inputs alone: a crash that libFuzzer found
//
// Which inputs are made depends on nothing but the seeds and the dictionary. How many there are is bounded by time, too: a
// sanitizer's build runs the first of them. An input that breaks a property is written to ./<name>.crash as the program
// dies.
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "fuzz.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Bytes = std::string;

constexpr std::size_t kMadeInputs = 6000;
constexpr auto kMostTime = std::chrono::milliseconds(1500);
constexpr std::size_t kMostBytes = 4096;  // of a made input

const Bytes* running = nullptr;
std::string crash_file;

// Async-signal-safe but for the string's c_str(), which only reads.
void keep_input() {
  if (running == nullptr) return;
  const int file = ::open(crash_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return;
  const bool whole = ::write(file, running->data(), running->size()) == static_cast<ssize_t>(running->size());
  ::close(file);
  const char* const text = whole ? "the input is in " : "a part of the input is in ";
  static_cast<void>(!::write(STDERR_FILENO, text, std::strlen(text)));
  static_cast<void>(!::write(STDERR_FILENO, crash_file.c_str(), crash_file.size()));
  static_cast<void>(!::write(STDERR_FILENO, "\n", 1));
}

void on_abort(int) { keep_input(); }  // abort() ends the process when this returns

void run_one(const Bytes& input) {
  running = &input;
  const auto copy =
      std::make_unique<std::uint8_t[]>(input.size());  // of its very size, and not in a string's own bytes
  std::memcpy(copy.get(), input.data(), input.size());
  LLVMFuzzerTestOneInput(copy.get(), input.size());
  running = nullptr;
}

Bytes read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
    std::exit(66);
  }
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::vector<Bytes> read_seeds(const fs::path& folder) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file()) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Bytes> seeds;
  for (const fs::path& path : paths) seeds.push_back(read_file(path));
  return seeds;
}

// The words between the quotes of libFuzzer's dictionaries; a backslash stands before itself, '"', and as \xNN.
std::vector<Bytes> read_words(const fs::path& path) {
  std::vector<Bytes> words;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const std::size_t begin = line.find('"');
    const std::size_t end = line.rfind('"');
    if (line.starts_with('#') || begin == end) continue;
    Bytes word;
    for (std::size_t i = begin + 1; i < end; ++i) {
      if (line[i] != '\\') {
        word += line[i];
      } else if (line[i + 1] == 'x') {
        word += static_cast<char>(std::stoi(line.substr(i + 2, 2), nullptr, 16));
        i += 3;
      } else {
        word += line[++i];
      }
    }
    words.push_back(std::move(word));
  }
  return words;
}

// One step away from `input`: bytes changed, taken out, doubled, put in; a word; a part of another seed.
void mutate(Bytes& input, heddle::fuzz::Random& random, const std::vector<Bytes>& seeds,
            const std::vector<Bytes>& words) {
  const std::size_t at = random.below(input.size() + 1);
  const std::size_t n = std::min(input.size() - at, 1 + random.below(random.below(4) == 0 ? 64 : 4));
  switch (random.below(8)) {
    case 0:
      if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << random.below(8)));
      break;
    case 1:
      if (at < input.size()) input[at] = static_cast<char>(random.next());
      break;
    case 2: input.erase(at, n); break;
    case 3: input.insert(at, input.substr(at, n)); break;
    case 4: input.insert(at, 1 + random.below(3), " \t\r\n\",;=%/.:-0\\\x80"[random.below(17)]); break;
    case 5:
    case 6:
      if (!words.empty()) input.replace(at, random.below(2) * n, words[random.below(words.size())]);
      break;
    default: {
      const Bytes& other = seeds[random.below(seeds.size())];
      const std::size_t from = random.below(other.size() + 1);
      input.replace(at, random.below(2) * n, other.substr(from, 1 + random.below(64)));
    }
  }
  if (input.size() > kMostBytes) input.resize(kMostBytes);
}

int replay(const fs::path& folder, const fs::path& dictionary) {
  const std::vector<Bytes> seeds = read_seeds(folder);
  if (seeds.empty()) {
    std::fprintf(stderr, "%s: no seeds\n", folder.c_str());
    return 66;
  }
  const std::vector<Bytes> words = read_words(dictionary);
  const auto begin = Clock::now();
  for (const Bytes& seed : seeds) run_one(seed);
  std::size_t prefixes = 0;
  for (const Bytes& seed : seeds) {
    for (std::size_t n = 0; n < seed.size() && Clock::now() < begin + kMostTime / 3; ++n, ++prefixes)
      run_one(seed.substr(0, n));
  }
  heddle::fuzz::Random random(seeds.size());
  std::size_t made = 0;
  for (; made < kMadeInputs && Clock::now() < begin + kMostTime; ++made) {
    Bytes input = seeds[made % seeds.size()];
    for (std::size_t steps = 1 + random.below(6); steps != 0; --steps) mutate(input, random, seeds, words);
    run_one(input);
  }
  std::printf("%zu seeds, %zu prefixes, %zu made inputs\n", seeds.size(), prefixes, made);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s <folder of seeds> [<dictionary>] | <file>...\n", argv[0]);
    return 64;
  }
  crash_file = fs::path(argv[0]).filename().string() + ".crash";
  std::signal(SIGABRT, on_abort);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_set_death_callback(keep_input);
#endif
  if (fs::is_directory(argv[1])) return replay(argv[1], argc > 2 ? argv[2] : "");
  for (int i = 1; i < argc; ++i) run_one(read_file(argv[i]));
  std::printf("%d inputs\n", argc - 1);
  return 0;
}
