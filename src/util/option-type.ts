import { z } from "zod";

type Described = z.core.JSONSchema.BaseSchema;

/** The schema of an option's value, whether or not the option may be left out. */
export function optionType(schema: z.ZodType): z.ZodType {
  let type = schema;
  while (
    type instanceof z.ZodDefault ||
    type instanceof z.ZodPrefault ||
    type instanceof z.ZodOptional
  ) {
    type = type.unwrap() as z.ZodType;
  }
  return type;
}

/**
 * What an option takes: `integer from 1`, `number 0 to 1`, `"cover" or "contain"`, `two numbers above 0`.
 * docs/options.md and configuration files call it so.
 */
export function describeType(schema: z.ZodType): string {
  return describe(z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }));
}

/** {@link describeType} as part of a sentence: `an integer from 1`. */
export function inWords(schema: z.ZodType): string {
  if (schema instanceof z.ZodObject) {
    return `options by name, such as ${Object.keys(schema.shape).slice(0, 3).join(", ")}`;
  }
  const type = describeType(schema);
  if (type === "boolean") return "true or false";
  if (type.startsWith("integer")) return `an ${type}`;
  return /^(number|text|list)/.test(type) ? `a ${type}` : type;
}

function describe(schema: Described): string {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return orOf(schema.enum.map((value) => JSON.stringify(value)));
  if (schema.anyOf) {
    const types = schema.anyOf.map((each) => describe(each as Described));
    const others = orOf(types.filter((type) => type !== "null"));
    return types.includes("null") ? `${others}, or null` : others;
  }
  switch (schema.type) {
    case "integer":
    case "number":
      return [schema.type, ...range(schema)].join(" ");
    case "string":
      return "text";
    case "array": {
      const [first] = (schema.prefixItems ?? []) as Described[];
      if (first === undefined) return `list of ${plural(describe(schema.items as Described))}`;
      return `${["no", "one", "two", "three"][schema.prefixItems!.length]} ${plural(describe(first))}`;
    }
    default:
      return String(schema.type ?? "anything");
  }
}

/** The bounds of a number in words, if it has any but those of JavaScript's integers. */
function range({ type, ...bounds }: Described): string[] {
  const isBound = (value: unknown): value is number =>
    typeof value === "number" && Math.abs(value) < Number.MAX_SAFE_INTEGER;
  const { exclusiveMinimum: above, exclusiveMaximum: below, maximum: most } = bounds;
  const least = type === "integer" && isBound(above) ? above + 1 : bounds.minimum;
  if (isBound(least) && isBound(most)) return [`${least} to ${most}`];
  const parts = [
    ...(isBound(least) ? [`from ${least}`] : isBound(above) ? [`above ${above}`] : []),
    ...(isBound(most) ? [`up to ${most}`] : isBound(below) ? [`below ${below}`] : []),
  ];
  return parts.length > 0 ? [parts.join(", ")] : [];
}

function plural(type: string): string {
  return type.replace(/^(integer|number|text|object)/, "$1s");
}

/** "a, b or c". */
function orOf(words: readonly string[]): string {
  return [words.slice(0, -1).join(", "), words.at(-1)].filter((part) => part !== "").join(" or ");
}
