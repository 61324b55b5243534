import type { Recall, RetrievalResult } from "./recall.js";

const CUTOFFS = ["r1", "r5", "r10"] as const;

/** 41.2 %; small chances keep two significant digits. */
function percent(fraction: number): string {
  const value = 100 * fraction;
  const digits = value > 0 && value < 1 ? Math.ceil(-Math.log10(value)) + 1 : 1;
  return `${value.toFixed(Math.min(digits, 6))} %`;
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** What something simpler than the model reaches on the same queries. */
export interface Yardstick {
  readonly textToImage: Recall;
  readonly imageToText: Recall;
}

/**
 * A table for people: recall both ways, each with chance and then the yardsticks below it, which are
 * named as in "by pixels".
 */
export function formatRetrieval(
  result: RetrievalResult,
  yardsticks: Readonly<Record<string, Yardstick>> = {},
): string {
  const { textToImage, imageToText } = result;
  const cells = (recall: Recall) => CUTOFFS.map((cutoff) => percent(recall[cutoff]));
  const direction = (name: string, key: "textToImage" | "imageToText") => [
    [name, ...cells(result[key]), String(result[key].medianRank)],
    ["  by chance", ...cells(result[key].chance), ""],
    ...Object.entries(yardsticks).map(([by, figures]) => [
      `  by ${by}`,
      ...cells(figures[key]),
      "",
    ]),
  ];
  const rows = [
    ["", "R@1", "R@5", "R@10", "median rank"],
    ...direction("text to image", "textToImage"),
    ...direction("image to text", "imageToText"),
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map(([name, ...values]) =>
    [name!.padEnd(widths[0]!), ...values.map((value, i) => value.padStart(widths[i + 1]!))]
      .join("  ")
      .trimEnd(),
  );
  lines.push(`${counted(result.texts, "text")}, ${counted(result.pictures, "picture")}`);
  if (textToImage.withoutMatch > 0 || imageToText.withoutMatch > 0) {
    lines.push(
      `without a match: ${counted(textToImage.withoutMatch, "text")}, ` +
        counted(imageToText.withoutMatch, "picture"),
    );
  }
  return lines.join("\n");
}
