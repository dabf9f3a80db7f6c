// The page that searches all logs and builds: what it says before, without and with hits, and where a hit leads.

import AxeBuilder from "@axe-core/playwright";

import { pipeline } from "../../fixtures/gate";
import { row } from "../../fixtures/log";
import { expect, open, test, type Api } from "../../fixtures/stepcast";

const PRINT = String.raw`seq 1 300; printf '\e[31mSocketTimeoutException\e[0m: <b>größe</b> in src/net/pool.rs\n'; seq 301 600`;

/** Waits until so many hits are found: the index follows the record. */
async function found(api: Api, q: string, hits: number): Promise<void> {
  const ask = async () => {
    const response = await api.request("GET", `/search?q=${encodeURIComponent(q)}`);
    return ((await response.json()) as { hits?: unknown[] }).hits?.length;
  };
  await expect.poll(ask, { message: `hits for ${q}`, timeout: 30_000 }).toBe(hits);
}

/** Two pipelines, each built once. */
async function built(api: Api): Promise<string[]> {
  const builds: string[] = [];
  for (const name of ["site", "docs"]) {
    await api.apply(name, pipeline(name, { work: PRINT }));
    builds.push(await api.trigger(name));
    await api.finished(builds.at(-1) as string);
    await found(api, "timeout", builds.length);
  }
  return builds;
}

test("a hit is shown with its line, is marked as text, and leads to the line on the page of its build", async ({ page, api }) => {
  const [site] = await built(api);
  await open(page, "/");
  await page.keyboard.press("/");
  await expect(page).toHaveTitle("Search · Stepcast");
  await expect(page.getByText("All words must stand in one line.")).toBeVisible();
  await page.getByRole("searchbox", { name: "Words in logs and builds" }).fill("timeout größe");
  await page.keyboard.press("Enter");

  const builds = page.getByRole("list", { name: "Builds" }).locator("> li");
  await expect(builds).toHaveCount(2);
  await expect(builds.locator("h2")).toHaveText(["docs #1", "site #1"]);
  await expect(builds.first().locator("mark")).toHaveText(["Timeout", "größe"]);
  await expect(builds.first().locator(".line")).toHaveText("SocketTimeoutException: <b>größe</b> in src/net/pool.rs");
  await expect(builds.locator("b")).toHaveCount(0);
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(violations).toEqual([]);

  // Of one pipeline only; what was asked stands in the address.
  await page.getByLabel("Of which pipeline").selectOption("site");
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await expect(page).toHaveURL(/\/search\?q=timeout\+gr%C3%B6%C3%9Fe&pipeline=site$/);
  await expect(builds).toHaveCount(1);
  await expect(page.getByRole("searchbox")).toHaveValue("timeout größe");
  await expect(page.getByLabel("Of which pipeline")).toHaveValue("site");
  await builds.getByRole("link", { name: "work, line 301" }).click();
  await expect(page).toHaveURL(new RegExp(`/builds/${site}\\?job=[-0-9a-f]+#L301$`));
  await expect(row(page, 300).locator(".t")).toBeInViewport();
  await expect(row(page, 300).locator(".t")).toHaveText("SocketTimeoutException: <b>größe</b> in src/net/pool.rs");
});

test("builds are found by what is known of them, and more hits than a page holds come on the next one", async ({ page, api }) => {
  await built(api);
  await found(api, "docs succeeded", 2);
  await open(page, "/search?q=docs+succeeded");
  const hits = page.getByRole("list", { name: "Builds" }).getByRole("listitem").locator(".line");
  await expect(hits).toHaveText(["succeeded", "docs"]);
  await api.apply("many", pipeline("many", { work: "for n in $(seq 1 70); do echo needle $n; done" }));
  await api.finished(await api.trigger("many"));
  await found(api, "needle 70", 1);
  await open(page, "/search?q=needle");
  await expect(hits).toHaveCount(50);
  await expect(hits.first()).toHaveText("needle 70");
  await page.getByRole("link", { name: "Older hits" }).click();
  await expect(hits).toHaveCount(20);
  await expect(hits.last()).toHaveText("needle 1");
  await expect(page.getByRole("link", { name: "Older hits" })).toBeHidden();
});

test("what is not found, and what cannot be asked, is told", async ({ page }) => {
  await open(page, "/search?q=nowhere");
  await expect(page.getByText("Nothing is found for nowhere.")).toBeVisible();
  await open(page, "/search?q=e*");
  await expect(page.getByRole("alert")).toContainText("`e*` is too short: at least 2 letters stand before `*`.");
  await expect(page.getByRole("searchbox")).toHaveValue("e*");
  await page.keyboard.press("Tab");
  await page.locator("h1").click();
  await page.keyboard.press("/");
  await expect(page.getByRole("searchbox")).toBeFocused();
  await expect(page.getByRole("searchbox")).toHaveValue("e*");
});

for (const colorScheme of ["light", "dark"] as const) {
  for (const width of [1280, 390]) {
    test(`nothing stands beside the page, ${colorScheme}, ${width} pixels wide`, async ({ page, api }) => {
      await api.apply("site", pipeline("site", { work: `${PRINT}; printf 'timeout %0500d\\n' 0` }));
      await api.finished(await api.trigger("site"));
      await found(api, "timeout", 2);
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 800 });
      await open(page, "/search?q=timeout");
      await expect(page.locator(".found mark").first()).toBeVisible();
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      expect(wide).toBeLessThanOrEqual(0);
      if (process.env.STEPCAST_PICTURES) await page.screenshot({ path: `${process.env.STEPCAST_PICTURES}/search-${colorScheme}-${width}.png` });
      const { violations } = await new AxeBuilder({ page }).analyze();
      expect(violations).toEqual([]);
    });
  }
}

test.describe("without scripts", () => {
  test.use({ javaScriptEnabled: false });

  test("the form is answered by the server", async ({ page, api, expectedComplaints }) => {
    expectedComplaints.push(/was preloaded using link preload but not used/);
    await built(api);
    await page.goto("/");
    await page.getByRole("link", { name: "Search", exact: true }).click();
    await page.getByRole("searchbox").fill("timeout \"src net pool\"");
    await page.getByRole("button", { name: "Search", exact: true }).click();
    await expect(page.locator(".found h2")).toHaveText(["docs #1", "site #1"]);
    await expect(page.getByRole("searchbox")).toHaveValue("timeout \"src net pool\"");
  });
});
