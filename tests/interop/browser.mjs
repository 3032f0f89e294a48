// A browser against heddle-httpbin's page: its demos are clicked, and what they say is read. Arguments: the browser, the
// server's address, a folder for the browser's profile, and, for people, a file for a picture of the page.
//
// It is told what to do over two pipes (--remote-debugging-pipe), each message a JSON text with a NUL behind it.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";

const [browser, base, profile, picture] = process.argv.slice(2);
const child = spawn(browser, ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
  "--autoplay-policy=no-user-gesture-required", "--window-size=900,1400", "--remote-debugging-pipe", `--user-data-dir=${profile}`, "about:blank"],
  { stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"] });
let said = "";
child.stderr.on("data", (text) => { said += text; });
child.on("exit", (code) => { if (!over) fail(new Error(`the browser ended: ${code}\n${said}`)); });

let over = false;
function fail(e) {
  over = true;
  console.log(`not ok: ${e.stack}\n${said.split("\n").slice(-20).join("\n")}`);
  child.kill("SIGKILL");
  process.exit(1);
}

const waiting = new Map();
const listeners = [];
let last = 0, rest = Buffer.alloc(0);
child.stdio[4].on("data", (bytes) => {
  rest = Buffer.concat([rest, bytes]);
  for (let end; (end = rest.indexOf(0)) >= 0; rest = rest.subarray(end + 1)) {
    const message = JSON.parse(rest.subarray(0, end));
    if (message.id === undefined) { for (const l of listeners) l(message); continue; }
    const { resolve, reject } = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.error) reject(new Error(message.error.message)); else resolve(message.result);
  }
});
function call(method, params = {}, sessionId = undefined) {
  const id = ++last;
  child.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + "\0");
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

async function main() {
  const { targetId } = await call("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await call("Target.attachToTarget", { targetId, flatten: true });
  const page = (method, params) => call(method, params, sessionId);
  const statuses = new Map();  // path -> of its answers
  listeners.push(({ method, params }) => {
    if (method !== "Network.responseReceived") return;
    const path = new URL(params.response.url).pathname;
    statuses.set(path, [...(statuses.get(path) ?? []), params.response.status]);
  });
  // What the browser tells of its connections may come a little behind what the page says.
  async function until(holds) {
    while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await page("Network.enable");
  const loaded = new Promise((resolve) => listeners.push(({ method }) => { if (method === "Page.loadEventFired") resolve(); }));
  await page("Page.enable");
  await page("Page.navigate", { url: base + "/" });
  await loaded;

  // The value of a promise of the page's.
  async function value(expression) {
    const { result, exceptionDetails } = await page("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }
  // What the element says once it matches.
  const text = (id, pattern) => value(`new Promise((resolve) => {
    const e = document.getElementById("${id}");
    const look = () => { if (${pattern}.test(e.textContent)) resolve(e.textContent); };
    new MutationObserver(look).observe(e, { childList: true, characterData: true, subtree: true });
    look();
  })`);
  const click = (id) => value(`void document.getElementById("${id}").click()`);

  assert.ok(await value(`document.querySelectorAll("tr").length`) > 15);

  await click("sse-start");
  assert.equal(await text("sse", "/^done/"), "done: 1 2 3 4 5");
  await until(() => statuses.get("/sse").length > 1);
  assert.deepEqual(statuses.get("/sse"), [200, 204]);  // it came back, and was told that there is no more

  await click("ws-start");
  assert.equal(await text("ws", "/^(done|broken)/"), "done 1000 compressed: over and under \u{1f9f6} 70000");

  await click("fetch-start");
  const [, bytes, pieces] = /^done: (\d+) of 1000 bytes in (\d+) pieces$/.exec(await text("fetch", "/^done/"));
  assert.equal(bytes, "1000");
  assert.ok(Number(pieces) > 0, pieces);
  // The first byte is there minutes before the last would be, and then an end by ours.
  assert.deepEqual(await value(`(async () => {
    const stop = new AbortController();
    const response = await fetch("/drip?duration=600&numbytes=10", { signal: stop.signal });
    const reader = response.body.getReader();
    const { value } = await reader.read();
    stop.abort();
    return [value.length, await reader.read().catch((e) => e.name)];
  })()`), [1, "AbortError"]);

  assert.match(await text("media", "/loadedmetadata|error/"), /^loadedmetadata: 0 of 600 s$/);
  await value(`void (document.getElementById("player").currentTime = 500)`);
  assert.match(await text("media", "/seeked|error/"), /^seeked: 500 of 600 s$/);
  await until(() => statuses.get("/tone.wav").length > 1);
  assert.ok(statuses.get("/tone.wav").every((s) => s === 206), String(statuses.get("/tone.wav")));

  // A body up from a file, and a form, as pages send them.
  assert.equal(await value(`fetch("/echo", { method: "POST", body: new Blob(["x".repeat(3_000_000)]) }).then((r) => r.text()).then((t) => t.length)`), 3_000_000);
  assert.equal(await value(`(() => { const f = new FormData(); f.append("a", new Blob(["12345"]), "n"); return fetch("/upload", { method: "POST", body: f }); })().then((r) => r.json()).then((j) => j.parts[0].size)`), 5);
  assert.equal(await value(`fetch("/gzip").then((r) => r.json()).then((j) => j.gzipped)`), true);
  assert.equal(await value(`fetch("/cookies/set?a=b").then((r) => r.json()).then((j) => j.cookies.a)`), "b");

  if (picture) writeFileSync(picture, Buffer.from((await page("Page.captureScreenshot")).data, "base64"));
  over = true;
  const ended = new Promise((resolve) => child.on("exit", resolve));
  await call("Browser.close");
  await ended;
  console.log("ok");
}
main().catch(fail);
