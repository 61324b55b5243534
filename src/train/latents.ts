import type { Data } from "../graph/index.js";

/** What the encoders made of a batch, or gradients of it, by name: `texts.0.text` of the first view. */
export type Latents = Readonly<Record<string, Data>>;

/** Views as a flat record: {@link viewsOf} undoes it. */
export function flatViews<T>(
  side: "texts" | "images",
  views: readonly object[],
): Record<string, T> {
  const flat: Record<string, T> = {};
  for (const [i, view] of views.entries()) {
    for (const [name, value] of Object.entries(view) as [string, T | undefined][]) {
      if (value !== undefined) flat[`${side}.${i}.${name}`] = value;
    }
  }
  return flat;
}

/** The views of a side, one record each. */
export function viewsOf<View>(latents: Latents): View[] {
  const views: Record<string, Data>[] = [];
  for (const [path, data] of Object.entries(latents)) {
    const [, i, name] = path.split(".") as [string, string, string];
    views[Number(i)] ??= {};
    views[Number(i)]![name] = data;
  }
  return views as View[];
}
