// The browser's console stays silent on every page: none of them renders otherwise in the browser than on the server.

import { pipeline } from "../../fixtures/gate";
import { expect, open, test } from "../../fixtures/stepcast";

test("no page complains when it is opened or left", async ({ page, api }) => {
  await open(page, "/");
  const inputs = { text: { default: "a <b> & c", description: "Any" } };
  await api.apply("site", JSON.stringify({ ...JSON.parse(pipeline("site", { build: "echo hi", check: { needs: ["build"], steps: [{ run: "false" }] } })), inputs }));
  const build = await api.trigger("site");
  for (const address of ["/", "/pipelines/new", "/pipelines/site", "/executors", "/gateways", `/builds/${build}`]) await open(page, address);
  await api.finished(build);
  for (const address of [`/builds/${build}`, "/pipelines/site", "/"]) await open(page, address);

  // From page to page without loading anew, and back.
  await page.getByRole("link", { name: "Executors" }).click();
  await expect(page.getByRole("heading", { name: "Executors" })).toBeVisible();
  await page.getByRole("link", { name: "Gateways" }).click();
  await expect(page.getByRole("heading", { name: "Gateways" })).toBeVisible();
  await page.goBack();
  await page.goBack();
  await page.getByRole("link", { name: "site", exact: true }).click();
  await page.getByRole("link", { name: /failed #1/ }).click();
  await page.locator(".jobs").getByRole("link", { name: /build/ }).click();
  await expect(page.locator(".log .row .t")).toHaveText(["hi"]);
  await page.goBack();
  await expect(page.locator(".log")).toContainText("Nothing was printed.");
  await page.goBack();
  await expect(page.getByRole("heading", { name: "Pipeline file" })).toBeVisible();
  await page.goBack();
  await expect(page.getByRole("heading", { name: "Pipelines", exact: true })).toBeVisible();
});
