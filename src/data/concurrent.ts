/** File operations under way at once. */
export const FILE_CONCURRENCY = 32;

/** `work` on every item, at most `limit` of them at a time; results in the items' order. */
export async function mapConcurrently<In, Out>(
  items: readonly In[],
  limit: number,
  work: (item: In, index: number) => Promise<Out>,
): Promise<Out[]> {
  const results = new Array<Out>(items.length);
  let next = 0;
  const lane = async () => {
    while (next < items.length) {
      const index = next++;
      results[index] = await work(items[index]!, index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, lane));
  return results;
}

/** `work` on every item, begun up to `ahead` items before its result is asked for; results in order. */
export async function* mapAhead<In, Out>(
  items: AsyncIterable<In>,
  ahead: number,
  work: (item: In) => Promise<Out>,
): AsyncGenerator<Out> {
  const iterator = items[Symbol.asyncIterator]();
  const coming: Promise<IteratorResult<Out, undefined>>[] = [];
  const begin = async (): Promise<IteratorResult<Out, undefined>> => {
    const { done, value } = await iterator.next();
    return done ? { done, value: undefined } : { done: false, value: await work(value) };
  };
  const prepare = () => {
    while (coming.length < ahead) {
      const next = begin();
      // A failure is seen when it is its turn.
      next.catch(() => {});
      coming.push(next);
    }
  };
  try {
    for (;;) {
      prepare();
      const first = coming.shift()!;
      prepare();
      const { done, value } = await first;
      if (done) return;
      yield value;
    }
  } finally {
    await iterator.return?.();
  }
}

/** Runs what it is given, at most `limit` at a time, in the order it is given. */
export function limiter(limit: number): <Out>(work: () => Promise<Out>) => Promise<Out> {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async (work) => {
    if (running === limit) await new Promise<void>((resolve) => waiting.push(resolve));
    else running++;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      // The next one takes over the place.
      if (next) next();
      else running--;
    }
  };
}
