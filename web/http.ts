import type { ApiError } from "../src/server/api.js";

/**
 * The JSON that the server answers.
 *
 * @throws Error with the server's own words, or that it cannot be reached.
 */
export async function request<T>(path: string, init: RequestInit = {}): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Error("The server cannot be reached. Is it still running?");
  }
  const body: unknown = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Error((body as ApiError).error ?? `The server answered ${response.status}.`);
  }
  return body as T;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
