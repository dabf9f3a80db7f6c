// The log's tools: links to lines, times, search in the whole log, copying.

import { pipeline } from "../../fixtures/gate";
import { row } from "../../fixtures/log";
import { expect, open, test, type Api } from "../../fixtures/stepcast";

const LINES = 30_000;

async function longLog(api: Api): Promise<string> {
  await api.apply("long", pipeline("long", { work: String.raw`seq 1 ${LINES}; printf '\e[31mthe Need\e[0mle\n'` }));
  const build = await api.trigger("long");
  await api.finished(build);
  return `/builds/${build}`;
}

test.use({ permissions: ["clipboard-read", "clipboard-write"] });

test("a link to a range of lines opens there, marks it, and copies it with lines that are not in the document", async ({ page, api }) => {
  const address = await longLog(api);
  await open(page, `${address}#L12000-L12300`);
  await expect(row(page, 11_999)).toBeInViewport();
  await expect(row(page, 11_999)).toHaveClass(/marked/);
  await expect(row(page, 11_998)).not.toHaveClass(/marked/);
  await expect(page.getByText("Lines 12000 to 12300")).toBeVisible();
  await expect(row(page, 12_299)).toHaveCount(0);

  await page.getByRole("button", { name: "Copy lines" }).click();
  await expect(page.getByText("301 lines copied")).toBeVisible();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  expect(copied).toBe(Array.from({ length: 301 }, (_, n) => `${12_000 + n}\n`).join(""));

  await page.getByRole("button", { name: "Copy link" }).click();
  await expect(page.getByText("Link copied")).toBeVisible();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(page.url());
});

test("pressing a number marks a line, with Shift a range, and the address names it", async ({ page, api }) => {
  await open(page, await longLog(api));
  await row(page, 3).locator(".n").click();
  await expect(page).toHaveURL(/#L4$/);
  await row(page, 7).locator(".n").click({ modifiers: ["Shift"] });
  await expect(page).toHaveURL(/#L4-L8$/);
  await expect(page.locator(".row.marked")).toHaveCount(5);
  await page.getByRole("button", { name: "Unmark" }).click();
  await expect(page.locator(".row.marked")).toHaveCount(0);
  expect(new URL(page.url()).hash).toBe("");
});

test("times are shown on demand, the exact one on hover", async ({ page, api }) => {
  await open(page, await longLog(api));
  await expect(page.locator(".row .at")).toHaveCount(0);
  await page.getByRole("button", { name: "Times" }).click();
  const at = row(page, 0).locator(".at");
  await expect(at).toHaveText(/^\d\d:\d\d:\d\d\.\d{3}$/);
  await expect(at).toHaveAttribute("title", /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC/);
});

test("Ctrl+F searches the whole log, whatever the case, through colours, and goes around", async ({ page, api }) => {
  await open(page, await longLog(api));
  await page.keyboard.press("Control+f");
  const field = page.getByRole("searchbox", { name: "Search the whole log" });
  await expect(field).toBeFocused();
  await field.fill("2999");
  // 2999 itself, 12999, 22999 and 29990 to 29999.
  const found = page.locator(".search-bar .found");
  await expect(found).toHaveText("1 of 13");
  await expect(row(page, 2_998)).toBeInViewport();
  await expect(row(page, 2_998)).toHaveClass(/current/);
  await field.press("Enter");
  await expect(found).toHaveText("2 of 13");
  await expect(row(page, 12_998)).toHaveClass(/current/);
  await expect(row(page, 12_998)).toBeInViewport();
  await field.press("Shift+Enter");
  await field.press("Shift+Enter");
  await expect(found).toHaveText("13 of 13");
  await expect(row(page, 29_998)).toBeInViewport();

  await field.fill("NEEDLE");
  await expect(found).toHaveText("1 of 1");
  await expect(row(page, LINES)).toHaveClass(/current/);
  await field.fill("no such text");
  await expect(found).toHaveText("nothing found");
  await field.press("Escape");
  await expect(field).toHaveCount(0);
  await expect(page.locator(".row.hit")).toHaveCount(0);
});
