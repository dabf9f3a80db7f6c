// A build's page: its jobs as a graph, its steps against the time of their job, and the keys that go through them.

import { Gate, pipeline } from "../../fixtures/gate";
import { saysMeanwhile } from "../../fixtures/moments";
import { EVERYTHING } from "../../fixtures/pages";
import { expect, open, test } from "../../fixtures/stepcast";

test("jobs stand in columns by their needs, with a line for each need, and lead to their logs", async ({ page, api }) => {
  await api.apply("everything", EVERYTHING);
  const build = await api.trigger("everything");
  await api.finished(build);
  await open(page, `/builds/${build}`);
  const left = (name: string) => page.locator(".node", { hasText: name }).evaluate((node) => parseInt((node as HTMLElement).style.left));
  expect(await left("fetch")).toBe(0);
  expect(await left("lint")).toBe(await left("test"));
  expect(await left("pack")).toBeGreaterThan(await left("test"));
  const drawn = await page.locator(".graph path").first().getAttribute("d");
  expect(drawn?.match(/M/g)).toHaveLength(4);
  await page.locator(".node", { hasText: "lint" }).click();
  await expect(page.locator(".log .row .t").first()).toHaveText("linted");
  await expect(page.locator(".node.chosen")).toContainText("lint");
});

test("a build whose jobs need nothing has no graph", async ({ page, api }) => {
  await api.apply("two", pipeline("two", { one: "true", other: "true" }));
  await open(page, `/builds/${await api.trigger("two")}`);
  await expect(page.locator(".jobs li")).toHaveCount(2);
  await expect(page.locator(".graph")).toHaveCount(0);
});

test("the bar of a step that runs grows, and nothing else moves", async ({ page, api, stepcast }) => {
  const gate = new Gate(stepcast);
  const steps = [{ name: "first", run: "sleep 0.3" }, { name: "second", run: gate.wait }];
  await api.apply("bars", pipeline("bars", { work: { steps } }));
  const build = await api.trigger("bars");
  await open(page, `/builds/${build}`);
  const bar = (name: string) => page.locator(".step", { hasText: name }).locator(".step-bar");
  await expect(bar("second")).toBeVisible();
  const share = async (name: string) => parseFloat(await bar(name).evaluate((element) => (element as HTMLElement).style.width));
  const before = { share: await share("second"), box: await page.locator(".step", { hasText: "second" }).boundingBox() };
  await expect.poll(() => share("second")).toBeGreaterThan(before.share);
  expect(await page.locator(".step", { hasText: "second" }).boundingBox()).toEqual(before.box);
  // What lies before the first step is little of the whole then.
  await expect.poll(() => share("second"), { timeout: 60_000 }).toBeGreaterThan(90);
  await gate.open();
  await expect(page).toHaveTitle(/^succeeded/);
  const ends = [await share("first"), await share("second")];
  expect(ends[0] + ends[1]).toBeGreaterThan(80);
  expect(ends[0] + ends[1]).toBeLessThanOrEqual(100.2);
});

test("keys go through the jobs, tell what they do, and go home; in a field they are letters", async ({ page, api }) => {
  await api.apply("everything", EVERYTHING);
  const build = await api.trigger("everything");
  await api.finished(build);
  await open(page, `/builds/${build}`);
  const chosen = page.locator(".jobs [aria-current]");
  await expect(chosen).toContainText("test");
  await page.keyboard.press("k");
  await expect(chosen).toContainText("lint");
  await page.keyboard.press("j");
  await expect(chosen).toContainText("test");

  await page.keyboard.press("?");
  const help = page.getByRole("dialog", { name: "Keyboard shortcuts" });
  await expect(help).toBeVisible();
  await expect(help).toContainText("search the whole log");
  await page.keyboard.press("Escape");
  await expect(help).toBeHidden();

  await page.keyboard.press("/");
  const field = page.getByRole("searchbox");
  await expect(field).toBeFocused();
  await page.keyboard.type("k?");
  await expect(field).toHaveValue("k?");
  await expect(chosen).toContainText("test");
  await expect(help).toBeHidden();
  await page.keyboard.press("Escape");
  await expect(field).toHaveCount(0);
  await page.keyboard.press("g");
  await page.keyboard.press("h");
  await expect(page).toHaveURL(/\/$/);
});

