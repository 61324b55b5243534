import assert from "node:assert/strict";
import { test } from "node:test";
import { standInOf } from "./stand-in.js";

test("what lies in place of a file is known by how it begins", () => {
  for (const [text, kind] of [
    ["version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "a Git LFS pointer"],
    ["/annex/objects/SHA256E-s1--2.jpg\n", "a git-annex pointer"],
    ["<!DOCTYPE html><html>", "a web page"],
    ["\ufeff\r\n <!doctype HTML public>", "a web page"],
    ["<!-- saved -->\n<HTML lang=en>", "a web page"],
    ['<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0">', "a web page"],
    ['<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "a server's message"],
    ['<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', undefined],
    ['<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN">', undefined],
    ["path,caption\na.png,<html>\n", undefined],
    ["a web page about version https://git-lfs.github.com/", undefined],
    ["", undefined],
  ] as const) {
    const standIn = standInOf(Buffer.from(text));
    assert.equal(standIn?.split(" in place of")[0]?.split(" of an error")[0], kind, text);
  }
});
