/** Often enough to seem at once, and nothing to a server. */
const POLL_MS = 3000;

/** Calls `ask` every few seconds while the page is looked at, one call at a time. */
export function whileLookedAt(ask: () => Promise<void>): void {
  let timer = 0;
  let isAsking = false;
  const next = async () => {
    clearTimeout(timer);
    if (document.hidden || isAsking) return;
    isAsking = true;
    await ask();
    isAsking = false;
    timer = setTimeout(next, POLL_MS);
  };
  document.addEventListener("visibilitychange", () => void next());
  timer = setTimeout(next, POLL_MS);
}
