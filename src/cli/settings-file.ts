import { readFileSync } from "node:fs";
import { access } from "node:fs/promises";
import { extname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { createJiti } from "jiti";
import { isMap, LineCounter, parseDocument, type Scalar } from "yaml";
import { ClipsmithError, messageOf } from "../util/errors.js";
import { isTree, type PlacedSettings } from "./settings-tree.js";

const DOCUMENTS = [".yaml", ".yml", ".json"];

/** Extensions of the files whose default export is a configuration. */
const MODULES = [".ts", ".mts", ".cts", ".js", ".mjs", ".cjs"];

/** Where the package's parts are, so that a configuration finds `clipsmith/train` wherever it lies. */
const packageFolder = fileURLToPath(new URL("..", import.meta.url));

/**
 * Reads settings in YAML, JSON, TypeScript or JavaScript, which its extension tells apart.
 *
 * @throws ClipsmithError naming line and column of what cannot be understood.
 */
export async function readSettingsFile(path: string): Promise<PlacedSettings> {
  const extension = extname(path).toLowerCase();
  const isModule = MODULES.includes(extension);
  if (!isModule && !DOCUMENTS.includes(extension)) {
    throw new ClipsmithError(
      `Cannot read the settings in ${path}: expected a file that ends in ` +
        `${[...DOCUMENTS, ...MODULES].join(", ")}.`,
    );
  }
  let file: { tree: unknown; place: PlacedSettings["place"] };
  try {
    await access(path);
    file = isModule ? { tree: await importDefault(path), place: () => path } : readYaml(path);
  } catch (cause) {
    if (cause instanceof ClipsmithError) throw cause;
    throw new ClipsmithError(`Cannot read the settings in ${path}: ${messageOf(cause)}`, { cause });
  }
  const { tree, place } = file;
  if (!isTree(tree)) {
    throw new ClipsmithError(
      `${path}: expected settings by name, such as training.steps, got ${JSON.stringify(tree)}.`,
    );
  }
  return { tree, place };
}

/** JSON is YAML, too, and its mistakes are told with their place. */
function readYaml(path: string): { tree: unknown; place: PlacedSettings["place"] } {
  const lines = new LineCounter();
  const document = parseDocument(readFileSync(path, "utf8"), {
    lineCounter: lines,
    prettyErrors: false,
  });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${path}:${line}:${col}`;
  };
  const [mistake] = [...document.errors, ...document.warnings];
  if (mistake) {
    throw new ClipsmithError(`${at(mistake.pos[0])}: ${mistake.message}`, { cause: mistake });
  }
  const place = (names: readonly string[]) => {
    let map: unknown = document.contents;
    let found = path;
    for (const name of names) {
      const pair = isMap<Scalar>(map) && map.items.find(({ key }) => key.value === name);
      if (!pair) break;
      found = at(pair.key.range![0]);
      map = pair.value;
    }
    return found;
  };
  return { tree: document.toJS() ?? {}, place };
}

/** The default export of a module; what goes wrong in it is told with its place, too. */
async function importDefault(path: string): Promise<unknown> {
  const file = resolve(path);
  const jiti = createJiti(import.meta.url, {
    alias: { clipsmith: packageFolder },
    fsCache: false,
    moduleCache: false,
    interopDefault: false,
  });
  let module: object;
  try {
    module = await jiti.import<object>(file);
  } catch (cause) {
    const { message, stack = "" } = cause as Error;
    // Syntax is told with line and column; columns of a stack are those of the compiled code.
    const [place = ""] = after(message, file, /^:\d+:\d+/) ?? after(stack, file, /^:\d+/) ?? [];
    const problem = message
      .split("\n")[0]!
      .replace(/^ParseError: /, "")
      .trim();
    throw new ClipsmithError(`${path}${place}: ${problem}`, { cause });
  }
  if ("default" in module) return module.default;
  throw new ClipsmithError(`${path} has no default export. Write: export default { ... }`);
}

/** What fits `pattern` right after a mention of `name`. */
function after(text: string, name: string, pattern: RegExp): RegExpExecArray | null | undefined {
  const pieces = text.split(name).slice(1);
  return pieces.map((piece) => pattern.exec(piece)).find((found) => found !== null);
}
