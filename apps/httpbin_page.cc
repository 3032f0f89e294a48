// httpbin's page: what there is to ask for, and demos that show in a browser what streams: events, a body as it comes, a sound
// of which the player fetches the parts that it plays.
//
// The demos need no other host, and say in the elements #sse, #ws, #fetch and #media what they got: a test reads it there.
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numbers>

#include "httpbin.h"

namespace heddle::apps::httpbin {
namespace {

constexpr std::string_view kPage = R"html(<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>heddle-httpbin</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto; padding: 0 1rem; color: #223; background: #fcfcfa }
  h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2rem }
  td { padding: .15rem 1rem .15rem 0; vertical-align: top } code { font-size: .92em }
  section { border: 1px solid #ccd; border-radius: .5rem; padding: .2rem 1rem 1rem; margin: 1rem 0; background: #fff }
  output { display: block; min-height: 1.5em; font-family: monospace; white-space: pre-wrap }
  button { font: inherit; padding: .1rem .9rem } audio, progress { width: 100% }
</style>
<h1>heddle-httpbin</h1>
<p>Answers as tests of HTTP clients need it. Every request is a goroutine; every number has a bound, and beyond it is a 400.</p>

<h2>Live</h2>
<section><h3>Events</h3>
  <p><button id="sse-start">EventSource on /sse</button></p><output id="sse"></output></section>
<section><h3>WebSocket</h3>
  <p><button id="ws-start">WebSocket on /ws</button></p><output id="ws"></output></section>
<section><h3>A body as it comes</h3>
  <p><button id="fetch-start">fetch /drip</button> <button id="fetch-stop" disabled>abort</button></p>
  <progress id="bar" max="1" value="0"></progress><output id="fetch"></output></section>
<section><h3>Ranges</h3>
  <p>Ten minutes of rising tones, 26 MB that are nowhere: the player asks for what it plays. Seek in it.</p>
  <audio id="player" controls preload="metadata" src="/tone.wav"></audio><output id="media"></output></section>

<h2>Endpoints</h2>
<table>
<tr><td><a href="/plaintext"><code>/plaintext</code></a> <a href="/json"><code>/json</code></a><td>a greeting
<tr><td><code>POST /echo</code><td>the body, as it comes
<tr><td><a href="/get"><code>/get</code></a> <code>POST /post</code> <code>PUT /put</code> <code>PATCH /patch</code>
  <code>DELETE /delete</code> <a href="/anything/at/all"><code>/anything</code></a><td>what the request was
<tr><td><a href="/headers"><code>/headers</code></a> <a href="/ip"><code>/ip</code></a>
  <a href="/user-agent"><code>/user-agent</code></a> <a href="/uuid"><code>/uuid</code></a><td>a part of that; a fresh id
<tr><td><code>POST /upload</code><td>the parts of a multipart form, of any size
<tr><td><a href="/status/418"><code>/status/{code}</code></a> <a href="/status/200:2,503:1"><code>/status/{code}:{weight},…</code></a>
  <td>that status, 200 to 599; one of several, by chance
<tr><td><a href="/redirect/3"><code>/redirect/{n}</code></a> <a href="/relative-redirect/3"><code>/relative-redirect/{n}</code></a>
  <a href="/absolute-redirect/3"><code>/absolute-redirect/{n}</code></a>
  <a href="/redirect-to?url=/get"><code>/redirect-to?url=&amp;status_code=</code></a><td>n redirects; one to there
<tr><td><a href="/delay/1000"><code>/delay/{ms}</code></a><td>an answer that late
<tr><td><a href="/drip?duration=2&amp;numbytes=20"><code>/drip?duration=&amp;numbytes=&amp;delay=&amp;code=</code></a><td>a body that takes that many seconds
<tr><td><a href="/chunked/5"><code>/chunked/{n}</code></a> <a href="/stream/3"><code>/stream/{n}</code></a><td>n chunks; n lines of JSON
<tr><td><a href="/bytes/16?seed=1"><code>/bytes/{n}?seed=</code></a>
  <a href="/stream-bytes/16"><code>/stream-bytes/{n}?seed=&amp;chunk_size=</code></a><td>n random bytes; the same, chunked
<tr><td><a href="/range/260"><code>/range/{n}</code></a><td>n letters, or a range of them
<tr><td><a href="/sse?count=5&amp;interval=200"><code>/sse?count=&amp;interval=&amp;retry=</code></a><td>server-sent events, that many ms apart
<tr><td><code>/ws</code><td>a WebSocket that sends back what it is sent
<tr><td><a href="/gzip"><code>/gzip</code></a> <a href="/brotli"><code>/brotli</code></a> <a href="/zstd"><code>/zstd</code></a>
  <a href="/deflate"><code>/deflate</code></a><td>that coding, if the client accepts it
<tr><td><a href="/html"><code>/html</code></a> <a href="/xml"><code>/xml</code></a> <a href="/encoding/utf8"><code>/encoding/utf8</code></a>
  <a href="/robots.txt"><code>/robots.txt</code></a> <a href="/deny"><code>/deny</code></a> <a href="/forms/post"><code>/forms/post</code></a>
  <td>documents; text of many scripts; what robots are asked; a form
<tr><td><a href="/image"><code>/image</code></a> <a href="/image/png"><code>/image/png</code></a> <a href="/image/svg"><code>/image/svg</code></a>
  <a href="/links/10/0"><code>/links/{n}/{offset}</code></a><td>an image, as Accept has it; pages of links
<tr><td><a href="/base64/aGVkZGxl"><code>/base64/{value}</code></a> <a href="/base64/encode/heddle"><code>/base64/encode/{value}</code></a>
  <td>what URL-safe base64 stands for; the other way round
<tr><td><a href="/cookies"><code>/cookies</code></a> <a href="/cookies/set?a=1"><code>/cookies/set?name=value</code></a>
  <a href="/cookies/delete?a"><code>/cookies/delete?name</code></a><td>what the client keeps
<tr><td><a href="/basic-auth/user/secret"><code>/basic-auth/{user}/{password}</code></a> <a href="/bearer"><code>/bearer</code></a><td>401 unless …
<tr><td><a href="/hidden-basic-auth/user/secret"><code>/hidden-basic-auth/{user}/{password}</code></a><td>404 unless …
<tr><td><a href="/cache"><code>/cache</code></a> <a href="/cache/60"><code>/cache/{seconds}</code></a>
  <a href="/etag/v1"><code>/etag/{etag}</code></a><td>304 to who has it; Cache-Control; conditions
<tr><td><a href="/set-header?name=X-A&amp;value=b"><code>/set-header?name=&amp;value=</code></a>
  <a href="/response-headers?X-A=b"><code>/response-headers?name=value</code></a><td>fields of the answer
<tr><td><code>/panic</code> <code>/spin/{ms}</code> <code>/block/{ms}</code><td>a handler that fails; that computes; that sits in a system call
<tr><td><code>/static/…</code><td>the files of <code>--root</code>
</table>
<script>
const $ = (id) => document.getElementById(id);
$("sse-start").onclick = () => {
  const got = [];
  const events = new EventSource("/sse?count=5&interval=200&retry=200");
  const say = (text) => { $("sse").textContent = text + got.join(" "); };
  events.onopen = () => say("open: ");
  events.onmessage = (e) => { got.push(e.lastEventId); say("open: "); };
  // The browser comes back when the stream ends, and is told (204) that there is no more.
  events.onerror = () => { if (events.readyState === EventSource.CLOSED) say("done: "); };
};
$("ws-start").onclick = () => {
  const socket = new WebSocket(`ws://${location.host}/ws`);
  socket.binaryType = "arraybuffer";
  const got = [];
  socket.onopen = () => { for (const m of ["over", "and", "under", "\u{1f9f6}"]) socket.send(m); socket.send(new Uint8Array(70_000)); };
  socket.onmessage = (e) => {
    got.push(typeof e.data === "string" ? e.data : e.data.byteLength);
    $("ws").textContent = "open: " + got.join(" ");
    if (got.length === 5) socket.close(1000, "enough");
  };
  socket.onclose = (e) => { $("ws").textContent = `${e.wasClean ? "done" : "broken"} ${e.code}${socket.extensions ? " compressed" : ""}: ` + got.join(" "); };
};
$("fetch-start").onclick = async () => {
  const stop = new AbortController();
  $("fetch-stop").disabled = false;
  $("fetch-stop").onclick = () => stop.abort();
  let got = 0, pieces = 0;
  try {
    const response = await fetch("/drip?duration=1&numbytes=1000", { signal: stop.signal });
    const size = Number(response.headers.get("Content-Length"));
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      got += value.length;
      ++pieces;
      $("bar").value = got / size;
      $("fetch").textContent = `${got} of ${size} bytes in ${pieces} pieces`;
    }
    $("fetch").textContent = `done: ${got} of ${size} bytes in ${pieces} pieces`;
  } catch (e) {
    $("fetch").textContent = `${e.name}: ${got} bytes`;
  }
  $("fetch-stop").disabled = true;
};
for (const name of ["loadedmetadata", "seeked", "error"]) {
  $("player").addEventListener(name, () => {
    $("media").textContent = `${name}: ${$("player").currentTime} of ${$("player").duration} s`;
  });
}
</script>
</html>
)html";

