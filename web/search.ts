import type { ApiInfo, ApiMatch, ApiSearch } from "../src/server/api.js";
import { byId, make } from "./dom.js";
import { messageOf, request } from "./http.js";

type Query =
  | { readonly kind: "none" }
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "indexed"; readonly id: number; readonly name: string }
  | { readonly kind: "file"; readonly file: Blob; readonly name: string };

const PAGE = 24;
const MOST = 200;
const TYPING_PAUSE_MS = 250;

const form = byId<HTMLFormElement>("query");
const text = byId<HTMLInputElement>("text");
const file = byId<HTMLInputElement>("file");
const status = byId("status");
const grid = byId("grid");
const more = byId<HTMLButtonElement>("more");

/**
 * Makes the search tab live; `reveal` brings it to the front. `refresh` searches again in place, by what
 * the server has now.
 */
export function startSearch(info: ApiInfo, reveal: () => void): { refresh(info: ApiInfo): void } {
  let query: Query = { kind: "none" };
  let limit = PAGE;
  let running = new AbortController();
  let typing = 0;
  let thumbnail = "";
  // Addresses cannot hold pictures and browsers drop them from a history entry's state, so an entry
  // holds a key of this map. The time keeps keys of this visit apart from those before a reload.
  const visited = new Map<string, Query>();

  function remember(next: Query): string {
    const key = `${performance.timeOrigin} ${visited.size}`;
    visited.set(key, next);
    return key;
  }

  function say(message: string, isError = false): void {
    status.textContent = message;
    status.classList.toggle("error", isError);
  }

  /** Shows the query picture in the search bar, or takes it away. */
  function showQuery(): void {
    const now = query;
    URL.revokeObjectURL(thumbnail);
    thumbnail = now.kind === "file" ? URL.createObjectURL(now.file) : "";
    const isPicture = now.kind === "file" || now.kind === "indexed";
    byId("query-picture").hidden = !isPicture;
    if (isPicture) {
      const image = byId<HTMLImageElement>("query-image");
      image.src = now.kind === "indexed" ? pictureUrl(now.id) : thumbnail;
      byId("query-name").textContent = now.name;
    }
    if (now.kind !== "text") text.value = "";
    else if (text.value.trim() !== now.text) text.value = now.text;
  }

  async function search(next: Query, wanted = PAGE): Promise<void> {
    query = next;
    limit = wanted;
    clearTimeout(typing);
    showQuery();
    more.hidden = true;
    await showFound();
  }

  /** Shows what the query finds. */
  async function showFound(): Promise<void> {
    running.abort();
    running = new AbortController();
    const { signal } = running;
    if (query.kind === "none") {
      showTiles(info.pictures.map((id) => tile(id, `Picture ${id + 1}`)));
      grid.ariaBusy = "false";
      say(
        info.pictures.length === 0
          ? "The pictures of the index are gone."
          : "Some of the pictures. Click one to find its like.",
      );
      return;
    }
    grid.ariaBusy = "true";
    if (grid.childElementCount === 0) say("Searching …");
    try {
      const { matches, gone } = await request<ApiSearch>(...requestOf(query, limit, signal));
      const tiles = matches.map((match) => tile(match.id, match.captions[0] ?? match.name, match));
      showTiles(tiles);
      more.hidden = matches.length < limit || limit >= Math.min(MOST, info.count);
      const pictures = matches.length === 1 ? "1 picture" : `${matches.length} pictures`;
      const found =
        matches.length === 0 ? "No pictures found." : `${pictures}, the best match first.`;
      say(gone === 0 ? found : `${found} ${goneSentence(gone)}`);
    } catch (error) {
      if (signal.aborted) return;
      grid.replaceChildren();
      say(messageOf(error), true);
    }
    if (!signal.aborted) grid.ariaBusy = "false";
  }

  /** Who is at a picture stays at it, if it is still among them. */
  function showTiles(tiles: readonly HTMLLIElement[]): void {
    const at = document.activeElement?.closest("li")?.dataset.id;
    grid.replaceChildren(...tiles);
    if (at === undefined) return;
    const same = tiles.find(({ dataset }) => dataset.id === at);
    same?.querySelector("button")?.focus({ preventScroll: true });
  }

  /** A search the back button returns from. */
  function go(next: Query): void {
    history.pushState(remember(next), "", addressOf(next));
    reveal();
    void search(next);
    scrollTo({ top: 0 });
  }

  function searchByFile(picture: File | undefined): void {
    if (picture === undefined) return;
    if (!picture.type.startsWith("image/")) {
      say(`${picture.name} is not a picture.`, true);
      return;
    }
    go({ kind: "file", file: picture, name: picture.name || "Pasted picture" });
  }

  function tile(id: number, caption: string, match?: ApiMatch): HTMLLIElement {
    const image = make("img");
    image.src = pictureUrl(id);
    image.alt = "";
    image.loading = "lazy";
    image.draggable = false;
    const button = make("button", { className: "tile", title: match?.captions.join("\n") ?? "" });
    button.type = "button";
    const picture = make("span", { className: "picture" }, image);
    image.addEventListener("error", () => picture.replaceChildren("The file is gone"));
    button.append(picture);
    if (match === undefined) {
      button.ariaLabel = `${caption}. Find pictures like it`;
    } else {
      const score = match.score.toFixed(3);
      const bar = make("span", { className: "bar" });
      bar.style.setProperty("--score", String(Math.max(0, match.score)));
      button.append(
        make("span", { className: "caption" }, caption),
        make("span", { className: "score" }, bar, score),
      );
      button.ariaLabel = `${caption}, score ${score}. Find pictures like it`;
    }
    button.addEventListener("click", () => go({ kind: "indexed", id, name: match ? caption : "" }));
    const item = make("li", {}, button);
    item.dataset.id = String(id);
    return item;
  }

  function searchAddress(): void {
    const parameters = new URLSearchParams(location.search);
    const words = parameters.get("text")?.trim();
    const id = parameters.get("picture");
    if (words) void search({ kind: "text", text: words });
    else if (id) void search({ kind: "indexed", id: Number(id), name: "" });
    else void search({ kind: "none" });
  }

  const textQuery = (): Query => {
    const words = text.value.trim();
    return words === "" ? { kind: "none" } : { kind: "text", text: words };
  };
  text.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      const next = textQuery();
      history.replaceState(remember(next), "", addressOf(next));
      void search(next);
    }, TYPING_PAUSE_MS);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go(textQuery());
  });
  byId("query-clear").addEventListener("click", () => {
    go({ kind: "none" });
    text.focus();
  });
  more.addEventListener("click", async () => {
    const shown = grid.childElementCount;
    await search(query, Math.min(MOST, limit + PAGE));
    grid.children[shown]?.querySelector("button")?.focus();
  });

  byId("pick").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    searchByFile(file.files?.[0]);
    file.value = "";
  });
  document.addEventListener("paste", ({ clipboardData }) => searchByFile(clipboardData?.files[0]));
  for (const kind of ["dragenter", "dragover"] as const) {
    document.addEventListener(kind, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      document.body.classList.add("dropping");
    });
  }
  document.addEventListener("dragleave", ({ relatedTarget }) => {
    if (relatedTarget === null) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    searchByFile(event.dataTransfer.files[0]);
  });

  function showExamples(): void {
    const chips = info.examples.map((example) => {
      const chip = make("button", { className: "chip" }, example);
      chip.type = "button";
      chip.addEventListener("click", () => go({ kind: "text", text: example }));
      return chip;
    });
    byId("examples").replaceChildren(...chips);
  }

  addEventListener("popstate", ({ state }) => {
    const known = visited.get(String(state));
    if (known === undefined) searchAddress();
    else void search(known);
  });
  showExamples();
  searchAddress();

  return {
    refresh(now) {
      const isOther = now.examples.join("\n") !== info.examples.join("\n");
      info = now;
      if (isOther) showExamples();
      void showFound();
    },
  };
}

function goneSentence(gone: number): string {
  const pictures = gone === 1 ? "1 picture of the index is" : `${gone} pictures of the index are`;
  return `${pictures} gone and left out; clipsmith index makes it anew.`;
}

function pictureUrl(id: number): string {
  return `api/pictures/${id}`;
}

/** The page's address while it shows a query. A picture from elsewhere has none. */
function addressOf(query: Query): string {
  if (query.kind === "text") return `?${new URLSearchParams({ text: query.text })}`;
  if (query.kind === "indexed") return `?picture=${query.id}`;
  return location.pathname;
}

function requestOf(
  query: Exclude<Query, { kind: "none" }>,
  limit: number,
  signal: AbortSignal,
): [string, RequestInit] {
  if (query.kind === "file") {
    return [`api/search?limit=${limit}`, { method: "POST", body: query.file, signal }];
  }
  const what: Record<string, string> =
    query.kind === "text" ? { text: query.text } : { picture: String(query.id) };
  return [`api/search?${new URLSearchParams({ ...what, limit: String(limit) })}`, { signal }];
}
