// The home page: what a new installation shows, and what arrives on it while it is open.

import { recordFrames } from "../../fixtures/frames";
import { Gate, pipeline } from "../../fixtures/gate";
import { line } from "../../fixtures/log";
import { expect, open, test } from "../../fixtures/stepcast";

/** A duration in microseconds as pages say it; of less than a minute. */
function inWords(micros: number): string {
  const [millis, seconds] = [Math.floor(micros / 1_000), Math.floor(micros / 1_000_000)];
  if (seconds === 0) return `${millis} ms`;
  return seconds < 10 ? `${seconds}.${Math.floor((millis % 1_000) / 100)} s` : `${seconds} s`;
}

/** What is looked at of an event. */
interface SampleEvent {
  kind: string;
  job?: string;
  about?: { job?: string };
  lines?: { text: string }[];
}

test("an empty installation shows a sample pipeline that one button runs, its lines appearing one by one", async ({ page }) => {
  const frames = recordFrames(page);
  await open(page, "/");
  await expect(page.locator("main pre")).toContainText("name: sample");
  await expect(page.getByRole("main").getByRole("button")).toHaveCount(1);

  // The titles under which a line of the middle was on the page and a later one was not.
  const alone = await page.evaluateHandle(() => {
    const titles: string[] = [];
    const look = () => {
      const log = document.querySelector(".log")?.textContent ?? "";
      if (log.includes("part-03") && !log.includes("part-40")) titles.push(document.title);
    };
    new MutationObserver(look).observe(document.body, { childList: true, characterData: true, subtree: true });
    return titles;
  });
  await page.getByRole("button", { name: "Run the sample pipeline" }).click();
  await expect(page).toHaveURL(/\/builds\//);
  await page.getByRole("link", { name: "compile" }).click();

  await expect(line(page, "Compiling part-40 (40 of 40)")).toBeVisible({ timeout: 60_000 });
  await expect(page).toHaveTitle("succeeded · sample #1 · Stepcast", { timeout: 60_000 });
  // Nothing came all at once, and all of it came while the job ran. Looked at is what was written down meanwhile: no test is
  // sure to look in time.
  const events = frames.received.flatMap(({ type, event }) => (type === "event" ? [event as SampleEvent] : []));
  const withText = (text: string) => [...events.keys()].filter((at) => events[at].lines?.some((line) => line.text.includes(text)));
  const compiling = withText("Compiling");
  expect(compiling.length).toBeGreaterThan(10);
  expect(withText("part-03")[0]).toBeLessThan(withText("part-40")[0]);
  const { job } = events.find(({ about }) => about?.job === "compile")!;
  expect(compiling.at(-1)).toBeLessThan(events.findIndex((event) => event.kind === "job_finished" && event.job === job));
  expect(await alone.jsonValue(), "part-03 was on the page before part-40 was").toContain("running · sample #1 · Stepcast");
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
  const took: number[] = [];
  for (const each of seconds) {
    const { started_at, finished_at } = await api.finished(await api.trigger("work", { seconds: each }));
    took.push(finished_at! - started_at!);
  }
  await open(page, "/");
  const bars = page.locator(".bar-link");
  await expect(bars).toHaveCount(seconds.length);
  await expect(bars.nth(1)).toHaveAccessibleName(`#2 failed, ${inWords(took[1])}`);
  await expect(bars.nth(2)).toHaveAccessibleName(`#3 succeeded, ${inWords(took[2])}`);
  const heights = await page.locator(".bar").evaluateAll((all) => all.map((bar) => bar.getBoundingClientRect().height));
  // In pixels; none is so low that it cannot be seen.
  const longest = Math.max(...took);
  expect(heights).toEqual(took.map((length) => Math.max(Math.floor((length * 22) / longest), 3)));
  await expect(page.locator(".usual")).toHaveText(`usually${inWords(Math.max(took[0], took[2]))}`);
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
  await expect(running).toContainText(/usually (\d+ ms|\d+(\.\d)? s)/);
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
