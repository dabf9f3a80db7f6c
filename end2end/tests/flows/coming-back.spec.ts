// A page that was away while 50 lines a second were printed: it says so, comes back by itself, and then holds each line
// exactly once, in order.

import type { Page } from "@playwright/test";

import { Gate, pipeline } from "../../fixtures/gate";
import { count, expectEachLineOnce, reaches } from "../../fixtures/log";
import { Proxy } from "../../fixtures/proxy";
import { connection, expect, LOST_LINE, open, test, type Api, type Installation } from "../../fixtures/stepcast";

/** Lines that are printed while a page is away. */
const MISSED = 60;

/** A build that prints until the gate is opened. */
async function talk(api: Api, stepcast: Installation): Promise<{ gate: Gate; build: string; job: string }> {
  const gate = new Gate(stepcast);
  await api.apply("talk", pipeline("talk", { work: gate.printUntilOpen }));
  const build = await api.trigger("talk");
  return { gate, build, job: (await api.build(build)).jobs[0].id };
}

/** Waits until the record has so many lines. */
async function printed(api: Api, job: string, lines: number): Promise<void> {
  await expect.poll(async () => (await api.log(job)).length, { message: "lines printed" }).toBeGreaterThanOrEqual(lines);
}

/** How many lines the pill says that were recovered: it says so for a moment only. */
async function recovered(page: Page): Promise<number> {
  let told = "";
  const say = async () => (told = await connection(page).innerText());
  await expect.poll(say, { message: "what the pill says" }).toMatch(/^resumed, [\d,]+ lines from (replay|the record)$/);
  return Number(/\d[\d,]*/.exec(told)![0].replaceAll(",", ""));
}

for (const own of [true, false]) {
  test(`p3_a page that ${own ? "asked for the build" : "only watches"} is offline for a while and misses nothing`, async ({ page, context, api, stepcast, expectedComplaints }) => {
    expectedComplaints.push(LOST_LINE);
    const gate = new Gate(stepcast);
    await api.apply("talk", pipeline("talk", { work: gate.printUntilOpen }));
    let build: string;
    if (own) {
      await open(page, "/");
      await page.getByRole("button", { name: "Build talk" }).click();
      await page.waitForURL(/\/builds\//);
      build = new URL(page.url()).pathname.split("/").pop() as string;
    } else {
      build = await api.trigger("talk");
      await open(page, `/builds/${build}`);
    }
    const job = (await api.build(build)).jobs[0].id;
    await reaches(page, 30);

    await context.setOffline(true);
    await expect(connection(page)).toHaveText("offline");
    await printed(api, job, (await count(page)) + MISSED);
    await context.setOffline(false);
    expect(await recovered(page)).toBeGreaterThanOrEqual(MISSED);

    await gate.open();
    await expect(page).toHaveTitle("succeeded · talk #1 · Stepcast");
    await expectEachLineOnce(page, await api.logToItsEnd(job));
  });
}

test("p3_a line that is cut and refuses for a while says reconnecting, then how much was recovered", async ({ page, api, stepcast, expectedComplaints }) => {
  expectedComplaints.push(LOST_LINE);
  const { gate, build, job } = await talk(api, stepcast);
  const proxy = await Proxy.start(stepcast.url);
  try {
    await open(page, `${proxy.url}/builds/${build}`);
    await reaches(page, 30);

    proxy.cut();
    await expect(connection(page)).toHaveText("reconnecting");
    await printed(api, job, (await count(page)) + MISSED);
    await expect.poll(() => proxy.refused).toBeGreaterThan(1);
    proxy.mend();
    expect(await recovered(page)).toBeGreaterThanOrEqual(MISSED);
    await expect(connection(page)).toHaveText(/^live/);

    await gate.open();
    await expect(page).toHaveTitle("succeeded · talk #1 · Stepcast");
    await expectEachLineOnce(page, await api.logToItsEnd(job));
  } finally {
    await proxy.close();
  }
});

test("p3_a line that is cut again and again ends with each line once", async ({ page, api, stepcast, expectedComplaints }) => {
  expectedComplaints.push(LOST_LINE);
  const { gate, build, job } = await talk(api, stepcast);
  const proxy = await Proxy.start(stepcast.url);
  try {
    await open(page, `${proxy.url}/builds/${build}`);
    for (let round = 0; round < 5; round++) {
      await printed(api, job, (await api.log(job)).length + 10);
      proxy.cut();
      await expect(connection(page)).toHaveText("reconnecting");
      proxy.mend();
      await expect(connection(page)).toHaveText(/^(resumed|live)/);
    }
    await gate.open();
    await expect(page).toHaveTitle("succeeded · talk #1 · Stepcast");
    await expectEachLineOnce(page, await api.logToItsEnd(job));
  } finally {
    await proxy.close();
  }
});

test("p3_a page that is reloaded in the middle holds each line once", async ({ page, api, stepcast }) => {
  const { gate, build, job } = await talk(api, stepcast);
  await open(page, `/builds/${build}`);
  for (const lines of [40, 80, 120]) {
    await reaches(page, lines);
    await page.reload();
    await expect(connection(page)).toHaveText(/^live/);
  }
  await gate.open();
  await expect(page).toHaveTitle("succeeded · talk #1 · Stepcast");
  await expectEachLineOnce(page, await api.logToItsEnd(job));
});

test("p7_the server is killed in the middle of a build: the open page resumes by itself and shows attempt 2 to its end", async ({ page, api, stepcast, expectedComplaints }) => {
  expectedComplaints.push(LOST_LINE);
  const { gate, build, job } = await talk(api, stepcast);
  await open(page, `/builds/${build}`);
  await reaches(page, 30);
  // The record follows the page: of the first attempt this much is asked for in the end.
  await printed(api, job, 20);

  await stepcast.kill();
  await expect(connection(page)).toHaveText("reconnecting");
  await stepcast.restart();
  await expect(connection(page)).toHaveText(/^(resumed|live)/, { timeout: 60_000 });
  await expect(page.locator(".log-bar")).toContainText("attempt 2", { timeout: 60_000 });
  await reaches(page, 20);

  await gate.open();
  await expect(page).toHaveTitle("succeeded · talk #1 · Stepcast");
  await expectEachLineOnce(page, await api.logToItsEnd(job));
  await page.getByRole("link", { name: "#1", exact: true }).waitFor();
  const first = await (await api.request("GET", `/jobs/${job}/log.txt?attempt=1`)).text();
  expect(first.split("\n").slice(0, 20)).toEqual(Array.from({ length: 20 }, (_, n) => `line ${n + 1}`));
});
