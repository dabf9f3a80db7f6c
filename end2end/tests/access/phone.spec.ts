// A phone, 360 pixels wide: nothing is wider than the screen, and a build can be started and watched to its end.

import { Gate, pipeline } from "../../fixtures/gate";
import { line, reaches } from "../../fixtures/log";
import { furnish } from "../../fixtures/pages";
import { expect, open, test } from "../../fixtures/stepcast";

test.use({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });

test("no page is wider than a phone", async ({ page, api, expectedComplaints }) => {
  expectedComplaints.push(/status of 404/);
  for (const { name, address } of await furnish(api)) {
    await open(page, address);
    expect(await page.evaluate(() => document.documentElement.scrollWidth), name).toBeLessThanOrEqual(360);
  }
});

test("the help begins at its beginning", async ({ page }) => {
  await page.setViewportSize({ width: 360, height: 400 });
  await open(page, "/");
  await page.keyboard.press("?");
  const help = page.getByRole("dialog", { name: "Keyboard shortcuts" });
  await expect(help.getByRole("heading")).toBeInViewport();
  expect(await help.evaluate((element) => element.scrollHeight - element.clientHeight)).toBeGreaterThan(0);
  expect(await help.evaluate((element) => element.scrollTop)).toBe(0);
  await page.keyboard.press("Escape");
  await expect(help).toBeHidden();
});

test("a build is started by touch and watched to its end", async ({ page, api, stepcast }) => {
  const gate = new Gate(stepcast);
  await api.apply("talk", pipeline("talk", { work: gate.printUntilOpen }));
  await open(page, "/");
  await page.getByRole("button", { name: "Build talk" }).tap();
  await expect(page).toHaveURL(/\/builds\//);
  await reaches(page, 20);
  // Below the jobs and the steps on a phone: one swipe away.
  await page.getByRole("region", { name: "Log" }).evaluate((log) => log.scrollIntoView({ block: "end" }));
  await expect(page.locator(".log .row").last()).toBeInViewport();
  await gate.open();
  await expect(page).toHaveTitle("succeeded · talk #1 · Stepcast");
  await expect(line(page, "the end")).toBeVisible();
});
