// The log's tools: links to lines, times, search in the whole log, copying.

import { Gate, pipeline } from "../../fixtures/gate";
import { line, reaches, row } from "../../fixtures/log";
import { expect, open, test, type Api } from "../../fixtures/stepcast";

const LINES = 30_000;

async function longLog(api: Api): Promise<string> {
  await api.apply("long", pipeline("long", { work: String.raw`seq 1 ${LINES}; printf '\e[31mthe Need\e[0mle\n'` }));
  const build = await api.trigger("long");
  await api.recorded(build);
  return `/builds/${build}`;
}

test.use({ permissions: ["clipboard-read", "clipboard-write"] });

test("a link to a range of lines opens there, marks it, and copies it with lines that are not in the document", async ({ page, api }) => {
  const address = await longLog(api);
  await open(page, `${address}#L12000-L12300`);
  await expect(row(page, 11_999)).toBeInViewport();
  await expect(row(page, 11_999)).toHaveClass(/marked/);
  await expect(row(page, 11_998)).not.toHaveClass(/marked/);
  await expect(page.getByText("Lines 12,000 to 12,300")).toBeVisible();
  await expect(row(page, 12_299)).toHaveCount(0);

  await page.getByRole("button", { name: "Copy lines" }).click();
  await expect(page.getByText("301 lines copied")).toBeVisible();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  expect(copied).toBe(Array.from({ length: 301 }, (_, n) => `${12_000 + n}\n`).join(""));

  await page.getByRole("button", { name: "Copy link" }).click();
  await expect(page.getByText("Link copied")).toBeVisible();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(page.url());
});

test("rows whose lines are still on their way stand in their places", async ({ page, api }) => {
  await open(page, await longLog(api));
  const log = page.getByRole("region", { name: "Log" });
  let arrive = () => {};
  const onTheirWay = new Promise<void>((done) => (arrive = done));
  await page.route(/\/log\?.*from=/, async (route) => {
    await onTheirWay;
    await route.continue();
  });
  await log.evaluate((element) => (element.scrollTop = (element.scrollHeight - element.clientHeight) / 2));
  await expect(row(page, 15_000)).toBeInViewport();
  await expect(row(page, 15_000).locator(".t")).toHaveText("");
  const { numbers, isFilled } = await log.evaluate((log) => {
    const view = log.getBoundingClientRect();
    const boxes = [...log.querySelectorAll<HTMLElement>(".row")].map((row) => ({ n: Number(row.dataset.n), box: row.getBoundingClientRect() }));
    const seen = boxes.filter(({ box }) => box.height > 0 && box.bottom > view.top && box.top < view.bottom);
    const isFilled = seen[0]!.box.top <= view.top && seen.at(-1)!.box.bottom >= view.top + log.clientHeight - 1;
    return { numbers: seen.map(({ n }) => n), isFilled };
  });
  expect(isFilled, "no part of the view is blank").toBe(true);
  expect(numbers).toEqual(numbers.map((_, at) => numbers[0]! + at));
  arrive();
  await expect(row(page, 15_000).locator(".t")).toHaveText("15001");
  await page.unrouteAll({ behavior: "wait" });
});

