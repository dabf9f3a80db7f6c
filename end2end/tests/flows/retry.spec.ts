// A build that fails says why, and only what failed is run again.

import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { Gate, pipeline } from "../../fixtures/gate";
import { line } from "../../fixtures/log";
import { expect, open, test } from "../../fixtures/stepcast";

test("a failing step shows its exit code; retry failed runs only what failed", async ({ page, api, stepcast }) => {
  const mended = new Gate(stepcast, "mended");
  const tally = join(stepcast.scratch, "tally");
  const jobs = {
    good: `echo good >> '${tally}'; echo all well`,
    bad: `echo bad >> '${tally}'; echo "attempt $STEPCAST_ATTEMPT"; [ -e '${mended.path}' ] || exit 7`,
    later: { needs: ["bad"], steps: [{ name: "later", run: `echo later >> '${tally}'` }] },
  };
  await api.apply("mixed", pipeline("mixed", jobs));
  await open(page, "/");
  await page.getByRole("button", { name: "Build mixed" }).click();
  await expect(page).toHaveTitle("failed · mixed #1 · Stepcast");

  const list = page.locator(".jobs");
  await list.getByRole("link", { name: /bad/ }).click();
  await expect(page.locator(".steps")).toContainText("exit code 7");
  await expect(list.getByRole("link", { name: /skipped later/ })).toBeVisible();

  await mended.open();
  await page.getByRole("button", { name: "Retry failed" }).click();
  await expect(page).toHaveTitle("succeeded · mixed #1 · Stepcast");
  await expect(list.getByRole("link", { name: /succeeded bad attempt 2/ })).toBeVisible();
  await expect(list.getByRole("link", { name: /succeeded later/ })).toBeVisible();
  await expect(line(page, "attempt 2")).toBeVisible();
  await expect(page.locator(".steps")).not.toContainText("exit code");

  const ran = (await readFile(tally, "utf8")).trim().split("\n");
  expect(ran.toSorted()).toEqual(["bad", "bad", "good", "later"]);
  expect((await api.build(new URL(page.url()).pathname.split("/").pop() as string)).jobs.find((job) => job.name === "good")?.attempt).toBe(1);
});