test.describe("with a clipboard", () => {
  test.use({ permissions: ["clipboard-read", "clipboard-write"] });

  test("the id of a build and the command of any step are copied with one press, which is offered again", async ({ page, api }) => {
    const steps = [{ name: "work", run: "echo one\necho two" }, { run: "echo three" }];
    await api.apply("print", pipeline("print", { work: { steps } }));
    const build = await api.trigger("print");
    await api.recorded(build);
    await open(page, `/builds/${build}`);
    const copied = () => page.evaluate(() => navigator.clipboard.readText());
    const said = page.locator(".facts").getByRole("status");
    await saysMeanwhile(said, "Copied", () => page.getByRole("button", { name: "Copy the id of this build" }).click());
    await expect.poll(copied).toBe(build);
    await page.getByRole("button", { name: "Copy the command of work" }).click();
    await expect.poll(copied).toBe("echo one\necho two");
    // A step that is named after its command, by the keyboard, from its row.
    await page.locator(".step-row", { hasText: "echo three" }).focus();
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await expect.poll(copied).toBe("echo three");
    await expect(said).toHaveText("");
  });
});

test("the pill tells how long a line takes from executor to screen", async ({ page, api, stepcast }) => {
  const gate = new Gate(stepcast);
  await api.apply("talk", pipeline("talk", { work: gate.printUntilOpen }));
  await open(page, `/builds/${await api.trigger("talk")}`);
  const pill = page.locator(".pill");
  const before = await pill.boundingBox();
  // A slow machine may take longer for some lines: the place is looked at together with the number.
  let box: unknown;
  const delay = async () => {
    const seen = await pill.evaluate((pill) => {
      const { x, y, width, height } = pill.getBoundingClientRect();
      return { text: pill.querySelector(".delay")?.textContent ?? "", box: { x, y, width, height } };
    });
    box = seen.box;
    return seen.text;
  };
  await expect.poll(delay, { timeout: 60_000 }).toMatch(/^\d{1,3} ms$/);
  expect(box, "the number takes a place that was kept for it").toEqual(before);
  await gate.open();
});

test("a browser whose clock is wrong tells the same", async ({ page, api, stepcast }) => {
  await page.addInitScript(() => {
    const real = Date.now;
    Date.now = () => real() + 3_000;
  });
  const gate = new Gate(stepcast);
  await api.apply("talk", pipeline("talk", { work: gate.printUntilOpen }));
  await open(page, `/builds/${await api.trigger("talk")}`);
  await expect(page.locator(".pill .delay")).toHaveText(/^\d{1,3} ms$/, { timeout: 60_000 });
  await gate.open();
});

test("what a job needs is told to those who do not see the graph", async ({ page, api }) => {
  await api.apply("everything", EVERYTHING);
  await open(page, `/builds/${await api.trigger("everything")}`);
  const job = (name: string) => page.locator(".job-row").filter({ has: page.locator(".name", { hasText: new RegExp(`^${name}$`) }) });
  await expect(job("pack")).toHaveAccessibleDescription("needs lint, test");
  await expect(job("fetch")).toHaveAccessibleDescription("");
});

test("signing out ends the session", async ({ page, expectedComplaints }) => {
  // The page that is left has its socket closed.
  expectedComplaints.push(/status of 401/);
  await open(page, "/");
  await page.getByRole("button", { name: "Signed in as Ada" }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await expect(page).toHaveURL(/\/sign-in$/);
  expect((await page.request.get("/api/v1/pipelines")).status()).toBe(401);
});
