import { z } from "zod";
import { isTemplate, sslAugmentation } from "../data/index.js";
import { validationMetrics } from "./early-stop.js";

const rangeOf = (number: z.ZodNumber) =>
  z
    .tuple([number, number])
    .refine(([least, most]) => least <= most, "the first must not exceed the second");
const range = rangeOf(z.number().positive());
const fraction = z.number().min(0).max(1);

/** Random changes to training pictures; what is left out stays off. */
export const augmentSchema = z.strictObject({
  /** Random resized crop: least and most of the area kept. */
  crop: rangeOf(z.number().positive().max(1)).optional(),
  /** Greatest turn either way, in degrees. */
  rotate: z.number().min(0).max(180).optional(),
  /** Greatest shift along each axis, as a fraction of the size. */
  translate: fraction.optional(),
  /** Least and greatest magnification. */
  scale: range.optional(),
  /** Probability of mirroring left and right. */
  flip: fraction.optional(),
  /** Greatest relative change of each, 0 to 1; of hue 0 to 0.5. */
  colour: z
    .strictObject({
      /** Probability of changing colours at all; default 1. */
      probability: fraction.optional(),
      brightness: fraction.optional(),
      contrast: fraction.optional(),
      saturation: fraction.optional(),
      hue: z.number().min(0).max(0.5).optional(),
    })
    .optional(),
  /** Probability of taking all colour away. */
  greyscale: fraction.optional(),
  /** Gaussian blur. */
  blur: z
    .strictObject({
      /** Probability of blurring; default 1. */
      probability: fraction.optional(),
      /** Least and greatest standard deviation, in pixels. */
      sigma: range,
      /** How many pixels the kernel reaches each way; default three standard deviations. */
      radius: z.int().positive().optional(),
    })
    .optional(),
});

