import { z } from "zod";

/** Figures of a validation that a run can be judged by. */
export const validationMetrics = [
  "loss",
  "textToImage.r1",
  "textToImage.r5",
  "textToImage.r10",
  "imageToText.r1",
  "imageToText.r5",
  "imageToText.r10",
] as const;

export type ValidationMetric = (typeof validationMetrics)[number];

/** The best validation of a run, and how many came after it. */
export const bestSchema = z.object({
  step: z.int().positive(),
  value: z.number(),
  validationsSince: z.int().min(0),
});

export type Best = z.output<typeof bestSchema>;

/** The best validation after another one: of losses the lowest, of recalls the highest, of equals the first. */
export function bestOf(
  metric: ValidationMetric,
  before: Best | undefined,
  { step, value }: { readonly step: number; readonly value: number },
): Best {
  const isBetter =
    before === undefined || (metric === "loss" ? value < before.value : value > before.value);
  return isBetter
    ? { step, value, validationsSince: 0 }
    : { ...before, validationsSince: before.validationsSince + 1 };
}
