import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { ReportData } from "./data.js";

/** dist/web, beside this file's dist/src/report. */
const web = (name: string) =>
  readFileSync(fileURLToPath(new URL(`../../web/${name}`, import.meta.url)), "utf8");

/** A report as one file of HTML: styles, script, charts' code and data are in it, and nothing is loaded. */
export function reportPage(data: ReportData): string {
  // What a caption says must not end the element it stands in.
  const json = JSON.stringify(data).replaceAll("<", "\\u003c");
  const icon = `data:image/svg+xml;base64,${Buffer.from(web("icon.svg")).toString("base64")}`;
  return web("report.html")
    .replace("<!-- policy -->", () => POLICY)
    .replaceAll('"icon.svg"', () => `"${icon}"`)
    .replace(/<link rel="stylesheet" href="(.*?)">/g, (_, name) => `<style>${web(name)}</style>`)
    .replace(
      /<script type="module" src="(.*?)">/,
      (_, name) => `<script type="module">${web(name)}`,
    )
    .replace('id="data">', () => `id="data">${json}`);
}

/** Nothing from anywhere else, whatever the page is made of. */
const POLICY = `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">`;
