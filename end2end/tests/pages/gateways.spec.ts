// The page of the gateways: their workers, in numbers that follow what happens.

import { expect, open, test } from "../../fixtures/stepcast";

/** Workers of a server that was told nothing else. */
const WORKERS = 4;

test("each worker is shown with its sockets, and a tab more is counted", async ({ page, context }) => {
  await open(page, "/");
  await page.getByRole("link", { name: "Gateways" }).click();
  await expect(page).toHaveTitle("Gateways · Stepcast");
  await expect(page.getByRole("link", { name: "Gateways" })).toHaveAttribute("aria-current", "page");
  const gateway = page.locator(".gateway");
  await expect(gateway).toHaveCount(1);
  await expect(gateway).toContainText("alive");
  await expect(gateway.getByRole("columnheader")).toHaveText(["Worker", "Sockets", "Topics", "Queue", "Restarts"]);
  await expect(gateway.locator("tbody tr")).toHaveCount(WORKERS + 1);
  const sockets = gateway.locator("tbody tr", { hasText: "All" }).getByRole("cell").first();
  await expect(sockets).toHaveText("1");
  await expect(page.locator(".heading")).toContainText("1 socket");

  const other = await context.newPage();
  await open(other, "/");
  await expect(sockets).toHaveText("2");
  await other.close();
  await expect(sockets).toHaveText("1");
});

test.describe("without scripts", () => {
  test.use({ javaScriptEnabled: false });

  test("the page reads", async ({ page, expectedComplaints }) => {
    expectedComplaints.push(/was preloaded using link preload but not used/);
    await page.goto("/gateways");
    await expect(page).toHaveTitle("Gateways · Stepcast");
    await expect(page.locator(".gateway tbody tr")).toHaveCount(WORKERS + 1);
    await expect(page.locator(".gateway")).toContainText("All");
  });
});
