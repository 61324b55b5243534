import {
  contrastiveGradients,
  contrastiveRows,
  contrastiveStatistics,
  differentPairs,
  gradientOf,
  imagesChoose,
  regularisationTile,
  sigmoidTile,
  type Tile,
} from "../clip/index.js";
import type { Feeds } from "../runtime/index.js";
import { LogSumExps } from "./log-sum-exps.js";
import type { Operand, Samples, TileGraph, TilePass } from "./tile-pass.js";
import { TiledRecall, type Vectors } from "./tiled-recall.js";
import { type ExcludedPairs, isDiagonal, lengthOf, type Place, type Range } from "./tiles.js";

/** What {@link PairObjective} needs beside latents. */
export interface PairObjectiveOptions {
  /** Tokens T of a text and P of an image, where they are compared token by token. */
  readonly tokens: { readonly text: number; readonly image: number } | undefined;
  /** The logarithm of the scale. */
  readonly temperature: number;
  /** The sigmoid loss's. */
  readonly bias: number;
  readonly excluded: ExcludedPairs;
}

const directions = ["textToImage", "imageToText"] as const;

/**
 * The terms of an objective for one view of the texts and one of the images, and what they add to
 * gradients.
 */
export class PairObjective {
  readonly #pass: TilePass;
  readonly #options: PairObjectiveOptions;
  readonly #scalars: Samples;
  readonly #gradients = { temperature: 0, bias: 0 };

