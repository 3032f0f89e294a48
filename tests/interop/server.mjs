// Node's http server, for our client's tests: on a free port and on the Unix socket that is the first argument. It answers as
// server.go does.
import http from "node:http";
import zlib from "node:zlib";

const block = Buffer.alloc(65_536, 0).map((_, i) => (i * 7) & 255);

const handlers = {
  "/hello": (q, r) => r.setHeader("Content-Type", "text/plain").end("hello"),
  "/peer": (q, r) => r.end(`${q.socket.remoteAddress}:${q.socket.remotePort}`),
  async "/chunked"(q, r, n) {
    r.setHeader("Trailer", "X-Count");
    for (let i = 0; i < n; ++i) {
      r.write(`piece ${i}\n`);
      await new Promise(setImmediate);
    }
    r.addTrailers({ "X-Count": String(n) });
    r.end();
  },
  "/gzip"(q, r) {
    if (!String(q.headers["accept-encoding"]).includes("gzip")) return r.writeHead(406).end();
    r.setHeader("Content-Encoding", "gzip");
    const z = zlib.createGzip();
    z.pipe(r);
    z.end("squeezed ".repeat(10_000));
  },
  "/redirect"(q, r, n) {
    if (n > 0) r.writeHead(302, { Location: `/redirect?n=${n - 1}` }).end();
    else r.end(q.method);
  },
  "/moved": (q, r) => r.writeHead(307, { Location: "/echo" }).end(),
  "/echo"(q, r) {
    if (q.headers["content-type"]) r.setHeader("Content-Type", q.headers["content-type"]);
    q.pipe(r);
  },
  async "/size"(q, r) {
    let size = 0;
    for await (const part of q) size += part.length;
    r.end(`${size} <nil> ${q.headers["content-length"] ?? -1}`);
  },
  "/refuse": (q, r) => r.writeHead(413, { Connection: "close" }).end(),
  async "/large"(q, r, n) {
    r.setHeader("Content-Length", n);
    for (; n > 0; n -= block.length) {
      if (!r.write(block.subarray(0, Math.min(n, block.length)))) {
        await new Promise((resolve) => r.once("drain", resolve).once("close", resolve));
      }
      if (r.destroyed) return;
    }
    r.end();
  },
  "/hints"(q, r) {
    r.writeEarlyHints({ link: "</a.css>; rel=preload" });
    r.end("hinted");
  },
  "/last": (q, r) => r.setHeader("Connection", "close").end("last"),
  "/cut"(q, r) {
    r.setHeader("Content-Length", 100);
    r.write("half", () => r.destroy());
  },
  "/slow": () => {},  // for ever
};

function serve(request, response) {
  const url = new URL(request.url, "http://x");
  const handler = handlers[url.pathname];
  if (handler === undefined) return response.writeHead(404).end();
  handler(request, response, Number(url.searchParams.get("n")));
}

const tcp = http.createServer(serve);
http.createServer(serve).listen(process.argv[2], () => {
  tcp.listen(0, "127.0.0.1", () => console.error(`listening on http://127.0.0.1:${tcp.address().port}`));
});
