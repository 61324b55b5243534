import assert from "node:assert/strict";
import { test } from "node:test";
import { random } from "../util/random.js";
import { RunClock } from "./run-clock.js";
import { decayedLearningRateAt, type Schedule } from "./schedule.js";
import { planAfter, type TimePlan } from "./time-plan.js";

/** A machine whose time is counted, not waited for. */
interface Machine {
  /** Seconds that a step takes. */
  readonly stepSeconds: (step: number, secondsSpent: number) => number;
  /** Steps between validations, and seconds that one takes. There is one in the end, too. */
  readonly validation?: { readonly everySteps: number; readonly seconds: number };
  /** Steps after which the machine sleeps for an hour. */
  readonly sleepsAfter?: number;
}

interface Settings {
  readonly minutes?: number;
  readonly warmupSteps?: number;
  readonly schedule?: Schedule;
}

/** What a checkpoint says. */
interface Saved extends TimePlan {
  readonly step: number;
  readonly seconds: number;
}

interface Outcome extends Saved {
  readonly rates: readonly number[];
  readonly plans: readonly TimePlan[];
}

/** Trains as {@link Run} does, up to the end or to a step at which it is stopped. */
function simulate(
  { stepSeconds, validation, sleepsAfter }: Machine,
  { minutes = 1, warmupSteps = 0, schedule = "cosine" }: Settings = {},
  {
    from = { step: 0, decayed: 0, seconds: 0 },
    until = Infinity,
  }: { from?: Saved; until?: number } = {},
): Outcome {
  const time = { ms: 0 };
  const clock = new RunClock(60 * minutes, from.seconds, () => time.ms);
  const pass = (seconds: number) => {
    time.ms += 1000 * seconds;
  };
  let { step } = from;
  let plan: TimePlan = from;
  const rates: number[] = [];
  const plans: TimePlan[] = [];
  const isLast = () => step >= (plan.totalSteps ?? Infinity);
  while (!isLast() && step < until) {
    rates.push(
      decayedLearningRateAt(step, plan.decayed, { schedule, learningRate: 1, warmupSteps }),
    );
    pass(stepSeconds(step, clock.secondsSpent));
    if (step === sleepsAfter) pass(3600);
    step++;
    clock.step();
    const endSeconds = validation?.seconds ?? 0;
    plan = planAfter(step, plan, clock, { warmupSteps, endSeconds });
    plans.push(plan);
    if (validation && (isLast() || step % validation.everySteps === 0)) {
      pass(validation.seconds);
      clock.aside(1000 * validation.seconds);
    }
  }
  return { ...plan, step, seconds: clock.secondsSpent, rates, plans };
}

const noise = (share: number) => {
  const draw = random("time-plan.test");
  return () => 1 + share * (2 * draw.uniform() - 1);
};

const machines: Readonly<Record<string, () => Machine>> = {
  "of constant speed": () => ({ stepSeconds: () => 0.1 }),
  "that halves its speed at half time": () => ({
    stepSeconds: (_, spent) => (spent < 30 ? 0.1 : 0.2),
  }),
  "that doubles its speed at half time": () => ({
    stepSeconds: (_, spent) => (spent < 30 ? 0.1 : 0.05),
  }),
  "that halves its speed near the end": () => ({
    stepSeconds: (_, spent) => (spent < 55 ? 0.1 : 0.2),
  }),
  "that is busy at its start": () => ({
    stepSeconds: (_, spent) => (spent < 15 ? 0.5 : 0.1),
  }),
  "whose first step is slow": () => ({ stepSeconds: (step) => (step === 0 ? 5 : 0.1) }),
  "that stops and goes": () => ({
    stepSeconds: (_, spent) => (Math.floor(spent / 5) % 2 ? 0.1 : 0.4),
  }),
  "with 30 % of noise": () => {
    const factor = noise(0.3);
    return { stepSeconds: () => 0.1 * factor() };
  },
  "with validations that take a quarter of its time": () => ({
    stepSeconds: () => 0.1,
    validation: { everySteps: 50, seconds: 1.6 },
  }),
  "with rare validations": () => ({
    stepSeconds: () => 0.1,
    validation: { everySteps: 200, seconds: 2 },
  }),
  "with checkpoints that hold it up": () => ({
    stepSeconds: (step) => (step % 100 === 99 ? 2 : 0.1),
  }),
  "that sleeps for an hour": () => ({ stepSeconds: () => 0.1, sleepsAfter: 200 }),
  "of two seconds a step": () => ({ stepSeconds: () => 2 }),
};

