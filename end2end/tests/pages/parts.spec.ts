// The browser package comes in parts: what shows a page is loaded with it, the rest after it, and one that cannot be loaded
// is said so.

import { pipeline } from "../../fixtures/gate";
import { connection, expect, open, test } from "../../fixtures/stepcast";

const PART = /\/split_(\w+)\.wasm$/;

test("a page is live with its own part, and the others follow by themselves", async ({ page }) => {
  const asked: string[] = [];
  let release = (): void => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route(PART, async (route) => {
    const name = PART.exec(route.request().url())?.[1] ?? "";
    asked.push(name);
    if (name !== "processes") await held;
    await route.continue();
  });
  await open(page, "/executors");
  expect(asked[0]).toBe("processes");
  release();
  await expect.poll(() => [...new Set(asked)].sort()).toEqual(["build", "people", "pipeline", "processes"]);
  await page.unrouteAll({ behavior: "wait" });
});

test("a page whose part cannot be loaded says so, and is there when it is loaded again", async ({ page, api, expectedComplaints }) => {
  expectedComplaints.push(/Failed to load resource: net::ERR_FAILED/, /Failed to fetch/);
  await api.apply("site", pipeline("site", { build: "echo hi" }));
  await page.route(PART, (route) => route.abort());
  await open(page, "/");
  await page.getByRole("link", { name: "site", exact: true }).click();
  await expect(page.getByRole("heading", { name: "This page could not be loaded" })).toBeVisible();
  await expect(page).toHaveURL(/\/pipelines\/site$/);
  await page.unroute(PART);
  await page.getByRole("link", { name: "Load it again" }).click();
  await expect(page.getByRole("heading", { name: "Pipeline file" })).toBeVisible();
  await expect(connection(page)).toHaveText(/^live/);
});

test("a document whose part cannot be loaded stays as the server made it", async ({ page, api, expectedComplaints }) => {
  expectedComplaints.push(/Failed to load resource: net::ERR_FAILED/, /Failed to fetch/);
  await api.apply("site", pipeline("site", { build: "echo hi" }));
  const build = await api.trigger("site");
  await api.recorded(build);
  await page.route(PART, (route) => route.abort());
  await page.goto(`/builds/${build}`);
  await expect(page.locator(".log .row .t")).toHaveText(["hi"]);
  // No button is offered that does nothing.
  await expect(page.getByRole("button", { name: "Retry" })).toBeHidden();
  await page.getByRole("link", { name: "Pipelines", exact: true }).click();
  await expect(page.getByRole("heading", { name: "Pipelines", exact: true })).toBeVisible();
});
