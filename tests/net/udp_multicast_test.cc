// Multicast on this machine alone (no hop is allowed): who has joined gets it, by the interface that was meant.
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include <heddle/net/internal/socket.h>
#include <heddle/net/udp.h>

#include "net_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

struct Family {
  const char* name;
  const char* any;
  const char* group;  // and, behind a number,
  const char* group_end;
};

const Family kFamilies[] = {
    {"IPv4", "0.0.0.0:0", "239.195.7.", ":0"},
    {"IPv6", "[::]:0", "[ff15::4845:", "]:0"},
};

// A group of this process's own.
Address group_of(const Family& family) {
  return *Address::parse(family.group + std::to_string(1 + ::getpid() % 250) + family.group_end);
}

UdpSocket must_bind(const Address& at, IpFamily family) { return must(bind_udp(at, {.family = family})); }

// An interface that takes a group's packets and gives them back to this machine, or 0.
unsigned usable_interface(const Family& family, IpFamily only) {
  std::vector<unsigned> all{0};
  struct if_nameindex* names = ::if_nameindex();
  for (const struct if_nameindex* one = names; one != nullptr && one->if_index != 0; ++one) {
    if (std::string(one->if_name) == "lo") {
      all[0] = one->if_index;
    } else {
      all.push_back(one->if_index);
    }
  }
  ::if_freenameindex(names);
  const Address group = group_of(family);
  for (const unsigned index : all) {
    UdpSocket to = must_bind(*Address::parse(family.any), only);
    UdpSocket from = must_bind(*Address::parse(family.any), only);
    if (index == 0 || !to.join_group(group, index) || !from.set_multicast_interface(index) ||
        !from.set_multicast_ttl(0)) {
      continue;
    }
    if (!from.send_to(bytes_of(1), group.with_port(to.local_address()->port()))) continue;
    std::byte buf[1];
    to.set_read_deadline(now() + 2s);
    if (to.receive_from(buf)) return index;
  }
  return 0;
}

class Multicast : public testing::TestWithParam<int> {
 protected:
  const Family& family() const { return kFamilies[GetParam()]; }
  IpFamily only() const { return GetParam() == 0 ? IpFamily::kV4 : IpFamily::kV6; }
};
INSTANTIATE_TEST_SUITE_P(families, Multicast, testing::Values(0, 1),
                         [](const auto& one) { return std::string(kFamilies[one.param].name); });

TEST_P(Multicast, members_get_it_until_they_leave) {
  with_procs(2, [this] {
    const unsigned index = usable_interface(family(), only());
    if (index == 0) GTEST_SKIP() << "no interface here carries " << family().name << " multicast back to this machine";
    const Address group = group_of(family());
    UdpSocket member = must_bind(*Address::parse(family().any), only());
    UdpSocket sender = must_bind(*Address::parse(family().any), only());
    const Address to = group.with_port(member.local_address()->port());
    // By its unicast address: marks the end of what may have come before.
    const Address self = Address::parse(GetParam() == 0 ? "127.0.0.1:0" : "[::1]:0")->with_port(to.port());
    ASSERT_TRUE(sender.set_multicast_interface(index));
    ASSERT_TRUE(sender.set_multicast_ttl(0));
    std::byte buf[200];
    member.set_read_deadline(patience());
    const auto next_size = [&]() -> std::size_t {
      const Result<Datagram> got = member.receive_from(buf);
      EXPECT_TRUE(got) << got.error().message();
      return got ? got->size : 0;
    };

    ASSERT_TRUE(member.join_group(group, index));
    EXPECT_EQ(member.join_group(group, index).error().code, Code::kAddressInUse);
    ASSERT_TRUE(sender.send_to(bytes_of(100), to));
    EXPECT_EQ(next_size(), 100U);

    // Without the loop nothing comes back, unless the interface is a loop itself; a unicast datagram behind it does.
    ASSERT_TRUE(sender.set_multicast_loop(false));
    if (index != interface_index("lo").value_or(0)) {
      ASSERT_TRUE(sender.send_to(bytes_of(101), to));
    }
    const bool v6 = to.family() == AF_INET6;
    EXPECT_EQ(
        get_flag(sender.native_handle(), v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MULTICAST_LOOP : IP_MULTICAST_LOOP),
        0);
    ASSERT_TRUE(sender.set_multicast_loop(true));
    ASSERT_TRUE(sender.send_to(bytes_of(50), self));
    EXPECT_EQ(next_size(), 50U);

    ASSERT_TRUE(member.leave_group(group, index));
    EXPECT_EQ(member.leave_group(group, index).error().sys, EADDRNOTAVAIL);
    static_cast<void>(sender.send_to(bytes_of(102), to));
    ASSERT_TRUE(sender.send_to(bytes_of(51), self));
    EXPECT_EQ(next_size(), 51U);
  });
}

TEST_P(Multicast, what_makes_no_sense_is_refused) {
  with_procs(1, [this] {
    UdpSocket socket = must_bind(*Address::parse(family().any), only());
    EXPECT_EQ(socket.join_group(*Address::parse(GetParam() == 0 ? "127.0.0.1:0" : "[::1]:0")).error().code,
              Code::kInvalid);
    EXPECT_EQ(socket.join_group({}).error().code, Code::kInvalid);
    EXPECT_EQ(socket.join_group(group_of(family()), 1'000'000).error().sys, ENODEV);
    EXPECT_EQ(socket.set_multicast_ttl(256).error().code, Code::kInvalid);
    EXPECT_EQ(socket.set_multicast_ttl(-1).error().code, Code::kInvalid);
    EXPECT_FALSE(socket.set_multicast_interface(1'000'000));
    EXPECT_EQ(interface_index("no such interface").error().code, Code::kNotFound);
    socket.close();
    EXPECT_EQ(socket.join_group(group_of(family())).error().code, Code::kClosed);
  });
}

TEST(MulticastDual, a_socket_of_both_families_has_the_options_of_both) {
  with_procs(1, [] {
    UdpSocket socket = must(bind_udp(*Address::parse(":0")));
    const Result<unsigned> lo = interface_index("lo");
    ASSERT_TRUE(lo);
    EXPECT_TRUE(socket.set_multicast_interface(*lo));
    EXPECT_TRUE(socket.set_multicast_loop(true));
    EXPECT_TRUE(socket.set_multicast_ttl(0));
    const Address group = group_of(kFamilies[0]);
    if (const Result<void> joined = socket.join_group(group, *lo); joined) {
      ASSERT_TRUE(
          socket.send_to(bytes_of(10), *Address::parse("[::1]:" + std::to_string(socket.local_address()->port()))));
      std::byte buf[20];
      socket.set_read_deadline(patience());
      EXPECT_EQ(socket.receive_from(buf)->size, 10U);
      EXPECT_TRUE(socket.leave_group(group, *lo));
    }
  });
}

}  // namespace
}  // namespace heddle::net