for (const [name, machine] of Object.entries(machines)) {
  for (const warmupSteps of [0, 20]) {
    for (const schedule of ["cosine", "linear"] as const) {
      test(`a minute of a machine ${name}: ${schedule}, warm-up of ${warmupSteps}`, () => {
        const { step, seconds, totalSteps, decayed, rates, plans } = simulate(machine(), {
          warmupSteps,
          schedule,
        });
        assert.ok(Math.abs(seconds - 60) <= 0.05 * 60, `it took ${seconds} seconds`);
        assert.equal(totalSteps, step);
        assert.equal(decayed, 1);
        const peak = rates.indexOf(Math.max(...rates));
        for (let i = 1; i < rates.length; i++) {
          const [before, now] = [rates[i - 1]!, rates[i]!];
          assert.ok(i <= peak ? now > before : now <= before, `step ${i}: ${before}, then ${now}`);
          // Smooth: no step changes it by more than a few times what an even decay would.
          const even = Math.PI / 2 / rates.length;
          assert.ok(i <= peak || before - now < 5 * even, `step ${i}: ${before}, then ${now}`);
        }
        assert.ok(rates.at(-1)! < 8 / rates.length, `it ends at ${rates.at(-1)}`);
        // Before the speed is known, there is no plan; then each is for what is to come.
        const planned = plans.findIndex((plan) => plan.totalSteps !== undefined);
        assert.ok(planned <= 8, `no plan before step ${planned}`);
        for (const [i, plan] of plans.entries()) assert.ok((plan.totalSteps ?? i + 1) >= i + 1);
      });
    }
  }
}

for (const [minutes, stepSeconds, steps] of [
  [0.1, 0.01, 600],
  [0.1, 4, 2],
  [0.1, 10, 1],
  [0.1, 900, 1],
  [5, 40, 8],
  [600, 20, 1800],
] as const) {
  test(`${minutes} minutes of steps of ${stepSeconds} seconds`, () => {
    const outcome = simulate({ stepSeconds: () => stepSeconds }, { minutes });
    assert.ok(Math.abs(outcome.step - steps) <= 1, `${outcome.step} steps`);
    assert.equal(outcome.totalSteps, outcome.step);
  });
}

test("a slow machine warms up for half of the time, and comes down for the other half", () => {
  const { step, rates } = simulate({ stepSeconds: () => 2 }, { warmupSteps: 2000 });
  assert.equal(step, 30);
  const peak = rates.indexOf(Math.max(...rates));
  assert.ok(peak >= 14, `the highest is of step ${peak}`);
  assert.ok(rates.at(-1)! < rates[peak]! / 2);
});

test("a resumed run goes on with the plan that was recorded, and ends with the time", () => {
  for (const stepSeconds of [0.1, 0.2, 0.05]) {
    const machine = { stepSeconds: () => 0.1 };
    const settings = { warmupSteps: 20 };
    const whole = simulate(machine, settings);
    const saved = simulate(machine, settings, { until: 300 });
    const other = { stepSeconds: () => stepSeconds };
    const resumed = simulate(other, settings, { from: saved });
    // The first steps tell nothing yet of the machine; what they learn at is what was planned.
    for (let i = 0; i < 8; i++) {
      assert.ok(Math.abs(resumed.rates[i]! - whole.rates[300 + i]!) < 1e-9, `step ${300 + i}`);
    }
    assert.ok(Math.abs(resumed.seconds - 60) < 1, `it took ${resumed.seconds} seconds`);
    assert.equal(resumed.decayed, 1);
    assert.deepEqual(simulate(other, settings, { from: saved }), resumed);
  }
});

test("a resumed run whose time is used up takes a step at most", () => {
  const machine = { stepSeconds: () => 0.1 };
  const ended = { step: 600, totalSteps: 600, decayed: 1, seconds: 60 };
  assert.equal(simulate(machine, {}, { from: ended }).step, 600);
  const late = { step: 600, totalSteps: 800, decayed: 0.75, seconds: 61 };
  const { step, totalSteps, decayed } = simulate(machine, {}, { from: late });
  assert.deepEqual({ step, totalSteps, decayed }, { step: 601, totalSteps: 601, decayed: 1 });
});

test("a run that was given more time goes on evenly from where it stood", () => {
  const machine = { stepSeconds: () => 0.1 };
  const saved = simulate(machine, {}, { until: 500 });
  const { step, rates } = simulate(machine, { minutes: 2 }, { from: saved });
  assert.ok(Math.abs(step - 1200) < 10, `${step} steps`);
  for (let i = 1; i < rates.length; i++) assert.ok(rates[i]! < rates[i - 1]!);
});
