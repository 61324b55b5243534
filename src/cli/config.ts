import { Command, Option } from "commander";
import { DEFAULT_PRESET, type PresetName, presets } from "../train/presets.js";
import { ClipsmithError } from "../util/errors.js";
import { print } from "./print.js";

interface ConfigFlags {
  readonly preset?: PresetName;
}

/** `clipsmith config`: all settings as a file for `clipsmith train --config`. */
export function configCommand(): Command {
  return new Command("config")
    .summary("print all settings, explained, as a file to edit and train by")
    .description(
      "Prints every setting with its value, its meaning and its type, as YAML that `clipsmith train " +
        "--config` takes: of a preset, or of a run.",
    )
    .argument("[run]", "folder of a run")
    .addOption(
      new Option("--preset <name>", `default: ${DEFAULT_PRESET}`).choices(Object.keys(presets)),
    )
    .addHelpText(
      "after",
      `
Examples:
  clipsmith config > run.yaml
  clipsmith config --preset small > run.yaml
  clipsmith config runs/photos`,
    )
    .action(printSettings);
}

async function printSettings(run: string | undefined, { preset }: ConfigFlags): Promise<void> {
  if (run !== undefined && preset !== undefined) {
    throw new ClipsmithError("A run has settings of its own: leave out --preset.");
  }
  const { presetText, runText } = await import("./explained-settings.js");
  print(run === undefined ? presetText(preset ?? DEFAULT_PRESET) : runText(run));
}
