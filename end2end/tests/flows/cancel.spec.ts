// A person ends a build: while it waits, and while it runs. The page asks first.

import { Gate, pipeline } from "../../fixtures/gate";
import { count, reaches } from "../../fixtures/log";
import { expect, open, test } from "../../fixtures/stepcast";

test("a build that waits is cancelled at once", async ({ page, api }) => {
  await api.apply("odd", pipeline("odd", { work: { labels: ["quantum"], steps: [{ run: "true" }] } }));
  await open(page, `/builds/${await api.trigger("odd")}`);
  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  await page.getByRole("button", { name: "Cancel it" }).click();
  await expect(page).toHaveTitle("cancelled · odd #1 · Stepcast");
  await expect(page.getByRole("button", { name: "Cancel", exact: true })).toHaveCount(0);
});

test("a build that runs is asked about first, then its steps are ended", async ({ page, api, stepcast }) => {
  const gate = new Gate(stepcast);
  await api.apply("talk", pipeline("talk", { work: gate.printUntilOpen }));
  const build = await api.trigger("talk");
  await open(page, `/builds/${build}`);
  await reaches(page, 20);

  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  await expect(page.getByText("Cancel this build?")).toBeVisible();
  await page.getByRole("button", { name: "Let it run" }).click();
  await reaches(page, (await count(page)) + 40);
  expect((await api.build(build)).state).toBe("running");

  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  await page.getByRole("button", { name: "Cancel it" }).click();
  await expect(page).toHaveTitle("cancelled · talk #1 · Stepcast");
  await expect(page.locator(".steps")).toContainText("work");
  await expect(page.locator(".steps").getByRole("img", { name: "cancelled" })).toBeVisible();
  expect((await api.build(build)).outcome).toBe("cancelled");
});
