import { decodeHTMLStrict } from "entities/decode";
import { mendMojibake, readAsWindows1252 } from "./mojibake.js";

/** Nothing to mend in it. */
const plain = /^[\n\x20-\x25\x27-\x7e]*$/;

/** Digraphs and ligatures of Latin letters. */
const ligatures = /[\u0132\u0133\u0149\u01c4-\u01cc\u01f1-\u01f3\ufb00-\ufb06]/g;
/** Full-width and half-width forms, and the ideographic space. */
const widths = /[\u3000\uff01-\uffef]+/g;
const ESCAPE = "\x1b";
const terminalEscapes = new RegExp(`${ESCAPE}\\[[\\d;]*[a-zA-Z]`, "g");
const controls = /(?![\t\n\f\r\x80-\x9f])\p{Cc}|[\u206a-\u206f\ufeff\ufff9-\ufffc]/gu;

/**
 * Mends what goes wrong with texts on their way, after the Python library ftfy ("fixes text for you",
 * 6.3), which OpenAI's tokenizer applies: HTML entities where there are no tags, UTF-8 read as Latin-1
 * or Windows-1252, Latin ligatures, full-width letters, curly quotes, line breaks, lone surrogates,
 * control characters and terminal colours. The result is in Unicode's NFC form.
 *
 * Of ftfy's repertoire it lacks UTF-8 read in other encodings (Mac Roman, Windows-1251, code page
 * 437...), mojibake with bytes lost or changed on the way, and entities in the wrong letter case; and
 * it has its own rule for what is too doubtful to mend.
 */
export function repairText(text: string): string {
  for (;;) {
    if (plain.test(text)) return text;
    const mended = repairOnce(text);
    if (mended === text) return text;
    text = mended;
  }
}

function repairOnce(text: string): string {
  const unescaped = text.includes("<") ? text : decodeHTMLStrict(text);
  return readAsWindows1252(mendMojibake(unescaped))
    .replace(ligatures, compatible)
    .replace(widths, compatible)
    .replace(/[\u02bc\u2018-\u201b]/g, "'")
    .replace(/[\u201c-\u201f]/g, '"')
    .replace(/\r\n?|[\u2028\u2029]/g, "\n")
    .replace(/\p{Surrogate}/gu, "\ufffd")
    .replace(terminalEscapes, "")
    .replace(controls, "")
    .normalize("NFC");
}

function compatible(characters: string): string {
  return characters.normalize("NFKC");
}
