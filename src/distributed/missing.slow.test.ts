import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { eachMpi, runRanks } from "./testing.js";

/** What a process says that is started as a rank by hand, with no launcher. */
function sayAlone(env: Readonly<Record<string, string>>, flags: readonly string[] = []): string {
  const index = new URL("./index.js", import.meta.url).href;
  const code = `const { openCommunicator } = await import("${index}"); await openCommunicator();`;
  const args = [...flags, "--input-type=module", "--eval", code];
  const { status, stderr } = spawnSync(process.execPath, args, {
    env: { ...process.env, ...env },
    encoding: "utf8",
  });
  assert.equal(status, 1);
  assert.match(stderr, /ClipsmithError/);
  return stderr;
}

test("without a library it says how to install one", () => {
  const openMpi = { OMPI_COMM_WORLD_RANK: "0", OMPI_COMM_WORLD_SIZE: "2" };
  const said = sayAlone({ ...openMpi, CLIPSMITH_MPI: "/nowhere/libmpi.so" });
  assert.match(said, /Open MPI started this process, but no MPI library/);
  assert.match(
    said,
    /apt install openmpi-bin\n.*dnf install openmpi.*\n.*brew install open-mpi\n.*conda/,
  );
  assert.match(said, /CLIPSMITH_MPI/);
  assert.match(said, /\/nowhere\/libmpi\.so: /);
  const mpich = { PMI_RANK: "0", PMI_SIZE: "2", CLIPSMITH_MPI: "/nowhere/libmpi.so" };
  assert.match(sayAlone(mpich), /apt install mpich/);
});

test("without koffi it says how to install it", () => {
  const hook =
    'export async function resolve(name, context, next) { if (name === "koffi") throw new Error("gone"); ' +
    "return next(name, context); }";
  const url = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`;
  const register = `import { register } from "node:module"; register(${JSON.stringify(url(hook))});`;
  const said = sayAlone({ PMI_RANK: "0", PMI_SIZE: "2" }, ["--import", url(register)]);
  assert.match(said, /npm install koffi/);
});

eachMpi("a library of the other family is refused", [2], async (mpirun) => {
  const other = mpirun.family === "MPICH" ? "libmpi.so.40" : "libmpich.so.12";
  const env = { CLIPSMITH_MPI: other };
  const { code, stderr } = await runRanks(mpirun, 2, async () => {}, { env });
  assert.notEqual(code, 0);
  assert.match(stderr, new RegExp(`${mpirun.family} started this process, but no MPI library`));
});
