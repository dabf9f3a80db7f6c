// A build's page: what its log looks like, how far it reaches, what it says of a job that cannot run.

import { Gate, pipeline } from "../../fixtures/gate";
import { count, line, reaches, row } from "../../fixtures/log";
import { expect, open, test } from "../../fixtures/stepcast";

/** Rows that the document may hold, however long the log. */
const ROWS_MAX = 300;

test("colours are styled text and markup is text", async ({ page, api }) => {
  const script = String.raw`printf '\e[1;31mred\e[0m plain\n<img src=x onerror="document.title=1"> &amp; <b>no</b>\n'`;
  await api.apply("print", pipeline("print", { work: script }));
  const build = await api.trigger("print");
  await api.finished(build);
  await open(page, `/builds/${build}`);

  await expect(row(page, 0).locator(".t")).toHaveText("red plain");
  const red = row(page, 0).locator(".t span");
  await expect(red).toHaveText("red");
  const own = await row(page, 0).locator(".t").evaluate((element) => getComputedStyle(element).color);
  const looks = await red.evaluate((element) => ({ colour: getComputedStyle(element).color, weight: getComputedStyle(element).fontWeight }));
  expect(looks.colour).not.toBe(own);
  expect(Number(looks.weight)).toBeGreaterThanOrEqual(600);

  await expect(row(page, 1).locator(".t")).toHaveText('<img src=x onerror="document.title=1"> &amp; <b>no</b>');
  await expect(page.locator(".log img, .log b")).toHaveCount(0);
  await expect(page).toHaveTitle("succeeded · print #1 · Stepcast");
});

test("a job whose labels nobody has says what it waits for", async ({ page, api }) => {
  await api.apply("odd", pipeline("odd", { work: { labels: ["quantum"], steps: [{ run: "true" }] } }));
  const build = await api.trigger("odd");
  await open(page, `/builds/${build}`);
  await expect(page.locator(".jobs")).toContainText("quantum");
  await expect(page.locator(".log")).toContainText("quantum");
  await expect(page).toHaveTitle("queued · odd #1 · Stepcast");
});

test("a build that is not there says so", async ({ page, expectedComplaints }) => {
  expectedComplaints.push(/status of 404/);
  await open(page, "/builds/00000000-0000-4000-8000-000000000000");
  await expect(page.getByRole("heading", { name: "There is nothing here" })).toBeVisible();
});

test("a million lines open and scroll, at most 300 of them in the document", async ({ page, api }) => {
  test.setTimeout(600_000);
  await api.apply("long", pipeline("long", { work: "seq 1 1000000" }));
  const build = await api.trigger("long");
  await api.until(build, ({ state }) => state === "finished", "finished", 300_000);
  await open(page, `/builds/${build}`);
  await expect(row(page, 0)).toBeInViewport();
  // The build has ended, but its record may still be catching up; the page follows it there.
  await expect(page.locator(".log-bar .count")).toHaveText("1,000,000 lines", { timeout: 300_000 });
  const log = page.getByRole("region", { name: "Log" });

  const settled = async (first: number) => {
    await expect(row(page, first)).toBeInViewport();
    await expect(row(page, first).locator(".t")).toHaveText(String(first + 1));
    await expect(log.locator(".row.unread")).toHaveCount(0);
    expect(await log.locator(".row").count()).toBeLessThanOrEqual(ROWS_MAX);
    const rows = await log.locator(".row").evaluateAll((all) =>
      all.map((element) => [Number((element as HTMLElement).dataset.n), element.querySelector(".t")?.textContent]),
    );
    expect(rows).toEqual(rows.map(([n]) => [n, String(Number(n) + 1)]));
  };
  await settled(0);

  await log.evaluate((element) => (element.scrollTop = (element.scrollHeight - element.clientHeight) / 2));
  await settled(500_000);
  await page.getByRole("button", { name: "End" }).click();
  await settled(999_999);
  await page.getByRole("button", { name: "Top" }).click();
  await settled(0);
  await log.evaluate((element) => (element.scrollTop = element.scrollHeight));
  await settled(999_999);
  await log.hover();
  await page.mouse.wheel(0, -2_000);
  await settled(999_880);
});

