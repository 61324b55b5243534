import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import type { Communicator } from "./communicator.js";
import type { Family } from "./mpi-library.js";
import { eachMpi, type RanksOptions, resultsOf, runRanks } from "./testing.js";

const folder = mkdtempSync(join(tmpdir(), "clipsmith-hosts-"));
after(() => rmSync(folder, { recursive: true }));

/** Flags of mpirun for two ranks on each of two hosts, which a script reaches when it is called as ssh is. */
function flagsFor(family: Family, hosts: readonly string[], script: readonly string[]): string[] {
  const file = join(folder, "hosts");
  const isMpich = family === "MPICH";
  writeFileSync(file, hosts.map((host) => `${host}${isMpich ? ":2" : " slots=2"}\n`).join(""));
  const ssh = join(folder, "ssh");
  // MPICH has a flag before the host.
  const lines = ["#!/bin/sh", '[ "$1" = -x ] && shift', "host=$1", "shift", ...script];
  writeFileSync(ssh, `${lines.join("\n")}\n`, { mode: 0o755 });
  return isMpich
    ? ["-f", file, "-launcher", "ssh", "-launcher-exec", ssh]
    : ["--hostfile", file, "--mca", "plm_rsh_agent", ssh];
}

const env = { PLACE: new URL("./place.js", import.meta.url).href };

/** A sum over all ranks; each one's host and number there. */
const program = async (communicator: Communicator) => {
  const sum = new Float32Array(200_000).fill(communicator.rank + 1);
  await communicator.allReduce(sum);
  const { hostname } = await import("node:os");
  const { place } = (await import(process.env.PLACE!)) as typeof import("./place.js");
  return { sum: [sum[0], sum.at(-1)], host: hostname(), localRank: place().localRank };
};

eachMpi("two addresses of this machine in a host file", [4], async (mpirun) => {
  // Open MPI knows loopback addresses for its own host's, but takes names that it cannot look up for others.
  const [hosts, mca]: [string[], Record<string, string>] =
    mpirun.family === "MPICH"
      ? [["127.0.0.1", "127.0.0.2"], {}]
      : [
          ["a.invalid", "b.invalid"],
          // Two hosts' files of shared memory would have the same names here, those of the daemons too.
          {
            btl: "self,tcp",
            btl_tcp_if_include: "lo",
            oob_tcp_if_include: "lo",
            rtc_hwloc_vmhole: "none",
          },
        ];
  const flags = [
    ...flagsFor(mpirun.family, hosts, ['exec sh -c "$*"']),
    ...Object.entries(mca).flatMap(([name, value]) => ["--mca", name, value]),
  ];
  const results = await resultsOf(mpirun, 4, program, { flags, env });
  const expected = [0, 1, 0, 1].map((localRank) => ({
    sum: [10, 10],
    host: hostname(),
    localRank,
  }));
  assert.deepEqual(results, expected);
});

/** Two network namespaces with a cable between them. */
const spaces = [`clipsmith-a${process.pid}`, `clipsmith-b${process.pid}`] as const;
const addresses = ["10.177.0.1", "10.177.0.2"] as const;
const [nearEnd, farEnd] = ["near", "far"];

function ip(args: string): boolean {
  return spawnSync("ip", args.split(" ")).status === 0;
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended meanwhile.
  }
}

function layCable(): boolean {
  const [a, b] = spaces;
  return [
    `netns add ${a}`,
    `netns add ${b}`,
    `link add ${nearEnd} netns ${a} type veth peer name ${farEnd} netns ${b}`,
    `-n ${a} addr add ${addresses[0]}/24 dev ${nearEnd}`,
    `-n ${b} addr add ${addresses[1]}/24 dev ${farEnd}`,
    `-n ${a} link set ${nearEnd} up`,
    `-n ${b} link set ${farEnd} up`,
    `-n ${a} link set lo up`,
    `-n ${b} link set lo up`,
  ].every(ip);
}

