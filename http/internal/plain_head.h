// A head as nearly all are, read in one pass over its bytes.
//
// llhttp stops wherever the bytes stop and goes on there, and calls back for each piece: worth its price when a head comes in
// pieces. Most come whole, and for those one loop that knows all of HTTP's lines costs a third: of wrk's smallest request
// llhttp and the rules behind it were half of all that it costs (bench/http --pipeline 16 shows it).
//
// I1. It is a short cut and never a judge: what it takes llhttp and the rules of head_rules.h would have taken, and understood
//     alike; what it does not like, for whatever reason, it leaves as it found it, and llhttp starts at the first byte.
//     So no status is made here. (head_parser_test.cc and the fuzzer of heads compare the two: a head that is given in two
//     pieces is read by llhttp.)
// I2. One attempt a head, so bytes are not read over and over.
#pragma once

#include <heddle/http/internal/exchange.h>

namespace heddle::http {

/// Reads the head at x.begin, if all of it is visible and there is nothing special about it: a path as the target, one
/// Host, no Transfer-Encoding. True: x is as parse_head() leaves it with kComplete. False: x is as it was. Throws
/// std::bad_alloc, as parse_head(). Threads: the exchange's owner.
[[nodiscard]] bool read_plain_head(Exchange& x);

}  // namespace heddle::http