/** Options of training. */
export const trainingOptionsSchema = z.strictObject({
  /**
   * How long to train, in minutes from the first step, with validation and checkpoints. The number of steps is
   * planned anew after each one. Default 5.
   */
  minutes: z.number().positive().default(5),
  /** How long to train, in steps; overrides `minutes`. */
  steps: z.int().positive().optional(),
  /** How long to train, in passes over all samples of one source; overrides the two above. */
  epochs: z.number().positive().optional(),
  /** Of `epochs`: leave out the last samples, which fill no batch; else the next pass fills it up. */
  dropLast: z.boolean().default(false),
  /** Pairs in a batch B. */
  batchSize: z.int().min(2).default(256),
  /**
   * Most pairs that the encoders see at once: larger batches take as little memory, and one more forward
   * pass (GradCache, Gao et al., 2021). Default: the whole batch at once.
   */
  chunkSize: z.int().positive().optional(),
  /**
   * Of a batch in chunks: rows and columns of the similarities that are in memory at once (Inf-CL, Cheng
   * et al., 2024).
   */
  tileSize: z.int().positive().default(1024),
  /** How often each of several sources is drawn from, as parts of their sum; default: all alike. */
  sourceWeights: z.array(z.number().positive()).optional(),
  /** Samples of a source in shards that are shuffled together; two such blocks are in memory. */
  shuffleBuffer: z.int().positive().default(4096),
  /**
   * Of sources in shards: how many read them side by side, each its own shards and an equal part of every
   * batch. Default: one for each rank that the run is begun with if there are enough shards, else 1.
   */
  readers: z.int().positive().optional(),
  /** The run stops when more than this part of the samples cannot be used. */
  maxSkippedRate: z.number().min(0).lt(1).default(0.2),
  /** Equal pictures and shared captions in a batch are no negatives of each other. */
  excludeDuplicates: z.boolean().default(true),
  /** How gradients change parameters: AdamW, or Lion (Chen et al., 2023). */
  optimizer: z.enum(["adamw", "lion"]).default("adamw"),
  /** The highest learning rate, reached at the end of the warm-up. Lion wants it 3 to 10 times lower. */
  learningRate: z.number().positive().default(5e-4),
  /** Steps of linear growth of the learning rate. */
  warmupSteps: z.int().min(0).default(50),
  /** What follows the warm-up: half a cosine or a straight line down, or neither. */
  schedule: z.enum(["cosine", "linear", "constant"]).default("cosine"),
  /** The learning rate at the end of the schedule, unless it is constant; at most `learningRate`. */
  learningRateFloor: z.number().min(0).default(0),
  /** What the learning rate is multiplied by in each encoder, and in all else: projections, temperature. */
  learningRateFactors: z
    .strictObject({
      textEncoder: z.number().positive().default(1),
      imageEncoder: z.number().positive().default(1),
      heads: z.number().positive().default(1),
    })
    .prefault({}),
  /** Each layer of an encoder learns at this part of the rate of the layer after it (ELECTRA, BEiT). */
  layerDecay: z.number().positive().max(1).default(1),
  /** Parameters by name that stay as they are, for the whole run or for so many steps (LiT). */
  freeze: z
    .array(
      z.strictObject({
        /** `*` stands for any letters, as in `visual_transformer.*`. */
        match: z.string().min(1),
        untilStep: z.int().positive().optional(),
      }),
    )
    .default([]),
  /** Start from the weights of a trained model, whose options and tokenizer are taken as well. */
  init: z
    .strictObject({
      /** Its folder. */
      from: z.string().min(1),
      /** Take only these parameters; without the text encoder's, the tokenizer is a new one. */
      only: z.string().min(1).optional(),
    })
    .optional(),
  /**
   * The model saved in the end is a running mean of the weights that decays by this at most; by default
   * it is the weights of the last step.
   */
  ema: fraction.gt(0).lt(1).optional(),
  /** Decoupled, on matrices only. */
  weightDecay: z.number().min(0).default(0.2),
  /** Decay rates of AdamW's two moments, or of Lion's direction and moment, for which [0.9, 0.99] is usual. */
  betas: z.tuple([fraction.lt(1), fraction.lt(1)]).default([0.9, 0.98]),
  /** AdamW: added to the root of the second moment. */
  epsilon: z.number().positive().default(1e-6),
  /** Gradients are scaled down to this global norm. */
  maxGradientNorm: z.number().positive().default(1),
  /**
   * Deviation of embeddings at the start. x-clip's is 1 (torch's default), but Adam moves every number
   * by about the learning rate, so embeddings that start large take far longer to learn.
   */
  embeddingDeviation: z.number().positive().default(0.02),
  /** The logit scale at the start; CLIP's 1 / 0.07 by default, where x-clip starts at e. At most `maxLogitScale`. */
  initialLogitScale: z
    .number()
    .min(1)
    .default(1 / 0.07),
  /** The logit scale is kept between 1 and this, as CLIP does; null: it is free, as x-clip's is. */
  maxLogitScale: z.number().min(1).nullable().default(100),
  /** Key of all random numbers: equal seeds give equal runs. */
  seed: z.int().default(0),
  /** Train only the text side and the projections (LiT). */
  freezeImageEncoder: z.boolean().default(false),
  /** Train only the image side and the projections. */
  freezeTextEncoder: z.boolean().default(false),
  augment: augmentSchema.default({}),
  /** How the two views of a picture are changed that visual self-supervision compares. */
  sslAugment: augmentSchema.prefault(() => augmentSchema.parse(sslAugmentation)),
  /**
   * More views of each text for the multiview loss (DeCLIP, Li et al., 2021): other captions of the
   * picture; where there are no others, one again without one of its words.
   */
  augTexts: z.int().min(0).default(0),
  /**
   * Changes that make such a view in place of leaving out one word (EDA, Wei and Zou, 2019). Swapping
   * words also swaps what belongs to what: not for captions in which that matters.
   */
  textAugment: z
    .strictObject({
      /** Part of the words, rounded to the nearest number but at least one, that change places. */
      swap: fraction.optional(),
      /** Probability of each word to be left out; one stays in any case. */
      delete: fraction.optional(),
    })
    .optional(),
  /** Texts with `{}` where a caption goes; each caption is put into one of them, drawn anew each time. */
  captionTemplates: z
    .array(z.string().refine(isTemplate, "it needs {} where the caption goes"))
    .default([]),
  /** Probability of each word of a caption to be left out; one stays in any case. */
  wordDropout: fraction.default(0),
  /** More views of each picture for the multiview loss, each changed by `augment` anew. */
  augImages: z.int().min(0).default(0),
  /**
   * Probability that a picture is mixed with another that has the same captions, in random parts
   * (mixup, Zhang et al., 2017, within one meaning): between two makers' drawings lie other styles.
   */
  blend: fraction.default(0),
  /**
   * Threads that prepare pictures beside the one that trains, one batch each at a time; what they make does
   * not depend on how many they are. 0: one for every four cores, at most four.
   */
  workers: z.int().min(0).default(0),
  /** Pictures of more pixels are left out, so that a small file cannot fill the memory. */
  maxPixels: z
    .int()
    .positive()
    .default(2 ** 28),
  /** Measure the model while it is trained, by samples that it does not learn from. Off by default. */
  validation: z
    .strictObject({
      /** Part of the samples that is held out, chosen by their names; unless a collection is given. */
      part: z.number().positive().max(0.5).optional(),
      /** Steps between validations; there is one at the end, too. */
      everySteps: z.int().positive().optional(),
      /** Seconds between validations; 600 unless steps are given. */
      everySeconds: z.number().positive().optional(),
      /** Most pictures to measure with. */
      samples: z.int().min(2).default(2000),
    })
    .optional(),
  /** End when validation gets no better; the model saved is then that of the best validation. */
  earlyStop: z
    .strictObject({
      /** What counts: the lowest loss, or the highest recall. */
      metric: z.enum(validationMetrics).default("loss"),
      /** How many validations in turn may be no better than the best. */
      patience: z.int().positive().default(5),
    })
    .optional(),
  /** Seconds between checkpoints. */
  checkpointSeconds: z.number().positive().default(60),
  /**
   * What follows a loss or gradients that are no finite numbers: stop, or go back to the last checkpoint
   * and on with the batch after the bad one, as PaLM's training did (Chowdhery et al., 2022).
   */
  onBadLoss: z.enum(["stop", "skip"]).default("stop"),
  /** A loss this many times its mean over the last 50 steps is bad, too; none is by default. */
  lossSpike: z.number().gt(1).optional(),
});

/** Options that a run may be resumed with otherwise: what it learns from a batch is the same. */
export const changeableOptions = ["checkpointSeconds", "onBadLoss", "lossSpike"] as const;

/** What a caller may give: everything has a default. */
export type TrainingOptions = z.input<typeof trainingOptionsSchema>;

/** All options with their values. */
export type ResolvedTrainingOptions = z.output<typeof trainingOptionsSchema>;
