// The home page: what a new installation shows, and what arrives on it while it is open.

import { recordFrames } from "../../fixtures/frames";
import { Gate, pipeline } from "../../fixtures/gate";
import { line } from "../../fixtures/log";
import { expect, open, test } from "../../fixtures/stepcast";

test("an empty installation shows a sample pipeline that one button runs, its lines appearing one by one", async ({ page }) => {
  const frames = recordFrames(page);
  await open(page, "/");
  await expect(page.locator("main pre")).toContainText("name: sample");
  await expect(page.getByRole("main").getByRole("button")).toHaveCount(1);

  await page.getByRole("button", { name: "Run the sample pipeline" }).click();
  await expect(page).toHaveURL(/\/builds\//);
  await page.getByRole("link", { name: "compile" }).click();

  // While a line of its middle is there, a later one is not, and the build still runs: nothing came all at once.
  await expect(line(page, "Compiling part-03 (3 of 40)")).toBeVisible();
  const seen = await page.evaluate(() => ({
    title: document.title,
    isThere: (document.querySelector(".log")?.textContent ?? "").includes("part-40"),
  }));
  expect(seen).toEqual({ title: "running · sample #1 · Stepcast", isThere: false });

  await expect(line(page, "Compiling part-40 (40 of 40)")).toBeVisible();
  await expect(page).toHaveTitle("succeeded · sample #1 · Stepcast", { timeout: 30_000 });
  // The tab asked for the build itself: its events are addressed to it, and nothing needs to be subscribed.
  expect(frames.sent.filter((frame) => /^(build|job)\./.test(String(frame.topic)))).toEqual([]);
});

test("a build started by the command line appears on the open page, and leaves it when it ends", async ({ page, api, stepcast }) => {
  const gate = new Gate(stepcast);
  await api.apply("slow", pipeline("slow", { work: gate.wait }));
  await open(page, "/");
  const running = page.getByRole("region", { name: "Running now" });
  await expect(running).toContainText("Nothing runs at the moment.");

  await stepcast.command("trigger", "slow");
  await expect(running.getByRole("link", { name: /slow #1/ })).toBeVisible();
  await expect(page.getByRole("link", { name: "#1 running" })).toBeVisible();

  await gate.open();
  await expect(running).toContainText("Nothing runs at the moment.");
  await expect(page.getByRole("link", { name: "#1 succeeded" })).toBeVisible();
});

test("a pipeline that another program applies appears on the open page", async ({ page, api }) => {
  await open(page, "/");
  await api.apply("late", pipeline("late", { work: "true" }));
  await expect(page.getByRole("link", { name: "late", exact: true })).toBeVisible();
});
