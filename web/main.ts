import type { ApiInfo, ApiVersion } from "../src/server/api.js";
import { byId } from "./dom.js";
import { whileLookedAt } from "./follow.js";
import { messageOf, request } from "./http.js";
import { startSearch } from "./search.js";
import { startTraining } from "./training.js";

const tabs = ["search", "training"].map((name) => ({
  name,
  tab: byId<HTMLButtonElement>(`tab-${name}`),
  panel: byId(name),
}));

function describe({ title, count, note = "" }: ApiInfo): void {
  document.title = title;
  byId("title").textContent = title;
  byId("count").textContent =
    `${count.toLocaleString("en")} ${count === 1 ? "picture" : "pictures"}`;
  byId("note").textContent = note;
}

async function start(): Promise<void> {
  let info: ApiInfo;
  try {
    info = await request<ApiInfo>("api/info");
  } catch (error) {
    byId("status").textContent = messageOf(error);
    byId("status").classList.add("error");
    return;
  }
  describe(info);
  const training = startTraining(info);

  const show = (shown: string) => {
    for (const { name, tab, panel } of tabs) {
      tab.ariaSelected = String(name === shown);
      tab.tabIndex = name === shown ? 0 : -1;
      panel.hidden = name !== shown;
    }
    if (shown === "training") training.show();
    else training.hide();
  };
  for (const [i, { name, tab }] of tabs.entries()) {
    tab.addEventListener("click", () => {
      // Replaced, not pushed: the back button goes through searches.
      const path = location.pathname + location.search;
      history.replaceState(history.state, "", name === "search" ? path : `#${name}`);
      show(name);
    });
    tab.addEventListener("keydown", ({ key }) => {
      if (key !== "ArrowLeft" && key !== "ArrowRight") return;
      const next = tabs[(i + 1) % tabs.length]!.tab;
      next.focus();
      next.click();
    });
  }
  const showHash = () => show(location.hash === "#training" ? "training" : "search");
  addEventListener("popstate", showHash);
  const search = startSearch(info, () => show("search"));
  showHash();

  let isReached = true;
  whileLookedAt(async () => {
    try {
      const { version } = await request<ApiVersion>("api/version");
      if (version !== info.version) {
        info = await request<ApiInfo>("api/info");
        search.refresh(info);
        training.refresh();
      } else if (isReached) return;
      describe(info);
      isReached = true;
    } catch (error) {
      isReached = false;
      byId("note").textContent = messageOf(error);
    }
  });
}

void start();
