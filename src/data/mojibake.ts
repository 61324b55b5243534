/** What Windows-1252 has for the bytes 0x80 to 0x9f. Its five gaps are read as Latin-1 reads them. */
const WINDOWS_1252 = "€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ";

const bytes = new Map(Array.from(WINDOWS_1252, (character, i) => [character, 0x80 + i]));

/** A byte of UTF-8 after the first, as it looks in Latin-1 and in Windows-1252. */
const NEXT = `[\\x80-\\xbf${WINDOWS_1252}]`;

/** The bytes of one character. */
const character = new RegExp(
  `[\\xc2-\\xdf]${NEXT}|[\\xe0-\\xef]${NEXT}{2}|[\\xf0-\\xf4]${NEXT}{3}`,
  "g",
);

/** Of {@link NEXT}, what may well stand behind an accented letter: "CAFÉ™", "« café\u00a0»", "Úžasný". */
const USUAL = "[\xa0‘’“”›»…–—•·†‡™©®°ª²³¹ºŠšŒœŽžŸ]";
const ODD = `(?!${USUAL})${NEXT}`;

/**
 * What people do not write: the commonest beginnings, of Western letters, of punctuation and of emoji;
 * an accented capital behind a small letter, or a word that begins with one and a raised sign; an
 * accented letter before an odd sign; two such characters in a row. ß and × have a life of their own
 * before punctuation.
 */
const telltale = new RegExp(
  [
    `[ÂÃ]${NEXT}`,
    `â${NEXT}{2}`,
    `[ð-ô]${NEXT}{3}`,
    `(?<=\\p{Ll})[Ä-ÖØ-Þ]${NEXT}`,
    "(?<!\\p{L})[Ä-ÖØ-Þ][›°ªº²³¹](?=\\p{Ll})",
    `[Ä-ÖØ-Þ]${ODD}`,
    `[à-ï](?:${ODD}${NEXT}|${NEXT}${ODD})`,
    `(?:[Ä-Þ]${NEXT}|[à-ï]${NEXT}{2}){2}`,
  ].join("|"),
  "u",
);

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Mends UTF-8 that was read as Latin-1 or Windows-1252, once or several times over, as in "cafÃ©" and
 * "donâ€™t". Text that only might be such is left as it is.
 */
export function mendMojibake(text: string): string {
  if (!telltale.test(text)) return text;
  const mended = text.replace(character, (wrong) => {
    try {
      return utf8.decode(Uint8Array.from(wrong, (c) => bytes.get(c) ?? c.charCodeAt(0)));
    } catch {
      return wrong;
    }
  });
  return mended === text ? text : mendMojibake(mended);
}

/** Control characters of Latin-1 as Windows-1252 reads them: U+0085 as an ellipsis. */
export function readAsWindows1252(text: string): string {
  return text.replace(/[\x80-\x9f]/g, (control) => WINDOWS_1252[control.charCodeAt(0) - 0x80]!);
}
