// Google Benchmark's main(), inside heddle::run: of bench_core and bench_net.
#include <benchmark/benchmark.h>

#include <heddle/core/run.h>

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  return heddle::run(
      [] {
        benchmark::RunSpecifiedBenchmarks();
        benchmark::Shutdown();
      },
      {.procs = 1});
}