// ---- the sound: a WAV file as a function of the offset ----

constexpr std::uint32_t kRate = 22'050;  // samples of two bytes a second
constexpr std::uint32_t kSeconds = 600;
constexpr std::uint32_t kSoundBytes = kRate * 2 * kSeconds;
constexpr std::size_t kWavHead = 44;

void put_le(std::string& to, std::uint32_t value, int size) {
  for (int i = 0; i < size; ++i) to += static_cast<char>(value >> (8 * i) & 0xff);
}

std::string wav_head() {
  std::string head = "RIFF";
  put_le(head, kSoundBytes + kWavHead - 8, 4);
  head += "WAVEfmt ";
  put_le(head, 16, 4);
  put_le(head, 1, 2);  // PCM
  put_le(head, 1, 2);  // channels
  put_le(head, kRate, 4);
  put_le(head, kRate * 2, 4);
  put_le(head, 2, 2);   // bytes of a frame
  put_le(head, 16, 2);  // bits of a sample
  head += "data";
  put_le(head, kSoundBytes, 4);
  return head;
}

// A scale of one tone a second, each with a soft begin and end.
std::int16_t sample(std::uint32_t at) {
  const std::uint32_t second = at / kRate;
  const double t = static_cast<double>(at % kRate) / kRate;
  const double hertz = 220 * std::exp2((second % 24) / 12.0);
  return static_cast<std::int16_t>(9000 * std::sin(2 * std::numbers::pi * hertz * t) * std::sin(std::numbers::pi * t));
}

void sound(std::uint64_t offset, std::span<char> to) {
  static const std::string head = wav_head();
  for (char& c : to) {
    if (offset < kWavHead) {
      c = head[offset];
    } else {
      const auto at = static_cast<std::uint32_t>(offset - kWavHead);
      const auto value = static_cast<std::uint16_t>(sample(at / 2));
      c = static_cast<char>(value >> (at % 2 * 8) & 0xff);
    }
    ++offset;
  }
}

}  // namespace

void add_page(Mux& mux) {
  mux.handle("GET /{$}", [](Request&, ResponseWriter& w) {
    w.set_header("Content-Type", "text/html; charset=utf-8");
    w.write(kPage);
  });
  mux.handle("GET /tone.wav", [](Request& r, ResponseWriter& w) {
    answer_ranged(r, w, "audio/wav", "\"tone\"", kWavHead + kSoundBytes, sound);
  });
}

}  // namespace heddle::apps::httpbin
