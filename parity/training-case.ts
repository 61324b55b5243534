import { TrainingStep } from "../src/train/step.js";
import { type Compat, clipOf } from "./clip-case.js";
import { compare, type Difference, tolerances } from "./compare.js";
import { type Fixture, float, floats, ints, tensor } from "./fixture.js";
import { parameterFeeds } from "./run.js";

interface Optimizer {
  readonly type: string;
  readonly lr: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly weight_decay: number;
}

/** A whole training over a few batches in turn: every loss, and the parameters at the end. */
export async function runTrainingCase(fixture: Fixture, compat?: Compat): Promise<Difference[]> {
  const clip = clipOf(fixture, compat);
  const steps = fixture.description.steps as number;
  const { lr, betas, eps, weight_decay } = fixture.description.optimizer as unknown as Optimizer;
  const [batchSize, textLength] = tensor(fixture, "in.text.0").shape as [number, number];
  const step = await TrainingStep.compile({
    clip,
    batchSize,
    textLength,
    weights: parameterFeeds(fixture, clip.parameters),
    optimizer: { betas, epsilon: eps, weightDecay: weight_decay },
  });
  const batches = [...fixture.tensors.keys()].filter((name) => name.startsWith("in.text.")).length;
  const losses: number[] = [];
  for (let i = 0; i < steps; i++) {
    const batch = {
      text: ints(fixture, `in.text.${i % batches}`),
      image: float(fixture, `in.image.${i % batches}`),
    };
    losses.push((await step.run(batch, { learningRate: lr })).loss);
  }
  await step.release();

  const curve = float(fixture, "out.losses");
  const differences = [compare("loss", "losses", losses, curve, tolerances.lossCurve)];
  for (const [name, expected] of floats(fixture, "out.final.")) {
    const actual = step.weights.get(name) ?? [];
    differences.push(compare("output", name, actual, expected, tolerances.finalParameters));
  }
  return differences;
}