/** Whether both ends say that they carry data, which takes them a moment. */
function isLive(): boolean {
  const nap = new Int32Array(new SharedArrayBuffer(4));
  const ends = [
    [spaces[0], nearEnd],
    [spaces[1], farEnd],
  ];
  for (let i = 0; i < 100; i++) {
    const states = ends.map(([space, end]) =>
      spawnSync("ip", ["-n", space!, "link", "show", end!], { encoding: "utf8" }),
    );
    if (states.every(({ stdout }) => stdout.includes("state UP"))) return true;
    Atomics.wait(nap, 0, 0, 50);
  }
  return false;
}

const hasCable = process.platform === "linux" && layCable() && isLive();
const noCable = "network namespaces need Linux, root and the command ip";
after(() => {
  for (const space of spaces) {
    // A daemon whose network is gone lives on.
    const { stdout } = spawnSync("ip", ["netns", "pids", space], { encoding: "utf8" });
    for (const pid of stdout?.match(/\d+/g) ?? []) kill(Number(pid));
    ip(`netns delete ${space}`);
  }
});

/** Runs a command in a namespace, with a name and shared memory of its own. */
const inside = (space: string) => [
  ..."ip netns exec".split(" "),
  space,
  ..."unshare --mount --uts sh -c".split(" "),
  `hostname ${space} && mount -t tmpfs none /dev/shm && exec "$@"`,
  "sh",
];

/** How to run ranks 0 and 1 on one host, and 2 and 3 on the other. */
function onTwoHosts(family: Family): RanksOptions {
  const [a, b] = spaces.map((space) => {
    const words = inside(space).map((word) => `'${word}'`);
    return `${words.join(" ")} sh -c "$*"`;
  });
  const script = [`case $host in ${addresses[0]}) exec ${a};; *) exec ${b};; esac`];
  // MPICH's transport sees through namespaces that this is one machine, and would go round the network.
  const overNetwork = { ...env, UCX_TLS: "tcp,self" };
  return {
    env: overNetwork,
    flags: flagsFor(family, addresses, script),
    before: inside(spaces[0]),
  };
}

eachMpi(
  "two hosts with a network between them",
  [4],
  async (mpirun) => {
    const results = await resultsOf(mpirun, 4, program, onTwoHosts(mpirun.family));
    const [a, b] = spaces;
    const expected = [a, a, b, b].map((host, i) => ({ sum: [10, 10], host, localRank: i % 2 }));
    assert.deepEqual(results, expected);
  },
  hasCable ? undefined : noCable,
);

eachMpi(
  "when the network fails the ranks behind it are named",
  [4],
  async (mpirun) => {
    const cut = async (communicator: Communicator) => {
      const { execFileSync, spawn } = await import("node:child_process");
      await communicator.barrier();
      if (communicator.rank === 0) {
        execFileSync("ip", "link set near down".split(" "));
        // Ranks end without it, but Open MPI's mpirun waits for its daemon on the other host.
        const args = ["-c", "sleep 10; ip link set near up"];
        spawn("sh", args, { detached: true, stdio: "ignore" }).unref();
      }
      await communicator.barrier();
      await communicator.barrier();
    };
    const options = { ...onTwoHosts(mpirun.family), waitLimitSeconds: 5 };
    const { code, stderr } = await runRanks(mpirun, 4, cut, options);
    assert.notEqual(code, 0);
    const missing = /rank (\d) of 4 \(host (\S+), .* has not reached operation .* does not answer/g;
    const named = [...stderr.matchAll(missing)].map(([, rank, host]) => `${rank} ${host}`);
    // Each side misses the other; one of them may be ended before it can say so.
    const [a, b] = spaces;
    const sides = [
      [`0 ${a}`, `1 ${a}`],
      [`2 ${b}`, `3 ${b}`],
    ];
    assert.ok(
      sides.some((side) => side.every((name) => named.includes(name))),
      stderr,
    );
  },
  hasCable ? undefined : noCable,
);
