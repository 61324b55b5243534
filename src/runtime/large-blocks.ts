/** As GNU's malloc.h numbers it. */
const MMAP_THRESHOLD = -3;
const LARGE_BYTES = 4 * 2 ** 20;

let done: Promise<void> | undefined;

/**
 * Has the C library give blocks of 4 MB and more back to the system as soon as they are freed. A graph's first
 * run takes its tensors one by one, and GNU's allocator would put those below 32 MB side by side on a heap,
 * where the holes that they leave stay for good: 270 of 1,775 MB of a training step in chunks. It is asked once,
 * through koffi; without that package, and with other C libraries, nothing changes.
 */
export function returnLargeBlocks(): Promise<void> {
  done ??= ask();
  return done;
}

async function ask(): Promise<void> {
  if (process.platform !== "linux") return;
  try {
    const koffi = await import("koffi");
    koffi.load(null).func("int mallopt(int, int)")(MMAP_THRESHOLD, LARGE_BYTES);
  } catch {
    // Memory alone is lost.
  }
}
