// The audit log: newest first, by who, what and which pipeline, page by page, and as lines of JSON.

import { readFile } from "node:fs/promises";

import { pipeline } from "../../fixtures/gate";
import { connection, expect, open, test } from "../../fixtures/stepcast";

test("what was done is found by who did it, what it was, and the pipeline", async ({ page, api }) => {
  await api.apply("site", pipeline("site", { build: "echo hi" }));
  await api.apply("docs", pipeline("docs", { build: "echo hi" }));
  await api.finished(await api.trigger("site"));
  await open(page, "/audit");
  const entries = page.getByRole("list", { name: "Entries, the newest first" }).getByRole("listitem");
  await expect(entries.first()).toContainText("build triggered");
  await expect(entries.filter({ hasText: "signed in" })).toContainText(["Ada"]);
  await page.getByLabel("About which pipeline").selectOption("docs");
  await page.getByRole("button", { name: "Show" }).click();
  await expect(entries).toHaveCount(1);
  await expect(entries).toContainText("pipeline created");
  // Each answer is another document, which takes what was typed before it is in the browser's hands.
  await expect(connection(page)).toHaveText(/^live/);
  await page.getByLabel("By whom").fill("Ada");
  await page.getByRole("button", { name: "Show" }).click();
  await expect(page.getByText("There are no entries of that kind.")).toBeVisible();
  await expect(connection(page)).toHaveText(/^live/);
  await page.getByLabel("About which pipeline").selectOption("All pipelines");
  await page.getByLabel("What was done").selectOption("account created");
  await page.getByRole("button", { name: "Show" }).click();
  await expect(page).toHaveURL(/action=account_created/);
});

test("older entries are a page away, and all of them a download", async ({ page, api }) => {
  for (let n = 0; n < 105; n++) await api.apply("site", pipeline("site", { build: `echo ${n}` }));
  await open(page, "/audit?action=pipeline_changed");
  const entries = page.getByRole("list", { name: "Entries, the newest first" }).getByRole("listitem");
  await expect(entries).toHaveCount(100);
  await page.getByRole("link", { name: "Older entries" }).click();
  await expect(entries).toHaveCount(4);
  await expect(page.getByRole("link", { name: "Older entries" })).toBeHidden();

  const coming = page.waitForEvent("download");
  await page.getByRole("link", { name: "Download as JSON lines" }).click();
  const download = await coming;
  expect(download.suggestedFilename()).toBe("audit.ndjson");
  const lines = (await readFile(await download.path(), "utf8")).trim().split("\n").map((line) => JSON.parse(line));
  expect(lines).toHaveLength(104);
  expect(new Set(lines.map((line) => line.action))).toEqual(new Set(["pipeline_changed"]));
});

test("entries of a name with a plus sign are found", async ({ page, api, stepcast }) => {
  await stepcast.account("ada+ci", "builder");
  const theirs = await (await page.context().browser()!.newContext()).newPage();
  await stepcast.enter(theirs, "ada+ci");
  await theirs.context().close();
  await api.apply("site", pipeline("site", { build: "true" }));
  await open(page, "/audit");
  await page.getByLabel("By whom").fill("ada+ci");
  await page.getByRole("button", { name: "Show" }).click();
  await expect(page).toHaveURL(/name=ada%2Bci/);
  const entries = page.getByRole("list", { name: "Entries, the newest first" }).getByRole("listitem");
  await expect(entries.filter({ hasText: "signed in" })).toContainText(["ada+ci"]);
  await expect(entries.filter({ hasText: "pipeline created" })).toHaveCount(0);
});
