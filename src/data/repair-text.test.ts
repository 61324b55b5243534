import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { repairText } from "./repair-text.js";

const projectRoot = fileURLToPath(new URL("../../../", import.meta.url));
const golden = resolve(projectRoot, process.env.CLIPSMITH_GOLDEN ?? "../shared/golden");

/** UTF-8 as Latin-1 reads it. */
const misread = (text: string) => Buffer.from(text, "utf8").toString("latin1");

// The right sides are what ftfy 6.3.1 makes of the left ones.
for (const [what, cases] of Object.entries({
  "UTF-8 read as Windows-1252": [
    ["cafÃ© crÃ¨me", "café crème"],
    ["donâ€™t worry â€“ itâ€¦", "don't worry – it…"],
    ["zaÅ¼Ã³Å‚Ä‡ gÄ™Å›lÄ…", "zażółć gęślą"],
    ["Å›roda", "środa"],
    ["ÐºÐ¾Ñ‚", "кот"],
    ["çŒ« ðŸ˜€", "猫 😀"],
    ["l’humanitÃ©", "l'humanité"],
  ],
  "twice over": [
    ["ÃƒÂ©", "é"],
    ["the Ã¢â‚¬â€\u009d thing", "the — thing"],
    ["doesnÃ¢â‚¬â„¢t", "doesn't"],
  ],
  "Windows-1252 read as Latin-1": [
    ["I\x92m\x85", "I'm…"],
    ["\x93hi\x94", '"hi"'],
  ],
  "other signs for the same": [
    ["ﬁne ﬂow oﬃce ĳ ŉ", "fine flow office ij 'n"],
    ["ｆｕｌｌ　ﾃｽﾄ", "full テスト"],
    ["“a” ‘b’ ʼc", "\"a\" 'b' 'c"],
    ["a\r\nb\rc\u2028d", "a\nb\nc\nd"],
    ["cafe\u0301", "café"],
  ],
  "what nobody sees": [
    ["a\0b\x07c\ufeffd", "abcd"],
    ["\x1b[1;31mred\x1b[0m", "red"],
    ["x\ud800y", "x\ufffdy"],
  ],
  "HTML entities, where there are no tags": [
    ["don&rsquo;t &amp;amp; &Atilde;&copy; &#39;", "don't & é '"],
    ["&notit; &amp", "&notit; &amp"],
    ["<b> &amp;", "<b> &amp;"],
  ],
  "nothing where nothing is wrong": [
    ["a photo of a cat, 50% off\n", "a photo of a cat, 50% off\n"],
    ["« café\u00a0» CAFÉ™ É™ groß… 3×½", "« café\u00a0» CAFÉ™ É™ groß… 3×½"],
    ["Úžasný MÚŽE SÃO não… ÑANDÚ™", "Úžasný MÚŽE SÃO não… ÑANDÚ™"],
    ["ÀÉÎÕÜ ¿Qué? ¡Sí! 20°C ©2020 Ærø", "ÀÉÎÕÜ ¿Qué? ¡Sí! 20°C ©2020 Ærø"],
  ],
} satisfies Record<string, [string, string][]>)) {
  test(`texts are mended: ${what}`, () => {
    for (const [text, mended] of cases) assert.equal(repairText(text!), mended);
  });
}

test("letters of many scripts come back from Latin-1", () => {
  for (const text of ["schön über", "привет мир", "γάτα", "日本語", "แมว", "한국어", "👍🏽 ❤️"]) {
    assert.equal(repairText(misread(text)), text);
  }
});

test("ftfy mends the texts of the fixture the same way", (t) => {
  const path = join(golden, "tokenizer.json");
  if (!existsSync(path)) {
    t.skip(`there is no ${path}; name its folder by CLIPSMITH_GOLDEN`);
    return;
  }
  const { encode } = JSON.parse(readFileSync(path, "utf8"));
  for (const { text, fix_text } of encode) assert.equal(repairText(text), fix_text);
});