test("a link to a line that is not printed yet leads there when it is", async ({ page, api, stepcast }) => {
  const gate = new Gate(stepcast);
  await api.apply("slow", pipeline("slow", { work: `seq 1 300; ${gate.wait}; seq 301 2000` }));
  await open(page, `/builds/${await api.trigger("slow")}#L1000`);
  await reaches(page, 300);
  await gate.open();
  await expect(row(page, 999)).toBeInViewport();
  await expect(row(page, 999)).toHaveClass(/marked/);
  await expect(row(page, 0)).toHaveCount(0);
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
  await expect(page).toHaveURL(/^[^#]*$/);
});

test("a link to lines names their job, and going back leads to both", async ({ page, api }) => {
  await api.apply("two", pipeline("two", { one: "seq 1 500", other: "seq 1001 1500" }));
  const build = await api.trigger("two");
  const { jobs } = await api.finished(build);
  const other = jobs.find(({ name }) => name === "other")?.id;
  await open(page, `/builds/${build}`);
  await page.locator(".jobs").getByRole("link", { name: /other/ }).click();
  await expect(row(page, 5).locator(".t")).toHaveText("1006");
  await row(page, 5).locator(".n").click();
  await expect(page).toHaveURL(`/builds/${build}?job=${other}#L6`);
  await page.getByRole("button", { name: "Copy link" }).click();
  await expect(page.getByText("Link copied")).toBeVisible();
  const link = await page.evaluate(() => navigator.clipboard.readText());

  await page.locator(".jobs").getByRole("link", { name: /one/ }).click();
  await expect(row(page, 5).locator(".t")).toHaveText("6");
  await expect(page.locator(".row.marked")).toHaveCount(0);
  await page.goBack();
  await expect(row(page, 5).locator(".t")).toHaveText("1006");
  await expect(row(page, 5)).toHaveClass(/marked/);

  await open(page, "/");
  await open(page, link);
  await expect(row(page, 5).locator(".t")).toHaveText("1006");
  await expect(row(page, 5)).toHaveClass(/marked/);
});

test("a line that is marked where no job was asked for names the shown one", async ({ page, api }) => {
  await api.apply("two", pipeline("two", { one: "seq 1 500", other: "seq 1001 1500; exit 1" }));
  const build = await api.trigger("two");
  const { jobs } = await api.finished(build);
  await open(page, `/builds/${build}`);
  await page.getByRole("button", { name: "Top" }).click();
  await row(page, 3).locator(".n").click();
  await expect(page).toHaveURL(`/builds/${build}?job=${jobs.find(({ name }) => name === "other")?.id}#L4`);
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

test("long lines wrap on demand, what is in view stays there, and the choice is remembered", async ({ page, api }) => {
  const print = `for n in $(seq 1 2000); do s=; for ((i = 0; i < n % 60; i++)); do s+='word '; done; echo "line $n $s"; done; echo the end`;
  await api.apply("wide", pipeline("wide", { work: print }));
  const build = await api.trigger("wide");
  await api.recorded(build);
  await open(page, `/builds/${build}#L1200`);
  await expect(row(page, 1_199)).toBeInViewport();
  const height = (n: number) => row(page, n).evaluate((element) => element.getBoundingClientRect().height);
  const top = () => row(page, 1_199).evaluate((element) => element.getBoundingClientRect().top);
  expect(await height(1_199)).toBe(20);
  const before = await top();

  await page.getByRole("button", { name: "Wrap" }).click();
  await expect.poll(() => height(1_198)).toBeGreaterThan(20);
  await expect.poll(async () => Math.abs((await top()) - before)).toBeLessThan(2);
  // Rows follow each other without gaps or overlaps, and every text is inside the view.
  const rows = await page.locator(".log .row").evaluateAll((all) =>
    all.map((element) => element.getBoundingClientRect()).map(({ top, bottom, right }) => ({ top, bottom, right })),
  );
  for (let n = 1; n < rows.length; n++) expect(Math.abs(rows[n].top - rows[n - 1].bottom)).toBeLessThan(0.5);
  const log = page.getByRole("region", { name: "Log" });
  expect(await log.evaluate((element) => element.scrollWidth - element.clientWidth)).toBeLessThanOrEqual(0);

  // The end can be reached, and is the end.
  await page.getByRole("button", { name: "End" }).click();
  await expect(row(page, 2_000)).toBeInViewport();
  await expect
    .poll(() => log.evaluate((element) => element.scrollHeight - element.clientHeight - element.scrollTop))
    .toBeLessThan(2);

  await page.reload();
  await expect(page.getByRole("button", { name: "Wrap" })).toHaveAttribute("aria-pressed", "true");
  await page.getByRole("button", { name: "Wrap" }).click();
  await expect(page.locator(".log.wrapped")).toHaveCount(0);
});

test("a group is folded and unfolded by its head, also where its end is far away", async ({ page, api }) => {
  const print = `echo before; echo '::group::Install things'; seq 1 5000; echo '::endgroup::'; echo after; echo '##[group]Short'; echo inside`;
  await api.apply("groups", pipeline("groups", { work: print }));
  const build = await api.trigger("groups");
  await api.recorded(build);
  await open(page, `/builds/${build}`);
  const head = page.getByRole("button", { name: "Install things" });
  await expect(head).toHaveAttribute("aria-expanded", "true");
  await expect(row(page, 2)).toBeVisible();

  await head.click();
  await expect(head).toHaveAttribute("aria-expanded", "false");
  await expect(head).toContainText("5,001 lines");
  await expect(row(page, 2)).toHaveCount(0);
  await expect(row(page, 5_003).locator(".t")).toHaveText("after");
  await expect(row(page, 5_003)).toBeInViewport();

  // A group that nothing ends goes to the end of its step.
  await page.getByRole("button", { name: "Short", exact: true }).press("Enter");
  await expect(row(page, 5_005)).toHaveCount(0);

  // The search goes into what is folded, and shows it.
  await page.keyboard.press("Control+f");
  await page.getByRole("searchbox", { name: "Search the whole log" }).fill("4321");
  await expect(row(page, 2 + 4_320)).toBeInViewport();
  await page.getByRole("button", { name: "Top" }).click();
  await expect(head).toHaveAttribute("aria-expanded", "true");
  await expect(row(page, 2)).toBeVisible();
});

test("standard error is told apart where a step asks for it", async ({ page, api, stepcast }) => {
  // The two outputs are two pipes: what is printed to one is waited for before anything goes to the other.
  const [one, two] = [new Gate(stepcast, "one"), new Gate(stepcast, "two")];
  await api.apply(
    "streams",
    `name: streams
jobs:
  a:
    steps:
      - {name: apart, run: "echo out; ${one.wait}; echo oops >&2; ${two.wait}; echo more", stderr: marked}
      - {name: together, run: "echo as always >&2"}
`,
  );
  const build = await api.trigger("streams");
  await open(page, `/builds/${build}`);
  await expect(line(page, "out")).toBeVisible();
  await one.open();
  await expect(line(page, "oops")).toBeVisible();
  await two.open();
  await api.recorded(build);
  await open(page, `/builds/${build}`);
  await expect(page.locator(".log .row .t")).toHaveText(["out", "oops", "more", "as always"]);
  await expect(page.locator(".log .row.err .t")).toHaveText(["oops"]);
  await expect(row(page, 1)).toHaveAttribute("title", "Printed to standard error");
});

test("Ctrl+A means the whole log, and Ctrl+C copies what is marked", async ({ page, api }) => {
  await open(page, await longLog(api));
  await row(page, 3).locator(".t").click();
  await page.keyboard.press("Control+a");
  await expect(page.getByText("Lines 1 to 30,001")).toBeVisible();
  await page.keyboard.press("Control+c");
  await expect(page.getByText("30,001 lines copied")).toBeVisible();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  expect(copied.split("\n").length).toBe(LINES + 2);
  expect(copied.endsWith("30000\nthe Needle\n")).toBe(true);
});

test("a selection that begins in a row that is gone meanwhile is copied whole", async ({ page, api }) => {
  await open(page, await longLog(api));
  await row(page, 4).locator(".t").hover();
  await page.mouse.down();
  await row(page, 8).locator(".t").hover();
  await page.mouse.wheel(0, 6_000);
  await expect(row(page, 4)).toHaveCount(0);
  const last = row(page, 310);
  await expect(last).toBeInViewport();
  await last.locator(".t").hover();
  await page.mouse.up();
  await page.keyboard.press("Control+c");
  await expect(page.getByText("307 lines copied")).toBeVisible();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  expect(copied).toBe(Array.from({ length: 307 }, (_, n) => `${5 + n}\n`).join(""));
});
