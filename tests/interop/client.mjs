// Node's fetch (undici) and node:http against heddle-httpbin, whose address is the first argument. Each check is a function;
// one that throws is told, and the exit status is 1.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import http from "node:http";
import net from "node:net";

const base = process.argv[2];
const { hostname, port } = new URL(base);
const get = (path, options) => fetch(base + path, options);
const sha = (bytes) => createHash("sha256").update(bytes).digest("hex");

// A node:http request: {status, headers, body, reused}.
function ask(options, body) {
  return new Promise((resolve, reject) => {
    const request = http.request({ hostname, port, ...options }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () =>
        resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts), reused: request.reusedSocket }));
      response.on("error", reject);
    });
    request.on("error", reject);
    request.end(body);
  });
}

// Sends `text` on a connection of its own and gives all that comes until its end.
function raw(text) {
  return new Promise((resolve, reject) => {
    const parts = [];
    const socket = net.connect(port, hostname, () => socket.write(text));
    socket.on("data", (part) => parts.push(part));
    socket.on("end", () => { socket.end(); resolve(Buffer.concat(parts).toString("latin1")); });
    socket.on("error", reject);
  });
}

const checks = {
  async fetch_gets() {
    const response = await get("/get?a=b%20c");
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "application/json");
    assert.equal((await response.json()).args.a, "b c");
  },
  async fetch_posts() {
    const text = await get("/post", { method: "POST", body: JSON.stringify({ x: [1] }), headers: { "Content-Type": "application/json" } });
    assert.deepEqual((await text.json()).json, { x: [1] });
    const pairs = await get("/post", { method: "POST", body: new URLSearchParams({ a: "ä & b" }) });
    assert.deepEqual((await pairs.json()).form, { a: "ä & b" });
  },
  async fetch_uploads_a_form() {
    const form = new FormData();
    form.append("field", "value");
    form.append("file", new Blob(["x".repeat(100_000)], { type: "text/plain" }), "n.txt");
    const { parts } = await (await get("/upload", { method: "POST", body: form })).json();
    assert.deepEqual(parts.map((p) => [p.name, p.size]), [["field", 5], ["file", 100_000]]);
  },
  async fetch_streams_a_body_up_and_down() {
    const piece = new Uint8Array(65_536);
    for (let i = 0; i < piece.length; ++i) piece[i] = (i * 7) & 255;
    let left = 64;
    const body = new ReadableStream({ pull(c) { if (left-- > 0) c.enqueue(piece.slice()); else c.close(); } });
    const response = await get("/echo", { method: "POST", body, duplex: "half", headers: { "Content-Type": "a/b" } });
    assert.equal(response.headers.get("content-type"), "a/b");
    const back = new Uint8Array(await response.arrayBuffer());
    assert.equal(sha(back), sha(Buffer.concat(Array(64).fill(piece))));
  },
  async fetch_reads_as_it_comes() {
    const response = await get("/drip?duration=600&numbytes=10");
    const reader = response.body.getReader();
    assert.equal((await reader.read()).value.length, 1);  // minutes before the end
    await reader.cancel();
  },
  async fetch_reads_events() {
    let text = "";
    const response = await get("/sse?count=3&interval=1");
    assert.equal(response.headers.get("content-type"), "text/event-stream");
    for await (const part of response.body.pipeThrough(new TextDecoderStream())) text += part;
    assert.deepEqual([...text.matchAll(/^id: (\d+)\ndata: (.*)\n$/gm)].map((m) => m[1]), ["1", "2", "3"]);
  },
  async fetch_aborts() {
    for (const path of ["/delay/60000", "/drip?duration=60", "/sse?interval=10000"]) {
      const stop = new AbortController();
      const asked = get(path, { signal: stop.signal }).then((r) => r.text());
      setImmediate(() => stop.abort());
      await assert.rejects(asked, { name: "AbortError" });
    }
    for (const path of ["/drip?duration=60", "/sse?interval=10000", "/bytes/1000000000"]) {  // in the middle of the body
      const stop = new AbortController();
      const response = await get(path, { signal: stop.signal });
      setImmediate(() => stop.abort());
      await assert.rejects(response.text(), { name: "AbortError" });
    }
    assert.equal(await (await get("/plaintext")).text(), "Hello, World!");
  },
  async fetch_decodes() {
    assert.equal((await (await get("/gzip")).json()).gzipped, true);
    assert.equal((await (await get("/deflate")).json()).deflated, true);
    assert.equal((await (await get("/brotli", { headers: { "Accept-Encoding": "br" } })).json()).brotli, true);
  },
  async fetch_follows() {
    const there = await get("/redirect/4");
    assert.equal(there.url, base + "/get");
    assert.equal(there.redirected, true);
    await there.text();
    const manual = await get("/redirect/1", { redirect: "manual" });
    assert.equal(manual.status, 302);
    const again = await get("/redirect-to?url=/echo&status_code=307", { method: "POST", body: "again" });
    assert.equal(await again.text(), "again");
  },
  async fetch_knows_answers_without_a_body() {
    for (const code of [204, 304]) assert.equal(await (await get("/status/" + code)).text(), "");
    const head = await get("/range/1000", { method: "HEAD" });
    assert.equal(head.headers.get("content-length"), "1000");
    assert.equal(await head.text(), "");
  },
  async fetch_asks_many_at_once() {
    const sizes = await Promise.all(Array.from({ length: 200 }, async (_, i) => (await (await get("/bytes/" + i * 50)).arrayBuffer()).byteLength));
    assert.deepEqual(sizes, Array.from({ length: 200 }, (_, i) => i * 50));
  },
  async fetch_gets_much() {
    const [a, b] = await Promise.all([get("/bytes/8388608?seed=5"), get("/stream-bytes/8388608?seed=5&chunk_size=7777")].map(
      async (r) => sha(Buffer.from(await (await r).arrayBuffer()))));
    assert.equal(a, b);
  },
  async fetch_sees_that_a_handler_failed() {
    assert.equal((await get("/panic")).status, 500);
  },
  async an_agent_keeps_its_connection() {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const reused = [];
    for (const path of ["/plaintext", "/chunked/3", "/status/204", "/range/50000", "/panic", "/plaintext"]) {
      reused.push((await ask({ path, agent })).reused);
    }
    reused.push((await ask({ path: "/echo", method: "POST", agent }, "x")).reused);
    agent.destroy();
    assert.deepEqual(reused, [false, true, true, true, true, true, true]);
  },
  async an_agent_is_told_of_the_end() {
    const { headers } = await ask({ path: "/plaintext", headers: { Connection: "close" } });
    assert.equal(headers.connection, "close");
  },
  async a_piece_comes_back_before_the_next_is_sent() {
    const request = http.request({ hostname, port, path: "/echo", method: "POST" });
    request.flushHeaders();
    request.write("0 ");
    const response = await new Promise((resolve, reject) => request.on("response", resolve).on("error", reject));
    let n = 0;
    for await (const part of response) {
      assert.equal(part.toString(), `${n} `);
      if (++n < 20) request.write(`${n} `); else request.end();
    }
    assert.equal(n, 20);
  },
  async it_asks_before_it_sends() {
    const status = await new Promise((resolve, reject) => {
      let told = false;
      const request = http.request({ hostname, port, path: "/echo", method: "POST", headers: { Expect: "100-continue", "Content-Length": 5 } });
      request.on("continue", () => { told = true; request.end("hello"); });
      request.on("response", (r) => { r.resume(); r.on("end", () => resolve([told, r.statusCode])); });
      request.on("error", reject);
      request.flushHeaders();
    });
    assert.deepEqual(status, [true, 200]);
  },
  async trailers_are_no_headers() {
    const request = http.request({ hostname, port, path: "/anything", method: "POST", headers: { Trailer: "X-After", "Content-Type": "text/plain" } });
    request.write("body");
    request.addTrailers({ "X-After": "1" });
    request.end();
    const response = await new Promise((resolve, reject) => request.on("response", resolve).on("error", reject));
    let text = "";
    for await (const part of response) text += part;
    const shown = JSON.parse(text);
    assert.equal(shown.data, "body");
    assert.equal(shown.headers["X-After"], undefined);
  },
  async a_refusal_arrives_during_an_upload() {
    const request = http.request({ hostname, port, path: "/post", method: "POST", headers: { "Content-Type": "text/plain" } });
    request.on("error", () => {});  // the connection is closed under the upload
    const answer = new Promise((resolve) => request.on("response", resolve));
    const feed = setInterval(() => request.write(Buffer.alloc(65_536)), 1);
    const response = await answer;
    clearInterval(feed);
    response.on("error", () => {}).resume();
    request.destroy();
    assert.equal(response.statusCode, 413);
  },
  async pipelined_requests_are_answered_in_order() {
    const n = 100;
    let text = "";
    for (let i = 1; i <= n; ++i) text += `GET /range/${i} HTTP/1.1\r\nHost: x\r\n${i === n ? "Connection: close\r\n" : ""}\r\n`;
    const answers = (await raw(text)).split("HTTP/1.1 200 OK\r\n").slice(1);
    assert.deepEqual(answers.map((a) => a.split("\r\n\r\n")[1].length), Array.from({ length: n }, (_, i) => i + 1));
  },
  async what_has_two_readings_is_refused() {
    for (const fields of ["Content-Length: 1\r\nContent-Length: 2", "Content-Length: 1\r\nTransfer-Encoding: chunked", "Transfer-Encoding: xchunked", "A : b"]) {
      assert.match(await raw(`POST /echo HTTP/1.1\r\nHost: x\r\n${fields}\r\n\r\n0\r\n\r\nGET /panic HTTP/1.1\r\nHost: x\r\n\r\n`), /^HTTP\/1\.1 (400|501) [^]*$/);
    }
    assert.match(await raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), /^(HTTP\/1\.1 505 [^]*)$/);
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`ok ${name}`);
  } catch (e) {
    ++failed;
    console.log(`not ok ${name}: ${e.stack}${e.cause ? "\n" + e.cause.stack : ""}`);
  }
}
process.exit(failed === 0 ? 0 : 1);  // undici's idle connections would keep it alive
