import assert from "node:assert/strict";
import { eachMpi, resultsOf } from "./testing.js";

eachMpi("tensors that differ are named, with the ranks", [4], async (mpirun) => {
  const env = { DISTRIBUTED: new URL("./index.js", import.meta.url).href };
  const program = async (communicator: import("./communicator.js").Communicator) => {
    const url = process.env.DISTRIBUTED!;
    const { sameOnAllRanks } = (await import(url)) as typeof import("./index.js");
    const tensors = new Map([
      ["first", new Float32Array(100).fill(0.5)],
      ["second", new Float32Array(300)],
    ]);
    const said: string[] = [];
    const check = async () => {
      await sameOnAllRanks(communicator, tensors).catch((error) => said.push(error.message));
    };
    await check();
    // The sign of a zero is a difference too.
    if (communicator.rank === 2) tensors.get("second")![17] = -0;
    await check();
    if (communicator.rank === 0) tensors.delete("first");
    await check();
    return said;
  };
  for (const [differs, named, ...more] of await resultsOf(mpirun, 4, program, { env })) {
    assert.match(differs!, /second on rank 2 differs from ranks 0, 1, 3\./);
    assert.match(named!, /the list of tensors on rank 0 differs from ranks 1, 2, 3\./);
    assert.equal(more.length, 0);
  }
});
