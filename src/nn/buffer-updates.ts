import type { Tensor } from "../graph/index.js";

/**
 * What a training step makes of buffers, such as batch norm's running statistics. A module that is called
 * with one is in training mode; without, in evaluation, which changes nothing.
 */
export class BufferUpdates {
  readonly #values = new Map<Tensor, Tensor>();

  /** A buffer's value by now: a module that is called twice in a step changes it twice. */
  read(buffer: Tensor): Tensor {
    return this.#values.get(buffer) ?? buffer;
  }

  write(buffer: Tensor, value: Tensor): void {
    this.#values.set(buffer, value);
  }

  /** The changed buffers' values at the end of the step, by the buffers' names. */
  get values(): ReadonlyMap<string, Tensor> {
    return new Map(
      [...this.#values].map(([{ source }, value]) => {
        if (source.kind !== "input") throw new Error("a buffer is an input of the graph");
        return [source.name, value];
      }),
    );
  }
}
