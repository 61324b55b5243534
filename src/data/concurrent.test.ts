import assert from "node:assert/strict";
import { test } from "node:test";
import { limiter } from "./concurrent.js";

test("a limiter keeps its bound and its order, also where work fails", async () => {
  const limited = limiter(3);
  const started: number[] = [];
  let running = 0;
  let most = 0;
  const work = async (i: number) => {
    started.push(i);
    most = Math.max(most, ++running);
    await new Promise((resolve) => setTimeout(resolve, (i * 7) % 5));
    running--;
    if (i % 4 === 0) throw new Error(`${i}`);
    return i;
  };
  const results = await Promise.allSettled(
    Array.from({ length: 20 }, (_, i) => limited(() => work(i))),
  );
  assert.equal(most, 3);
  assert.deepEqual(
    started,
    Array.from({ length: 20 }, (_, i) => i),
  );
  for (const [i, result] of results.entries()) {
    assert.equal(result.status, i % 4 === 0 ? "rejected" : "fulfilled");
  }
  // All places are free again.
  const again = await Promise.all([1, 2, 3].map((i) => limited(() => work(i))));
  assert.deepEqual(again, [1, 2, 3]);
});
