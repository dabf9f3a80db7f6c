// With JavaScript off: what the server renders is enough to read how things stand.

import { pipeline } from "../../fixtures/gate";
import { expect, test } from "../../fixtures/stepcast";

test.use({ javaScriptEnabled: false });

test("home, pipeline and build pages read", async ({ page, api, expectedComplaints }) => {
  expectedComplaints.push(/was preloaded using link preload but not used/);
  const jobs = { build: { steps: [{ name: "compile", run: "echo made it" }] }, check: { needs: ["build"], steps: [{ name: "lint", run: "echo '<found> 3'; exit 3" }] } };
  await api.apply("site", pipeline("site", jobs));
  await api.apply("asks", JSON.stringify({ ...JSON.parse(pipeline("asks", { work: "true" })), inputs: { who: { description: "Whom" } } }));
  const build = await api.trigger("site");
  await api.recorded(build);

  await page.goto("/");
  await expect(page.getByRole("link", { name: "site", exact: true })).toBeVisible();
  await expect(page.getByRole("link", { name: "#1 failed" })).toBeVisible();

  await page.getByRole("link", { name: "site", exact: true }).click();
  await expect(page.getByRole("heading", { name: "site" })).toBeVisible();
  await expect(page.getByLabel("Pipeline in YAML")).toHaveValue(pipeline("site", jobs));

  // What cannot be done is not offered.
  await expect(page.getByLabel("Pipeline in YAML")).not.toBeEditable();
  await page.goto("/pipelines/asks");
  await expect(page.getByRole("heading", { name: "asks" })).toBeVisible();
  await expect(page.getByRole("heading", { name: "Start a build" })).toBeHidden();
  await page.goBack();

  await page.getByRole("link", { name: "Running", exact: true }).click();
  await expect(page.getByText("No build of it runs at the moment.")).toBeVisible();
  await page.getByRole("link", { name: "Failed", exact: true }).click();
  await expect(page).toHaveURL(/\?state=failed$/);

  await page.getByRole("link", { name: /failed #1/ }).click();
  await expect(page).toHaveTitle("failed · site #1 · Stepcast");
  await expect(page.locator(".jobs")).toContainText("build");
  await expect(page.locator(".jobs")).toContainText("check");
  await expect(page.locator(".steps")).toContainText("exit code 3");
  await expect(page.locator(".log .row .t")).toHaveText(["<found> 3"]);

  await page.locator(".jobs").getByRole("link", { name: /build/ }).click();
  await expect(page.locator(".log .row .t")).toHaveText(["made it"]);
  await expect(page.locator(".steps")).toContainText("compile");
});
