import type { ApiInfo } from "../src/server/api.js";
import { byId } from "./dom.js";
import { messageOf, request } from "./http.js";
import { startSearch } from "./search.js";
import { startTraining } from "./training.js";

const tabs = ["search", "training"].map((name) => ({
  name,
  tab: byId<HTMLButtonElement>(`tab-${name}`),
  panel: byId(name),
}));

async function start(): Promise<void> {
  let info: ApiInfo;
  try {
    info = await request<ApiInfo>("api/info");
  } catch (error) {
    byId("status").textContent = messageOf(error);
    byId("status").classList.add("error");
    return;
  }
  document.title = info.title;
  byId("title").textContent = info.title;
  const pictures = info.count === 1 ? "picture" : "pictures";
  byId("count").textContent = `${info.count.toLocaleString("en")} ${pictures}`;
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
  startSearch(info, () => show("search"));
  showHash();
}

void start();
