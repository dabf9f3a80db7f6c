// The page of the consumer groups: how each stands, and what a person does with one while builds go on.

import { pipeline } from "../../fixtures/gate";
import { expect, open, test } from "../../fixtures/stepcast";

test("a group is paused, resumed and rebuilt, and builds go on", async ({ page, api }) => {
  await api.apply("greet", pipeline("greet", { work: "echo hello" }));
  await open(page, "/gateways");
  await page.getByRole("link", { name: "consumer groups" }).click();
  await expect(page).toHaveTitle("Consumer groups · Stepcast");
  const row = (name: string) => page.locator(".group").filter({ has: page.locator(".name", { hasText: name }) });
  const [analytics, recorder] = [row("analytics"), row("recorder")];
  for (const group of [analytics, recorder]) {
    await expect(group.getByRole("status")).toHaveText("running");
    await expect(group).toContainText("Read by ");
  }
  await expect(recorder.getByRole("button", { name: /Rebuild/ })).toHaveCount(0);

  await page.getByRole("button", { name: "Pause: analytics" }).click();
  await expect(analytics.getByRole("status")).toHaveText("paused");
  expect((await api.finished(await api.trigger("greet"))).outcome).toBe("succeeded");
  await expect(analytics.locator(".lag")).not.toHaveText("0");
  await expect(recorder.locator(".lag")).toHaveText("0");
  await page.getByRole("button", { name: "Resume: analytics" }).click();
  await expect(analytics.getByRole("status")).toHaveText("running");
  await expect(analytics.locator(".lag")).toHaveText("0");

  const rebuild = page.getByRole("button", { name: "Rebuild: analytics" });
  await rebuild.click();
  await expect(page.getByRole("group", { name: /Builds that were deleted/ })).toBeVisible();
  await page.getByRole("button", { name: "Leave it" }).click();
  await rebuild.click();
  const asked = page.waitForResponse((response) => response.url().endsWith("/groups/analytics/rebuild"));
  await page.getByRole("button", { name: "Rebuild it" }).click();
  expect((await asked).status()).toBe(202);
  await expect(analytics.getByRole("status")).toHaveText("running");
});

test.describe("without scripts", () => {
  test.use({ javaScriptEnabled: false });

  test("the page reads", async ({ page, api, expectedComplaints }) => {
    expectedComplaints.push(/was preloaded using link preload but not used/);
    // Each is there once it has read for the first time.
    await expect.poll(async () => ((await (await api.request("GET", "/groups")).json()) as unknown[]).length).toBe(3);
    await page.goto("/groups");
    await expect(page.getByRole("heading", { level: 1 })).toHaveText("Consumer groups");
    await expect(page.locator(".group")).toHaveCount(3);
    await expect(page.getByRole("button", { name: /Pause/ })).toHaveCount(0);
  });
});
