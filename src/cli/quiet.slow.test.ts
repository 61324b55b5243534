import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { command, makeCollection, startProgram, tinyModel } from "./testing.js";

/** Longer than it takes ONNX Runtime's telemetry to connect for the first time: ten seconds. */
const MINUTES = "0.3";

let root: string;
before(async () => {
  root = mkdtempSync(join(tmpdir(), "clipsmith-quiet-"));
  await makeCollection(join(root, "pictures"), 24);
});
after(() => rmSync(root, { recursive: true }));

function whyNoStrace(): string | false {
  const { error, status, stderr } = spawnSync(
    "strace",
    ["-o", "/dev/null", process.execPath, "-v"],
    {
      encoding: "utf8",
    },
  );
  if (error) return "strace is not installed: whether a connection is tried is not seen";
  return status !== 0 && `strace may not trace here: ${stderr.trim()}`;
}

/** Lines of strace that speak to more than this machine's own processes. */
const outside = (trace: string) =>
  trace
    .split("\n")
    .filter((line) => /sa_family=/.test(line) && !/sa_family=AF_(UNIX|LOCAL)/.test(line));

test("only lines of strace about other machines count", () => {
  const trace = [
    '7 connect(3, {sa_family=AF_UNIX, sun_path="/run/nscd/socket"}, 110) = -1 ENOENT',
    '7 connect(3, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("20.1.1.1")}, 16) = 0',
    '7 sendto(4, "x", 1, 0, {sa_family=AF_INET6, sin6_port=htons(53)}, 28) = 1',
    '7 sendto(4, "x", 1, MSG_NOSIGNAL, NULL, 0) = 1',
  ].join("\n");
  assert.equal(outside(trace).length, 2);
});

const noStrace = whyNoStrace();
test("strace is here to see connections", { skip: noStrace }, () => {});

for (const { name, args } of [
  {
    name: "a training",
    args: ["train", "pictures", "--out", "run", "--minutes", MINUTES, ...tinyModel],
  },
  { name: "an index", args: ["index", "run", "pictures"] },
  { name: "a search", args: ["search", "run", "red"] },
]) {
  test(`${name} writes nothing elsewhere and speaks to nobody`, async () => {
    const places = mkdtempSync(join(root, "places-"));
    const variables = {
      ...{ HOME: "home", USERPROFILE: "home", APPDATA: "roaming", LOCALAPPDATA: "local" },
      ...{ TMPDIR: "tmp", TEMP: "tmp", TMP: "tmp" },
      ...{ XDG_CACHE_HOME: "cache", XDG_CONFIG_HOME: "config", XDG_DATA_HOME: "data" },
      ...{ XDG_STATE_HOME: "state", XDG_RUNTIME_DIR: "runtime" },
    };
    const env = { ...process.env };
    delete env.ORT_DISABLE_TELEMETRY;
    for (const [variable, folder] of Object.entries(variables)) {
      env[variable] = join(places, folder);
      mkdirSync(env[variable], { recursive: true });
    }
    const folders = readdirSync(places).sort();
    const trace = join(root, `${args[0]}.strace`);
    const tracer = [
      "strace",
      "-f",
      "-qq",
      "-o",
      trace,
      "-e",
      "trace=connect,sendto,sendmsg,sendmmsg",
    ];
    const [program, ...rest] = [...(noStrace ? [] : tracer), ...command, ...args];
    const { code, stderr } = await startProgram(program!, rest, { cwd: root, env }).ended;
    assert.equal(code, 0, stderr);
    assert.deepEqual(readdirSync(places, { recursive: true }).sort(), folders);
    if (!noStrace) assert.ok(existsSync(trace));
    if (!noStrace) assert.deepEqual(outside(readFileSync(trace, "utf8")), []);
  });
}