test("the page goes on to the job that runs, and stays with the one that failed, as a reload does", async ({ page, api, stepcast }) => {
  const [first, second] = [new Gate(stepcast, "first"), new Gate(stepcast, "second")];
  const jobs = {
    fetch: `echo fetching; ${first.wait}`,
    test: { needs: ["fetch"], steps: [{ run: `echo testing; ${second.wait}; exit 3` }] },
    tell: { needs: ["test"], if: "always()", steps: [{ run: "echo told" }] },
  };
  await api.apply("chain", pipeline("chain", jobs));
  const build = await api.trigger("chain");
  await open(page, `/builds/${build}`);
  const shown = page.locator(".jobs [aria-current] .name");
  await expect(shown).toHaveText("fetch");
  await expect(line(page, "fetching")).toBeVisible();
  await first.open();
  await expect(shown).toHaveText("test");
  await expect(line(page, "testing")).toBeVisible();
  await second.open();
  await expect(page).toHaveTitle("failed · chain #1 · Stepcast");
  await expect(shown).toHaveText("test");
  await page.reload();
  await expect(shown).toHaveText("test");
});

for (const choose of ["presses it", "presses k", "reads further up in it", "names it in the address"]) {
  test(`the page stays with the job of a person who ${choose}`, async ({ page, api, stepcast }) => {
    const [first, second] = [new Gate(stepcast, "first"), new Gate(stepcast, "second")];
    const jobs = { fetch: `seq 1 300; ${first.wait}`, test: { needs: ["fetch"], steps: [{ run: second.wait }] } };
    await api.apply("chain", pipeline("chain", jobs));
    const build = await api.trigger("chain");
    const { id } = (await api.build(build)).jobs[0];
    await open(page, `/builds/${build}${choose.startsWith("names") ? `?job=${id}` : ""}`);
    await reaches(page, 300);
    const log = page.getByRole("region", { name: "Log" });
    if (choose === "presses it") await page.locator(".jobs a").first().click();
    if (choose === "presses k") {
      await page.keyboard.press("j");
      await expect(page.locator(".jobs [aria-current] .name")).toHaveText("test");
      await page.keyboard.press("k");
    }
    if (choose.startsWith("reads")) {
      await log.hover();
      await page.mouse.wheel(0, -600);
      await expect(page.getByRole("button", { name: "Follow" })).toHaveAttribute("aria-pressed", "false");
    }
    await first.open();
    await api.until(build, ({ jobs }) => jobs[1].state === "running", "at its second job");
    // Long enough that a page which goes on would have gone.
    await expect(page.locator(".jobs li").nth(1).locator(".duration")).toHaveText(/^[1-9]/);
    await expect(page.locator(".jobs [aria-current] .name")).toHaveText("fetch");
    await second.open();
    await expect(page).toHaveTitle("succeeded · chain #1 · Stepcast");
  });
}

test("the end is followed until the person scrolls up, and again when they ask for it", async ({ page, api, stepcast }) => {
  const gate = new Gate(stepcast);
  await api.apply("talk", pipeline("talk", { work: gate.printUntilOpen }));
  const build = await api.trigger("talk");
  await open(page, `/builds/${build}`);
  const follow = page.getByRole("button", { name: "Follow" });
  await expect(follow).toHaveAttribute("aria-pressed", "true");
  await reaches(page, 100);
  await expect(page.locator(".log .row").last()).toBeInViewport();

  await page.getByRole("region", { name: "Log" }).hover();
  await page.mouse.wheel(0, -600);
  await expect(follow).toHaveAttribute("aria-pressed", "false");
  const top = () => page.getByRole("region", { name: "Log" }).evaluate((element) => element.scrollTop);
  // What the wheel began has come to its end.
  let before = -1;
  const stands = async () => {
    const last = before;
    before = await top();
    return before === last;
  };
  await expect.poll(stands).toBe(true);
  await reaches(page, (await count(page)) + 20);
  expect(await top()).toBe(before);

  await follow.click();
  await expect(follow).toHaveAttribute("aria-pressed", "true");
  // The button leads to the end as the key does: both follow it from there on.
  const log = page.getByRole("region", { name: "Log" });
  for (const goToTheEnd of [() => page.getByRole("button", { name: "End" }).click(), () => log.press("End")]) {
    await page.getByRole("button", { name: "Top" }).click();
    await expect(follow).toHaveAttribute("aria-pressed", "false");
    await goToTheEnd();
    await expect(follow).toHaveAttribute("aria-pressed", "true");
  }
  await gate.open();
  await expect(line(page, "the end")).toBeInViewport();
  // Of a log that has ended no newest line is kept in view.
  await expect(follow).toBeDisabled();
  await expect(follow).toHaveAttribute("aria-pressed", "false");
});
