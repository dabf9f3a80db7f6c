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

test("a bar for each build tells how long it took, and the row what is usual", async ({ page, api }) => {
  const steps = [{ name: "work", run: 'sleep "$INPUT_SECONDS"; [ "$INPUT_SECONDS" != 0.1 ]' }];
  const inputs = { seconds: { default: "0" } };
  await api.apply("work", JSON.stringify({ ...JSON.parse(pipeline("work", { work: { steps } })), inputs }));
  const seconds = ["0", "0.1", "1"];
  for (const each of seconds) await api.finished(await api.trigger("work", { seconds: each }));
  await open(page, "/");
  const bars = page.locator(".bar-link");
  await expect(bars).toHaveCount(seconds.length);
  await expect(bars.nth(1)).toHaveAccessibleName(/^#2 failed, \d+ ms$/);
  await expect(bars.nth(2)).toHaveAccessibleName(/^#3 succeeded, 1\.\d s$/);
  const heights = await page.locator(".bar").evaluateAll((all) => all.map((bar) => bar.getBoundingClientRect().height));
  expect(heights[2]).toBeGreaterThan(3 * heights[1]);
  await expect(page.locator(".usual")).toHaveText(/usually\s*1\.\d s/);
});

test("a build that runs shows how far it has come by what is usual", async ({ page, api, stepcast }) => {
  const gate = new Gate(stepcast);
  const steps = [{ name: "work", run: `[ "$INPUT_LONG" = no ] || ${gate.wait}` }];
  const inputs = { long: { default: "no" } };
  await api.apply("work", JSON.stringify({ ...JSON.parse(pipeline("work", { work: { steps } })), inputs }));
  await api.finished(await api.trigger("work"));
  await open(page, "/");
  await api.trigger("work", { long: "yes" });
  const running = page.getByRole("region", { name: "Running now" });
  await expect(running.locator(".estimate-bar")).toBeVisible();
  await expect(running).toContainText(/usually \d+ ms/);
  await gate.open();
  await expect(running).toContainText("Nothing runs at the moment.");
});

test("among many pipelines one is found by its name", async ({ page, api }) => {
  const names = Array.from({ length: 8 }, (_, n) => `one-${n}`);
  for (const name of names) await api.apply(name, pipeline(name, { work: "true" }));
  await open(page, "/");
  const rows = page.locator(".pipeline-row");
  const field = page.getByLabel("Filter pipelines");
  await expect(rows).toHaveCount(8);
  await expect(field).toHaveCount(0);
  await api.apply("other", pipeline("other", { work: "true" }));
  await field.fill("OTH");
  await expect(rows).toHaveCount(1);
  await expect(rows).toContainText("other");
  await field.fill("nothing");
  await expect(page.getByText("No pipeline has “nothing” in its name")).toBeVisible();
  await field.fill("");
  await expect(rows).toHaveCount(9);
});

test("a pipeline that another program applies appears on the open page", async ({ page, api }) => {
  await open(page, "/");
  await api.apply("late", pipeline("late", { work: "true" }));
  await expect(page.getByRole("link", { name: "late", exact: true })).toBeVisible();
});
