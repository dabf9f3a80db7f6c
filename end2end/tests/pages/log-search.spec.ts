// The search in a log shows the very text that it found: in its colours, at the far end of a long line, or that it is not shown.

import { pipeline } from "../../fixtures/gate";
import { row } from "../../fixtures/log";
import { expect, open, test, type Api } from "../../fixtures/stepcast";
import type { Locator, Page } from "@playwright/test";

/** Opens a log, and the search in it. */
async function search(page: Page, api: Api, print: string): Promise<Locator> {
  await api.apply("print", pipeline("print", { work: print }));
  const build = await api.trigger("print");
  await api.recorded(build);
  await open(page, `/builds/${build}`);
  await expect(row(page, 0).locator(".t")).toBeVisible();
  await page.keyboard.press("Control+f");
  return page.getByRole("searchbox", { name: "Search the whole log" });
}

test("the found text itself is marked, whatever its case and its colours, the current one more than the others", async ({ page, api }) => {
  const field = await search(page, api, String.raw`printf 'an error and an ER\e[1;31mROR\e[0m <b>here</b>\nnothing\n\e[32mgreen Error\e[0m\n'`);
  const looks = await field.evaluate((element) => [getComputedStyle(element).appearance, getComputedStyle(element).fontFamily]);
  expect(looks, "as the other fields look").toEqual(["none", expect.stringContaining("monospace")]);
  await field.fill("error");
  const found = page.locator(".search-bar .found");
  await expect(found).toHaveText("1 of 2");
  await expect(row(page, 0).locator(".wanted")).toHaveText(["error", "ER", "ROR"]);
  await expect(row(page, 0).locator(".t")).toHaveText("an error and an ERROR <b>here</b>");
  await expect(row(page, 0).locator(".f1")).toHaveText(["ROR"]);
  await expect(row(page, 2).locator(".wanted")).toHaveText(["Error"]);
  await expect(row(page, 2).locator(".f2")).toHaveText(["green", "Error"]);
  const ground = (n: number) => row(page, n).locator(".wanted").first().evaluate((element) => getComputedStyle(element).backgroundColor);
  const [now, other] = [await ground(0), await ground(2)];
  expect(now).not.toBe(other);
  await field.press("Enter");
  await expect(found).toHaveText("2 of 2");
  expect([await ground(0), await ground(2)]).toEqual([other, now]);

  // Another text: nothing of the former one stays marked.
  await field.fill("nothing");
  await expect(page.locator(".row .wanted")).toHaveText(["nothing"]);
  await field.press("Escape");
  await expect(page.locator(".row .wanted")).toHaveCount(0);
  // Who goes on reading with the keyboard is in the log.
  await expect(page.getByRole("region", { name: "Log" })).toBeFocused();
});

test("the view goes sideways to what is found, and back", async ({ page, api }) => {
  const field = await search(page, api, String.raw`echo 'needle at the left'; printf '%0800d needle %0300d\n' 0 0; seq 1 100`);
  const log = page.getByRole("region", { name: "Log" });
  const found = page.locator(".search-bar .found");
  await field.fill("needle");
  await expect(found).toHaveText("1 of 2");
  await expect(row(page, 0).locator(".wanted")).toBeInViewport({ ratio: 1 });
  expect(await log.evaluate((element) => element.scrollLeft)).toBe(0);
  await field.press("Enter");
  await expect(found).toHaveText("2 of 2");
  await expect(row(page, 1).locator(".wanted")).toBeInViewport({ ratio: 1 });
  await field.press("Enter");
  await expect(row(page, 0).locator(".wanted")).toBeInViewport({ ratio: 1 });
  await expect.poll(() => log.evaluate((element) => element.scrollLeft)).toBe(0);
});

test("what stands in the part of a line that is not shown is said to be there", async ({ page, api }) => {
  const field = await search(page, api, String.raw`echo 'a needle'; printf '%05000d needle\n' 0`);
  const found = page.locator(".search-bar .found");
  await field.fill("needle");
  await expect(found).toHaveText("1 of 2");
  await field.press("Enter");
  await expect(found).toHaveText("2 of 2 in the part that is not shown: Raw");
  await expect(found.getByRole("link", { name: "Raw" })).toHaveAttribute("href", /\/api\/v1\/jobs\/[-0-9a-f]+\/log\.txt\?attempt=1$/);
  await field.press("Enter");
  await expect(found).toHaveText("1 of 2");
});
