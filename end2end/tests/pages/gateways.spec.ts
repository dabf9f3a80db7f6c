// The page of the gateways: their workers, in numbers that follow what happens.

import { expect, open, test } from "../../fixtures/stepcast";

/** Workers of a gateway that was told nothing else. */
const WORKERS = 4;

test("each worker is shown with its sockets, and a tab more is counted", async ({ page, context, api }) => {
  const instances = (await (await api.request("GET", "/gateways")).json()).length;
  await open(page, "/");
  await page.getByRole("link", { name: "Gateways" }).click();
  await expect(page).toHaveTitle("Gateways · Stepcast");
  await expect(page.getByRole("link", { name: "Gateways" })).toHaveAttribute("aria-current", "page");
  const gateway = page.locator(".gateway");
  await expect(gateway).toHaveCount(instances);
  for (const one of await gateway.all()) {
    await expect(one).toContainText("alive");
    await expect(one.getByRole("columnheader")).toHaveText(["Worker", "Sockets", "Topics", "Queue", "Restarts"]);
    await expect(one.locator("tbody tr")).toHaveCount(WORKERS + 1);
  }
  const all = gateway.locator("tbody tr", { hasText: "All" });
  const sockets = async () => {
    const counts = await Promise.all((await all.all()).map((row) => row.getByRole("cell").first().innerText()));
    return counts.reduce((sum, count) => sum + Number(count), 0);
  };
  await expect.poll(sockets).toBe(1);
  await expect(page.locator(".heading")).toContainText("1 socket");

  const other = await context.newPage();
  await open(other, "/");
  await expect.poll(sockets).toBe(2);
  await other.close();
  await expect.poll(sockets).toBe(1);
});

test.describe("without scripts", () => {
  test.use({ javaScriptEnabled: false });

  test("the page reads", async ({ page, api, expectedComplaints }) => {
    const instances = (await (await api.request("GET", "/gateways")).json()).length;
    expectedComplaints.push(/was preloaded using link preload but not used/);
    await page.goto("/gateways");
    await expect(page).toHaveTitle("Gateways · Stepcast");
    await expect(page.locator(".gateway")).toHaveCount(instances);
    await expect(page.locator(".gateway tbody tr")).toHaveCount(instances * (WORKERS + 1));
    await expect(page.locator(".gateway").first()).toContainText("All");
  });
});