  constructor(pass: TilePass, options: PairObjectiveOptions) {
    this.#pass = pass;
    this.#options = options;
    this.#scalars = {
      temperature: Float32Array.of(options.temperature),
      bias: Float32Array.of(options.bias),
    };
  }

  /** The contrastive or the sigmoid loss; its gradients, times `weight`, are added to the operands'. */
  async compare(texts: Operand, images: Operand, weight: number): Promise<number> {
    const { sigmoidLoss, hopfieldRetrieval } = this.#pass.options;
    if (sigmoidLoss) return this.#sigmoid(texts, images, weight);
    if (hopfieldRetrieval) return this.#recalled(texts, images, weight);
    return this.#contrastive(texts, images, weight);
  }

  async #contrastive(texts: Operand, images: Operand, weight: number): Promise<number> {
    const pass = this.#pass;
    const statistics = await this.#statistics(texts, images);
    const choices = statistics.flatMap(({ name, top, total, own }) => [
      [`${name}.candidates`, top.map((top, i) => top + Math.log(total[i]!))] as const,
      [`${name}.own`, own] as const,
    ]);
    const rows = await pass.run(contrastiveRows, pass.batch, Object.fromEntries(choices));
    const gradientsOf = (column: string) => rows[gradientOf(column)] as Float64Array;
    // What the tiles of a direction are told, one number for each sample that chooses.
    const told = statistics.map(({ name, top, total }) => ({
      direction: name,
      columns: Object.entries({
        top,
        factor: gradientsOf(`${name}.candidates`).map((gradient, i) => gradient / total[i]!),
        own: gradientsOf(`${name}.own`),
      }).map(([what, column]) => [`${name}.${what}`, Float32Array.from(column)] as const),
    }));
    for (const place of pass.places) {
      const feeds: Record<string, Float32Array> = {};
      for (const { direction, columns } of told) {
        const { start, end } = this.#choosing(direction, place);
        for (const [name, column] of columns) feeds[name] = column.subarray(start, end);
      }
      await this.#pull(contrastiveGradients, [texts, images], place, feeds, weight);
    }
    return (rows.loss as Float64Array)[0]!;
  }

  /** Statistics of all samples' choices, [B] each, by direction. */
  async #statistics(texts: Operand, images: Operand) {
    const pass = this.#pass;
    const { own, ownCount } = pass;
    const known = directions.map((name) => ({
      name,
      sums: new LogSumExps(ownCount),
      matching: new Float64Array(ownCount),
    }));
    const columnsChoose = imagesChoose(pass.options);
    for (const place of pass.places.filter(({ ofRows }) => ofRows || columnsChoose)) {
      const { tile, feeds } = this.#tileAt(texts, images, place);
      const found = await pass.run(contrastiveStatistics, tile, feeds);
      for (const { name, sums, matching } of known) {
        const part = (what: string) => found[`${name}.${what}`] as Float32Array | undefined;
        const [top, total, ofPairs] = [part("top"), part("total"), part("own")];
        const row = this.#choosing(name, place).start - own.start;
        if (top && total) sums.add(row, top, total);
        if (ofPairs) matching.set(ofPairs, row);
      }
    }
    const ofAll = await pass.gatherColumns(
      known.flatMap(({ sums, matching }) => [sums.tops, sums.totals, matching]),
    );
    return known.map(({ name }, i) => {
      const [top, total, own] = ofAll.slice(3 * i, 3 * i + 3);
      return { name, top: top!, total: total!, own: own! };
    });
  }

  /** The samples of a tile that choose. */
  #choosing(direction: (typeof directions)[number], { rows, columns }: Place): Range {
    return direction === "imageToText" && imagesChoose(this.#pass.options) ? columns : rows;
  }

  async #sigmoid(texts: Operand, images: Operand, weight: number): Promise<number> {
    const { places, batch } = this.#pass;
    let loss = 0;
    for (const place of places) {
      loss += await this.#pull(sigmoidTile, [texts, images], place, {}, weight / batch);
    }
    return (await this.#pass.sum([loss / batch]))[0]!;
  }

  /** CLOOB: the contrastive loss of what latents retrieve. */
  async #recalled(texts: Operand, images: Operand, weight: number): Promise<number> {
    const text = vectorsOf(texts, "text");
    const image = vectorsOf(images, "image");
    const textExtra = vectorsOf(texts, "textExtra") ?? text;
    const imageExtra = vectorsOf(images, "imageExtra") ?? image;
    const recall = (query: Vectors | undefined, memory: Vectors | undefined) =>
      TiledRecall.run(this.#pass, query!, memory!);
    const ofTexts = {
      text: await recall(text, text),
      textExtra: await recall(textExtra, imageExtra),
    };
    const ofImages = {
      image: await recall(image, text),
      imageExtra: await recall(imageExtra, imageExtra),
    };
    const loss = await this.#contrastive(operandOf(ofTexts), operandOf(ofImages), weight);
    for (const recalled of [...Object.values(ofTexts), ...Object.values(ofImages)]) {
      await recalled.pullBack();
    }
    return loss;
  }

  /** The similarity regularisation; its gradients, times `weight`, are added to the operands'. */
  async regularise(texts: Operand, images: Operand, weight: number): Promise<number> {
    const pass = this.#pass;
    const { tokens } = this.#options;
    const values = { ...texts.values, ...images.values };
    const samples: Operand = { values, gradients: { ...texts.gradients, ...images.gradients } };
    const others = Object.fromEntries(
      Object.entries(values).map(([name, all]) => [`other.${name}`, all]),
    );
    const pairs = differentPairs(pass.batch);
    let sum = 0;
    for (const place of pass.places.filter(({ ofRows }) => ofRows)) {
      const { rows, columns } = place;
      const tile = { texts: lengthOf(rows), images: lengthOf(columns), tokens };
      const found = await pass.pull(
        regularisationTile,
        { ...tile, matching: isDiagonal(place) },
        { ...pass.part(values, rows), ...pass.part(others, columns) },
        { ...place, ofColumns: false },
        [samples, undefined],
        (2 * weight) / pairs,
      );
      sum += (found.loss as Float64Array)[0]!;
    }
    return (await pass.sum([sum / pairs]))[0]!;
  }

  /** Gradients of the scalars, of the whole batch. */
  async scalarGradients(): Promise<{ readonly temperature: number; readonly bias: number }> {
    const { temperature, bias } = this.#gradients;
    const [ofTemperature, ofBias] = await this.#pass.sum([temperature, bias]);
    return { temperature: ofTemperature!, bias: ofBias! };
  }

  /** Adds what a tile adds to the gradients; gives its part of the loss, if the graph tells it. */
  async #pull(
    build: TileGraph<Tile>,
    operands: readonly [Operand, Operand],
    place: Place,
    more: Feeds,
    factor: number,
  ): Promise<number> {
    const { tile, feeds } = this.#tileAt(...operands, place);
    const all = { ...feeds, ...more };
    const found = await this.#pass.pull(build, tile, all, place, operands, factor);
    const scalar = (name: string) => Number(found[name]?.[0] ?? 0);
    this.#gradients.temperature += factor * scalar(gradientOf("temperature"));
    this.#gradients.bias += factor * scalar(gradientOf("bias"));
    return scalar("loss");
  }

  /** A tile and what its graph reads. */
  #tileAt(texts: Operand, images: Operand, place: Place): { tile: Tile; feeds: Feeds } {
    const { rows, columns, ofRows, ofColumns } = place;
    const { tokens, excluded: pairs } = this.#options;
    const excluded = pairs.within(rows, columns);
    const mirrored = imagesChoose(this.#pass.options) ? undefined : pairs.within(columns, rows);
    return {
      tile: {
        texts: lengthOf(rows),
        images: lengthOf(columns),
        tokens,
        matching: isDiagonal(place),
        excluded: excluded !== undefined,
        mirrored: mirrored !== undefined,
        ofTexts: ofRows,
        ofImages: ofColumns,
      },
      feeds: {
        ...this.#pass.part(texts.values, rows),
        ...this.#pass.part(images.values, columns),
        ...this.#scalars,
        ...(excluded && { excluded }),
        ...(mirrored && { mirrored }),
      },
    };
  }
}

function vectorsOf({ values, gradients }: Operand, name: string): Vectors | undefined {
  const [all, gradient] = [values[name], gradients[name]];
  return all instanceof Float32Array && gradient ? { values: all, gradient } : undefined;
}

function operandOf(recalled: Readonly<Record<string, TiledRecall>>): Operand {
  const named = Object.entries(recalled).map(([name, { units }]) => [name, units] as const);
  return {
    values: Object.fromEntries(named.map(([name, { values }]) => [name, values])),
    gradients: Object.fromEntries(named.map(([name, { gradient }]) => [name, gradient])),
  };
}
